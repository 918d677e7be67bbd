/*
 * The software CPU's memory management: rights and fault codes of the walk, reserved bits, paging
 * modes, what the TLB may remember and what must drop it, accesses across pages, breakpoints on
 * data.
 */
#include "../lib/soft-machine.h"
#include "cpu/x86/soft/sys-priv.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)

enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16, E_PK = 32 };

#define AT     0x100000ull /* a page that tests remap: entry 0 of no large page */
#define PTE_AT (PT + (AT >> 12) * 8)

static uint64_t get64(uint64_t at)
{
    uint64_t v;
    memcpy(&v, present->ram->host + at, 8);
    return v;
}

/* Calls fn(arg); -1, or the vector that it raised. */
static __attribute__((noinline)) int raised(void (*fn)(void *), void *arg)
{
    struct cpu *c = present->c;
    if (__builtin_setjmp(c->jump)) {
        return present->c->fault.vector;
    }
    fn(arg);
    return -1;
}

struct touch {
    uint64_t lin;
    enum access how;
};

static void touch_now(void *arg)
{
    const struct touch *t = arg;
    if (t->how == ACCESS_FETCH) {
        code_page_lookup(present->c, t->lin);
    } else {
        mem_probe(present->c, NULL, t->lin, 1, t->how);
    }
}

/* -1: allowed; else the page fault's error code. */
static int touch(uint64_t lin, enum access how)
{
    struct touch t = {lin, how};
    int vector = raised(touch_now, &t);
    if (vector < 0) {
        return -1;
    }
    g_assert_cmpint(vector, ==, EXC_PF);
    g_assert_cmphex(present->c->fault.cr2, ==, lin);
    g_assert_cmphex(present->c->cr2, !=, lin); /* only delivery writes CR2 */
    return present->c->fault.error;
}

static void set_mode(unsigned cpl, uint64_t cr4, bool wp, bool nxe, bool ac)
{
    struct cpu *c = present->c;
    c->cpl = cpl;
    c->cr4 = CR4_PAE | CR4_OSFXSR | cr4;
    c->cr0 = wp ? c->cr0 | CR0_WP : c->cr0 & ~(uint64_t)CR0_WP;
    c->efer = nxe ? c->efer | EFER_NXE : c->efer & ~(uint64_t)EFER_NXE;
    c->sysflags = ac ? c->sysflags | RFLAGS_AC : c->sysflags & ~RFLAGS_AC;
    tlb_flush_all(c);
    mode_update(c);
}

/* SDM volume 3, 4.6 and 4.7, written down once more. */
static int expected(uint64_t pte, enum access how)
{
    const struct cpu *c = present->c;
    bool user = c->cpl == 3, nxe = c->efer & EFER_NXE, smep = c->cr4 & CR4_SMEP;
    int error = (user ? E_U : 0) | (how == ACCESS_WRITE ? E_W : 0) |
                (how == ACCESS_FETCH && (nxe || smep) ? E_I : 0);
    if (!(pte & P)) {
        return error;
    }
    if ((pte & NX) && !nxe) {
        return error | E_P | E_RSVD;
    }
    bool ok = true;
    if (user && !(pte & U)) {
        ok = false;
    }
    if (!user && (pte & U)) {
        if (how == ACCESS_FETCH ? smep : (c->cr4 & CR4_SMAP) && !(c->sysflags & RFLAGS_AC)) {
            ok = false;
        }
    }
    if (how == ACCESS_WRITE && !(pte & W) && (user || (c->cr0 & CR0_WP))) {
        ok = false;
    }
    if (how == ACCESS_FETCH && (pte & NX)) {
        ok = false;
    }
    return ok ? -1 : error | E_P;
}

