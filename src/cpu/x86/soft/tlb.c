/*
 * What is remembered of page tables, and when it is forgotten.
 *
 * Layers that answer for a linear address before the tables are walked:
 *   - tlb_mode[][]: what handlers look at inline. Only plain RAM, and writable only when nothing
 * has to happen on a store (PTE dirty, page holds no decoded code, no breakpoint). A CR3 write
 * leaves only global pages in it.
 *   - copies[][]: entries of that once more, one for each place of translated code that walks
 * through memory. What stands there is no more than the first level had, and no longer.
 *   - l2: translations with their rights, tagged with a generation that stands for (PCID, time of
 * its last flush) or for global pages; a CR3 write with PCIDs costs nothing here.
 *
 * A page's large origin is remembered in two Bloom filters (2M/4M regions, 1G regions): INVLPG
 * inside a region that a large page mapped drops all of that region's 4K entries.
 */
#include "cpu/x86/soft/mmu-priv.h"
#include <sys/random.h>

/* ---------------------------------------------------------------- the jump cache's validity */

static uint32_t jump_gen_new(struct cpu *c)
{
    struct jump_gens *j = &c->l2->jump;
    if (unlikely(++j->last == 0)) { /* entries of the first round would be valid again */
        jump_cache_clear(c);
        memset(j->user, 0, sizeof(j->user));
        j->epoch = 1;
        j->kernel = j->last = 1;
        j->last++;
    }
    return j->last;
}

void jump_gen_select(struct cpu *c)
{
    struct jump_gens *j = &c->l2->jump;
    if (c->cpl != 3) {
        c->tlb_gen = j->kernel;
        return;
    }
    unsigned pcid = current_pcid(c);
    if (j->user[pcid].epoch != j->epoch) {
        j->user[pcid].gen = jump_gen_new(c);
        j->user[pcid].epoch = j->epoch;
    }
    c->tlb_gen = j->user[pcid].gen;
}

static void jump_stale_all(struct cpu *c)
{
    struct jump_gens *j = &c->l2->jump;
    j->epoch++;
    j->kernel = jump_gen_new(c);
    j->kernel_nonglobal = false;
    memset(j->pages, 0, sizeof(j->pages));
    jump_gen_select(c);
}

/* Translations that are not global changed: of one address space, or all (pcid PCIDS). */
static void jump_stale_nonglobal(struct cpu *c, unsigned pcid)
{
    struct jump_gens *j = &c->l2->jump;
    if (j->kernel_nonglobal) {
        j->kernel = jump_gen_new(c);
        j->kernel_nonglobal = false;
    }
    if (pcid == PCIDS) {
        j->epoch++;
    } else {
        j->user[pcid].epoch = j->epoch - 1;
    }
    jump_gen_select(c);
}

/* CR3 has another value; what was known of its PCID still holds. */
static void jump_switch(struct cpu *c)
{
    struct jump_gens *j = &c->l2->jump;
    if (j->kernel_nonglobal) {
        j->kernel = jump_gen_new(c);
        j->kernel_nonglobal = false;
    }
    jump_gen_select(c);
}

static unsigned code_page_bit(uint64_t lin)
{
    uint64_t page = lin >> GUEST_PAGE_BITS;
    return (page ^ page >> 13) & (CODE_PAGES_BITS - 1);
}

void jump_page_entered(struct cpu *c, uint64_t lin)
{
    struct jump_gens *j = &c->l2->jump;
    unsigned bit = code_page_bit(lin);
    const struct itlbe *e = &c->itlb[(lin >> GUEST_PAGE_BITS) & (ITLB_SIZE - 1)];
    j->pages[c->cpl == 3][bit / 64] |= 1ull << (bit % 64);
    if (c->cpl != 3 && !(e->tag == (lin & GUEST_PAGE_MASK) && e->global)) {
        j->kernel_nonglobal = true;
    }
}

static void jump_stale_page(struct cpu *c, uint64_t lin)
{
    struct jump_gens *j = &c->l2->jump;
    unsigned bit = code_page_bit(lin);
    if (j->pages[0][bit / 64] >> (bit % 64) & 1) {
        jump_stale_all(c);
    } else if (j->pages[1][bit / 64] >> (bit % 64) & 1) {
        j->epoch++; /* of user code, in whichever address space */
        memset(j->pages[1], 0, sizeof(j->pages[1]));
        jump_gen_select(c);
    }
}

