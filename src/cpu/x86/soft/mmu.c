/*
 * Memory management of the software CPU: page walks, the TLB, and every access that is not a hit of
 * its first level. Intel SDM volume 3, chapter 4.
 *
 * Three layers answer for a linear address:
 *   - tlb_mode[][]: what handlers look at inline. Only plain RAM, and writable only when nothing
 * has to happen on a store (PTE dirty, page holds no decoded code, no breakpoint). A CR3 write
 * leaves only global pages in it.
 *   - l2: translations with their rights, tagged with a generation that stands for (PCID, time of
 * its last flush) or for global pages; a CR3 write with PCIDs costs nothing here.
 *   - the walk, which sets accessed and dirty bits by compare-exchange in the guest's tables, only
 * after all checks have passed. Page-table pages and translated pages are found through a small
 * cache of host pointers (`refs`).
 *
 * A page's large origin is remembered in two Bloom filters (2M/4M regions, 1G regions): INVLPG
 * inside a region that a large page mapped drops all of that region's 4K entries.
 *
 * Left out: LA57, protection keys, SMM, A20 masking. Accessed bits that the CPU itself sets inside
 * a page that holds decoded code do not count as a store into that code.
 */
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/sys-priv.h"
#include "memory/dirty.h"

#define PTE_P   (1ull << 0)
#define PTE_W   (1ull << 1)
#define PTE_U   (1ull << 2)
#define PTE_A   (1ull << 5)
#define PTE_D   (1ull << 6)
#define PTE_PS  (1ull << 7)
#define PTE_G   (1ull << 8)
#define PTE_NX  (1ull << 63)
#define PTE_GPA 0x000ffffffffff000ull

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

enum { /* rights of a translation */
       XL_USER = 1,
       XL_WRITE = 2,
       XL_NX = 4,
       XL_DIRTY = 8,
       XL_GLOBAL = 16,
       XL_HUGE = 32,  /* from a 2M or 4M page */
       XL_GIANT = 64, /* from a 1G page */
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
#define L2_BITS         12
#define L2_SIZE         (1u << L2_BITS)
#define PCIDS           4096u

#define BLOOM_BITS      1024u
#define CODE_PAGES_BITS 8192u
#define GROUP_SETS      8u /* sets of the first level per bit of `touched` */

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

struct mmu_l2 {
    struct jump_gens jump;
    uint64_t last_gen;
    uint64_t global_gen;
    uint64_t pcid_gen[PCIDS];
    uint64_t touched[TLB_MODES];         /* groups of the first level that are not empty */
    uint64_t local[TLB_MODES];           /* ... that have entries of pages that are not global */
    uint64_t itlb_local[ITLB_SIZE / 64]; /* such entries of c->itlb */
    uint64_t huge[BLOOM_BITS / 64], giant[BLOOM_BITS / 64];
    struct page_ref refs[REFS];
    struct l2_entry entry[L2_SIZE];
};

_Static_assert(TLB_SIZE == 64 * GROUP_SETS, "one word covers the groups of the first level");

/* One translated page. */
struct xlate {
    uint64_t gpa; /* of the page */
    uint32_t rights;
    const struct page_ref *ref;
};

/* ---------------------------------------------------------------- host pages */

static const struct page_ref *page_ref_get(struct cpu *c, uint64_t gpa)
{
    struct page_ref *ref = &c->l2->refs[(gpa >> GUEST_PAGE_BITS) & (REFS - 1)];
    if (likely(ref->gpa == gpa)) {
        return ref;
    }
    ref->ram = NULL;
    ref->offset = 0;
    ref->writable = false;
    ref->host = c->host != NULL && c->host->ram_page != NULL
                    ? c->host->ram_page(c, gpa, &ref->writable, &ref->ram, &ref->offset)
                    : NULL;
    ref->gpa = gpa;
    return ref;
}

/* ---------------------------------------------------------------- the jump cache's validity */

static unsigned current_pcid(const struct cpu *c)
{
    return c->cr4 & CR4_PCIDE ? c->cr3 & (PCIDS - 1) : 0;
}

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

static void l1_clear_group(struct tlbe *tlb, unsigned group, bool global_too)
{
    for (unsigned i = group * GROUP_SETS; i < (group + 1) * GROUP_SETS; i++) {
        if (global_too || !tlb[i].global) {
            tlb[i].rtag = tlb[i].wtag = (uint64_t)(i ^ 1) << GUEST_PAGE_BITS;
        }
    }
}

static void l1_flush_nonglobal(struct cpu *c)
{
    struct mmu_l2 *l2 = c->l2;
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        for (uint64_t left = l2->local[mode]; left != 0; left &= left - 1) {
            l1_clear_group(c->tlb_mode[mode], __builtin_ctzll(left), false);
        }
        l2->local[mode] = 0;
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
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        for (uint64_t left = l2->touched[mode]; left != 0; left &= left - 1) {
            l1_clear_group(c->tlb_mode[mode], __builtin_ctzll(left), true);
        }
        l2->touched[mode] = l2->local[mode] = 0;
    }
    for (unsigned i = 0; i < ITLB_SIZE; i++) {
        c->itlb[i].tag = 1;
    }
    memset(l2->itlb_local, 0, sizeof(l2->itlb_local));
}

