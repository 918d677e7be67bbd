/*
 * What goes into a dump: the guest's memory as it is mapped now, and the notes about its vCPUs and
 * its kernel.
 */
#include "migration/dump-priv.h"

#include "base/log.h"
#include "cpu/x86/dump-notes.h"
#include "cpu/x86/page-map.h"
#include "devices/vmcoreinfo.h"
#include <elf.h>
#include <string.h>

/* The most that a guest's own note may have. */
#define GUEST_NOTE_MAX (1u << 20)
#define MAPPINGS_MAX   (1u << 20)
/* A guest may map a device's memory very high, where kdump's bitmaps would be too large: what lies
 * beyond this and twice the size of RAM is left out of that format. */
#define KDUMP_MAX      (1ull << 40)

/* ---- memory */

static bool is_memory(const struct region *region)
{
    return region->kind == REGION_RAM || (region->kind == REGION_ROM && !region->ops);
}

static void add_block(GArray *blocks, gpa_t start, uint64_t length, const struct ram_block *ram,
                      const uint8_t *host)
{
    struct dump_block *last =
        blocks->len ? &g_array_index(blocks, struct dump_block, blocks->len - 1) : NULL;

    if (last && last->ram == ram && last->start + last->length == start &&
        last->host + last->length == host) {
        last->length += length;
    } else {
        const struct dump_block block = {start, length, host, ram, NULL};

        g_array_append_val(blocks, block);
    }
}

static void add_range(struct dump_job *job, const struct flat_range *range)
{
    const struct region *region = range->region;
    const struct dump_options *o = &job->options;
    gpa_t start = range->start, last = range->last;

    if (!is_memory(region)) {
        return;
    }
    if (o->has_length) {
        uint64_t reach = MIN(o->length - 1, UINT64_MAX - o->begin);

        start = MAX(start, o->begin);
        last = MIN(last, o->begin + reach);
    }
    if (start <= last) {
        add_block(job->blocks, start, last - start + 1, region->ram,
                  region->ram->host + region->ram_offset + range->offset + (start - range->start));
    }
}