/* ---------------------------------------------------------------- flushing */

static void l1_sets_add(struct l1_sets *sets, unsigned set)
{
    sets->words |= 1ull << (set / 64);
    sets->word[set / 64] |= 1ull << (set % 64);
}

static void entry_clear(const struct cpu *c, struct tlbe *e)
{
    e->rcheck = e->wcheck = -c->no_page;
    e->host = (uintptr_t)c->nowhere;
    e->addend = e->host - c->no_page;
}

static void l1_clear(struct cpu *c, unsigned mode, unsigned set)
{
    entry_clear(c, &c->tlb_mode[mode][set]);
}

/* Whatever is taken away from the first level is from the copies, too, by dropping them all. */
static void copies_drop(struct cpu *c)
{
    for (unsigned user = 0; user < 2; user++) {
        for (; c->copies_used[user] != 0; c->copies_used[user] &= c->copies_used[user] - 1) {
            entry_clear(c, &c->copies[user][__builtin_ctzll(c->copies_used[user])]);
        }
    }
}

/* A page is entered anew: no copy shall know better where it is. */
static void copies_drop_page(struct cpu *c, uint64_t page)
{
    for (unsigned user = 0; user < 2; user++) {
        for (uint64_t left = c->copies_used[user]; left != 0; left &= left - 1) {
            struct tlbe *e = &c->copies[user][__builtin_ctzll(left)];
            if (page + e->rcheck == 0) {
                entry_clear(c, e);
            }
        }
    }
}

/* Empties these sets, and the set of them. */
static void l1_clear_sets(struct cpu *c, unsigned mode, struct l1_sets *sets)
{
    for (; sets->words != 0; sets->words &= sets->words - 1) {
        unsigned word = __builtin_ctzll(sets->words);
        for (uint64_t left = sets->word[word]; left != 0; left &= left - 1) {
            l1_clear(c, mode, word * 64 + __builtin_ctzll(left));
        }
        sets->word[word] = 0;
    }
}

static bool l1_was_used(const struct tlbe *e)
{
    return e->host != 0;
}

static bool l1_is_empty(const struct cpu *c, const struct tlbe *e)
{
    return !l1_was_used(e) || e->host == (uintptr_t)c->nowhere;
}

static void l1_forbid_write(const struct cpu *c, struct tlbe *e)
{
    e->wcheck = -c->no_page;
}

bool l1_init(struct cpu *c)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    c->no_page = ((random & GUEST_PAGE_MASK) | 1ull << 63) & ~(1ull << 62);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        l1_clear(c, mode, 0);
    }
    for (unsigned i = 0; i < TLB_COPIES; i++) {
        entry_clear(c, &c->copies[0][i]);
        entry_clear(c, &c->copies[1][i]);
    }
    return true;
}

static void l1_flush_nonglobal(struct cpu *c)
{
    struct mmu_l2 *l2 = c->l2;
    copies_drop(c);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        l1_clear_sets(c, mode, &l2->local[mode]);
    }
    for (unsigned word = 0; word < G_N_ELEMENTS(l2->itlb_local); word++) {
        for (uint64_t left = l2->itlb_local[word]; left != 0; left &= left - 1) {
            struct itlbe *e = &c->itlb[word * 64 + __builtin_ctzll(left)];
            if (!e->global) {
                e->tag = 1;
            }
        }
        l2->itlb_local[word] = 0;
    }
}

static void l1_flush(struct cpu *c)
{
    struct mmu_l2 *l2 = c->l2;
    copies_drop(c);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        l1_clear_sets(c, mode, &l2->used[mode]);
        if (l2->local[mode].words != 0) {
            memset(&l2->local[mode], 0, sizeof(l2->local[mode]));
        }
    }
    for (unsigned i = 0; i < ITLB_SIZE; i++) {
        c->itlb[i].tag = 1;
    }
    memset(l2->itlb_local, 0, sizeof(l2->itlb_local));
}