static void l1_drop_page(struct cpu *c, uint64_t page)
{
    unsigned set = (page >> GUEST_PAGE_BITS) & (TLB_SIZE - 1);
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        struct tlbe *e = &c->tlb_mode[mode][set];
        if (e->rtag == page || e->wtag == page) {
            e->rtag = e->wtag = (uint64_t)(set ^ 1) << GUEST_PAGE_BITS;
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

void tlb_drop_write(struct cpu *c, const uint8_t *host_page)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            struct tlbe *e = &c->tlb_mode[mode][i];
            if (e->host == host_page) {
                e->wtag = (uint64_t)(i ^ 1) << GUEST_PAGE_BITS;
            }
        }
    }
}

void tlb_drop_writes(struct cpu *c)
{
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            c->tlb_mode[mode][i].wtag = (uint64_t)(i ^ 1) << GUEST_PAGE_BITS;
        }
    }
}

static void refs_flush(struct cpu *c)
{
    for (unsigned i = 0; i < REFS; i++) {
        c->l2->refs[i].gpa = NO_PAGE;
    }
}

void mmu_map_changed(struct cpu *c)
{
    refs_flush(c);
    tlb_flush_all(c);
}

bool mmu_init(struct cpu *c)
{
    c->l2 = g_try_new0(struct mmu_l2, 1);
    if (c->l2 == NULL) {
        return false;
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        for (unsigned group = 0; group < TLB_SIZE / GROUP_SETS; group++) {
            l1_clear_group(c->tlb_mode[mode], group, true);
        }
    }
    refs_flush(c);
    tlb_flush_all(c);
    c->tlb = c->tlb_mode[TLB_KERNEL];
    return true;
}

void mmu_finish(struct cpu *c)
{
    g_clear_pointer(&c->l2, g_free);
}

/* ---------------------------------------------------------------- the walk */

struct level {
    unsigned shift;   /* of the index in the linear address */
    unsigned bits;    /* of the index */
    bool may_be_leaf; /* PS maps a page here */
    bool ps_reserved; /* PS must be 0 */
};

static const struct level levels_64[] = {
    {39, 9, false, true},
    {30, 9, true, false},
    {21, 9, true, false},
    {12, 9, false, false},
};
static const struct level levels_32[] = {
    {22, 10, true, false},
    {12, 10, false, false},
};

struct walk {
    uint64_t pte[4];
    uint64_t at[4]; /* the guest-physical address of each entry */
    void *host[4];  /* where each entry lives; NULL: not in writable RAM */
    unsigned n;
    unsigned shift; /* of the leaf */
    uint64_t gpa;   /* of the 4K page */
    uint32_t rights;
};

static uint64_t pte_read(struct cpu *c, uint64_t gpa, unsigned size, void **host)
{
    const struct page_ref *ref = page_ref_get(c, gpa & GUEST_PAGE_MASK);
    *host = NULL;
    if (ref->host == NULL) {
        return size == 8 ? UINT64_MAX : UINT32_MAX;
    }
    void *p = ref->host + (gpa & ~GUEST_PAGE_MASK);
    if (ref->writable) {
        *host = p;
    }
    return size == 8 ? *(const volatile uint64_t *)p : *(const volatile uint32_t *)p;
}

static uint64_t above_maxphyaddr(const struct cpu *c)
{
    unsigned bits = c->model != NULL && c->model->phys_bits != 0 ? c->model->phys_bits : 40;
    return PTE_GPA & ~((1ull << bits) - 1);
}

