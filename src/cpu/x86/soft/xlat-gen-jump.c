/*
 * Host code of branches: within the region, to other units of the page by jumps that are patched,
 * and to anywhere through the jump cache.
 */
#include "cpu/x86/soft/xlat-gen-priv.h"

_Static_assert(sizeof(struct jump_entry) == 32, "lookups scale by 32");
_Static_assert(offsetof(struct cpu, tlb_gen) == offsetof(struct cpu, key) + 4, "one load");

/* ---------------------------------------------------------------- ways out of the unit */

static void exit_jump(struct gen *k, uint8_t *place, uint64_t rip, bool parked)
{
    struct cold *cold = cold_add(k, parked ? COLD_PARKED : COLD_EXIT, place);
    cold->rip = rip;
}

void jump_to(struct gen *k, uint8_t *place, int target, uint64_t rip)
{
    if (target < 0) {
        exit_jump(k, place, rip, false);
    } else if (k->g->insn[target].label) {
        e_target(place, k->g->insn[target].label);
    } else {
        k->fixup[k->n_fixups++] = (struct fixup){place, target};
    }
}

static bool same_page(const struct gen *k, uint64_t rip)
{
    return rip >> GUEST_PAGE_BITS == k->g->page_rip >> GUEST_PAGE_BITS;
}

#define JUMP_ENTRY(field) (ENV(jump_cache) + (int32_t)offsetof(struct jump_entry, field))

/* Goes to rip in another page through the jump cache. Flags are parked. */
static void jump_far_page(struct gen *k, uint64_t rip)
{
    struct emitter *e = &k->e;
    int32_t at = (int32_t)(jump_index(rip) * sizeof(struct jump_entry));
    e_mov_imm(e, T0, rip);
    e_store_env(e, T0, ENV(rip));
    e_env(e, 1, 0x39, T0, JUMP_ENTRY(rip) + at);
    e_target(e_jcc(e, CC_NE), k->xl->stub_miss);
    e_load_env(e, T0, ENV(key));
    e_env(e, 1, 0x39, T0, JUMP_ENTRY(key) + at);
    e_target(e_jcc(e, CC_NE), k->xl->stub_miss);
    e_env(e, 0, 0xff, 4, JUMP_ENTRY(code) + at);
}

void gen_exit(struct gen *k, const struct cold *cold)
{
    struct emitter *e = &k->e;
    bool parked = cold->kind == COLD_PARKED;
    if (!same_page(k, cold->rip)) {
        if (!parked) {
            flags_park(e, T0);
        }
        jump_far_page(k, cold->rip);
        return;
    }
    struct unit_exit *exit = table_take(k, sizeof(*exit));
    *exit = (struct unit_exit){
        .rip = cold->rip,
        .jump = cold->place,
        .stub = e->p,
        .parked = parked,
        .from = k->u,
        .next_of = k->u->exits,
    };
    k->u->exits = exit;
    e_mov_imm(e, T0, (uintptr_t)exit);
    e_jmp_to(e, parked ? k->xl->stub_exit_parked : k->xl->stub_exit);
}

/* ---------------------------------------------------------------- indirect branches */

/* T0: a target. T1 becomes the offset of its entry in the jump cache, or the handler is called. */
static void jump_lookup(struct gen *k)
{
    struct emitter *e = &k->e;
    e_store_env(e, T0, ENV(rip));
    e_mov(e, T1, T0);
    e_rex(e, 1, 0, 0, T1);
    e8(e, 0xc1); /* shr rcx, 12 */
    e8(e, 0xe8 | T1);
    e8(e, GUEST_PAGE_BITS);
    e_rr(e, 0, 0x31, T0, T1);
    e_alu_imm(e, 0, 4, T1, JUMP_CACHE_SIZE - 1);
    e8(e, 0xc1); /* shl ecx, 5 */
    e8(e, 0xe0 | T1);
    e8(e, 5);
    e_env_base(e, 1, 0x39, T0, T1, JUMP_ENTRY(rip));
    to_handler(k, e_jcc(e, CC_NE));
    e_load_env(e, T0, ENV(key));
    e_env_base(e, 1, 0x39, T0, T1, JUMP_ENTRY(key));
    to_handler(k, e_jcc(e, CC_NE));
}

