/*
 * Host code of a region.
 *
 * A memory operand becomes: its address in T0; the first-level TLB entry looked up with T1; T0 is
 * then the host address and the instruction is copied with [T0] as its operand, or with [T0 + n]
 * where one lookup serves a group of neighbouring operands (xlat-group.c). Instructions commit
 * with their last host instruction, so that whatever fails before it, a TLB miss above all, has the
 * interpreter execute the whole instruction instead. That code, exits and polls that found
 * something stand behind the unit's main line.
 *
 * Where flags are live across a lookup they are parked: AH has SF ZF AF PF CF, AL has OF.
 */
#include "cpu/x86/soft/xlat-gen-priv.h"
#include "cpu/x86/soft/xlat-lockstep.h"

/* ---------------------------------------------------------------- ways out of the main line */

struct cold *cold_add(struct gen *k, enum cold_kind kind, uint8_t *place)
{
    struct cold *cold = &k->cold[k->n_cold++];
    *cold = (struct cold){.kind = kind, .place = place};
    return cold;
}

void *table_take(struct gen *k, size_t bytes)
{
    void *place = k->table;
    k->table += bytes;
    return place;
}

/* The instruction's ops in the table. */
static const struct op *op_of(struct gen *k)
{
    if (!k->op) {
        k->op = table_take(k, 2 * sizeof(*k->op));
        k->op[0] = k->x->op;
        k->op[1] = (struct op){
            .fn = op_xlat_end,
            .bits =
                (k->x->live_in ? 1 : 0) | (k->x->live_out ? 2 : 0) | (k->x->keeps_flags ? 4 : 0),
            .imm = (intptr_t)k->u,
            .dst = k->x->live_in,
            .src = k->x->live_out,
            .base = lockstep_is_alone(k->x),
            .index = k->x->map == M1 && ((k->x->opcode & 0xf8) == 0xd8 || k->x->opcode == 0x9b),
        };
    }
    return k->op;
}

struct cold *to_handler(struct gen *k, uint8_t *place)
{
    struct cold *cold = cold_add(k, COLD_OP, place);
    cold->op = op_of(k);
    cold->parked = k->parked;
    return cold;
}

void gen_poll(struct gen *k, uint64_t rip, uint8_t live)
{
    struct emitter *e = &k->e;
    uint8_t *place;
    e_load_env(e, T0, ENV(req));
    if (live) {
        e_rm(e, 0, 0x8b, T1, T0, 0);
        e8(e, 0xe3); /* jrcxz over the jump */
        e8(e, 5);
        place = e_jmp(e);
    } else {
        e_rm(e, 0, 0x83, 7, T0, 0); /* cmp dword [T0], 0 */
        e8(e, 0);
        place = e_jcc(e, CC_NE);
    }
    struct cold *cold = cold_add(k, COLD_POLL, place);
    cold->rip = rip;
    cold->live = live;
}

/* Lockstep: leaves before the instruction when as many as allowed were executed. T1 is lost. */
static void gen_count(struct gen *k, uint64_t rip, uint8_t live)
{
    struct emitter *e = &k->e;
    e_load_env(e, T1, ENV(xl_budget));
    e8(e, 0xe3); /* jrcxz to the jump, else over it */
    e8(e, 2);
    e8(e, 0xeb);
    e8(e, 5);
    struct cold *cold = cold_add(k, COLD_POLL, e_jmp(e));
    cold->rip = rip;
    cold->live = live;
    e_lea(e, T1, T1, 4, 0, -1);
    e_store_env(e, T1, ENV(xl_budget));
}

/* ---------------------------------------------------------------- re-encoding */

static bool is_high_byte(const struct xinsn *x, bool byte, unsigned n)
{
    return byte && !x->rex && n >= 4 && n < 8;
}

/* The host's register for a guest's in ModRM; loads those that live in memory into temp. */
static unsigned host_register(struct gen *k, unsigned n, bool byte, unsigned temp)
{
    if (is_high_byte(k->x, byte, n)) {
        unsigned low = n - 4;
        return xlat_host_reg[low] + 4; /* AH, DH, BH: checked to be encodable */
    }
    if (xlat_host_reg[n] == XLAT_IN_ENV) {
        e_load_env(&k->e, temp, ENV_REG(n));
        return temp;
    }
    return xlat_host_reg[n];
}

