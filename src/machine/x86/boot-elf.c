/* ELF headers for boot loaders (System V ABI, chapters 4 and 5; ELF-64 Object File Format). */
#include "machine/x86/boot-elf.h"

#include "machine/x86/boot-priv.h"
#include <elf.h>

#define ELF_MAX_SEGMENTS 64u

static bool header_error(const struct boot_file *file, GError **error, const char *why)
{
    g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT, "kernel '%s': %s", file->path, why);
    return false;
}

static void segment_parse(struct elf_segment *seg, const uint8_t *ph, bool is64)
{
    seg->type = get_le32(ph);
    if (is64) {
        seg->offset = get_le64(ph + offsetof(Elf64_Phdr, p_offset));
        seg->vaddr = get_le64(ph + offsetof(Elf64_Phdr, p_vaddr));
        seg->paddr = get_le64(ph + offsetof(Elf64_Phdr, p_paddr));
        seg->file_bytes = get_le64(ph + offsetof(Elf64_Phdr, p_filesz));
        seg->mem_bytes = get_le64(ph + offsetof(Elf64_Phdr, p_memsz));
    } else {
        seg->offset = get_le32(ph + offsetof(Elf32_Phdr, p_offset));
        seg->vaddr = get_le32(ph + offsetof(Elf32_Phdr, p_vaddr));
        seg->paddr = get_le32(ph + offsetof(Elf32_Phdr, p_paddr));
        seg->file_bytes = get_le32(ph + offsetof(Elf32_Phdr, p_filesz));
        seg->mem_bytes = get_le32(ph + offsetof(Elf32_Phdr, p_memsz));
    }
}

static bool segments_read(struct elf *elf, const struct boot_file *file, uint64_t offset,
                          unsigned n, unsigned entry_bytes, GError **error)
{
    size_t want = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

    if (n == 0 || n > ELF_MAX_SEGMENTS || entry_bytes != want) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': %u program headers of %u bytes (1 to %u of %zu are right)",
                    file->path, n, entry_bytes, ELF_MAX_SEGMENTS, want);
        return false;
    }
    if (offset > file->size || n * want > file->size - offset) {
        return header_error(file, error, "truncated: program headers lie past the end of the file");
    }
    g_autofree uint8_t *table = g_malloc(n * want);
    if (!boot_file_read(file, offset, table, n * want, error)) {
        return false;
    }
    elf->n = n;
    elf->segment = g_new0(struct elf_segment, n);
    for (unsigned i = 0; i < n; i++) {
        segment_parse(&elf->segment[i], table + i * want, elf->is64);
    }
    return true;
}

bool elf_open(struct elf *elf, const struct boot_file *file, GError **error)
{
    uint8_t head[sizeof(Elf64_Ehdr)] = {0};
    size_t n = MIN(sizeof(head), file->size);

    *elf = (struct elf){0};
    if (!boot_file_read(file, 0, head, n, error)) {
        return false;
    }
    elf->is64 = head[EI_CLASS] == ELFCLASS64;
    if (n < sizeof(Elf32_Ehdr) || (elf->is64 && n < sizeof(Elf64_Ehdr))) {
        return header_error(file, error, "truncated ELF header");
    }
    unsigned machine = get_le16(head + offsetof(Elf64_Ehdr, e_machine));
    if ((!elf->is64 && head[EI_CLASS] != ELFCLASS32) || head[EI_DATA] != ELFDATA2LSB ||
        (machine != EM_386 && machine != EM_X86_64)) {
        return header_error(file, error, "an ELF file, but not for x86");
    }
    if (get_le16(head + offsetof(Elf64_Ehdr, e_type)) != ET_EXEC) {
        return header_error(file, error, "an ELF file, but not an executable at fixed addresses");
    }
    if (elf->is64) {
        elf->entry = get_le64(head + offsetof(Elf64_Ehdr, e_entry));
        return segments_read(elf, file, get_le64(head + offsetof(Elf64_Ehdr, e_phoff)),
                             get_le16(head + offsetof(Elf64_Ehdr, e_phnum)),
                             get_le16(head + offsetof(Elf64_Ehdr, e_phentsize)), error);
    }
    elf->entry = get_le32(head + offsetof(Elf32_Ehdr, e_entry));
    return segments_read(elf, file, get_le32(head + offsetof(Elf32_Ehdr, e_phoff)),
                         get_le16(head + offsetof(Elf32_Ehdr, e_phnum)),
                         get_le16(head + offsetof(Elf32_Ehdr, e_phentsize)), error);
}

void elf_close(struct elf *elf)
{
    g_free(elf->segment);
    elf->segment = NULL;
    elf->n = 0;
}

uint64_t elf_entry(const struct elf *elf)
{
    for (unsigned i = 0; i < elf->n; i++) {
        const struct elf_segment *seg = &elf->segment[i];
        if (seg->type == ELF_PT_LOAD && elf->entry >= seg->vaddr &&
            elf->entry - seg->vaddr < seg->file_bytes) {
            return elf->entry - seg->vaddr + seg->paddr;
        }
    }
    return elf->entry;
}

bool elf_add_segments(struct boot_image *image, const struct boot_request *request,
                      const struct elf *elf, gpa_t *low, gpa_t *high, GError **error)
{
    *low = UINT64_MAX;
    *high = 0;
    for (unsigned i = 0; i < elf->n; i++) {
        const struct elf_segment *seg = &elf->segment[i];
        if (seg->type != ELF_PT_LOAD || seg->mem_bytes == 0) {
            continue;
        }
        if (seg->file_bytes > seg->mem_bytes) {
            return header_error(&image->kernel, error,
                                "a segment is larger in the file than in RAM");
        }
        if (!boot_add_file(image, request, "kernel", &image->kernel, seg->offset, seg->file_bytes,
                           seg->paddr, seg->mem_bytes, error)) {
            return false;
        }
        *low = MIN(*low, seg->paddr);
        *high = MAX(*high, seg->paddr + seg->mem_bytes);
    }
    if (*high == 0) {
        return header_error(&image->kernel, error, "an ELF file without anything to load");
    }
    return true;
}