static void test_rights(void)
{
    machine_start();
    put64(PML4, PDPT | P | W | U);
    put64(PDPT, PD | P | W | U);
    put64(PD, PT | P | W | U);
    unsigned n_faults = 0, n_fine = 0;
    for (unsigned n = 0; n < 1u << 12; n++) {
        uint64_t bits = (n & 1 ? P : 0) | (n & 2 ? W : 0) | (n & 4 ? U : 0) | (n & 8 ? NX : 0);
        bool large = n & 0x200;
        uint64_t where = large ? PD + 8 : PTE_AT; /* the 2M page at 2M */
        uint64_t lin = large ? (2 << 20) + AT + 0x123 : AT + 0x123;
        put64(where, large ? (4ull << 20) | PS | bits : (4ull << 20) | bits);
        set_mode(n & 0x10 ? 3 : 0, (n & 0x20 ? CR4_SMEP : 0) | (n & 0x40 ? CR4_SMAP : 0), n & 0x80,
                 n & 0x100, n & 0x400);
        for (enum access how = ACCESS_READ; how <= ACCESS_FETCH; how++) {
            put64(where, get64(where) & ~(uint64_t)(A | D));
            tlb_flush_all(present->c);
            int want = expected(get64(where), how);
            g_assert_cmpint(touch(lin, how), ==, want);
            uint64_t ad = get64(where) & (A | D);
            g_assert_cmphex(ad, ==, want >= 0 ? 0 : how == ACCESS_WRITE ? A | D : A);
            want >= 0 ? n_faults++ : n_fine++;
        }
    }
    g_assert_cmpuint(n_faults, >, 3000);
    g_assert_cmpuint(n_fine, >, 1000);
    machine_end();
}

/* Protection keys of supervisor pages: each of four keys in each state, against a table. */
static void test_supervisor_keys(void)
{
    static const struct {
        unsigned pkrs; /* of the key */
        bool wp, read, write;
    } rows[] = {{0, true, true, true},    {0, false, true, true},  {1, true, false, false},
                {1, false, false, false}, {2, true, true, false},  {2, false, true, true},
                {3, true, false, false},  {3, false, false, false}};
    machine_start();
    struct cpu *c = present->c;
    put64(PML4, PDPT | P | W | U);
    put64(PDPT, PD | P | W | U);
    put64(PD, PT | P | W | U);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        for (unsigned key = 0; key < 16; key += 5) {
            uint64_t pte = (4ull << 20) | P | W | (uint64_t)key << 59;
            put64(PTE_AT, pte);
            set_mode(0, CR4_PKS, rows[i].wp, true, false);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1); /* enters it in the TLB */
            g_assert_false(msr_write(c, 0x6e1, 1ull << 32));
            g_assert_true(msr_write(c, 0x6e1, (uint64_t)rows[i].pkrs << (2 * key)));
            g_assert_cmpint(touch(AT, ACCESS_READ), ==, rows[i].read ? -1 : E_P | E_PK);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, rows[i].write ? -1 : E_P | E_W | E_PK);
            g_assert_cmpint(touch(AT, ACCESS_FETCH), ==, -1);
            put64(PTE_AT, pte | U); /* not for the user's pages */
            tlb_flush_all(c);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
            put64(PTE_AT, pte);
            set_mode(0, 0, rows[i].wp, true, false);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
            g_assert_true(msr_write(c, 0x6e1, 0));
        }
    }
    machine_end();
}

/* The same of user pages, from user and kernel mode. */
static void test_user_keys(void)
{
    machine_start();
    struct cpu *c = present->c;
    put64(PML4, PDPT | P | W | U);
    put64(PDPT, PD | P | W | U);
    put64(PD, PT | P | W | U);
    for (unsigned i = 0; i < 4 * 2 * 2; i++) {
        unsigned bits = i & 3, cpl = i & 4 ? 3 : 0;
        bool wp = i & 8, write = !(bits & 1) && (!(bits & 2) || (!wp && !cpl));
        int user = cpl ? E_U : 0;
        for (unsigned key = 0; key < 16; key += 5) {
            put64(PTE_AT, (4ull << 20) | P | W | U | (uint64_t)key << 59);
            c->pkru = (uint64_t)bits << (2 * key);
            c->pkrs = ~(uint64_t)0 >> 32; /* is of other pages */
            set_mode(cpl, CR4_PKE | CR4_PKS, wp, true, false);
            g_assert_cmpint(touch(AT, ACCESS_READ), ==, bits & 1 ? (E_P | E_PK | user) : -1);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, write ? -1 : (E_P | E_W | E_PK | user));
            g_assert_cmpint(touch(AT, ACCESS_FETCH), ==, -1);
            set_mode(cpl, 0, wp, true, false);
            g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
        }
    }
    c->pkrs = c->pkru = 0;
    machine_end();
}