/* A MOV that gives the whole register another value: what it was need not be loaded. */
static bool is_overwritten(const struct xinsn *x, uint8_t opcode)
{
    return x->map == M1 && x->opcode == opcode && x->size >= 4;
}

static void store_back(struct gen *k, unsigned n, bool byte, unsigned temp)
{
    if (!is_high_byte(k->x, byte, n) && xlat_host_reg[n] == XLAT_IN_ENV) {
        e_store_env(&k->e, temp, ENV_REG(n));
    }
}

/* LOCK makes an access atomic, and orders it among all others. Where nobody could see it half done,
 * only the second counts, and that matters to devices, which other threads play: guests order their
 * accesses for them by an operation that changes nothing, by XCHG or by fences. (Linux itself takes
 * the LOCK prefixes but those away when it runs on one processor.) */
static bool needs_lock(const struct gen *k)
{
    const struct xinsn *x = k->x;
    bool nothing = x->map == M1 && x->opcode >= 0x80 && x->opcode <= 0x83 && x->op.imm == 0;
    return x->lock && x->mem && (!k->c->alone || nothing);
}

/* Prefixes, REX and opcode. reg, index, rm: host registers. */
static void opcode_bytes(struct gen *k, unsigned reg, unsigned index, unsigned rm)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    if (x->opsize) {
        e8(e, 0x66);
    }
    if (x->mandatory) {
        e8(e, x->mandatory);
    }
    if (needs_lock(k)) {
        e8(e, 0xf0);
    }
    uint8_t rex = (x->rex & 8) | (reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0) | (rm & 8 ? 1 : 0);
    bool low_byte =
        (x->reg_byte && x->reg_kind == OPERAND_GPR && reg >= 4 && !is_high_byte(x, true, x->reg)) ||
        (x->rm_byte && !x->mem && rm >= 4 && !is_high_byte(x, true, x->rm));
    if (rex || low_byte) {
        e8(e, 0x40 | rex);
    }
    if (x->map != M1) {
        e8(e, 0x0f);
    }
    if (x->map == M38 || x->map == M3A) {
        e8(e, x->map == M38 ? 0x38 : 0x3a);
    }
    e8(e, x->opcode);
}

static void immediate_bytes(struct gen *k)
{
    for (unsigned i = 0; i < k->x->imm_len; i++) {
        e8(&k->e, k->x->bytes[k->x->imm_at + i]);
    }
}

/* XADD and CMPXCHG of memory that need not be atomic, as what they consist of: for processors that
 * take long over them. */
static bool gen_exchange(struct gen *k, struct host_operand *at)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    unsigned reg = xlat_host_reg[x->reg];
    bool w = x->size == 8, add = x->opcode == 0xc1;
    if (x->map != M0F || !(add || (x->opcode == 0xb1 && w)) || x->size < 4 || needs_lock(k) ||
        reg == XLAT_IN_ENV) {
        return false;
    }
    if (at->index != NO_INDEX) {
        operand_flatten(k, at);
    }
    fault_point(k);
    e_operand(e, w, 0x8b, T1, at);
    if (add) {
        e_rr(e, w, 0x01, T1, reg);
        e_operand(e, w, 0x89, reg, at);
        e_rr(e, w, 0x89, T1, reg);
    } else {
        e_rr(e, 1, 0x39, T1, HOST_RAX);
        e_mov(e, HOST_RAX, T1);
        e_rex(e, 1, T1, 0, reg); /* cmove T1, reg */
        e8(e, 0x0f);
        e8(e, 0x44);
        e8(e, 0xc0 | T1 << 3 | (reg & 7));
        e_operand(e, 1, 0x89, T1, at);
    }
    return true;
}

/* movzx ecx, AH; which may be DH or BH */
static unsigned high_byte_copy(struct gen *k, unsigned n)
{
    e8(&k->e, 0x0f);
    e8(&k->e, 0xb6);
    e8(&k->e, 0xc0 | T1 << 3 | n);
    return T1;
}

