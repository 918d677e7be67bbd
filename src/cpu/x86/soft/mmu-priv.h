/*
 * What the parts of the memory management share: mmu.c (accesses), mmu-walk.c (page tables) and
 * tlb.c (what is remembered of them).
 */
#ifndef CPU_X86_SOFT_MMU_PRIV_H
#define CPU_X86_SOFT_MMU_PRIV_H

#include "cpu/x86/soft/sys-priv.h"

enum { /* rights of a translation */
       XL_USER = 1,
       XL_WRITE = 2,
       XL_NX = 4,
       XL_DIRTY = 8,
       XL_GLOBAL = 16,
       XL_HUGE = 32,   /* from a 2M or 4M page */
       XL_GIANT = 64,  /* from a 1G page */
       XL_KEY = 0xf00, /* protection key, in long mode */
};

#define NO_PAGE UINT64_MAX

struct page_ref {  /* where a guest-physical page lives */
    uint64_t gpa;  /* NO_PAGE: unused */
    uint8_t *host; /* NULL: neither RAM nor ROM */
    struct ram_block *ram;
    uint64_t offset; /* within ram */
    bool writable;
};
#define REFS 256u

struct l2_entry {
    uint64_t lin; /* page */
    uint64_t gpa; /* page */
    uint64_t gen; /* 0: unused */
    uint32_t rights;
    uint32_t pad;
};

/* A page table of 8-byte entries that was walked to: what the SDM calls a paging-structure cache
 * (section 4.10.3). Any flush but that of another PCID's pages ends it. */
struct near_table {
    uint64_t region; /* of 2 MiB: linear address >> 21 */
    uint64_t gen;    /* as in l2_entry, of the address space */
    uint64_t table;  /* gpa */
    uint32_t rights;
};
#define NEAR_TABLES     16u

#define L2_BITS         12
#define L2_SIZE         (1u << L2_BITS)
#define PCIDS           4096u

#define BLOOM_BITS      16384u /* a region taken for a large page's costs all links */
#define CODE_PAGES_BITS 8192u

/* Generations of the jump cache (c->tlb_gen): an entry counts while the code pages of its address
 * space are where they were. User code has one for each PCID. Kernel code has one for all, which
 * lasts over CR3 writes as long as only global pages were entered under it. */
struct jump_gens {
    uint32_t last;
    uint32_t epoch; /* counts what ended all generations at once */
    uint32_t kernel;
    bool kernel_nonglobal; /* a page that is not global was entered */
    struct {
        uint32_t epoch, gen;
    } user[PCIDS];
    uint64_t pages[2][CODE_PAGES_BITS / 64]; /* hashes of the linear pages that were entered, by
                                              * the kernel and by user code */
};

/* A set of the first level's sets: a bit each, and which words are not 0. */
struct l1_sets {
    uint64_t words, word[TLB_SIZE / 64];
};

struct mmu_l2 {
    struct jump_gens jump;
    uint64_t last_gen;
    uint64_t global_gen;
    uint64_t pcid_gen[PCIDS];
    struct l1_sets used[TLB_MODES];      /* sets of the first level that are not empty */
    struct l1_sets local[TLB_MODES];     /* ... that have a page that is not global */
    uint64_t itlb_local[ITLB_SIZE / 64]; /* such entries of c->itlb */
    uint64_t huge[BLOOM_BITS / 64], giant[BLOOM_BITS / 64];
    struct near_table near[NEAR_TABLES];
    struct page_ref refs[REFS];
    struct l2_entry entry[L2_SIZE];
};

_Static_assert(TLB_SIZE / 64 <= 64, "one word covers the words");

/* One translated page. */
struct xlate {
    uint64_t gpa; /* of the page */
    uint32_t rights;
    const struct page_ref *ref;
};

/* tlb.c */
/* From zeroes. false: the host has no random numbers. */
bool l1_init(struct cpu *c);
static inline unsigned current_pcid(const struct cpu *c)
{
    return c->cr4 & CR4_PCIDE ? c->cr3 & (PCIDS - 1) : 0;
}
/* Enters a page in the first level; write: for writing too. */
void l1_enter(struct cpu *c, uint64_t lin, const struct xlate *x, bool write, unsigned mode);
const struct l2_entry *l2_find(struct cpu *c, uint64_t page);
void l2_insert(struct cpu *c, uint64_t page, uint64_t gpa, uint32_t rights);
const struct near_table *near_find(struct cpu *c, uint64_t page);
void near_insert(struct cpu *c, uint64_t page, uint64_t table, uint32_t rights);

/* mmu.c: where a page is; valid until the next call. */
const struct page_ref *page_ref_get(struct cpu *c, uint64_t gpa);
/* A page is about to be written to, or entered in the first level for writing; from there it is
 * taken again when a dirty log is read. */
void mmu_note_dirty(const struct page_ref *ref);

/* mmu-walk.c: translates a page for an access in a TLB mode (x->ref is left alone), or gives the
 * error code of its page fault. */
bool translate_try(struct cpu *c, uint64_t lin, enum access how, unsigned mode, struct xlate *x,
                   uint32_t *error);

#endif