static void test_upper_levels(void)
{
    static const uint64_t entry[] = {PML4, PDPT, PD, PTE_AT};
    machine_start();
    for (unsigned level = 0; level < 4; level++) {
        for (unsigned i = 0; i < 4; i++) {
            put64(entry[i], (get64(entry[i]) & ~(uint64_t)A) | P | W | U);
        }
        uint64_t whole = get64(entry[level]);
        set_mode(3, 0, true, true, false);
        g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
        for (unsigned i = 0; i < 4; i++) {
            g_assert_true(get64(entry[i]) & A);
        }
        static const struct {
            uint64_t without, with;
            enum access how;
            int error;
        } cases[] = {
            {P, 0, ACCESS_READ, E_U},
            {W, 0, ACCESS_WRITE, E_U | E_W | E_P},
            {U, 0, ACCESS_READ, E_U | E_P},
            {0, NX, ACCESS_FETCH, E_U | E_P | E_I},
            {0, 1ull << 45, ACCESS_READ, E_U | E_P | E_RSVD}, /* beyond 40 address bits */
            {0, 1ull << 51, ACCESS_WRITE, E_U | E_P | E_RSVD | E_W},
            {0, 1ull << 52, ACCESS_READ, -1}, /* ignored in long mode */
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
            put64(entry[level], (whole & ~cases[i].without) | cases[i].with);
            tlb_flush_all(present->c);
            g_assert_cmpint(touch(AT, cases[i].how), ==, cases[i].error);
        }
        put64(entry[level], whole);
    }
    machine_end();
}

static void test_reserved(void)
{
    machine_start();
    set_mode(0, 0, true, true, false);
    put64(PML4, get64(PML4) | PS);
    g_assert_cmpint(touch(AT, ACCESS_READ), ==, E_P | E_RSVD);
    put64(PML4, PDPT | 3);
    put64(PD + 8, (4 << 20) | PS | 3 | 1 << 13);
    g_assert_cmpint(touch(2 << 20, ACCESS_READ), ==, E_P | E_RSVD);
    put64(PD + 8, (4 << 20) | PS | 3 | 1 << 12); /* PAT */
    g_assert_cmpint(touch(2 << 20, ACCESS_READ), ==, -1);
    put64(PDPT + 8, PS | 3 | 1 << 29);
    g_assert_cmpint(touch(1 << 30, ACCESS_READ), ==, E_P | E_RSVD);
    put64(PDPT + 8, PS | 3);
    g_assert_cmpint(touch((1 << 30) + 0x5000, ACCESS_READ), ==, -1);
    present->c->features[F_PDPE1GB / 64] &= ~(1ull << (F_PDPE1GB % 64));
    tlb_flush_all(present->c);
    g_assert_cmpint(touch((1 << 30) + 0x5000, ACCESS_READ), ==, E_P | E_RSVD);
    machine_end();
}

static void put32(uint64_t at, uint32_t value)
{
    memcpy(present->ram->host + at, &value, 4);
}

static uint32_t load32(uint64_t lin)
{
    uint32_t v;
    mem_read_slow(present->c, NULL, lin, &v, 4);
    return v;
}

static void leave_long_mode(uint64_t cr4, uint64_t cr3)
{
    struct cpu *c = present->c;
    c->efer = 0;
    c->cr4 = cr4;
    c->cr3 = cr3;
    c->seg[SEG_CS].l = 0;
    c->seg[SEG_CS].db = 1;
    tlb_flush_all(c);
    mode_update(c);
}