/* Reserved bits of a present 8-byte entry. leaf: it maps a page of 1 << shift bytes. */
static uint64_t reserved_bits(const struct cpu *c, unsigned shift, bool leaf)
{
    uint64_t bits = above_maxphyaddr(c);
    if (!(c->efer & EFER_NXE)) {
        bits |= PTE_NX;
    }
    if (!(c->efer & EFER_LMA)) {
        bits |= 0x7ffull << 52; /* PAE: 62:52; the others are ignored in long mode */
    }
    if (leaf && shift > 12) {
        bits |= ((1ull << shift) - 1) & ~0x1fffull;
    }
    return bits;
}

/* Follows the tables without changing anything. true: w is complete; false: *error has P and RSVD
 * of the fault that a reference would give. */
static bool walk_tables(struct cpu *c, uint64_t lin, struct walk *w, uint32_t *error)
{
    bool wide = c->cr4 & CR4_PAE; /* 8-byte entries */
    const struct level *levels = wide ? levels_64 : levels_32;
    unsigned first = 0, last = wide ? 3 : 1;
    uint64_t table = wide ? c->cr3 & PTE_GPA : c->cr3 & 0xfffff000;
    unsigned entry_size = wide ? 8 : 4;

    w->n = 0;
    w->rights = XL_USER | XL_WRITE;
    if (wide && !(c->efer & EFER_LMA)) {
        uint64_t pdpte = c->pdptr[lin >> 30 & 3];
        if (!(pdpte & PTE_P)) {
            *error = 0;
            return false;
        }
        table = pdpte & PTE_GPA;
        first = 2;
    }
    for (unsigned i = first; i <= last; i++) {
        const struct level *l = &levels[i];
        uint64_t index = lin >> l->shift & ((1u << l->bits) - 1);
        w->at[w->n] = table + index * entry_size;
        uint64_t pte = pte_read(c, w->at[w->n], entry_size, &w->host[w->n]);
        w->pte[w->n++] = pte;
        if (!(pte & PTE_P)) {
            *error = 0;
            return false;
        }
        bool leaf = i == last;
        bool bad = false;
        if ((pte & PTE_PS) && l->may_be_leaf) {
            leaf = wide || (c->cr4 & CR4_PSE);
            if (wide && l->shift == 30 && !cpu_has(c, F_PDPE1GB)) {
                bad = true;
            }
        } else if ((pte & PTE_PS) && l->ps_reserved) {
            bad = true;
        }
        if (wide) {
            bad = bad || (pte & reserved_bits(c, l->shift, leaf)) != 0;
        } else if (leaf && l->shift == 22) {
            bad = pte >> 21 & 1; /* PSE-36: 20:13 are address bits 39:32 */
        }
        if (bad) {
            *error = PF_P | PF_RSVD;
            return false;
        }
        if (!(pte & PTE_U)) {
            w->rights &= ~XL_USER;
        }
        if (!(pte & PTE_W)) {
            w->rights &= ~XL_WRITE;
        }
        if (wide && (pte & PTE_NX)) {
            w->rights |= XL_NX;
        }
        if (leaf) {
            w->shift = l->shift;
            break;
        }
        table = pte & (wide ? PTE_GPA : 0xfffff000);
    }

    uint64_t pte = w->pte[w->n - 1];
    uint64_t base = pte & (wide ? PTE_GPA : 0xfffff000);
    if (!wide && w->shift == 22) {
        base = (pte & 0xffc00000) | (pte >> 13 & 0xff) << 32;
    }
    uint64_t within = (1ull << w->shift) - 1;
    w->gpa = (base & ~within) | (lin & within & GUEST_PAGE_MASK);
    if (pte & PTE_D) {
        w->rights |= XL_DIRTY;
    }
    if ((pte & PTE_G) && (c->cr4 & CR4_PGE)) {
        w->rights |= XL_GLOBAL;
    }
    if (w->shift >= 30) {
        w->rights |= XL_GIANT;
    } else if (w->shift > 12) {
        w->rights |= XL_HUGE;
    }
    return true;
}

static bool allowed(const struct cpu *c, uint32_t rights, enum access how, unsigned mode)
{
    bool user_page = rights & XL_USER;
    if (mode == TLB_USER) {
        return user_page && (how == ACCESS_READ || (how == ACCESS_WRITE && (rights & XL_WRITE)) ||
                             (how == ACCESS_FETCH && !(rights & XL_NX)));
    }
    if (how == ACCESS_FETCH) {
        return !(rights & XL_NX) && !(user_page && (c->cr4 & CR4_SMEP));
    }
    if (user_page && mode == TLB_KERNEL && (c->cr4 & CR4_SMAP)) {
        return false;
    }
    return how == ACCESS_READ || (rights & XL_WRITE) || !(c->cr0 & CR0_WP);
}

