/*
 * The walk of the page tables: Intel SDM volume 3, chapter 4. It sets accessed and dirty bits by
 * compare-exchange in the guest's tables, only after all checks have passed.
 *
 * Left out: LA57, SMM. Accessed bits that the CPU itself sets inside
 * a page that holds decoded code do not count as a store into that code.
 */
#include "cpu/x86/soft/mmu-priv.h"

#define PTE_P         (1ull << 0)
#define PTE_W         (1ull << 1)
#define PTE_U         (1ull << 2)
#define PTE_A         (1ull << 5)
#define PTE_D         (1ull << 6)
#define PTE_PS        (1ull << 7)
#define PTE_G         (1ull << 8)
#define PTE_NX        (1ull << 63)
#define PTE_GPA       0x000ffffffffff000ull

#define PTE_KEY_SHIFT 59

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_PK = 32 };

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
    uint64_t table; /* where the last entry is */
    uint32_t upper; /* rights that the entries above it leave */
    uint64_t gpa;   /* of the 4K page */
    uint32_t rights;
};

static uint64_t pte_read(struct cpu *c, uint64_t gpa, unsigned size, void **host)
{
    const struct page_ref *ref = page_ref_get(c, gpa & GUEST_PAGE_MASK & c->a20_mask);
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

/* Follows the tables without changing anything, from near, which may be NULL, on. true: w is
 * complete; false: *error has P and RSVD of the fault that a reference would give. */
static bool walk_tables(struct cpu *c, uint64_t lin, const struct near_table *near, struct walk *w,
                        uint32_t *error)
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
    if (near != NULL) {
        table = near->table;
        w->rights = near->rights;
        first = last;
    }
    for (unsigned i = first; i <= last; i++) {
        const struct level *l = &levels[i];
        w->table = table;
        w->upper = w->rights;
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
    w->gpa = ((base & ~within) | (lin & within & GUEST_PAGE_MASK)) & c->a20_mask;
    if (pte & PTE_D) {
        w->rights |= XL_DIRTY;
    }
    if ((pte & PTE_G) && (c->cr4 & CR4_PGE)) {
        w->rights |= XL_GLOBAL;
    }
    if (c->efer & EFER_LMA) {
        w->rights |= (pte >> PTE_KEY_SHIFT & 15) * (XL_KEY & -XL_KEY);
    }
    if (w->shift >= 30) {
        w->rights |= XL_GIANT;
    } else if (w->shift > 12) {
        w->rights |= XL_HUGE;
    }
    return true;
}

/* Whether a protection key forbids it: SDM volume 3, 4.6.2. */
static bool key_forbids(const struct cpu *c, uint32_t rights, enum access how, unsigned mode)
{
    uint32_t key = rights / (XL_KEY & -XL_KEY) & 15;
    bool user_page = rights & XL_USER;
    uint32_t bits = (uint32_t)(user_page ? c->pkru : c->pkrs) >> (2 * key);
    if (!(c->cr4 & (user_page ? CR4_PKE : CR4_PKS)) || how == ACCESS_FETCH) {
        return false;
    }
    /* 0: no access; 1: no writes */
    return (bits & 1) ||
           (how == ACCESS_WRITE && (bits & 2) && (mode == TLB_USER || (c->cr0 & CR0_WP)));
}

static bool allowed(const struct cpu *c, uint32_t rights, enum access how, unsigned mode)
{
    bool user_page = rights & XL_USER;
    if (mode == TLB_USER) {
        return user_page && !key_forbids(c, rights, how, mode) &&
               (how == ACCESS_READ || (how == ACCESS_WRITE && (rights & XL_WRITE)) ||
                (how == ACCESS_FETCH && !(rights & XL_NX)));
    }
    if (how == ACCESS_FETCH) {
        return !(rights & XL_NX) && !(user_page && (c->cr4 & CR4_SMEP));
    }
    if (user_page && mode == TLB_KERNEL && (c->cr4 & CR4_SMAP)) {
        return false;
    }
    if (key_forbids(c, rights, how, mode)) {
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
            if (unlikely(c->side)) {
                lockstep_tables_changed(c);
            }
            mmu_note_dirty(page_ref_get(c, w->at[i] & GUEST_PAGE_MASK & c->a20_mask));
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

bool translate_try(struct cpu *c, uint64_t lin, enum access how, unsigned mode, struct xlate *x,
                   uint32_t *error)
{
    uint64_t page = lin & GUEST_PAGE_MASK;
    if (!(c->cr0 & CR0_PG)) {
        x->gpa = (uint32_t)page & c->a20_mask;
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
        const struct near_table *near = near_find(c, page);
        if (!walk_tables(c, page, near, &w, error)) {
            *error = fault_code(c, *error, how, mode);
            return false;
        }
        if (!allowed(c, w.rights, how, mode)) {
            *error =
                fault_code(c, PF_P | (key_forbids(c, w.rights, how, mode) ? PF_PK : 0), how, mode);
            return false;
        }
    } while (!walk_set_bits(c, &w, how));
    l2_insert(c, page, w.gpa, w.rights);
    if (w.shift == 12 && (c->cr4 & CR4_PAE)) {
        near_insert(c, page, w.table, w.upper);
    }
    x->gpa = w.gpa;
    x->rights = w.rights;
    return true;
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
        *gpa = (uint32_t)lin & c->a20_mask;
        return true;
    }
    struct walk w;
    uint32_t error;
    if (!is_canonical(lin) || !walk_tables(c, lin, NULL, &w, &error)) {
        return false;
    }
    *gpa = w.gpa | (lin & ~GUEST_PAGE_MASK);
    return true;
}