static void test_32_bit(void)
{
    machine_start();
    enum { DIR = 0x50000, TABLE = 0x51000 };
    put32(0x600010, 0xcafe);
    put32(DIR + 4 * 1, TABLE | 3);
    put32(TABLE + 4 * 5, 0x600000 | 3);
    put32(DIR + 4 * 2, 0x400000 | PS | 3);
    put32(DIR + 4 * 3, 0x400000 | PS | 3 | 1 << 13); /* PSE-36: address bit 32 */
    put32(DIR + 4 * 4, 0x400000 | PS | 3 | 1 << 21);
    leave_long_mode(CR4_PSE, DIR);
    g_assert_cmphex(load32(0x400000 + 0x5010), ==, 0xcafe);
    g_assert_cmphex(load32(0x800000 + 0x200010), ==, 0xcafe);
    g_assert_cmphex(load32(0xc00010), ==, 0xffffffff); /* no memory there */
    g_assert_cmpint(touch(0x1000000, ACCESS_READ), ==, E_P | E_RSVD);
    g_assert_cmpint(touch(0x1400000, ACCESS_WRITE), ==, E_W);
    g_assert_cmpint(touch(0x1400000, ACCESS_FETCH), ==, 0); /* no NXE, no SMEP: no I */
    gpa_t gpa;
    g_assert_true(mmu_translate_debug(present->c, 0xc00010, &gpa));
    g_assert_cmphex(gpa, ==, 0x100400010);
    /* without PSE the bit means nothing: the entry points to a table */
    put32(DIR + 4 * 2, TABLE | PS | 3);
    leave_long_mode(0, DIR);
    g_assert_cmphex(load32(0x800000 + 0x5010), ==, 0xcafe);
    machine_end();
}

static void cr3_write(void *arg)
{
    cr3_set(present->c, NULL, *(uint64_t *)arg);
}

static void test_pae(void)
{
    machine_start();
    enum { PDPTES = 0x50020 };
    uint64_t cr3 = PDPTES;
    put64(PDPTES, PD | P);
    put64(PDPTES + 8, 0);
    leave_long_mode(CR4_PAE, 0);
    g_assert_cmpint(raised(cr3_write, &cr3), ==, -1);
    g_assert_cmpint(touch(AT, ACCESS_READ), ==, -1);
    g_assert_cmpint(touch(1 << 30, ACCESS_READ), ==, 0);
    /* the pointers were loaded with CR3 */
    put64(PDPTES, 0);
    tlb_flush_all(present->c);
    g_assert_cmpint(touch(AT, ACCESS_READ), ==, -1);
    g_assert_cmpint(raised(cr3_write, &cr3), ==, -1);
    g_assert_cmpint(touch(AT, ACCESS_READ), ==, 0);
    /* a reserved bit keeps CR3 as it was */
    uint64_t other = PDPTES + 0x20;
    put64(other, PD | P | W);
    g_assert_cmpint(raised(cr3_write, &other), ==, EXC_GP);
    g_assert_cmphex(present->c->cr3, ==, cr3);
    machine_end();
}

/* ---------------------------------------------------------------- TLB */

/* The byte at AT tells which page is mapped there: 0x50 or 0x60 in units of 4 KiB. */
static uint8_t mapped_at(uint64_t lin)
{
    uint8_t v;
    mem_read_slow(present->c, NULL, lin, &v, 1);
    return v;
}

static void two_pages(void)
{
    present->ram->host[0x50000] = 0x50;
    present->ram->host[0x60000] = 0x60;
}

static void test_stale_until_flushed(void)
{
    machine_start();
    struct cpu *c = present->c;
    two_pages();
    set_mode(0, CR4_PGE, true, false, false);
    for (unsigned global = 0; global <= G; global += G) {
        put64(PTE_AT, 0x50000 | 3 | global);
        tlb_flush_all(c);
        g_assert_cmphex(mapped_at(AT), ==, 0x50);
        put64(PTE_AT, 0x60000 | 3 | global);
        g_assert_cmphex(mapped_at(AT), ==, 0x50);
        cr3_set(c, NULL, c->cr3);
        g_assert_cmphex(mapped_at(AT), ==, global ? 0x50 : 0x60);
        put64(PTE_AT, 0x50000 | 3 | global);
        tlb_flush_page(c, AT + 0x10);
        g_assert_cmphex(mapped_at(AT), ==, 0x50);
        put64(PTE_AT, 0x60000 | 3 | global);
        cr4_set(c, NULL, c->cr4 ^ CR4_PGE);
        g_assert_cmphex(mapped_at(AT), ==, 0x60);
        cr4_set(c, NULL, c->cr4 ^ CR4_PGE);
    }
    machine_end();
}

