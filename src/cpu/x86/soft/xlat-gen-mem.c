/*
 * Host code of memory operands: their addresses, and the lookup in the TLB's first level, one for
 * each or one for a group (xlat-group.c).
 */
#include "cpu/x86/soft/xlat-gen-priv.h"

_Static_assert(sizeof(struct tlbe) == 32, "lookups scale by 32");

/* ---------------------------------------------------------------- addresses */

/* Whether no register has a part in it, but maybe a segment. */
static bool offset_is_constant(const struct address *a)
{
    return a->base == R_BLOCK || (a->base == R_ZERO && a->index == R_ZERO);
}

static uint64_t offset_constant(const struct gen *k, const struct address *a)
{
    uint64_t page = a->base == R_BLOCK ? k->g->page_rip : 0;
    uint64_t v = page + (int64_t)a->disp + (a->index == R_4K ? GUEST_PAGE_SIZE : 0);
    return is_wide(k) ? v : (uint32_t)v;
}

static bool address_is_constant(const struct address *a)
{
    return a->seg == SEG_COUNT && offset_is_constant(a);
}

/* A guest register that an address needs; one that lives in memory comes to `temp`. */
static unsigned address_register(struct gen *k, unsigned n, unsigned temp)
{
    if (xlat_host_reg[n] != XLAT_IN_ENV) {
        return xlat_host_reg[n];
    }
    e_load_env(&k->e, temp, ENV_REG(n));
    return temp;
}

/* The address in `to`; 32 bits of it unless w. T1 is lost. */
static void address_load(struct gen *k, const struct address *a, unsigned to, bool w)
{
    struct emitter *e = &k->e;
    if (offset_is_constant(a)) {
        uint64_t v = offset_constant(k, a);
        e_mov_imm(e, to, w ? v : (uint32_t)v);
    } else if (a->base == R_ZERO) {
        e_lea_index(e, w, to, address_register(k, a->index, T1), a->scale, a->disp);
    } else {
        unsigned base = address_register(k, a->base, T0), index = 4;
        if (a->index != R_ZERO) {
            index = address_register(k, a->index, T1);
        }
        e_lea_sized(e, w, to, base, index, a->scale, a->disp);
    }
    if (a->seg != SEG_COUNT) {
        e_load_env(e, T1, (int32_t)(ENV(seg) + a->seg * sizeof(struct seg)));
        e_lea_sized(e, w, to, to, T1, 0, 0);
    }
}

static struct address operand_address(const struct gen *k, int32_t disp)
{
    const struct op *o = &k->x->op;
    return (struct address){
        .base = o->base,
        .index = o->index,
        .scale = o->scale,
        .seg = operand_segment(k->x),
        .disp = disp,
    };
}

static struct address register_address(unsigned reg, int32_t disp)
{
    return (struct address){.base = reg, .index = R_ZERO, .seg = SEG_COUNT, .disp = disp};
}

void address_of_lea(struct gen *k, unsigned to, bool w)
{
    struct address a = operand_address(k, k->x->op.disp);
    a.seg = SEG_COUNT;
    address_load(k, &a, to, w);
}

/* ---------------------------------------------------------------- the lookup */

/* The lookup's jump at `place` is for when it fails. */
static void lookup_failed(struct gen *k, uint8_t *place)
{
    if (!k->group) {
        to_handler(k, place);
    } else if (!k->group->place) {
        k->group->place = place;
    } else {
        k->group->place2 = place;
    }
}

/* Lockstep: `size` bytes at T0 may be written to. Flags and T1 are lost. */
static void note_writes(struct gen *k, unsigned size)
{
    e_call(&k->e, k->xl->stub_note);
    for (unsigned at = NOTE_BYTES; at < size; at += NOTE_BYTES) {
        e_lea(&k->e, T0, T0, 4, 0, NOTE_BYTES);
        e_call(&k->e, k->xl->stub_note);
    }
    if (size > NOTE_BYTES) {
        e_lea(&k->e, T0, T0, 4, 0, -(int32_t)((size - 1) / NOTE_BYTES * NOTE_BYTES));
    }
}

static unsigned code_is_user(const struct gen *k)
{
    return (k->g->key & KEY_CPL) == 3;
}

/* With SMAP there are two tables, and EFLAGS.AC says which one counts. */
static bool table_is_fixed(const struct gen *k)
{
    return !(k->g->key & KEY_SMAP);
}

#define DISP_NEAR 0x10000

