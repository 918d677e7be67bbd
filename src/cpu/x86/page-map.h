/*
 * What the guest's page tables map, from outside: for dumps that tell linear addresses.
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

/* Calls fn for each run of pages that the vCPU's tables map with adjacent linear and physical
 * addresses, in ascending order of canonical linear addresses; fn returns false to end the walk.
 * Without paging there are none. Tables are hostile: no more than 16 Mi entries are looked at, and
 * false is returned when there were more or fn ended the walk. */
bool page_map_walk(struct address_space *mem, const struct cpu_state *st,
                   bool (*fn)(const struct page_mapping *, void *opaque), void *opaque);

#endif