/* What is remembered of the tables above the last one goes with any INVLPG, and with CR3. */
static void test_table_moves(void)
{
    enum { NEW = 0x50000, OTHER = 0x60000 };
    machine_start();
    struct cpu *c = present->c;
    present->ram->host[OTHER] = 0x60;
    for (uint64_t page = 0; page < 1 << 21; page += 0x1000) {
        put64(NEW + (page >> 12) * 8, page | 3);
    }
    put64(NEW + ((AT + 0x1000) >> 12) * 8, OTHER | 3);
    put64(NEW + ((AT + 0x2000) >> 12) * 8, OTHER | 3);

    g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
    put64(PD, NEW | 3);
    tlb_flush_page(c, AT + 0x5000);
    g_assert_cmphex(sys_read(c, NULL, AT + 0x1000, 1), ==, 0x60);
    put64(PD, PT | 3);
    tlb_flush_nonglobal(c);
    g_assert_cmphex(sys_read(c, NULL, AT + 0x2000, 1), ==, 0);
    put64(PD, PT | P); /* W of an upper entry counts, remembered or not */
    tlb_flush_nonglobal(c);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(touch(AT + i * 0x1000, ACCESS_READ), ==, -1);
        g_assert_cmphex(touch(AT + i * 0x1000, ACCESS_WRITE), ==, E_P | E_W);
    }
    /* another region of 2 MiB is not taken for it */
    g_assert_cmpint(touch(AT + (1 << 21), ACCESS_WRITE), ==, -1);
    machine_end();
}

static void test_rights_are_walked_again(void)
{
    machine_start();
    set_mode(0, 0, true, false, false);
    put64(PTE_AT, 0x50000 | P);
    g_assert_cmpint(touch(AT, ACCESS_READ), ==, -1);
    g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, E_P | E_W);
    put64(PTE_AT, 0x50000 | P | W); /* more rights need no flush */
    g_assert_cmpint(touch(AT, ACCESS_WRITE), ==, -1);
    g_assert_true(get64(PTE_AT) & D);
    machine_end();
}

static void test_pcid(void)
{
    machine_start();
    struct cpu *c = present->c;
    two_pages();
    set_mode(0, CR4_PCIDE | CR4_PGE, true, false, false);
    put64(PTE_AT, 0x50000 | 3);
    cr3_set(c, NULL, PML4 | 1);
    g_assert_cmphex(mapped_at(AT), ==, 0x50);
    put64(PTE_AT, 0x60000 | 3);
    cr3_set(c, NULL, PML4 | 2);
    g_assert_cmphex(mapped_at(AT), ==, 0x60);
    put64(PTE_AT, 0x50000 | 3);
    cr3_set(c, NULL, PML4 | 1 | 1ull << 63); /* kept from its first time */
    g_assert_cmphex(mapped_at(AT), ==, 0x50);
    cr3_set(c, NULL, PML4 | 2 | 1ull << 63);
    g_assert_cmphex(mapped_at(AT), ==, 0x60);
    tlb_flush_page_pcid(c, AT, 1); /* of another PCID */
    g_assert_cmphex(mapped_at(AT), ==, 0x60);
    tlb_flush_pcid(c, 2);
    g_assert_cmphex(mapped_at(AT), ==, 0x50);
    put64(PTE_AT, 0x60000 | 3);
    cr3_set(c, NULL, PML4 | 2); /* without bit 63: dropped */
    g_assert_cmphex(mapped_at(AT), ==, 0x60);
    put64(PTE_AT, 0x50000 | 3);
    cr3_set(c, NULL, PML4 | 1 | 1ull << 63);
    g_assert_cmphex(mapped_at(AT), ==, 0x50);
    tlb_flush_all_nonglobal(c);
    cr3_set(c, NULL, PML4 | 2 | 1ull << 63);
    g_assert_cmphex(mapped_at(AT), ==, 0x50);
    machine_end();
}

