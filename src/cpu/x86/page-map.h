/*
 * What the guest's page tables map, from outside: for dumps that tell linear addresses, and for
 * people.
 */
#ifndef CPU_X86_PAGE_MAP_H
#define CPU_X86_PAGE_MAP_H

#include "cpu/x86/state.h"
#include "memory/address-space.h"

struct page_mapping {
    gva_t linear;
    gpa_t physical;
    uint64_t length; /* bytes */
};

/* Bits of an entry (SDM volume 3, table 4-20). */
#define PTE_PRESENT       1u
#define PTE_WRITE         (1u << 1)
#define PTE_USER          (1u << 2)
#define PTE_WRITE_THROUGH (1u << 3)
#define PTE_NO_CACHE      (1u << 4)
#define PTE_ACCESSED      (1u << 5)
#define PTE_DIRTY         (1u << 6)
#define PTE_LARGE         (1u << 7) /* of a page of 4 KiB: an index of the PAT */
#define PTE_GLOBAL        (1u << 8)
#define PTE_NX            (1ull << 63)

struct page_entry {
    gva_t linear;
    gpa_t physical;
    uint64_t length; /* of the page, bytes */
    uint64_t entry;
    uint64_t rights; /* PTE_WRITE and PTE_USER where all levels have them */
};

/* Calls fn for each page, as page_map_walk() does for runs. */
bool page_map_entries(struct address_space *mem, const struct cpu_state *st,
                      bool (*fn)(const struct page_entry *, void *opaque), void *opaque);

/* Calls fn for each run of pages that the vCPU's tables map with adjacent linear and physical
 * addresses, in ascending order of canonical linear addresses; fn returns false to end the walk.
 * Without paging there are none. Tables are hostile: no more than 16 Mi entries are looked at, and
 * false is returned when there were more or fn ended the walk. */
bool page_map_walk(struct address_space *mem, const struct cpu_state *st,
                   bool (*fn)(const struct page_mapping *, void *opaque), void *opaque);

#endif