/* Whether a sum that goes past 4 GiB need not be truncated: the TLB has nothing there, and the
 * interpreter does it right. Long mode has; and it is to happen seldom. */
static bool may_exceed_4g(const struct gen *k, const struct address *a)
{
    return is_wide(k) ||
           (!(k->g->key & KEY_LMA) && a->base < 16 && a->disp < DISP_NEAR && a->disp > -DISP_NEAR);
}

/* Whether a single register and a displacement make the address, which then stay apart from the
 * addend: the host's instruction adds them. Others are computed in T0. */
static bool is_one_register(const struct gen *k, const struct address *a, unsigned *host,
                            unsigned *scale)
{
    bool by_base = a->base < 16 && a->index == R_ZERO, by_index = a->base == R_ZERO;
    unsigned n = by_base ? a->base : a->index;
    bool one = (by_base || by_index) && n < 16 && a->seg == SEG_COUNT && may_exceed_4g(k, a);
    if (!one || xlat_host_reg[n] == XLAT_IN_ENV) {
        return false;
    }
    *host = xlat_host_reg[n];
    *scale = by_base ? 0 : a->scale;
    return true;
}

/* A constant that an instruction can have as its displacement. */
static bool is_displacement(const struct gen *k, const struct address *a)
{
    int64_t v = address_is_constant(a) ? (int64_t)offset_constant(k, a) : INT64_MAX;
    return v == (int32_t)v;
}

/* The address in T0, unless it stays in its register or is a constant. */
static void address_begin(struct gen *k, const struct address *a)
{
    unsigned host, scale;
    if (!is_one_register(k, a, &host, &scale) && !is_displacement(k, a)) {
        address_load(k, a, T0, is_wide(k));
    }
}

/* T1 becomes the offset in the table of the entry for the address. */
static void entry_by_address(struct gen *k, const struct address *a)
{
    struct emitter *e = &k->e;
    unsigned host, scale;
    if (!is_one_register(k, a, &host, &scale)) {
        e_rr(e, 0, 0x89, T0, T1);
    } else if (scale > 0) {
        e_lea_index(e, 0, T1, host, scale, a->disp);
    } else {
        e_lea_sized(e, 0, T1, host, NO_INDEX, 0, a->disp);
    }
    e8(e, 0xc1); /* shr ecx, 7 */
    e8(e, 0xe8 | T1);
    e8(e, GUEST_PAGE_BITS - 5);
    e_alu_imm(e, 0, 4, T1, (TLB_SIZE - 1) << 5);
}

/* Where an entry is. */
struct entry {
    enum {
        ENTRY_IN_T1, /* its offset in the table is in T1 */
        ENTRY_KNOWN, /* ... is `at`; T1 is the table, where that is not fixed */
        ENTRY_COPY,  /* it is a copy at env:[at] */
    } kind;
    int32_t at;
};

/* op reg, field of the entry */
static void entry_field(struct gen *k, uint8_t op, unsigned reg, struct entry entry, size_t field)
{
    struct emitter *e = &k->e;
    int32_t at = entry.at + (int32_t)field;
    if (entry.kind == ENTRY_COPY) {
        e_env(e, 1, op, reg, at);
        return;
    }
    if (!table_is_fixed(k)) {
        e_rm(e, 1, op, reg, T1, at);
        return;
    }
    unsigned mode = code_is_user(k) ? TLB_USER : TLB_KERNEL;
    at += ENV(tlb_mode) + (int32_t)(mode * sizeof(k->c->tlb_mode[0]));
    if (entry.kind == ENTRY_KNOWN) {
        e_env(e, 1, op, reg, at);
    } else {
        e_env_base(e, 1, op, reg, T1, at);
    }
}

/* Uses an entry. The offset in the page comes to what is returned, T0 or T1; *at is where the
 * operand is if that passes entry_check(). */
static unsigned entry_use(struct gen *k, const struct address *a, struct entry entry, bool write,
                          struct host_operand *at)
{
    struct emitter *e = &k->e;
    size_t check = write ? offsetof(struct tlbe, wcheck) : offsetof(struct tlbe, rcheck);
    unsigned host = NO_INDEX, scale = 0;
    if (!table_is_fixed(k) && entry.kind != ENTRY_COPY) {
        e_env(e, 1, entry.kind == ENTRY_KNOWN ? 0x8b : 0x03, T1, ENV(tlb));
    }
    if (is_one_register(k, a, &host, &scale) || is_displacement(k, a)) {
        int32_t disp = host != NO_INDEX ? a->disp : (int32_t)offset_constant(k, a);
        entry_field(k, 0x8b, T0, entry, offsetof(struct tlbe, addend));
        entry_field(k, 0x8b, T1, entry, check);
        if (host != NO_INDEX && scale == 0 && disp == 0) {
            e_rr(e, 1, 0x01, host, T1);
        } else {
            e_lea(e, T1, T1, host, scale, disp);
        }
        *at = (struct host_operand){host, scale, disp};
        return T1;
    }
    entry_field(k, 0x03, T0, entry, check);
    entry_field(k, 0x8b, T1, entry, offsetof(struct tlbe, host));
    *at = (struct host_operand){.index = T1};
    return T0;
}