static void test_large_page_invlpg(void)
{
    machine_start();
    struct cpu *c = present->c;
    uint64_t base = 2 << 20;
    put64(PD + 8, (4 << 20) | PS | 3);
    tlb_flush_all(c);
    present->ram->host[(4 << 20) + 0x3000] = 1;
    present->ram->host[(4 << 20) + 0x9000] = 2;
    g_assert_cmphex(mapped_at(base + 0x3000), ==, 1);
    g_assert_cmphex(mapped_at(base + 0x9000), ==, 2);
    /* split, with another page at 0x3000; any address in the large page will do */
    put64(PT + 0x1000 + 8 * 3, 0x60000 | 3);
    put64(PT + 0x1000 + 8 * 9, 0x60000 | 3);
    present->ram->host[0x60000] = 0x60;
    put64(PD + 8, (PT + 0x1000) | 3);
    tlb_flush_page(c, base + 0x100000);
    g_assert_cmphex(mapped_at(base + 0x3000), ==, 0x60);
    g_assert_cmphex(mapped_at(base + 0x9000), ==, 0x60);
    machine_end();
}

/* ---------------------------------------------------------------- accesses */

struct store {
    const struct op *o;
    uint64_t lin, value;
    unsigned size;
};

static void store_now(void *arg)
{
    struct store *s = arg;
    mem_write_slow(present->c, s->o, s->lin, &s->value, s->size);
}

static void test_crossing(void)
{
    machine_start();
    struct cpu *c = present->c;
    put64(PTE_AT, 0x50000 | 3);
    put64(PTE_AT + 8, 0x60000); /* not present */
    tlb_flush_all(c);
    struct store s = {NULL, AT + 0xffd, 0x1122334455667788, 8};
    g_assert_cmpint(raised(store_now, &s), ==, EXC_PF);
    g_assert_cmphex(c->fault.cr2, ==, AT + 0x1000);
    g_assert_cmphex(get64(0x50ff8), ==, 0); /* not a byte of it */
    put64(PTE_AT + 8, 0x60000 | 3);
    g_assert_cmpint(raised(store_now, &s), ==, -1);
    g_assert_cmphex(get64(0x50ff8), ==, 0x6677880000000000);
    g_assert_cmphex(get64(0x60000), ==, 0x1122334455);
    uint64_t v;
    mem_read_slow(c, NULL, AT + 0xffd, &v, 8);
    g_assert_cmphex(v, ==, s.value);
    g_assert_null(mem_rmw_slow(c, NULL, AT + 0xffd, 8));
    g_assert_true(mem_rmw_slow(c, NULL, AT + 0xff8, 8) == present->ram->host + 0x50ff8);
    machine_end();
}

static void test_no_memory(void)
{
    machine_start();
    put64(PTE_AT, 0x80000000 | 3); /* beyond RAM */
    tlb_flush_all(present->c);
    uint64_t v;
    mem_read_slow(present->c, NULL, AT, &v, 8);
    g_assert_cmphex(v, ==, UINT64_MAX);
    g_assert_null(mem_rmw_slow(present->c, NULL, AT, 8));
    g_assert_null(mem_fast_read(present->c, AT, 1));
    machine_end();
}

static void test_canonical(void)
{
    machine_start();
    struct op stack = {.mflags = MF_STACK}, data = {0};
    struct store s = {&data, 1ull << 47, 0, 8};
    g_assert_cmpint(raised(store_now, &s), ==, EXC_GP);
    s.o = &stack;
    g_assert_cmpint(raised(store_now, &s), ==, EXC_SS);
    g_assert_cmpuint(present->c->fault.error, ==, 0);
    s.lin = (1ull << 47) - 1; /* ends beyond */
    g_assert_cmpint(raised(store_now, &s), ==, EXC_SS);
    machine_end();
}