static void l1_drop_page(struct cpu *c, uint64_t page)
{
    unsigned set = (page >> GUEST_PAGE_BITS) & (TLB_SIZE - 1);
    copies_drop_page(c, page);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        struct tlbe *e = &c->tlb_mode[mode][set];
        if (page + e->rcheck == 0) {
            l1_clear(c, mode, set);
        }
    }
    struct itlbe *i = &c->itlb[(page >> GUEST_PAGE_BITS) & (ITLB_SIZE - 1)];
    if (i->tag == page) {
        i->tag = 1;
    }
    jump_stale_page(c, page);
}

static uint64_t current_gen(struct cpu *c)
{
    uint64_t *gen = &c->l2->pcid_gen[current_pcid(c)];
    if (*gen == 0) {
        *gen = ++c->l2->last_gen;
    }
    return *gen;
}

void tlb_flush_all(struct cpu *c)
{
    struct mmu_l2 *l2 = c->l2;
    l1_flush(c);
    memset(l2->pcid_gen, 0, sizeof(l2->pcid_gen));
    memset(l2->huge, 0, sizeof(l2->huge));
    memset(l2->giant, 0, sizeof(l2->giant));
    l2->global_gen = ++l2->last_gen;
    jump_stale_all(c);
}

void tlb_flush_nonglobal(struct cpu *c)
{
    l1_flush_nonglobal(c);
    c->l2->pcid_gen[current_pcid(c)] = 0;
    jump_stale_nonglobal(c, current_pcid(c));
}

void tlb_flush_pcid(struct cpu *c, unsigned pcid)
{
    if (pcid == current_pcid(c)) {
        l1_flush_nonglobal(c);
    }
    c->l2->pcid_gen[pcid] = 0;
    jump_stale_nonglobal(c, pcid);
}

void tlb_flush_all_nonglobal(struct cpu *c)
{
    l1_flush_nonglobal(c);
    memset(c->l2->pcid_gen, 0, sizeof(c->l2->pcid_gen));
    jump_stale_nonglobal(c, PCIDS);
}

void tlb_switch_space(struct cpu *c)
{
    l1_flush_nonglobal(c);
    jump_switch(c);
}

static unsigned bloom_slot(uint64_t lin, unsigned shift)
{
    uint64_t region = lin >> shift;
    return (region ^ region >> 10) & (BLOOM_BITS - 1);
}

static bool bloom_has(const uint64_t *bloom, unsigned slot)
{
    return bloom[slot / 64] >> (slot % 64) & 1;
}

/* Drops the second level's entries of the region of 1 << shift bytes around lin. */
static void l2_drop_region(struct cpu *c, uint64_t lin, unsigned shift)
{
    for (unsigned i = 0; i < L2_SIZE; i++) {
        if (c->l2->entry[i].lin >> shift == lin >> shift) {
            c->l2->entry[i].gen = 0;
        }
    }
}

/* Address spaces differ in where their pages go; global pages go where PCID 0's do. */
static struct l2_entry *l2_slot(struct cpu *c, uint64_t lin, unsigned pcid)
{
    uint64_t page = lin >> GUEST_PAGE_BITS;
    return &c->l2->entry[(page ^ page >> L2_BITS ^ pcid * 0x2d3) & (L2_SIZE - 1)];
}

static void l2_drop_page(struct cpu *c, uint64_t page, unsigned pcid)
{
    struct l2_entry *own = l2_slot(c, page, pcid), *global = l2_slot(c, page, 0);
    if (own->lin == page && own->gen == c->l2->pcid_gen[pcid]) {
        own->gen = 0;
    }
    if (global->lin == page && global->gen == c->l2->global_gen) {
        global->gen = 0;
    }
}

void tlb_flush_page_pcid(struct cpu *c, uint64_t lin, unsigned pcid)
{
    struct mmu_l2 *l2 = c->l2;
    uint64_t page = lin & GUEST_PAGE_MASK;
    memset(l2->near, 0, sizeof(l2->near));
    bool giant = bloom_has(l2->giant, bloom_slot(lin, 30));
    if (giant || bloom_has(l2->huge, bloom_slot(lin, 21))) {
        l1_flush(c);
        jump_stale_all(c);
        /* a 4M page covers two 2M regions */
        l2_drop_region(c, lin, giant ? 30 : c->cr4 & CR4_PAE ? 21 : 22);
        return;
    }
    l2_drop_page(c, page, pcid);
    l1_drop_page(c, page);
}