/* Jumps for `offset`, a register, not being where `size` bytes may lie in a page; NULL where there
 * is none. */
static void entry_check(struct gen *k, unsigned offset, unsigned size, bool align, uint8_t *bad[2])
{
    struct emitter *e = &k->e;
    bad[0] = bad[1] = NULL;
    if (align) {
        e_rex(e, 1, 0, 0, offset); /* test offset, not FF0: page and alignment in one */
        e8(e, 0xf7);
        e8(e, 0xc0 | (offset & 7));
        e32(e, ~0xff0u);
        bad[0] = e_jcc(e, CC_NE);
    }
    if (!align || size > 16) {
        e_alu_imm(e, 1, 7, offset, GUEST_PAGE_SIZE - size);
        bad[align] = e_jcc(e, CC_A);
    }
}

void e_operand(struct emitter *e, int w, uint8_t op, unsigned reg, const struct host_operand *at)
{
    e_rex(e, w, reg, at->index == NO_INDEX ? 0 : at->index, T0);
    e8(e, op);
    e_modrm_sib(e, reg, T0, at->index, at->scale, at->disp);
}

void operand_flatten(struct gen *k, struct host_operand *at)
{
    if (at->index != NO_INDEX || at->disp != 0) {
        e_lea(&k->e, T0, T0, at->index, at->scale, at->disp);
        *at = (struct host_operand){.index = NO_INDEX};
    }
}

static bool is_stack(const struct address *a)
{
    return a->base == RSP && a->index == R_ZERO && a->seg == SEG_COUNT;
}

/* Where the code remembers which entry it used last: one place for the stack, and one for each
 * other lookup, as far as they go. */
static int32_t last_entry_place(struct gen *k, const struct address *a)
{
    unsigned n = is_stack(a) ? 0 : 1 + k->xl->n_lookups++ % (LAST_ENTRIES - 1);
    return ENV(last_entry) + (int32_t)((code_is_user(k) * LAST_ENTRIES + n) * sizeof(uint32_t));
}

/* Tries the entry that was used last. Unlike that of the address it is known before the address
 * is, which takes the lookup off the path from one memory access to the next that depends on it.
 * Entries say themselves whose they are (struct tlbe), so what one lets pass is right, whichever
 * was tried. */
static struct host_operand lookup_by_last(struct gen *k, const struct address *a, unsigned size,
                                          bool write, bool align)
{
    struct host_operand at;
    uint8_t *bad[2];
    int32_t place = last_entry_place(k, a);
    e_env(&k->e, 0, 0x8b, T1, place);
    entry_check(k, entry_use(k, a, (struct entry){ENTRY_IN_T1}, write, &at), size, align, bad);
    struct cold *cold = cold_add(k, COLD_LOOKUP, bad[0] ? bad[0] : bad[1]);
    cold->place2 = bad[0] ? bad[1] : NULL;
    cold->lookup = (struct lookup){*a, place, size, write, align};
    cold->back = k->e.p;
    cold->failed = k->group ? k->group : to_handler(k, NULL);
    return at;
}

/* Whether a copy of the entry pays. Code that may look into either of two tables can't have one. */
static bool wants_copy(const struct gen *k, const struct address *a)
{
    return table_is_fixed(k) && (is_stack(a) || k->x->near) && !k->solo;
}

/* Tries the copy of an entry: neither does it wait for the address. What makes it is at `begin`,
 * where control comes to again when the copy has been made. */