/* mov AH, cl */
static void high_byte_store(struct gen *k, unsigned n)
{
    e8(&k->e, 0x88);
    e8(&k->e, 0xc0 | T1 << 3 | n);
}

/* Whether T1 is needed between the lookup and the instruction, or by that. */
static bool t1_is_needed(const struct gen *k)
{
    const struct xinsn *x = k->x;
    bool reg = x->reg_kind == OPERAND_GPR && xlat_host_reg[x->reg] == XLAT_IN_ENV;
    return k->parked || x->by_cl || x->high_copy == HIGH_COPY_REG || reg;
}

static void gen_modrm(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    unsigned reg = x->reg_kind == OPERAND_DIGIT ? x->modrm >> 3 & 7 : x->reg;
    unsigned rm = x->rm;
    struct host_operand at = {.index = NO_INDEX};
    if (x->mem) {
        flags_begin(k);
        at = operand_lookup(k);
        if (at.index == T1 && t1_is_needed(k)) {
            operand_flatten(k, &at);
        }
        flags_end(k);
        rm = T0;
        if (gen_exchange(k, &at)) {
            return;
        }
    } else if (x->high_copy == HIGH_COPY_RM) {
        rm = high_byte_copy(k, x->rm);
    } else if (x->rm_kind == OPERAND_GPR && xlat_host_reg[x->rm] == XLAT_IN_ENV &&
               is_overwritten(x, 0x89)) {
        rm = T0;
    } else if (x->rm_kind == OPERAND_GPR) {
        rm = host_register(k, x->rm, x->rm_byte, T0);
    }
    if (x->high_copy == HIGH_COPY_REG) {
        reg = high_byte_copy(k, x->reg);
    } else if (x->reg_kind == OPERAND_GPR && xlat_host_reg[x->reg] == XLAT_IN_ENV &&
               is_overwritten(x, 0x8b)) {
        reg = T1;
    } else if (x->reg_kind == OPERAND_GPR) {
        reg = host_register(k, x->reg, x->reg_byte, T1);
    }
    if (x->by_cl) {
        e_mov(e, T1, GUEST_RCX);
    }
    if (x->mem) {
        fault_point(k);
    }
    opcode_bytes(k, reg, at.index == NO_INDEX ? 0 : at.index, rm);
    if (x->mem) {
        e_modrm_sib(e, reg, T0, at.index, at.scale, at.disp);
    } else {
        e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
    }
    immediate_bytes(k);
    if (x->high_copy == HIGH_COPY_REG ? x->reg_out : x->high_copy && x->rm_out) {
        high_byte_store(k, x->high_copy == HIGH_COPY_REG ? x->reg : x->rm);
    }
    if (x->reg_kind == OPERAND_GPR && x->reg_out) {
        store_back(k, x->reg, x->reg_byte, T1);
    }
    if (x->rm_kind == OPERAND_GPR && x->rm_out && !x->mem) {
        store_back(k, x->rm, x->rm_byte, T0);
    }
}

static void gen_lea(struct gen *k)
{
    const struct xinsn *x = k->x;
    unsigned host = xlat_host_reg[x->reg];
    if (host != XLAT_IN_ENV && x->size >= 4) {
        address_of_lea(k, host, x->size == 8);
        return;
    }
    address_of_lea(k, T0, true);
    if (x->size == 2) {
        unsigned to = host == XLAT_IN_ENV ? T1 : host;
        if (host == XLAT_IN_ENV) {
            e_load_env(&k->e, T1, ENV_REG(x->reg));
        }
        e8(&k->e, 0x66);
        e_rr(&k->e, 0, 0x89, T0, to);
        store_back(k, x->reg, false, T1);
        return;
    }
    if (x->size == 4) {
        e_rr(&k->e, 0, 0x89, T0, T0);
    }
    e_store_env(&k->e, T0, ENV_REG(x->reg));
}