/* kdump knows whole pages only. */
static void round_blocks(struct machine *m, GArray *blocks)
{
    uint64_t limit = KDUMP_MAX + 2 * m->config->ram_bytes;

    for (guint i = 0; i < blocks->len;) {
        struct dump_block *block = &g_array_index(blocks, struct dump_block, i);
        gpa_t start = (block->start + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;
        gpa_t end = (block->start + block->length) & GUEST_PAGE_MASK;

        if (start >= end || end > limit) {
            g_array_remove_index(blocks, i);
            continue;
        }
        block->host += start - block->start;
        block->length = end - start;
        block->start = start;
        i++;
    }
}

/* Of the blocks that consist of whole pages. */
static void gather_touched(GArray *blocks)
{
    for (guint i = 0; i < blocks->len; i++) {
        struct dump_block *block = &g_array_index(blocks, struct dump_block, i);
        uint64_t offset = (uint64_t)(block->host - block->ram->host);
        uint64_t pages = block->length / GUEST_PAGE_SIZE;

        if ((offset | block->length) % GUEST_PAGE_SIZE == 0) {
            block->touched = g_try_new(uint64_t, (pages + 63) / 64);
        }
        if (block->touched) {
            ram_block_touched(block->ram, offset, pages, block->touched);
        }
    }
}

static bool gather_memory(struct machine *m, struct dump_job *job, GError **error)
{
    const struct flat_view *view = m->mem->view;

    for (unsigned i = 0; i < view->n; i++) {
        add_range(job, &view->range[i]);
    }
    if (job->options.format != DUMP_GUEST_MEMORY_FORMAT_ELF) {
        round_blocks(m, job->blocks);
    }
    gather_touched(job->blocks);
    for (guint i = 0; i < job->blocks->len; i++) {
        job->total += g_array_index(job->blocks, struct dump_block, i).length;
    }
    if (job->total == 0) {
        g_set_error(error, DUMP_ERROR, 0, "dump: no guest memory to dump");
        return false;
    }
    return true;
}

/* ---- page tables */

static bool add_mapping(const struct page_mapping *map, void *opaque)
{
    GArray *mappings = opaque;

    g_array_append_val(mappings, *map);
    return mappings->len < MAPPINGS_MAX;
}

static gint by_linear(gconstpointer a, gconstpointer b)
{
    const struct page_mapping *x = a, *y = b;

    if (x->linear != y->linear) {
        return x->linear < y->linear ? -1 : 1;
    }
    return x->physical < y->physical ? -1 : x->physical > y->physical;
}

/* vCPUs have much in common: what repeats or goes on a run before it is joined to that. */
static void join_mappings(GArray *mappings)
{
    guint kept = 0;

    g_array_sort(mappings, by_linear);
    for (guint i = 0; i < mappings->len; i++) {
        const struct page_mapping map = g_array_index(mappings, struct page_mapping, i);
        struct page_mapping *last =
            kept ? &g_array_index(mappings, struct page_mapping, kept - 1) : NULL;
        uint64_t distance = last ? map.linear - last->linear : 0;

        if (last && distance <= last->length && map.physical - last->physical == distance) {
            last->length = MAX(last->length, distance + map.length);
        } else {
            g_array_index(mappings, struct page_mapping, kept++) = map;
        }
    }
    g_array_set_size(mappings, kept);
}

static void gather_mappings(struct machine *m, struct dump_job *job, const struct cpu_state *st)
{
    if (!page_map_walk(m->mem, st, add_mapping, job->mappings)) {
        log_warn("dump: the guest's page tables map more than can be told; the rest is left out");
    }
}

/* ---- notes */

static void gather_vcpus(struct machine *m, struct dump_job *job)
{
    g_autoptr(GByteArray) system = g_byte_array_new();
    g_autofree struct cpu_state *st = g_new0(struct cpu_state, 1);
    GHashTable *roots = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_autofree uint64_t *cr3 = NULL;

    job->n_vcpus = m->cpus ? m->cpus->n : 0;
    cr3 = g_new0(uint64_t, job->n_vcpus + 1);
    for (unsigned i = 0; i < job->n_vcpus; i++) {
        struct vcpu *vcpu = m->cpus->vcpu[i];

        vcpu->ops->get(vcpu, st, ST_ALL);
        if (i == 0) {
            job->is_long = dump_state_is_long(st);
        }
        dump_note_prstatus(job->notes, st, i + 1, job->is_long);
        dump_note_system(system, st);
        cr3[i] = st->sregs.cr3;
        if (job->mappings && g_hash_table_add(roots, &cr3[i])) {
            gather_mappings(m, job, st);
        }
    }
    g_byte_array_append(job->notes, system->data, system->len);
    if (job->mappings) {
        join_mappings(job->mappings);
    }
    g_hash_table_unref(roots);
}

/* "NUMBER(phys_base)=N" on a line of its own. The text has no terminator. */
static uint64_t phys_base_of(const char *text, size_t length)
{
    static const char key[] = "NUMBER(phys_base)=";
    g_autofree char *copy = g_strndup(text, length);
    const char *found = strstr(copy, key);

    return found ? (uint64_t)g_ascii_strtoll(found + strlen(key), NULL, 10) : 0;
}

/* The note that the guest's kernel keeps about itself. The guest says where and how large: all of
 * that is checked, and a note that does not hold is left out. */
static void gather_guest_note(struct machine *m, struct dump_job *job)
{
    struct device *dev = devices_find_class(&m->env, &vmcoreinfo_class);
    g_autofree uint8_t *note = NULL;
    Elf64_Nhdr head;
    uint64_t name, desc;
    uint32_t size;
    gpa_t addr;

    if (!dev || !vmcoreinfo_get(dev, &addr, &size)) {
        return;
    }
    if (size < sizeof(head) || size > GUEST_NOTE_MAX) {
        log_warn("dump: the guest's note has %u bytes, which cannot be; it is left out", size);
        return;
    }
    note = g_malloc(size);
    if (!address_space_read(m->mem, addr, note, size)) {
        log_warn("dump: the guest's note is not in its memory; it is left out");
        return;
    }
    memcpy(&head, note, sizeof(head));
    name = ((uint64_t)head.n_namesz + 3) & ~3ull;
    desc = ((uint64_t)head.n_descsz + 3) & ~3ull;
    if (sizeof(head) + name + desc > size) {
        log_warn("dump: the guest's note is longer than it says; it is left out");
        return;
    }
    job->vmcoreinfo_offset = (uint32_t)(job->notes->len + sizeof(head) + name);
    job->vmcoreinfo_length = head.n_descsz;
    job->phys_base = phys_base_of((const char *)note + sizeof(head) + name, head.n_descsz);
    g_byte_array_append(job->notes, note, (guint)(sizeof(head) + name + desc));
}

static void block_clear(gpointer data)
{
    g_free(((struct dump_block *)data)->touched);
}

bool dump_gather(struct machine *m, struct dump_job *job, GError **error)
{
    job->blocks = g_array_new(FALSE, FALSE, sizeof(struct dump_block));
    g_array_set_clear_func(job->blocks, block_clear);
    job->notes = g_byte_array_new();
    if (job->options.paging) {
        job->mappings = g_array_new(FALSE, FALSE, sizeof(struct page_mapping));
    }
    if (!gather_memory(m, job, error)) {
        return false;
    }
    gather_vcpus(m, job);
    gather_guest_note(m, job);
    return true;
}