static struct host_operand lookup_by_copy(struct gen *k, const struct address *a, unsigned size,
                                          bool write, bool align, const uint8_t *begin)
{
    struct host_operand at;
    uint8_t *bad[2];
    unsigned n = is_stack(a) ? 0 : 1 + k->xl->n_copies++ % (TLB_COPIES - 1);
    int32_t place =
        ENV(copies) + (int32_t)((code_is_user(k) * TLB_COPIES + n) * sizeof(struct tlbe));
    entry_check(k, entry_use(k, a, (struct entry){ENTRY_COPY, place}, write, &at), size, align,
                bad);
    struct cold *cold = cold_add(k, COLD_COPY, bad[0] ? bad[0] : bad[1]);
    cold->place2 = bad[0] ? bad[1] : NULL;
    cold->lookup = (struct lookup){*a, place, size, write, align};
    cold->begin = begin;
    cold->back = k->e.p;
    cold->failed = k->group ? k->group : to_handler(k, NULL);
    return at;
}

static struct host_operand lookup_by_address(struct gen *k, const struct address *a, unsigned size,
                                             bool write, bool align)
{
    struct host_operand at;
    uint8_t *bad[2];
    struct entry entry = {ENTRY_IN_T1};
    if (address_is_constant(a)) {
        uint64_t page = offset_constant(k, a) >> GUEST_PAGE_BITS;
        entry =
            (struct entry){ENTRY_KNOWN, (int32_t)((page & (TLB_SIZE - 1)) * sizeof(struct tlbe))};
    } else {
        entry_by_address(k, a);
    }
    entry_check(k, entry_use(k, a, entry, write, &at), size, align, bad);
    for (unsigned i = 0; i < 2; i++) {
        if (bad[i]) {
            lookup_failed(k, bad[i]);
        }
    }
    return at;
}

/* In 32-bit code FS and GS may forbid some addresses, or all. */
static void segment_check(struct gen *k, const struct address *a)
{
    if (a->seg != SEG_COUNT && !is_wide(k)) {
        e_test_env_byte(&k->e, ENV(seg_open) + a->seg - SEG_FS);
        to_handler(k, e_jcc(&k->e, CC_E));
    }
}

/* Finds where the host has what `a` is, or control goes to where the lookup has failed. Where a
 * loop follows a list, one address waits for the other; and the stack mostly stays in its page.
 * Everywhere else addresses are known early, but change their pages too often for a guess. */
static struct host_operand lookup(struct gen *k, const struct address *a, unsigned size, bool write,
                                  bool align)
{
    struct host_operand at;
    bool chain = a->base < 16 && k->g->chains >> a->base & 1;
    segment_check(k, a);
    const uint8_t *begin = k->e.p;
    address_begin(k, a);
    if (wants_copy(k, a)) {
        at = lookup_by_copy(k, a, size, write, align, begin);
    } else if ((chain || is_stack(a)) && !k->solo) {
        at = lookup_by_last(k, a, size, write, align);
    } else {
        at = lookup_by_address(k, a, size, write, align);
    }
    if (write && k->c->lockstep) {
        operand_flatten(k, &at);
        note_writes(k, size);
    }
    return at;
}

/* Behind the main line: where a lookup goes on that found nothing. */
static void lookup_given_up(struct gen *k, const struct cold *cold)
{
    if (cold->failed->code) {
        e_jmp_to(&k->e, cold->failed->code);
    } else {
        cold->failed->place = e_jmp(&k->e);
    }
}

void gen_lookup(struct gen *k, const struct cold *cold)
{
    const struct lookup *l = &cold->lookup;
    struct emitter *e = &k->e;
    struct host_operand at; /* as on the main line */
    uint8_t *bad[2];
    address_begin(k, &l->address);
    entry_by_address(k, &l->address);
    e_env(e, 0, 0x89, T1, l->place);
    entry_check(k, entry_use(k, &l->address, (struct entry){ENTRY_IN_T1}, l->write, &at), l->size,
                l->align, bad);
    e_jmp_to(e, cold->back);
    for (unsigned i = 0; i < 2; i++) {
        if (bad[i]) {
            e_target(bad[i], e->p);
        }
    }
    /* It may never have been used: only entries that have been are proof against any address. */
    e_set_env_dword(e, l->place, 0);
    lookup_given_up(k, cold);
}

/* env:[copy] becomes the entry whose offset in the table is in T1. T0 is lost. */
static void entry_copy(struct gen *k, int32_t copy)
{
    struct emitter *e = &k->e;
    unsigned n = (unsigned)(copy - ENV(copies)) / sizeof(struct tlbe);
    for (size_t field = 0; field < sizeof(struct tlbe); field += 8) {
        entry_field(k, 0x8b, T0, (struct entry){ENTRY_IN_T1}, field);
        e_store_env(e, T0, copy + (int32_t)field);
    }
    e_env(e, 0, 0x81, 1, ENV(copies_used) + (int32_t)(n / 32 * sizeof(uint32_t)));
    e32(e, 1u << (n % 32)); /* or dword, bit */
}

