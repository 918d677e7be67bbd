/*
 * A walk through all of a guest's page tables: 32-bit, PAE, 4 and 5 levels (Intel SDM vol. 3,
 * chapter 4). Reserved bits are not looked at: what is present is told.
 */
#include "cpu/x86/page-map.h"

#include <string.h>

#define ENTRIES_MAX  (16u << 20)
#define ADDRESS_MASK 0x000ffffffffff000ull

struct format {
    unsigned levels, entry_bytes, index_bits;
};

struct walk {
    struct address_space *mem;
    struct format format;
    bool large; /* entries of level 2 may be pages: always but in 32-bit tables without PSE */
    unsigned entries;
    struct page_mapping run; /* page_map_walk(): adjacent pages */
    bool (*each)(const struct page_entry *, void *);
    bool (*fn)(const struct page_mapping *, void *);
    void *opaque, *each_opaque;
};

static bool flush(struct walk *w)
{
    bool more = w->run.length == 0 || w->fn(&w->run, w->opaque);

    w->run.length = 0;
    return more;
}

static bool add(const struct page_entry *e, void *opaque)
{
    struct walk *w = opaque;
    gva_t linear = e->linear;
    gpa_t physical = e->physical;
    uint64_t length = e->length;

    if (w->run.length && w->run.linear + w->run.length == linear &&
        w->run.physical + w->run.length == physical) {
        w->run.length += length;
        return true;
    }
    if (!flush(w)) {
        return false;
    }
    w->run = (struct page_mapping){linear, physical, length};
    return true;
}

/* 4 MiB pages of 32-bit tables keep bits 39:32 of the address in bits 20:13. */
static gpa_t page_address(const struct walk *w, uint64_t entry, uint64_t length)
{
    if (w->format.entry_bytes == 4 && length > GUEST_PAGE_SIZE) {
        return (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
    }
    return entry & ADDRESS_MASK & ~(length - 1);
}

static gva_t canonical(const struct walk *w, gva_t linear)
{
    unsigned bits = 12 + w->format.levels * w->format.index_bits;

    return bits >= 48 ? (gva_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) : linear;
}

static bool may_be_large(const struct walk *w, unsigned level)
{
    return (level == 2 && w->large) || (level == 3 && w->format.levels >= 4);
}

/* The pointers of PAE tables have no bits for rights. */
static uint64_t pointer_rights(const struct walk *w, unsigned level)
{
    return level == 3 && w->format.levels == 3 ? PTE_WRITE | PTE_USER : 0;
}

/* level: 1 is the table whose entries are pages. */
static bool walk_table(struct walk *w, gpa_t table, unsigned level, unsigned n, gva_t base,
                       uint64_t rights)
{
    uint64_t length = (uint64_t)GUEST_PAGE_SIZE << ((level - 1) * w->format.index_bits);
    const uint8_t *host = address_space_ram_ptr(w->mem, table, n * w->format.entry_bytes);

    if (!host) {
        return true; /* not in RAM: nothing that a dump has */
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t entry = 0;
        gva_t linear = base + i * length;

        memcpy(&entry, host + i * w->format.entry_bytes, w->format.entry_bytes);
        if (w->entries++ >= ENTRIES_MAX) {
            return false;
        }
        if (!(entry & PTE_PRESENT)) {
            continue;
        }
        if (level == 1 || (entry & PTE_LARGE && may_be_large(w, level))) {
            const struct page_entry page = {canonical(w, linear), page_address(w, entry, length),
                                            length, entry, rights & entry};

            if (!w->each(&page, w->each_opaque)) {
                return false;
            }
        } else if (!walk_table(w, entry & ADDRESS_MASK, level - 1, 1u << w->format.index_bits,
                               linear, rights & (entry | pointer_rights(w, level)))) {
            return false;
        }
    }
    return true;
}

static bool walk_all(struct walk *w, const struct x_sregs *s)
{
    const uint64_t rights = PTE_WRITE | PTE_USER;

    w->large = true;
    if (!(s->cr0 & CR0_PG)) {
        return true;
    }
    if (s->efer & EFER_LMA) {
        w->format = (struct format){s->cr4 & CR4_LA57 ? 5 : 4, 8, 9};
        return walk_table(w, s->cr3 & ADDRESS_MASK, w->format.levels, 512, 0, rights);
    }
    if (s->cr4 & CR4_PAE) {
        w->format = (struct format){3, 8, 9};
        return walk_table(w, s->cr3 & 0xffffffe0, 3, 4, 0, rights);
    }
    w->format = (struct format){2, 4, 10};
    w->large = s->cr4 & CR4_PSE;
    return walk_table(w, s->cr3 & 0xfffff000, 2, 1024, 0, rights);
}

bool page_map_entries(struct address_space *mem, const struct cpu_state *st,
                      bool (*fn)(const struct page_entry *, void *opaque), void *opaque)
{
    struct walk w = {.mem = mem, .each = fn, .each_opaque = opaque};

    return walk_all(&w, &st->sregs);
}

bool page_map_walk(struct address_space *mem, const struct cpu_state *st,
                   bool (*fn)(const struct page_mapping *, void *opaque), void *opaque)
{
    struct walk w = {.mem = mem, .each = add, .each_opaque = &w, .fn = fn, .opaque = opaque};
    bool ok = walk_all(&w, &st->sregs);

    return flush(&w) && ok;
}