void tlb_flush_page(struct cpu *c, uint64_t lin)
{
    tlb_flush_page_pcid(c, lin, current_pcid(c));
}

/* Of one host page, or of all (NULL). */
static void l1_forbid_writes(struct cpu *c, const uint8_t *host_page)
{
    copies_drop(c);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        const struct l1_sets *used = &c->l2->used[mode];
        for (uint64_t words = used->words; words != 0; words &= words - 1) {
            unsigned word = __builtin_ctzll(words);
            for (uint64_t left = used->word[word]; left != 0; left &= left - 1) {
                struct tlbe *e = &c->tlb_mode[mode][word * 64 + __builtin_ctzll(left)];
                if (!l1_is_empty(c, e) && (host_page == NULL || e->host == (uintptr_t)host_page)) {
                    l1_forbid_write(c, e);
                }
            }
        }
    }
}

void tlb_drop_write(struct cpu *c, const uint8_t *host_page)
{
    l1_forbid_writes(c, host_page);
}

void tlb_drop_writes(struct cpu *c)
{
    l1_forbid_writes(c, NULL);
}

void l2_insert(struct cpu *c, uint64_t page, uint64_t gpa, uint32_t rights)
{
    struct mmu_l2 *l2 = c->l2;
    if (rights & XL_HUGE) {
        unsigned slot = bloom_slot(page, 21);
        l2->huge[slot / 64] |= 1ull << (slot % 64);
        if (!(c->cr4 & CR4_PAE)) { /* 4M: both halves */
            slot = bloom_slot(page ^ 1u << 21, 21);
            l2->huge[slot / 64] |= 1ull << (slot % 64);
        }
    } else if (rights & XL_GIANT) {
        unsigned slot = bloom_slot(page, 30);
        l2->giant[slot / 64] |= 1ull << (slot % 64);
    }
    bool global = rights & XL_GLOBAL;
    struct l2_entry *e = l2_slot(c, page, global ? 0 : current_pcid(c));
    e->lin = page;
    e->gpa = gpa;
    e->rights = rights;
    e->gen = global ? l2->global_gen : current_gen(c);
}

const struct l2_entry *l2_find(struct cpu *c, uint64_t page)
{
    const struct l2_entry *e = l2_slot(c, page, current_pcid(c));
    if (e->lin == page && e->gen == current_gen(c)) {
        return e;
    }
    e = l2_slot(c, page, 0);
    return e->lin == page && e->gen == c->l2->global_gen ? e : NULL;
}

/* ---------------------------------------------------------------- entering */

const struct near_table *near_find(struct cpu *c, uint64_t page)
{
    const struct near_table *n = &c->l2->near[page >> 21 & (NEAR_TABLES - 1)];
    return n->region == page >> 21 && n->gen == current_gen(c) ? n : NULL;
}

void near_insert(struct cpu *c, uint64_t page, uint64_t table, uint32_t rights)
{
    c->l2->near[page >> 21 & (NEAR_TABLES - 1)] =
        (struct near_table){page >> 21, current_gen(c), table, rights};
}

void l1_enter(struct cpu *c, uint64_t lin, const struct xlate *x, bool write, unsigned mode)
{
    uint64_t page = lin & GUEST_PAGE_MASK, host = (uintptr_t)x->ref->host;
    unsigned set = (lin >> GUEST_PAGE_BITS) & (TLB_SIZE - 1);
    struct tlbe *e = &c->tlb_mode[mode][set];
    bool known = page + e->rcheck == 0 && e->host == host;
    if (!known) {
        copies_drop_page(c, page);
        e->addend = host - page;
        e->rcheck = -page;
        e->host = host;
        l1_forbid_write(c, e);
    }
    if (write) {
        e->wcheck = e->rcheck;
    }
    if (mode == TLB_KERNEL || mode == TLB_KERNEL_AC) {
        /* Translated code may try it in either mode. */
        unsigned twin = TLB_KERNEL + TLB_KERNEL_AC - mode;
        if (!l1_was_used(&c->tlb_mode[twin][set])) {
            l1_clear(c, twin, set);
        }
    }
    l1_sets_add(&c->l2->used[mode], set);
    if (!(x->rights & XL_GLOBAL)) {
        l1_sets_add(&c->l2->local[mode], set);
    }
}