/* The lookup in the table, as on the main line. */
static void gen_plain(struct gen *k, const struct lookup *l, uint8_t *bad[2])
{
    struct host_operand at;
    address_begin(k, &l->address);
    entry_by_address(k, &l->address);
    entry_check(k, entry_use(k, &l->address, (struct entry){ENTRY_IN_T1}, l->write, &at), l->size,
                l->align, bad);
}

/* Takes note of a miss; after so many it is judged. T0 is lost. */
static struct copy_site *gen_count_miss(struct gen *k, const struct cold *cold)
{
    struct emitter *e = &k->e;
    struct copy_site *site = table_take(k, sizeof(*site));
    *site = (struct copy_site){
        .begin = (uint8_t *)cold->begin, .since = g_get_monotonic_time(), .left = COPY_MISSES};
    e_mov_imm(e, T0, (uintptr_t)site);
    e_rm(e, 0, 0x83, 5, T0, offsetof(struct copy_site, left)); /* sub dword [T0 + left], 1 */
    e8(e, 1);
    e_target(e_jcc(e, CC_E), k->xl->stub_copy[k->g->vec]);
    return site;
}

void gen_copy(struct gen *k, const struct cold *cold)
{
    const struct lookup *l = &cold->lookup;
    struct emitter *e = &k->e;
    uint8_t *bad[2], *plain_bad[2] = {NULL, NULL};
    gen_plain(k, l, bad);
    address_begin(k, &l->address);
    entry_by_address(k, &l->address);
    entry_copy(k, l->place);
    if (!is_stack(&l->address)) {
        struct copy_site *site = gen_count_miss(k, cold);
        e_jmp_to(e, cold->begin);
        site->plain = e->p;
        gen_plain(k, l, plain_bad);
        e_jmp_to(e, cold->back);
    } else {
        e_jmp_to(e, cold->begin);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (bad[i]) {
            e_target(bad[i], e->p);
        }
        if (plain_bad[i]) {
            e_target(plain_bad[i], e->p);
        }
    }
    lookup_given_up(k, cold);
}

/* Whether the operand's host address comes from T0 as the group's first instruction left it. */
static bool follows(const struct gen *k)
{
    return k->x->group_follower && !k->solo;
}

void flags_begin(struct gen *k)
{
    if (k->x->live_in && !follows(k)) {
        flags_park(&k->e, T0);
        k->parked = true;
    }
}

void flags_end(struct gen *k)
{
    if (k->parked) {
        flags_unpark(&k->e, T1);
        k->parked = false;
    }
}

/* Looks up the whole group of which this is the first instruction. */
static void group_lookup(struct gen *k)
{
    const struct xinsn *x = k->x;
    struct address a = x->class == XC_MODRM ? operand_address(k, x->group_low)
                                            : register_address(RSP, x->group_low);
    struct cold *cold = cold_add(k, COLD_GROUP, NULL);
    cold->first = x - k->g->insn;
    cold->parked = k->parked;
    k->group = cold;
    struct host_operand at = lookup(k, &a, x->group_span, x->group_write, x->group_align);
    operand_flatten(k, &at);
}

/* Whether a group's lookup is this operand's, too; the first one does it. */
static bool grouped(struct gen *k, struct host_operand *at)
{
    *at = (struct host_operand){.index = NO_INDEX, .disp = k->x->group_at};
    if (k->x->group_last && !k->solo) {
        group_lookup(k);
        return true;
    }
    return follows(k);
}

struct host_operand operand_lookup(struct gen *k)
{
    const struct xinsn *x = k->x;
    struct host_operand at;
    if (grouped(k, &at)) {
        return at;
    }
    struct address a = operand_address(k, x->op.disp);
    return lookup(k, &a, x->mem_size, x->mem_write, x->mem_align);
}

struct host_operand stack_lookup(struct gen *k, int32_t disp, bool write)
{
    struct host_operand at;
    return grouped(k, &at) ? at : register_lookup(k, RSP, disp, k->x->size, write);
}

struct host_operand register_lookup(struct gen *k, unsigned reg, int32_t disp, unsigned size,
                                    bool write)
{
    struct address a = register_address(reg, disp);
    struct host_operand at = lookup(k, &a, size, write, false);
    if (at.index == T1) {
        operand_flatten(k, &at);
    }
    return at;
}