/* Sets bits in a table entry unless they are set. false: the entry changed meanwhile, walk again.
 */
static bool pte_set(void *host, uint64_t old, uint64_t bits, unsigned size)
{
    if ((old & bits) == bits || host == NULL) {
        return true;
    }
    if (size == 8) {
        uint64_t expected = old;
        return __atomic_compare_exchange_n((uint64_t *)host, &expected, old | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    uint32_t expected = old;
    return __atomic_compare_exchange_n((uint32_t *)host, &expected, (uint32_t)(old | bits), false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* A page is about to be written to, or entered in the first level for writing; from there it is
 * taken again when a dirty log is read. */
static void note_dirty(const struct page_ref *ref)
{
    if (ref->ram != NULL && ref->writable) {
        dirty_mark(ref->ram, ref->offset, GUEST_PAGE_SIZE);
    }
}

static bool walk_set_bits(struct cpu *c, struct walk *w, enum access how)
{
    unsigned size = c->cr4 & CR4_PAE ? 8 : 4;
    for (unsigned i = 0; i < w->n; i++) {
        uint64_t bits = PTE_A;
        if (i + 1 == w->n && how == ACCESS_WRITE) {
            bits |= PTE_D;
        }
        if (!pte_set(w->host[i], w->pte[i], bits, size)) {
            return false;
        }
        if ((w->pte[i] & bits) != bits) {
            note_dirty(page_ref_get(c, w->at[i] & GUEST_PAGE_MASK));
        }
    }
    if (how == ACCESS_WRITE) {
        w->rights |= XL_DIRTY;
    }
    return true;
}

static uint32_t fault_code(const struct cpu *c, uint32_t error, enum access how, unsigned mode)
{
    if (how == ACCESS_WRITE) {
        error |= PF_W;
    }
    if (mode == TLB_USER) {
        error |= PF_U;
    }
    if (how == ACCESS_FETCH &&
        ((c->cr4 & CR4_SMEP) || ((c->efer & EFER_NXE) && (c->cr4 & CR4_PAE)))) {
        error |= PF_I;
    }
    return error;
}

static void l2_insert(struct cpu *c, uint64_t page, const struct walk *w)
{
    struct mmu_l2 *l2 = c->l2;
    if (w->rights & XL_HUGE) {
        unsigned slot = bloom_slot(page, 21);
        l2->huge[slot / 64] |= 1ull << (slot % 64);
        if (!(c->cr4 & CR4_PAE)) { /* 4M: both halves */
            slot = bloom_slot(page ^ 1u << 21, 21);
            l2->huge[slot / 64] |= 1ull << (slot % 64);
        }
    } else if (w->rights & XL_GIANT) {
        unsigned slot = bloom_slot(page, 30);
        l2->giant[slot / 64] |= 1ull << (slot % 64);
    }
    bool global = w->rights & XL_GLOBAL;
    struct l2_entry *e = l2_slot(c, page, global ? 0 : current_pcid(c));
    e->lin = page;
    e->gpa = w->gpa;
    e->rights = w->rights;
    e->gen = global ? l2->global_gen : current_gen(c);
}

static const struct l2_entry *l2_find(struct cpu *c, uint64_t page)
{
    const struct l2_entry *e = l2_slot(c, page, current_pcid(c));
    if (e->lin == page && e->gen == current_gen(c)) {
        return e;
    }
    e = l2_slot(c, page, 0);
    return e->lin == page && e->gen == c->l2->global_gen ? e : NULL;
}

/* Translates a page for an access in a TLB mode, or gives the error code of its page fault. */
static bool translate_try(struct cpu *c, uint64_t lin, enum access how, unsigned mode,
                          struct xlate *x, uint32_t *error)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    if (!(c->cr0 & CR0_PG)) {
        x->gpa = (uint32_t)page;
        x->rights = XL_USER | XL_WRITE | XL_DIRTY;
        return true;
    }
    const struct l2_entry *e = l2_find(c, page);
    if (e != NULL && allowed(c, e->rights, how, mode) &&
        (how != ACCESS_WRITE || (e->rights & XL_DIRTY))) {
        x->gpa = e->gpa;
        x->rights = e->rights;
        return true;
    }
    struct walk w;
    do {
        if (!walk_tables(c, page, &w, error)) {
            *error = fault_code(c, *error, how, mode);
            return false;
        }
        if (!allowed(c, w.rights, how, mode)) {
            *error = fault_code(c, PF_P, how, mode);
            return false;
        }
    } while (!walk_set_bits(c, &w, how));
    l2_insert(c, page, &w);
    x->gpa = w.gpa;
    x->rights = w.rights;
    return true;
}

/* ---------------------------------------------------------------- breakpoints on data */

static unsigned dr7_len(uint64_t dr7, unsigned n)
{
    static const uint8_t len[4] = {1, 2, 8, 4};
    return len[dr7 >> (18 + 4 * n) & 3];
}

static unsigned dr7_kind(uint64_t dr7, unsigned n)
{
    return dr7 >> (16 + 4 * n) & 3;
}

/* DR6 bits of the enabled data breakpoints that overlap the access. */
static uint32_t watch_match(const struct cpu *c, uint64_t lin, uint64_t size, bool write)
{
    uint32_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = dr7_kind(c->dr[7], n);
        if (!(c->dr[7] >> (2 * n) & 3) || !(kind == 3 || (kind == 1 && write))) {
            continue;
        }
        uint64_t len = dr7_len(c->dr[7], n);
        uint64_t start = c->dr[n] & ~(len - 1);
        if (lin < start + len && start < lin + size) {
            hit |= 1u << n;
        }
    }
    return hit;
}

static bool host_watches_page(const struct cpu *c, uint64_t page)
{
    const struct cpus *cpus = c->vcpu->cpus;
    return debug_watch_match(cpus, page, GUEST_PAGE_SIZE, true) != NULL ||
           debug_watch_match(cpus, page, GUEST_PAGE_SIZE, false) != NULL;
}

/* The debugger's watchpoints: the instruction is finished, then the vCPU stops. All decoded code is
 * dropped so that the block does not go on. */
static void host_watch_access(struct cpu *c, uint64_t lin, unsigned size, bool write)
{
    const struct debug_point *p = debug_watch_match(c->vcpu->cpus, lin, size, write);
    if (p != NULL && c->vcpu->hit.kind == DEBUG_NONE) {
        c->vcpu->hit = (struct debug_hit){p->kind, MAX(lin, p->addr)};
        atomic_fetch_or(c->req, VCPU_REQ_DEBUG);
        blocks_flush(c);
    }
}

void watch_access(struct cpu *c, uint64_t lin, unsigned size, bool write)
{
    if (unlikely(c->host_watches)) {
        host_watch_access(c, lin, size, write);
    }
    if (unlikely(c->watch)) {
        c->pending_db |= watch_match(c, lin, size, write);
    }
}

/* ---------------------------------------------------------------- first level */

static void l1_fill(struct cpu *c, uint64_t lin, const struct xlate *x, enum access how,
                    unsigned mode)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    unsigned set = (lin >> GUEST_PAGE_BITS) & (TLB_SIZE - 1);
    if (x->ref->host == NULL || how == ACCESS_FETCH ||
        (c->lapic != NULL && lapic_claims(c->lapic, x->gpa)) ||
        (c->watch && watch_match(c, page, GUEST_PAGE_SIZE, true) != 0) ||
        (c->host_watches && host_watches_page(c, page))) {
        return;
    }
    struct tlbe *e = &c->tlb_mode[mode][set];
    if (e->rtag != page) {
        e->wtag = (uint64_t)(set ^ 1) << GUEST_PAGE_BITS;
    }
    e->rtag = page;
    e->host = x->ref->host;
    e->global = x->rights & XL_GLOBAL;
    if (how == ACCESS_WRITE && x->ref->writable &&
        (x->ref->ram == NULL || code_page_allow_write(x->ref->ram, x->ref->offset))) {
        e->wtag = page;
    }
    uint64_t group = 1ull << (set / GROUP_SETS);
    c->l2->touched[mode] |= group;
    if (!e->global) {
        c->l2->local[mode] |= group;
    }
}

/* As translate_try(), or raises the fault. */
static void translate(struct cpu *c, const struct op *o, uint64_t lin, enum access how,
                      unsigned mode, struct xlate *x)
{
    uint32_t error;
    if (!translate_try(c, lin, how, mode, x, &error)) {
        raise_page_fault(c, o, lin, error);
    }
    x->ref = page_ref_get(c, x->gpa);
    if (how == ACCESS_WRITE) {
        note_dirty(x->ref);
    }
    l1_fill(c, lin, x, how, mode);
}

struct itlbe *code_page_lookup(struct cpu *c, uint64_t lin)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    struct itlbe *e = &c->itlb[(lin >> GUEST_PAGE_BITS) & (ITLB_SIZE - 1)];
    uint32_t user = c->cpl == 3;
    if (likely(e->tag == page && e->mode == user)) {
        return e;
    }
    if (unlikely(!is_canonical(lin))) {
        raise_error(c, NULL, EXC_GP, 0);
    }
    struct xlate x;
    uint32_t error;
    if (!translate_try(c, lin, ACCESS_FETCH, user ? TLB_USER : TLB_KERNEL, &x, &error)) {
        raise_page_fault(c, NULL, lin, error);
    }
    x.ref = page_ref_get(c, x.gpa);
    e->tag = page;
    e->mode = user;
    e->gpa = x.gpa;
    e->host = x.ref->host;
    e->global = x.rights & XL_GLOBAL;
    if (!e->global) {
        unsigned at = e - c->itlb;
        c->l2->itlb_local[at / 64] |= 1ull << (at % 64);
    }
    return e;
}