static void gen_mov_imm(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    unsigned host = xlat_host_reg[x->rm];
    uint64_t imm = x->op.imm;
    if (x->size >= 4) {
        imm = x->size == 4 ? (uint32_t)imm : imm;
        e_mov_imm(e, host == XLAT_IN_ENV ? T0 : host, imm);
        store_back(k, x->rm, false, T0);
        return;
    }
    host = host_register(k, x->rm, x->rm_byte, T0);
    if (x->size == 2) {
        e8(e, 0x66);
    }
    bool low_byte = x->rm_byte && host >= 4 && !is_high_byte(x, true, x->rm);
    if (host >= 8 || low_byte) {
        e8(e, 0x40 | host >> 3);
    }
    e8(e, (x->size == 1 ? 0xb0 : 0xb8) | (host & 7));
    e8(e, imm);
    if (x->size == 2) {
        e8(e, imm >> 8);
    }
    store_back(k, x->rm, x->rm_byte, T0);
}

static void gen_bswap(struct gen *k)
{
    unsigned host = host_register(k, k->x->rm, false, T0);
    e_rex(&k->e, k->x->size == 8, 0, 0, host);
    e8(&k->e, 0x0f);
    e8(&k->e, 0xc8 | (host & 7));
    store_back(k, k->x->rm, false, T0);
}

static void gen_xchg_rax(struct gen *k)
{
    unsigned host = host_register(k, k->x->rm, false, T0);
    if (k->x->size == 2) {
        e8(&k->e, 0x66);
    }
    e_rr(&k->e, k->x->size == 8, 0x87, HOST_RAX, host);
    store_back(k, k->x->rm, false, T0);
}

static void gen_div(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    bool w = x->size == 8, is_signed = (x->modrm >> 3 & 7) == 7;
    if (x->mem) {
        flags_begin(k);
        struct host_operand at = operand_lookup(k);
        fault_point(k);
        e_operand(e, w, 0x8b, T1, &at);
    } else if (xlat_host_reg[x->rm] == XLAT_IN_ENV) {
        e_load_env(e, T1, ENV_REG(x->rm));
    } else {
        e_mov(e, T1, xlat_host_reg[x->rm]);
    }
    if (is_signed) {
        /* not by 0 nor by -1, and a dividend that was sign-extended: no overflow */
        e_rm(e, w, 0x8d, T0, T1, 1);
        e_alu_imm(e, w, 7, T0, 1);
        to_handler(k, e_jcc(e, CC_BE));
        e_mov(e, T0, HOST_RAX);
        e_rex(e, w, 0, 0, T0); /* sar */
        e8(e, 0xc1);
        e8(e, 0xf8 | (T0 & 7));
        e8(e, w ? 63 : 31);
        e_rr(e, w, 0x39, HOST_RDX, T0);
        to_handler(k, e_jcc(e, CC_NE));
    } else {
        e_rr(e, w, 0x39, T1, HOST_RDX); /* the quotient fits when the upper half is less */
        to_handler(k, e_jcc(e, CC_AE));
    }
    e_rex(e, w, 0, 0, T1);
    e8(e, 0xf7);
    e8(e, (is_signed ? 0xf8 : 0xf0) | T1);
}

/* ---------------------------------------------------------------- the stack */

void rsp_add(struct gen *k, int32_t n)
{
    e_lea_sized(&k->e, is_wide(k), GUEST_RSP, GUEST_RSP, NO_INDEX, 0, n);
}

static void gen_push(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    flags_begin(k);
    if (x->mem) {
        struct host_operand from = operand_lookup(k);
        fault_point(k);
        e_operand(e, is_wide(k), 0x8b, T0, &from);
        e_store_env(e, T0, ENV(xl_scratch));
    }
    struct host_operand at = stack_lookup(k, -x->size, true);
    flags_end(k);
    if (x->class == XC_PUSH_IMM) {
        fault_point(k);
        e_operand(e, is_wide(k), 0xc7, 0, &at);
        e32(e, x->op.imm);
    } else {
        unsigned from = T1;
        if (x->mem) {
            e_load_env(e, T1, ENV(xl_scratch));
        } else {
            from = host_register(k, x->rm, false, T1);
        }
        fault_point(k);
        e_operand(e, is_wide(k), 0x89, from, &at);
    }
    rsp_add(k, -x->size);
}