static void jump_entry(struct gen *k)
{
    e_env_base(&k->e, 0, 0xff, 4, T1, JUMP_ENTRY(code));
}

static void park_for_exit(struct gen *k)
{
    flags_park(&k->e, T0);
    k->parked = true;
}

void gen_ret(struct gen *k)
{
    struct emitter *e = &k->e;
    park_for_exit(k);
    struct host_operand at = register_lookup(k, RSP, 0, k->x->size, false);
    fault_point(k);
    e_operand(e, is_wide(k), 0x8b, T0, &at);
    jump_lookup(k);
    rsp_add(k, k->x->size + (uint16_t)k->x->op.imm);
    jump_entry(k);
}

/* The target of an indirect jump or call in T0. */
static void indirect_target(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    park_for_exit(k);
    if (x->mem) {
        struct host_operand at = operand_lookup(k);
        fault_point(k);
        e_operand(e, is_wide(k), 0x8b, T0, &at);
    } else if (xlat_host_reg[x->rm] == XLAT_IN_ENV) {
        e_load_env(e, T0, ENV_REG(x->rm)); /* 64-bit code */
    } else {
        e_rr(e, is_wide(k), 0x89, xlat_host_reg[x->rm], T0);
    }
}

void gen_jmp_ind(struct gen *k)
{
    indirect_target(k);
    jump_lookup(k);
    jump_entry(k);
}

static void push_return(struct gen *k)
{
    struct emitter *e = &k->e;
    int32_t size = k->x->size;
    struct host_operand at = register_lookup(k, RSP, -size, size, true);
    e_mov_imm(e, T1, rip_behind(k, k->x));
    fault_point(k);
    e_operand(e, is_wide(k), 0x89, T1, &at);
    rsp_add(k, -size);
}

void gen_call_ind(struct gen *k)
{
    indirect_target(k);
    jump_lookup(k);
    e_store_env(&k->e, T1, ENV(xl_scratch));
    push_return(k);
    e_load_env(&k->e, T1, ENV(xl_scratch));
    jump_entry(k);
}

/* ---------------------------------------------------------------- direct branches */

void gen_call(struct gen *k)
{
    uint64_t rip = region_rip(k->g, k->x->op.imm);
    park_for_exit(k);
    push_return(k);
    if (same_page(k, rip)) {
        exit_jump(k, e_jmp(&k->e), rip, true);
    } else {
        jump_far_page(k, rip);
    }
}

/* jrcxz over a jump; the code behind that is for RCX being 0. */
static uint8_t *unless_rcx_zero(struct gen *k)
{
    e_rr(&k->e, is_wide(k), 0x89, GUEST_RCX, T1);
    e8(&k->e, 0xe3);
    e8(&k->e, 5);
    return e_jmp(&k->e);
}

void gen_branch(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    uint64_t rip = region_rip(k->g, x->op.imm);
    switch (x->class) {
    case XC_JCC:
        jump_to(k, e_jcc(e, x->opcode & 15), x->target, rip);
        break;
    case XC_JMP:
        if (x->target != (int)(x - k->g->insn) + 1) {
            jump_to(k, e_jmp(e), x->target, rip);
        }
        break;
    case XC_LOOP:
        e_lea_sized(e, is_wide(k), GUEST_RCX, GUEST_RCX, NO_INDEX, 0, -1);
        jump_to(k, unless_rcx_zero(k), x->target, rip);
        break;
    default: { /* XC_JCXZ */
        uint8_t *skip = unless_rcx_zero(k);
        jump_to(k, e_jmp(e), x->target, rip);
        e_target(skip, e->p);
        break;
    }
    }
}