/* ---------------------------------------------------------------- pieces within one page */

static uint64_t device_read(struct cpu *c, uint64_t gpa, unsigned size)
{
    if (c->lapic != NULL && lapic_claims(c->lapic, gpa & GUEST_PAGE_MASK)) {
        return lapic_read(c->lapic, gpa & ~GUEST_PAGE_MASK);
    }
    if (c->host == NULL || c->host->mmio_read == NULL) {
        return UINT64_MAX;
    }
    return c->host->mmio_read(c, gpa, size);
}

static void device_write(struct cpu *c, uint64_t gpa, uint64_t value, unsigned size)
{
    if (c->lapic != NULL && lapic_claims(c->lapic, gpa & GUEST_PAGE_MASK)) {
        lapic_write(c->lapic, gpa & ~GUEST_PAGE_MASK, value);
    } else if (c->host != NULL && c->host->mmio_write != NULL) {
        c->host->mmio_write(c, gpa, value, size);
    }
}

/* The largest power of two, at most 8, that fits. */
static unsigned device_size(unsigned left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static void copy_sized(void *to, const void *from, unsigned size)
{
    switch (size) { /* one host access each: as atomic as the hardware's */
    case 1:
        *(guest8 *)to = *(const guest8 *)from;
        break;
    case 2:
        *(guest16 *)to = *(const guest16 *)from;
        break;
    case 4:
        *(guest32 *)to = *(const guest32 *)from;
        break;
    case 8:
        *(guest64 *)to = *(const guest64 *)from;
        break;
    default:
        memcpy(to, from, size);
        break;
    }
}

static bool is_device(const struct cpu *c, const struct xlate *x)
{
    return x->ref->host == NULL || (c->lapic != NULL && lapic_claims(c->lapic, x->gpa));
}

static void piece_read(struct cpu *c, const struct xlate *x, unsigned offset, uint8_t *buf,
                       unsigned size)
{
    if (likely(!is_device(c, x))) {
        copy_sized(buf, x->ref->host + offset, size);
        return;
    }
    uint64_t gpa = x->gpa + offset;
    while (size > 0) {
        unsigned n = device_size(size);
        uint64_t value = device_read(c, gpa, n);
        memcpy(buf, &value, n);
        buf += n;
        gpa += n;
        size -= n;
    }
}

static void piece_write(struct cpu *c, const struct xlate *x, unsigned offset, const uint8_t *buf,
                        unsigned size)
{
    if (likely(!is_device(c, x) && x->ref->writable)) {
        struct page_ref ref = *x->ref; /* code_written() may let the map change */
        copy_sized(ref.host + offset, buf, size);
        if (ref.ram != NULL) {
            code_written(c, ref.ram, ref.offset + offset, x->gpa + offset, size);
        }
        return;
    }
    uint64_t gpa = x->gpa + offset;
    while (size > 0) { /* ROM too: it may be flash memory */
        unsigned n = device_size(size);
        uint64_t value = 0;
        memcpy(&value, buf, n);
        device_write(c, gpa, value, n);
        buf += n;
        gpa += n;
        size -= n;
    }
}

/* ---------------------------------------------------------------- accesses */

/* #GP(0) or #SS(0) unless both ends are canonical; #AC. Returns the bytes in the first page. */
static unsigned access_check(struct cpu *c, const struct op *o, uint64_t lin, unsigned size,
                             unsigned mode)
{
    if (unlikely(!is_canonical(lin) || !is_canonical(lin + size - 1))) {
        if (c->efer & EFER_LMA) {
            raise_error(c, o, o != NULL && (o->mflags & MF_STACK) ? EXC_SS : EXC_GP, 0);
        }
    }
    if (unlikely(c->key & KEY_ALIGN) && mode == TLB_USER) {
        unsigned align = size == 10 ? 8 : size;
        if (align <= 8 && (lin & (align - 1)) != 0) {
            raise_error(c, o, EXC_AC, 0);
        }
    }
    return MIN(size, GUEST_PAGE_SIZE - (unsigned)(lin & ~GUEST_PAGE_MASK));
}

/* The address after the first page's last byte; it wraps at 4 GiB outside 64-bit mode. */
static uint64_t next_page(const struct cpu *c, uint64_t lin)
{
    uint64_t next = (lin & GUEST_PAGE_MASK) + GUEST_PAGE_SIZE;
    return is_long64(c) ? next : (uint32_t)next;
}

/* A hit in the first level of a mode that need not be the present one. */
static const struct tlbe *l1_entry(const struct cpu *c, uint64_t lin, unsigned mode)
{
    return &c->tlb_mode[mode][(lin >> GUEST_PAGE_BITS) & (TLB_SIZE - 1)];
}

static bool l1_usable(const struct cpu *c, unsigned mode)
{
    return mode != TLB_USER || likely(!(c->key & KEY_ALIGN));
}

void mem_read_as(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size,
                 unsigned mode)
{
    const struct tlbe *e = l1_entry(c, lin, mode);
    if (likely(lin - e->rtag <= GUEST_PAGE_SIZE - size) && l1_usable(c, mode)) {
        copy_sized(buf, e->host + (lin - e->rtag), size);
        return;
    }
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x, y;
    c->access_op = o;
    translate(c, o, lin, ACCESS_READ, mode, &x);
    if (unlikely(first < size)) {
        struct page_ref x_ref = *x.ref; /* the second page may take the slot */
        translate(c, o, next_page(c, lin), ACCESS_READ, mode, &y);
        struct page_ref y_ref = *y.ref;
        x.ref = &x_ref;
        y.ref = &y_ref;
        piece_read(c, &x, lin & ~GUEST_PAGE_MASK, buf, first);
        piece_read(c, &y, 0, (uint8_t *)buf + first, size - first);
    } else {
        piece_read(c, &x, lin & ~GUEST_PAGE_MASK, buf, size);
    }
    watch_access(c, lin, size, false);
}

void mem_write_as(struct cpu *c, const struct op *o, uint64_t lin, const void *buf, unsigned size,
                  unsigned mode)
{
    const struct tlbe *e = l1_entry(c, lin, mode);
    if (likely(lin - e->wtag <= GUEST_PAGE_SIZE - size) && l1_usable(c, mode)) {
        copy_sized(e->host + (lin - e->wtag), buf, size);
        return;
    }
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x, y;
    c->access_op = o;
    translate(c, o, lin, ACCESS_WRITE, mode, &x);
    if (unlikely(first < size)) {
        struct page_ref x_ref = *x.ref;
        translate(c, o, next_page(c, lin), ACCESS_WRITE, mode, &y);
        struct page_ref y_ref = *y.ref;
        x.ref = &x_ref;
        y.ref = &y_ref;
        piece_write(c, &x, lin & ~GUEST_PAGE_MASK, buf, first);
        piece_write(c, &y, 0, (const uint8_t *)buf + first, size - first);
    } else if (likely(lin - e->wtag <= GUEST_PAGE_SIZE - size)) {
        copy_sized(e->host + (lin - e->wtag), buf, size); /* entered just now: holds no code */
    } else {
        piece_write(c, &x, lin & ~GUEST_PAGE_MASK, buf, size);
    }
    watch_access(c, lin, size, true);
}

void mem_read_slow(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size)
{
    mem_read_as(c, o, lin, buf, size, mem_mode(c));
}

void mem_write_slow(struct cpu *c, const struct op *o, uint64_t lin, const void *buf, unsigned size)
{
    mem_write_as(c, o, lin, buf, size, mem_mode(c));
}

void *mem_rmw_slow(struct cpu *c, const struct op *o, uint64_t lin, unsigned size)
{
    unsigned mode = mem_mode(c);
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x;
    translate(c, o, lin, ACCESS_WRITE, mode, &x);
    if (first < size) {
        translate(c, o, next_page(c, lin), ACCESS_WRITE, mode, &x);
        return NULL;
    }
    if (is_device(c, &x) || !x.ref->writable || c->watch || c->host_watches ||
        (x.ref->ram != NULL && !code_page_allow_write(x.ref->ram, x.ref->offset))) {
        return NULL;
    }
    return x.ref->host + (lin & ~GUEST_PAGE_MASK);
}

void mem_probe_as(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how,
                  unsigned mode)
{
    unsigned first = access_check(c, o, lin, size, mode);
    struct xlate x;
    translate(c, o, lin, how, mode, &x);
    if (first < size) {
        translate(c, o, next_page(c, lin), how, mode, &x);
    }
}

void mem_probe(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how)
{
    mem_probe_as(c, o, lin, size, how, mem_mode(c));
}

uint64_t sys_read(struct cpu *c, const struct op *o, uint64_t lin, unsigned size)
{
    uint64_t value = 0;
    mem_read_as(c, o, lin, &value, size, TLB_KERNEL);
    return value;
}

void sys_write(struct cpu *c, const struct op *o, uint64_t lin, uint64_t value, unsigned size)
{
    mem_write_as(c, o, lin, &value, size, TLB_KERNEL);
}

/* ---------------------------------------------------------------- segmented addresses */

G_GNUC_NORETURN static void segment_fault(struct cpu *c, const struct op *o, unsigned seg)
{
    raise_error(c, o, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* size 0: unknown, check one byte. */
bool segment_holds(const struct seg *s, uint64_t offset, unsigned size)
{
    uint64_t last = offset + (size > 0 ? size - 1 : 0);
    if (!(s->type & 8) && (s->type & 4) && s->s) { /* expand-down data */
        return offset > s->limit && last <= (s->db ? UINT32_MAX : UINT16_MAX);
    }
    return last <= s->limit;
}

uint64_t ea_slow(struct cpu *c, const struct op *o, uint64_t offset, unsigned size, bool write)
{
    if (o->mflags & MF_ADDR32) {
        offset = (uint32_t)offset;
    } else if (o->mflags & MF_ADDR16) {
        offset = (uint16_t)offset;
    }
    const struct seg *s = &c->seg[o->seg];
    if (o->mflags & MF_SEG64) {
        return s->base + offset;
    }
    if (!(o->mflags & MF_SEGCHK)) {
        return offset;
    }
    if ((c->key & KEY_PE) && !(c->key & KEY_VM86)) {
        bool code = s->type & 8;
        if (s->unusable || (write ? code || !(s->type & 2) : code && !(s->type & 2))) {
            segment_fault(c, o, o->seg);
        }
    }
    if (!segment_holds(s, offset, size)) {
        segment_fault(c, o, o->seg);
    }
    return (uint32_t)(s->base + offset);
}

/* ---------------------------------------------------------------- PAE pointers, debugger */

bool pdptrs_load(struct cpu *c, const struct op *o, uint64_t cr3)
{
    uint64_t table = cr3 & 0xffffffe0;
    uint64_t pdptr[4];
    for (unsigned i = 0; i < 4; i++) {
        void *host;
        pdptr[i] = pte_read(c, table + 8 * i, 8, &host);
        if ((pdptr[i] & PTE_P) && (pdptr[i] & (0x1e6ull | 0xfffull << 52 | above_maxphyaddr(c)))) {
            return false;
        }
    }
    memcpy(c->pdptr, pdptr, sizeof(c->pdptr));
    return true;
}

bool mmu_translate_debug(struct cpu *c, uint64_t lin, gpa_t *gpa)
{
    if (!(c->cr0 & CR0_PG)) {
        *gpa = (uint32_t)lin;
        return true;
    }
    struct walk w;
    uint32_t error;
    if (!is_canonical(lin) || !walk_tables(c, lin, &w, &error)) {
        return false;
    }
    *gpa = w.gpa | (lin & ~GUEST_PAGE_MASK);
    return true;
}