static void gen_pop(struct gen *k)
{
    struct emitter *e = &k->e;
    unsigned n = k->x->rm, to = xlat_host_reg[n] == XLAT_IN_ENV ? T1 : xlat_host_reg[n];
    flags_begin(k);
    struct host_operand at = stack_lookup(k, 0, false);
    flags_end(k);
    fault_point(k);
    e_operand(e, is_wide(k), 0x8b, to, &at);
    if (n != RSP) {
        rsp_add(k, k->x->size);
    }
    store_back(k, n, false, T1);
}

static void gen_leave(struct gen *k)
{
    struct emitter *e = &k->e;
    flags_begin(k);
    unsigned size = k->x->size;
    struct host_operand at = register_lookup(k, RBP, 0, size, false);
    flags_end(k);
    fault_point(k);
    e_operand(e, is_wide(k), 0x8b, T0, &at);
    e_lea_sized(e, is_wide(k), GUEST_RSP, HOST_RBP, NO_INDEX, 0, (int32_t)size);
    e_mov(e, HOST_RBP, T0);
}

/* ---------------------------------------------------------------- instructions */

static void gen_handler(struct gen *k)
{
    const struct op *op = op_of(k);
    bool dead = k->x->keeps_flags && !k->x->live_out; /* nothing to park */
    e_mov_imm(&k->e, T0, (uintptr_t)op);
    e_call(&k->e, k->xl->stub_op[(dead ? STUB_PARKED : 0) | (k->g->vec ? STUB_VEC : 0)]);
}

static void gen_insn(struct gen *k)
{
    switch (k->x->class) {
    case XC_NOP:
        break;
    case XC_VERBATIM:
        memcpy(k->e.p, k->x->bytes, k->x->len);
        k->e.p += k->x->len;
        break;
    case XC_MODRM:
        gen_modrm(k);
        break;
    case XC_LEA:
        gen_lea(k);
        break;
    case XC_MOV_IMM:
        gen_mov_imm(k);
        break;
    case XC_BSWAP:
        gen_bswap(k);
        break;
    case XC_XCHG_RAX:
        gen_xchg_rax(k);
        break;
    case XC_DIV:
        gen_div(k);
        break;
    case XC_PUSH:
    case XC_PUSH_IMM:
        gen_push(k);
        break;
    case XC_POP:
        gen_pop(k);
        break;
    case XC_LEAVE:
        gen_leave(k);
        break;
    case XC_JCC:
    case XC_JCXZ:
    case XC_LOOP:
    case XC_JMP:
        gen_branch(k);
        break;
    case XC_CALL:
        gen_call(k);
        break;
    case XC_RET:
        gen_ret(k);
        break;
    case XC_JMP_IND:
        gen_jmp_ind(k);
        break;
    case XC_CALL_IND:
        gen_call_ind(k);
        break;
    case XC_RDTSC:
        if (k->c->lockstep) {
            gen_handler(k);
        } else {
            gen_rdtsc(k);
        }
        break;
    case XC_CPUID:
        gen_cpuid(k);
        break;
    default:
        gen_handler(k);
        break;
    }
}

/* One instruction; its handler's calls come back behind it if it falls. */
static void gen_one(struct gen *k, unsigned i)
{
    const struct xinsn *x = &k->g->insn[i];
    k->x = x;
    k->op = NULL;
    k->parked = false;
    k->cold_from = k->n_cold;
    gen_insn(k);
    for (unsigned n = k->cold_from; n < k->n_cold; n++) {
        if (k->cold[n].kind == COLD_OP && x->falls) {
            k->cold[n].back = k->e.p;
        }
    }
    if (k->group && (int)i == k->g->insn[k->group->first].group_last) {
        k->group->back = k->e.p;
        k->group = NULL;
    }
}

/* The end of an instruction: where control falls to. */
static void gen_next(struct gen *k, unsigned i)
{
    const struct xinsn *x = &k->g->insn[i];
    if (x->falls && x->next != (int)i + 1) {
        jump_to(k, e_jmp(&k->e), x->next, rip_behind(k, x));
    }
}