static void test_alignment(void)
{
    machine_start();
    struct cpu *c = present->c;
    put64(PML4, get64(PML4) | U);
    put64(PDPT, get64(PDPT) | U);
    put64(PD, get64(PD) | U);
    put64(PTE_AT, 0x50000 | 7);
    set_mode(3, 0, true, false, true);
    struct store s = {NULL, AT + 1, 0, 4};
    g_assert_cmpint(raised(store_now, &s), ==, -1);
    c->cr0 |= CR0_AM;
    mode_update(c);
    g_assert_null(mem_fast_write(c, AT, 4)); /* everything is checked */
    g_assert_cmpint(raised(store_now, &s), ==, EXC_AC);
    g_assert_cmpuint(c->fault.error, ==, 0);
    s.lin = AT + 4;
    g_assert_cmpint(raised(store_now, &s), ==, -1);
    machine_end();
}

static void test_data_breakpoints(void)
{
    machine_start();
    struct cpu *c = present->c;
    struct store s = {NULL, AT + 0x10, 0, 4};
    store_now(&s);
    g_assert_nonnull(mem_fast_write(c, AT, 4));
    c->dr[1] = AT + 0x12;
    c->dr[7] = 0x400 | 1 << 3 | 1 << 20 | 1 << 22; /* DR1: 2 bytes, on writes */
    debug_update(c);
    g_assert_null(mem_fast_write(c, AT, 4));
    store_now(&s);
    g_assert_cmphex(c->pending_db, ==, 2);
    c->pending_db = 0;
    mapped_at(AT + 0x12); /* reads do not count */
    s.lin = AT + 0x14;
    store_now(&s);
    g_assert_cmphex(c->pending_db, ==, 0);
    g_assert_null(mem_fast_write(c, AT, 4));
    c->dr[7] = 0x400;
    debug_update(c);
    store_now(&s);
    g_assert_nonnull(mem_fast_write(c, AT, 4));
    machine_end();
}

static void test_segments(void)
{
    machine_start();
    struct cpu *c = present->c;
    leave_long_mode(CR4_PAE, 0);
    struct op o = {.mflags = MF_SEGCHK | MF_ADDR32, .seg = SEG_DS};
    struct seg *ds = &c->seg[SEG_DS];
    ds->base = 0x1000;
    ds->limit = 0xfff;
    g_assert_cmphex(ea_slow(c, &o, 0xffc, 4, true), ==, 0x1ffc);
    g_assert_true(segment_holds(ds, 0xfff, 1));
    g_assert_false(segment_holds(ds, 0xffd, 4));
    ds->type = 7; /* expand-down: what lies above the limit */
    g_assert_false(segment_holds(ds, 0xfff, 1));
    g_assert_true(segment_holds(ds, 0x1000, 4));
    g_assert_false(segment_holds(ds, UINT32_MAX, 2));
    ds->db = 0;
    g_assert_false(segment_holds(ds, 0x10000, 1));
    ds->type = 3;
    ds->base = 0xfffff000;
    ds->limit = UINT32_MAX;
    g_assert_cmphex(ea_slow(c, &o, 0x2000, 1, false), ==, 0x1000); /* wraps */
    machine_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft-mmu/rights", test_rights);
    g_test_add_func("/soft-mmu/supervisor-keys", test_supervisor_keys);
    g_test_add_func("/soft-mmu/user-keys", test_user_keys);
    g_test_add_func("/soft-mmu/upper-levels", test_upper_levels);
    g_test_add_func("/soft-mmu/reserved", test_reserved);
    g_test_add_func("/soft-mmu/32-bit", test_32_bit);
    g_test_add_func("/soft-mmu/pae", test_pae);
    g_test_add_func("/soft-mmu/stale-until-flushed", test_stale_until_flushed);
    g_test_add_func("/soft-mmu/table-moves", test_table_moves);
    g_test_add_func("/soft-mmu/rights-are-walked-again", test_rights_are_walked_again);
    g_test_add_func("/soft-mmu/pcid", test_pcid);
    g_test_add_func("/soft-mmu/large-page-invlpg", test_large_page_invlpg);
    g_test_add_func("/soft-mmu/crossing", test_crossing);
    g_test_add_func("/soft-mmu/no-memory", test_no_memory);
    g_test_add_func("/soft-mmu/canonical", test_canonical);
    g_test_add_func("/soft-mmu/alignment", test_alignment);
    g_test_add_func("/soft-mmu/data-breakpoints", test_data_breakpoints);
    g_test_add_func("/soft-mmu/segments", test_segments);
    return g_test_run();
}
