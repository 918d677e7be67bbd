/*
 * A dump as an ELF core file (ELF-64, System V gABI): one PT_NOTE, then a PT_LOAD for each block of
 * physical memory, or for each mapping of the guest's page tables where those were asked for.
 *
 * The section headers are there for files with more than 65534 program headers, whose number stands
 * in the first one (e_phnum is PN_XNUM then). They come behind the program headers, which
 * makedumpfile looks for right behind the file's header.
 */
#include "migration/dump-priv.h"

#include "cpu/x86/page-map.h"
#include <elf.h>
#include <errno.h>
#include <string.h>

/* Memory is written in pieces of this size. */
#define PIECE_BYTES (4u << 20)

static const char section_names[] = "\0.shstrtab";

struct layout {
    uint64_t n_loads, sections, notes, memory, names; /* offsets but for the first */
};

static const struct dump_block *nth_block(const struct dump_job *job, guint i)
{
    return &g_array_index(job->blocks, struct dump_block, i);
}

/* The part of a mapping that lies in a block is a PT_LOAD. */
static void add_mapping(const struct dump_job *job, const struct page_mapping *map, uint64_t memory,
                        GArray *loads)
{
    uint64_t offset = memory;

    for (guint i = 0; i < job->blocks->len; i++) {
        const struct dump_block *block = nth_block(job, i);
        gpa_t start = MAX(map->physical, block->start);
        gpa_t end = MIN(map->physical + map->length, block->start + block->length);

        if (start < end) {
            const Elf64_Phdr load = {
                .p_type = PT_LOAD,
                .p_offset = offset + (start - block->start),
                .p_vaddr = map->linear + (start - map->physical),
                .p_paddr = start,
                .p_filesz = end - start,
                .p_memsz = end - start,
            };
            g_array_append_val(loads, load);
        }
        offset += block->length;
    }
}

static GArray *program_headers(const struct dump_job *job, uint64_t memory)
{
    GArray *loads = g_array_new(FALSE, FALSE, sizeof(Elf64_Phdr));

    for (guint i = 0; job->mappings && i < job->mappings->len; i++) {
        add_mapping(job, &g_array_index(job->mappings, struct page_mapping, i), memory, loads);
    }
    if (job->mappings && job->mappings->len > 0) {
        return loads;
    }
    for (guint i = 0; i < job->blocks->len; i++) {
        const struct dump_block *block = nth_block(job, i);
        const struct page_mapping map = {block->start, block->start, block->length};

        add_mapping(job, &map, memory, loads);
    }
    return loads;
}

static struct layout layout_of(const struct dump_job *job, uint64_t n_loads)
{
    struct layout l = {.n_loads = n_loads};

    l.sections = sizeof(Elf64_Ehdr) + (n_loads + 1) * sizeof(Elf64_Phdr);
    l.notes = l.sections + 2 * sizeof(Elf64_Shdr);
    l.memory = l.notes + job->notes->len;
    l.names = l.memory + job->total;
    return l;
}

static bool write_header(struct dump_job *job, const struct layout *l)
{
    uint64_t n = l->n_loads + 1;
    const Elf64_Ehdr head = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = job->is_long ? EM_X86_64 : EM_386,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_shoff = l->sections,
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = n < PN_XNUM ? (Elf64_Half)n : PN_XNUM,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = 2,
        .e_shstrndx = 1,
    };

    return output_write(&job->out, &head, sizeof(head));
}

static bool write_program_headers(struct dump_job *job, const struct layout *l, const GArray *loads)
{
    const Elf64_Phdr note = {
        .p_type = PT_NOTE,
        .p_offset = l->notes,
        .p_filesz = job->notes->len,
        .p_memsz = job->notes->len,
    };

    return output_write(&job->out, &note, sizeof(note)) &&
           output_write(&job->out, loads->data, loads->len * sizeof(Elf64_Phdr));
}

static bool write_sections(struct dump_job *job, const struct layout *l)
{
    uint64_t n = l->n_loads + 1;
    const Elf64_Shdr sections[2] = {
        {.sh_info = n < PN_XNUM ? 0 : (Elf64_Word)n},
        {.sh_name = 1,
         .sh_type = SHT_STRTAB,
         .sh_offset = l->names,
         .sh_size = sizeof(section_names)},
    };

    return output_write(&job->out, sections, sizeof(sections));
}

/* How far the pages from there on are like the first one: touched, or not. */
static uint64_t run_length(const struct dump_block *block, uint64_t at, bool touched)
{
    uint64_t n = 0;

    while (n < PIECE_BYTES && at + n < block->length &&
           dump_block_touched(block, at + n) == touched) {
        n += MIN(GUEST_PAGE_SIZE, block->length - at - n);
    }
    return n;
}

static bool write_memory(struct dump_job *job)
{
    for (guint i = 0; i < job->blocks->len; i++) {
        const struct dump_block *block = nth_block(job, i);

        for (uint64_t at = 0, n; at < block->length; at += n) {
            bool touched = dump_block_touched(block, at);

            n = run_length(block, at, touched);
            if (!(touched ? output_write(&job->out, block->host + at, n)
                          : output_write_zeros(&job->out, n))) {
                return false;
            }
            atomic_fetch_add(&job->completed, n);
        }
    }
    return true;
}

bool dump_elf_write(struct dump_job *job, GError **error)
{
    g_autoptr(GArray) sizing = program_headers(job, 0); /* their number decides where memory is */
    struct layout l = layout_of(job, sizing->len);
    g_autoptr(GArray) loads = program_headers(job, l.memory);

    if (!write_header(job, &l)) {
        return dump_fail(error, "write elf header");
    }
    if (!write_program_headers(job, &l, loads) || !write_sections(job, &l)) {
        return dump_fail(error, "write program header table");
    }
    if (!output_write(&job->out, job->notes->data, job->notes->len)) {
        return dump_fail(error, "write notes");
    }
    if (!write_memory(job)) {
        return dump_fail(error, "save memory");
    }
    if (!output_write(&job->out, section_names, sizeof(section_names)) || !output_end(&job->out)) {
        return dump_fail(error, "write section");
    }
    return true;
}