static void gen_entry(struct gen *k)
{
    struct emitter *e = &k->e;
    struct xinsn *first = &k->g->insn[0];
    k->u->entry_parked = e->p;
    if (first->live_in) {
        flags_unpark(e, T1);
    }
    k->u->entry = e->p;
    if (k->g->vec) {
        uint8_t *place;
        if (first->live_in) {
            e8(e, 0x0f); /* movzx ecx, byte env:[xl_novec] */
            e8(e, 0xb6);
            e_modrm_env(e, T1, ENV(xl_novec));
            e8(e, 0xe3); /* jrcxz */
            e8(e, 5);
            place = e_jmp(e);
        } else {
            e_test_env_byte(e, ENV(xl_novec));
            place = e_jcc(e, CC_NE);
        }
        cold_add(k, COLD_VEC, place)->back = e->p;
    }
}

/* ---------------------------------------------------------------- behind the main line */

/* The group's instructions one by one, from where its lookup failed. */
static void gen_group_solo(struct gen *k, const struct cold *cold)
{
    unsigned last = k->g->insn[cold->first].group_last;
    if (cold->parked) {
        flags_unpark(&k->e, T1);
    }
    k->solo = true;
    for (unsigned i = cold->first; i <= last; i++) {
        if (k->c->lockstep && i > cold->first) {
            gen_count(k, rip_of(k, &k->g->insn[i]), k->g->insn[i].live_in);
        }
        gen_one(k, i);
    }
    k->solo = false;
    e_jmp_to(&k->e, cold->back);
}

static void gen_cold(struct gen *k, struct cold *cold)
{
    struct emitter *e = &k->e;
    cold->code = e->p;
    if (cold->place) {
        e_target(cold->place, e->p);
    }
    if (cold->place2) {
        e_target(cold->place2, e->p);
    }
    switch (cold->kind) {
    case COLD_OP:
        e_mov_imm(e, T0, (uintptr_t)cold->op);
        e_call(e, k->xl->stub_op[(cold->parked ? STUB_PARKED : 0) | (k->g->vec ? STUB_VEC : 0)]);
        if (cold->back) {
            e_jmp_to(e, cold->back);
        } else {
            e8(e, 0x0f); /* ud2: branches do not come back */
            e8(e, 0x0b);
        }
        break;
    case COLD_EXIT:
    case COLD_PARKED:
        gen_exit(k, cold);
        break;
    case COLD_POLL:
        if (k->c->lockstep) {
            e_set_env_byte(e, ENV(xl_live), cold->live);
        }
        e_mov_imm(e, T0, cold->rip);
        e_store_env(e, T0, ENV(rip));
        e_jmp_to(e, k->xl->stub_leave);
        break;
    case COLD_VEC:
        e_call(e, k->xl->stub_vec_load);
        e_jmp_to(e, cold->back);
        break;
    case COLD_GROUP:
        gen_group_solo(k, cold);
        break;
    case COLD_LOOKUP:
        gen_lookup(k, cold);
        break;
    case COLD_COPY:
        gen_copy(k, cold);
        break;
    }
}

void xlat_generate(struct cpu *c, struct xlat *xl, struct code_region *g, struct unit *u)
{
    struct gen *k = g_new(struct gen, 1);
    k->c = c;
    k->xl = xl;
    k->g = g;
    k->u = u;
    k->e = (struct emitter){
        .p = xl->rw + xl->used, .exec = xl->rx - xl->rw, .env = (int32_t)(intptr_t)c};
    k->n_cold = k->n_fixups = 0;
    k->solo = false;
    k->group = NULL;
    k->table = xl->table + xl->table_used;
    k->cold_from = 0;
    fault_points_begin(xl, g->page_rip);
    gen_entry(k);
    for (unsigned i = 0; i < g->n; i++) {
        struct xinsn *x = &g->insn[i];
        x->label = k->e.p;
        if (x->head) {
            gen_poll(k, rip_of(k, x), x->live_in);
        }
        if (c->lockstep) {
            gen_count(k, rip_of(k, x), x->live_in);
        }
        gen_one(k, i);
        gen_next(k, i);
    }
    for (unsigned i = 0; i < k->n_fixups; i++) {
        e_target(k->fixup[i].place, g->insn[k->fixup[i].target].label);
    }
    for (unsigned i = 0; i < k->n_cold; i++) {
        gen_cold(k, &k->cold[i]);
    }
    xl->used = ((k->e.p - xl->rw) + 15) & ~15ull;
    xl->table_used = (k->table - xl->table + 63) & ~63ull;
    g_free(k);
}
