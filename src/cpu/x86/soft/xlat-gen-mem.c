/*
 * Host code of memory operands: their addresses, and the lookup in the TLB's first level, one for
 * each or one for a group (xlat-group.c).
 */
#include "cpu/x86/soft/xlat-gen-priv.h"

_Static_assert(sizeof(struct tlbe) == 32, "lookups scale by 32");

/* The address of the memory operand, with another displacement, in `to`; 32 bits of it unless w. */
static void address_at(struct gen *k, int32_t disp, unsigned to, bool w, bool segment)
{
    struct emitter *e = &k->e;
    const struct op *o = &k->x->op;
    unsigned base = o->base, index = o->index;
    if (base == R_BLOCK) {
        uint64_t a = k->g->page_rip + (int64_t)disp + (index == R_4K ? 4096 : 0);
        e_mov_imm(e, to, w ? a : (uint32_t)a);
    } else if (base == R_ZERO && index == R_ZERO) {
        e_mov_imm(e, to, w ? (uint64_t)(int64_t)disp : (uint32_t)disp);
    } else {
        unsigned host_base = 0, host_index = 4;
        if (base != R_ZERO) {
            host_base = xlat_host_reg[base];
            if (host_base == XLAT_IN_ENV) {
                host_base = T0;
                e_load_gs(e, T0, ENV_REG(base));
            }
        }
        if (index != R_ZERO) {
            host_index = xlat_host_reg[index];
            if (host_index == XLAT_IN_ENV) {
                host_index = T1;
                e_load_gs(e, T1, ENV_REG(index));
            }
        }
        unsigned direct = w ? to : T0;
        if (base == R_ZERO) {
            e_lea_index(e, direct, host_index, o->scale, disp);
        } else {
            e_lea(e, direct, host_base, host_index, o->scale, disp);
        }
        if (!w) {
            e_rr(e, 0, 0x89, T0, to);
        }
    }
    if (segment && (o->mflags & MF_SEG64)) {
        e_load_gs(e, T1, (int32_t)(ENV(seg) + o->seg * sizeof(struct seg)));
        e_lea(e, to, to, T1, 0, 0);
    }
}

void address(struct gen *k, unsigned to, bool w, bool segment)
{
    address_at(k, k->x->op.disp, to, w, segment);
}

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

void probe(struct gen *k, unsigned size, bool write, bool align)
{
    struct emitter *e = &k->e;
    int32_t check = write ? offsetof(struct tlbe, wcheck) : offsetof(struct tlbe, rcheck);
    int32_t addend = offsetof(struct tlbe, addend);
    bool user = (k->g->key & KEY_CPL) == 3, fixed = !(k->g->key & KEY_SMAP);
    unsigned mode = user ? TLB_USER : TLB_KERNEL;
    int32_t table = ENV(tlb_mode) + (int32_t)(mode * sizeof(k->c->tlb_mode[0]));
    e_rr(e, 0, 0x89, T0, T1);
    e8(e, 0xc1); /* shr ecx, 7 */
    e8(e, 0xe8 | T1);
    e8(e, GUEST_PAGE_BITS - 5);
    e_alu_imm(e, 0, 4, T1, (TLB_SIZE - 1) << 5);
    if (fixed) {
        e_gs_base(e, 1, 0x03, T0, T1, table + addend);
        e_gs_base(e, 1, 0x8b, T1, T1, table + check);
    } else {
        e_gs(e, 1, 0x03, T1, ENV(tlb));
        e_rm(e, 1, 0x03, T0, T1, addend);
        e_rm(e, 1, 0x8b, T1, T1, check);
    }
    e_rr(e, 1, 0x01, T0, T1);
    if (align) {
        e_rex(e, 1, 0, 0, T1); /* test T1, not FF0: page and alignment in one */
        e8(e, 0xf7);
        e8(e, 0xc0 | (T1 & 7));
        e32(e, ~0xff0u);
        lookup_failed(k, e_jcc(e, CC_NE));
    }
    if (!align || size > 16) {
        e_alu_imm(e, 1, 7, T1, GUEST_PAGE_SIZE - size);
        lookup_failed(k, e_jcc(e, CC_A));
    }
    if (write && k->c->lockstep) {
        note_writes(k, size);
    }
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
    struct cold *cold = cold_add(k, COLD_GROUP, NULL);
    cold->first = x - k->g->insn;
    cold->parked = k->parked;
    k->group = cold;
    if (x->class == XC_MODRM) {
        address_at(k, x->group_low, T0, true, true);
    } else {
        e_lea(&k->e, T0, GUEST_RSP, 4, 0, x->group_low);
    }
    probe(k, x->group_span, x->group_write, x->group_align);
}

int32_t operand_lookup(struct gen *k)
{
    const struct xinsn *x = k->x;
    if (follows(k)) {
        return x->group_at;
    }
    if (x->group_last && !k->solo) {
        group_lookup(k);
        return x->group_at;
    }
    address(k, T0, true, true);
    probe(k, x->mem_size, x->mem_write, x->mem_align);
    return 0;
}

int32_t stack_lookup(struct gen *k, int32_t disp, bool write)
{
    const struct xinsn *x = k->x;
    if (follows(k)) {
        return x->group_at;
    }
    if (x->group_last && !k->solo) {
        group_lookup(k);
        return x->group_at;
    }
    e_lea(&k->e, T0, GUEST_RSP, 4, 0, disp);
    probe(k, 8, write, false);
    return 0;
}
