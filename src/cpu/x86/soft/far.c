/*
 * Far transfers: JMP, CALL, RET through segments and gates, IRET, and the fast system calls. Intel
 * SDM volume 2 (each instruction's operation section) and volume 3, chapters 5 and 6.
 *
 * Each reads and checks everything first and commits at the end, so a fault leaves all as it was.
 * Where vendors differ this is Intel's behaviour: SYSCALL in 64-bit mode only, SYSRET with a
 * non-canonical RCX faults before the switch, SYSENTER works in long mode.
 */
#include "cpu/x86/cpuid-priv.h"
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"

/* #GP(0) unless a jump to rip stays within what the code descriptor allows. */
static void target_check(struct cpu *c, const struct op *o, const struct desc *cs, uint64_t rip)
{
    if (is_lma(c) && desc_long(cs) ? !is_canonical(rip) : rip > desc_limit(cs)) {
        raise_error(c, o, EXC_GP, 0);
    }
}

static void code_desc_mode_check(struct cpu *c, const struct op *o, const struct desc *d)
{
    if (is_lma(c) && desc_long(d) && desc_db(d)) {
        raise_error(c, o, EXC_GP, sel_error(d->sel));
    }
}

/* The code segment of a JMP or CALL without a gate: same privilege. */
static void direct_code_check(struct cpu *c, const struct op *o, const struct desc *d)
{
    unsigned dpl = desc_dpl(d);
    if (desc_is_conforming(d) ? dpl > c->cpl : (d->sel & 3u) > c->cpl || dpl != c->cpl) {
        raise_error(c, o, EXC_GP, sel_error(d->sel));
    }
    code_desc_mode_check(c, o, d);
    if (!desc_present(d)) {
        raise_error(c, o, EXC_NP, sel_error(d->sel));
    }
}

struct call_gate {
    uint16_t sel;
    uint64_t offset;
    unsigned params;
    unsigned size; /* of what it pushes: 2, 4 or 8 */
};

/* Checks a gate descriptor and fetches the code segment that it leads to. */
static struct call_gate call_gate_read(struct cpu *c, const struct op *o, struct desc *gate,
                                       struct desc *cs)
{
    if (desc_dpl(gate) < MAX(c->cpl, gate->sel & 3u)) {
        raise_error(c, o, EXC_GP, sel_error(gate->sel));
    }
    if (!desc_present(gate)) {
        raise_error(c, o, EXC_NP, sel_error(gate->sel));
    }
    struct call_gate g = {
        .sel = gate->lo >> 16,
        .offset = (gate->lo & 0xffff) | (gate->hi & 0xffff0000),
        .params = gate->hi & 31,
        .size = desc_type(gate) == SYS_CALL16 ? 2 : 4,
    };
    if (is_lma(c)) {
        if (!desc_fetch_high(c, o, gate)) {
            raise_error(c, o, EXC_GP, sel_error(gate->sel));
        }
        g.offset |= (uint64_t)gate->hi2 << 32;
        g.params = 0;
        g.size = 8;
    } else if (g.size == 2) {
        g.offset &= 0xffff;
    }
    desc_need(c, o, g.sel, EXC_GP, cs);
    if (!desc_is_code(cs) || desc_dpl(cs) > c->cpl ||
        (is_lma(c) && (!desc_long(cs) || desc_db(cs)))) {
        raise_error(c, o, EXC_GP, sel_error(g.sel));
    }
    if (!desc_present(cs)) {
        raise_error(c, o, EXC_NP, sel_error(g.sel));
    }
    return g;
}

static void need_legacy_system(struct cpu *c, const struct op *o, const struct desc *d)
{
    if (is_lma(c)) {
        raise_error(c, o, EXC_GP, sel_error(d->sel));
    }
}

/* JMP or CALL to a TSS or through a task gate. */
static op_ret far_to_task(struct cpu *c, const struct op *o, struct desc *d,
                          enum task_switch_kind kind)
{
    need_legacy_system(c, o, d);
    if (desc_dpl(d) < MAX(c->cpl, d->sel & 3u)) {
        raise_error(c, o, EXC_GP, sel_error(d->sel));
    }
    if (desc_type(d) == SYS_TASK_GATE) {
        if (!desc_present(d)) {
            raise_error(c, o, EXC_NP, sel_error(d->sel));
        }
        uint16_t tss = d->lo >> 16;
        if ((tss & 4) || !desc_fetch(c, o, tss, d)) {
            raise_error(c, o, EXC_GP, sel_error(tss));
        }
    }
    if (desc_is_segment(d) || (desc_type(d) != SYS_TSS16 && desc_type(d) != SYS_TSS32)) {
        raise_error(c, o, EXC_GP, sel_error(d->sel));
    }
    if (!desc_present(d)) {
        raise_error(c, o, EXC_NP, sel_error(d->sel));
    }
    task_switch(c, o, d, kind, OP_NEXT_RIP(c, o), false, 0);
    LEAVE;
}

/* ---------------------------------------------------------------- JMP */

static op_ret far_jump(struct cpu *c, const struct op *o, uint16_t sel, uint64_t rip)
{
    struct desc d, cs;
    if (!is_protected(c)) {
        if (rip > c->seg[SEG_CS].limit) {
            raise_error(c, o, EXC_GP, 0);
        }
        seg_set_real(c, SEG_CS, sel);
        mode_update(c);
        return leave_at(c, rip);
    }
    desc_need(c, o, sel, EXC_GP, &d);
    if (desc_is_code(&d)) {
        direct_code_check(c, o, &d);
        target_check(c, o, &d, rip);
        desc_set_accessed(c, o, &d);
        cs_commit(c, &d, sel, c->cpl);
        mode_update(c);
        return leave_at(c, rip);
    }
    if (desc_is_segment(&d)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    switch (desc_type(&d)) {
    case SYS_CALL16:
        need_legacy_system(c, o, &d);
        /* fall through */
    case SYS_CALL32: {
        struct call_gate g = call_gate_read(c, o, &d, &cs);
        if (!desc_is_conforming(&cs) && desc_dpl(&cs) != c->cpl) {
            raise_error(c, o, EXC_GP, sel_error(g.sel));
        }
        target_check(c, o, &cs, g.offset);
        desc_set_accessed(c, o, &cs);
        cs_commit(c, &cs, g.sel, c->cpl);
        mode_update(c);
        return leave_at(c, g.offset);
    }
    case SYS_TSS16:
    case SYS_TSS32:
    case SYS_TASK_GATE:
        return far_to_task(c, o, &d, TASK_JMP);
    default:
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
}

/* m16:16, m16:32 or m16:64 */
static uint64_t far_pointer_read(struct cpu *c, const struct op *o, uint16_t *sel)
{
    uint64_t lin = ea(c, o, o->osz + 2, false), offset = 0;
    mem_read_slow(c, o, lin, &offset, o->osz);
    mem_read_slow(c, o, is_long64(c) ? lin + o->osz : (uint32_t)(lin + o->osz), sel, 2);
    return offset;
}

OP(op_jmp_far)
{
    return far_jump(c, o, o->disp, o->osz == 2 ? (uint16_t)o->imm : (uint32_t)o->imm);
}

OP(op_jmp_far_mem)
{
    uint16_t sel;
    uint64_t rip = far_pointer_read(c, o, &sel);
    return far_jump(c, o, sel, rip);
}

/* ---------------------------------------------------------------- CALL */

/* Through a gate to an inner level. */
static op_ret call_inner(struct cpu *c, const struct op *o, const struct call_gate *g,
                         struct desc *cs)
{
    unsigned cpl = desc_dpl(cs);
    struct desc ss;
    struct seg new_ss;
    struct stack to = {.mode = mem_mode_of(c, cpl)}, from;
    uint64_t old_sp = c->r[RSP];
    uint16_t old_ss = c->seg[SEG_SS].sel, ss_sel;

    if (is_lma(c)) {
        to.sp = tss_stack64(c, o, cpl);
        to.mask = UINT64_MAX;
        to.flat64 = true;
        seg_set_null(&new_ss, cpl, cpl);
        if (!is_canonical(to.sp)) {
            raise_error(c, o, EXC_SS, 0);
        }
    } else {
        uint32_t esp;
        tss_stack(c, o, cpl, &ss_sel, &esp);
        ss_check(c, o, ss_sel, cpl, EXC_TS, &ss);
        desc_set_accessed(c, o, &ss);
        seg_from_desc(&new_ss, &ss, ss_sel);
        to.ss = &new_ss;
        to.sp = esp;
        to.mask = new_ss.db ? UINT32_MAX : UINT16_MAX;
        to.error = sel_error(ss_sel);
    }
    target_check(c, o, cs, g->offset);
    stack_push(c, o, &to, old_ss, g->size);
    stack_push(c, o, &to, old_sp, g->size);
    stack_init(c, &from);
    from.sp += g->params * g->size;
    for (unsigned i = 0; i < g->params; i++) {
        struct stack at = from;
        at.sp -= (i + 1) * g->size;
        stack_push(c, o, &to, stack_pop(c, o, &at, g->size), g->size);
    }
    stack_push(c, o, &to, c->seg[SEG_CS].sel, g->size);
    stack_push(c, o, &to, OP_NEXT_RIP(c, o), g->size);
    desc_set_accessed(c, o, cs);

    cs_commit(c, cs, g->sel, cpl);
    c->seg[SEG_SS] = new_ss;
    mode_update(c);
    stack_commit(c, &to);
    return leave_at(c, g->offset);
}

/* To a checked code segment without a change of level. */
static op_ret call_same(struct cpu *c, const struct op *o, struct desc *cs, uint16_t sel,
                        uint64_t rip, unsigned size)
{
    struct stack s;
    stack_init(c, &s);
    if (is_lma(c) && desc_long(cs) && !s.flat64) {
        /* from compatibility mode: the pushes are made in the new mode */
        s.flat64 = true;
        s.mask = UINT64_MAX;
    }
    stack_push(c, o, &s, c->seg[SEG_CS].sel, size);
    stack_push(c, o, &s, OP_NEXT_RIP(c, o), size);
    target_check(c, o, cs, rip);
    desc_set_accessed(c, o, cs);
    cs_commit(c, cs, sel, c->cpl);
    stack_commit(c, &s);
    mode_update(c);
    return leave_at(c, rip);
}

static op_ret call_real(struct cpu *c, const struct op *o, uint16_t sel, uint64_t rip)
{
    struct stack s;
    stack_init(c, &s);
    if (rip > c->seg[SEG_CS].limit) {
        raise_error(c, o, EXC_GP, 0);
    }
    stack_push(c, o, &s, c->seg[SEG_CS].sel, o->osz);
    stack_push(c, o, &s, OP_NEXT_RIP(c, o), o->osz);
    stack_commit(c, &s);
    seg_set_real(c, SEG_CS, sel);
    mode_update(c);
    return leave_at(c, rip);
}

static op_ret far_call(struct cpu *c, const struct op *o, uint16_t sel, uint64_t rip)
{
    struct desc d, cs;
    if (!is_protected(c)) {
        return call_real(c, o, sel, rip);
    }
    desc_need(c, o, sel, EXC_GP, &d);
    if (desc_is_code(&d)) {
        direct_code_check(c, o, &d);
        return call_same(c, o, &d, sel, rip, o->osz);
    }
    if (desc_is_segment(&d)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    switch (desc_type(&d)) {
    case SYS_CALL16:
        need_legacy_system(c, o, &d);
        /* fall through */
    case SYS_CALL32: {
        struct call_gate g = call_gate_read(c, o, &d, &cs);
        if (!desc_is_conforming(&cs) && desc_dpl(&cs) < c->cpl) {
            return call_inner(c, o, &g, &cs);
        }
        return call_same(c, o, &cs, g.sel, g.offset, g.size);
    }
    case SYS_TSS16:
    case SYS_TSS32:
    case SYS_TASK_GATE:
        return far_to_task(c, o, &d, TASK_CALL);
    default:
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
}

OP(op_call_far)
{
    return far_call(c, o, o->disp, o->osz == 2 ? (uint16_t)o->imm : (uint32_t)o->imm);
}

OP(op_call_far_mem)
{
    uint16_t sel;
    uint64_t rip = far_pointer_read(c, o, &sel);
    return far_call(c, o, sel, rip);
}

/* ---------------------------------------------------------------- RET */

/* The code segment that RET or IRET returns to; its RPL becomes CPL. */
static void return_code_check(struct cpu *c, const struct op *o, uint16_t sel, struct desc *cs)
{
    desc_need(c, o, sel, EXC_GP, cs);
    unsigned rpl = sel & 3, dpl = desc_dpl(cs);
    if (!desc_is_code(cs) || rpl < c->cpl || (desc_is_conforming(cs) ? dpl > rpl : dpl != rpl)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    code_desc_mode_check(c, o, cs);
    if (!desc_present(cs)) {
        raise_error(c, o, EXC_NP, sel_error(sel));
    }
}

/* The stack segment of a return to level cpl. A null one is right for 64-bit code below level 3. */
static void return_stack_check(struct cpu *c, const struct op *o, uint16_t sel, unsigned cpl,
                               bool to_long, struct desc *d, struct seg *ss)
{
    if (sel_is_null(sel) && to_long && cpl != 3 && (sel & 3) == cpl) {
        seg_set_null(ss, sel, cpl);
        return;
    }
    ss_check(c, o, sel, cpl, EXC_GP, d);
    desc_set_accessed(c, o, d);
    seg_from_desc(ss, d, sel);
}

static uint64_t stack_mask_after(const struct cpu *c, const struct desc *cs, const struct seg *ss)
{
    return is_lma(c) && desc_long(cs) ? UINT64_MAX : ss->db ? UINT32_MAX : UINT16_MAX;
}

static op_ret far_return(struct cpu *c, const struct op *o, unsigned params)
{
    struct stack s;
    stack_init(c, &s);
    if (!is_protected(c)) {
        uint64_t rip = stack_pop(c, o, &s, o->osz);
        uint16_t sel = stack_pop(c, o, &s, o->osz);
        if (rip > c->seg[SEG_CS].limit) {
            raise_error(c, o, EXC_GP, 0);
        }
        s.sp += params;
        stack_commit(c, &s);
        seg_set_real(c, SEG_CS, sel);
        mode_update(c);
        return leave_at(c, rip);
    }
    struct desc cs, ss;
    uint64_t rip = stack_pop(c, o, &s, o->osz);
    uint16_t sel = stack_pop(c, o, &s, o->osz);
    return_code_check(c, o, sel, &cs);
    s.sp += params;
    if ((sel & 3) == c->cpl) {
        target_check(c, o, &cs, rip);
        desc_set_accessed(c, o, &cs);
        cs_commit(c, &cs, sel, c->cpl);
        stack_commit(c, &s);
        mode_update(c);
        return leave_at(c, rip);
    }
    struct seg new_ss;
    struct stack outer = {.ss = &new_ss};
    outer.sp = stack_pop(c, o, &s, o->osz);
    uint16_t ss_sel = stack_pop(c, o, &s, o->osz);
    return_stack_check(c, o, ss_sel, sel & 3, is_lma(c) && desc_long(&cs), &ss, &new_ss);
    target_check(c, o, &cs, rip);
    desc_set_accessed(c, o, &cs);
    outer.mask = stack_mask_after(c, &cs, &new_ss);
    outer.sp += params;
    cs_commit(c, &cs, sel, sel & 3);
    c->seg[SEG_SS] = new_ss;
    stack_commit(c, &outer);
    seg_drop_inner(c);
    mode_update(c);
    return leave_at(c, rip);
}

OP(op_ret_far)
{
    return far_return(c, o, 0);
}

OP(op_ret_far_imm)
{
    return far_return(c, o, (uint16_t)o->imm);
}

/* ---------------------------------------------------------------- IRET */

/* What IRET may change at a CPL, by operand size. */
static uint64_t iret_flags_mask(const struct cpu *c, unsigned cpl, unsigned size)
{
    uint64_t mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    if (size > 2) {
        mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
    }
    if (cpl <= (c->sysflags >> 12 & 3)) {
        mask |= RFLAGS_IF;
    }
    if (cpl == 0) {
        mask |= RFLAGS_IOPL;
        if (size > 2) {
            mask |= RFLAGS_VIF | RFLAGS_VIP;
        }
    }
    return mask;
}

static op_ret iret_end(struct cpu *c, uint64_t rip)
{
    c->nmi_masked = false;
    c->rip = rip;
    mode_update(c);
    intr_recheck(c);
    LEAVE;
}

static op_ret iret_real(struct cpu *c, const struct op *o)
{
    struct stack s;
    uint64_t mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_IF;
    if (c->sysflags & RFLAGS_VM) {
        if ((c->sysflags & RFLAGS_IOPL) != RFLAGS_IOPL) {
            raise_error(c, o, EXC_GP, 0);
        }
    } else {
        mask |= RFLAGS_IOPL;
    }
    if (o->osz == 4) {
        mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
    }
    stack_init(c, &s);
    uint64_t rip = stack_pop(c, o, &s, o->osz);
    uint16_t sel = stack_pop(c, o, &s, o->osz);
    uint64_t flags = stack_pop(c, o, &s, o->osz);
    if (rip > c->seg[SEG_CS].limit) {
        raise_error(c, o, EXC_GP, 0);
    }
    stack_commit(c, &s);
    seg_set_real(c, SEG_CS, sel);
    rflags_load(c, flags, mask);
    return iret_end(c, rip);
}

/* From a 32-bit monitor at level 0 to virtual-8086 mode. */
static op_ret iret_to_vm86(struct cpu *c, const struct op *o, struct stack *s, uint64_t rip,
                           uint16_t cs, uint64_t flags)
{
    static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t sel[SEG_COUNT];
    uint64_t esp = stack_pop(c, o, s, 4);
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        sel[order[i]] = stack_pop(c, o, s, 4);
    }
    sel[SEG_CS] = cs;
    rflags_load(c, flags,
                RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_IF | RFLAGS_IOPL |
                    RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID);
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        seg_set_real(c, n, sel[n]);
    }
    c->r[RSP] = (uint32_t)esp;
    c->cpl = 3;
    return iret_end(c, (uint16_t)rip);
}

static op_ret iret_task(struct cpu *c, const struct op *o)
{
    if (is_lma(c)) {
        raise_error(c, o, EXC_GP, 0);
    }
    struct desc d;
    uint16_t link = sys_read(c, o, (uint32_t)c->tr.base, 2);
    if ((link & 4) || !desc_fetch(c, o, link, &d) || desc_is_segment(&d) ||
        (desc_type(&d) != SYS_TSS16_BUSY && desc_type(&d) != SYS_TSS32_BUSY)) {
        raise_error(c, o, EXC_TS, sel_error(link));
    }
    if (!desc_present(&d)) {
        raise_error(c, o, EXC_NP, sel_error(link));
    }
    c->nmi_masked = false;
    task_switch(c, o, &d, TASK_IRET, OP_NEXT_RIP(c, o), false, 0);
    LEAVE;
}

OP(op_iret)
{
    struct stack s;
    struct desc cs, ss;
    if (!is_protected(c)) {
        return iret_real(c, o);
    }
    if (c->sysflags & RFLAGS_NT) {
        return iret_task(c, o);
    }
    stack_init(c, &s);
    uint64_t rip = stack_pop(c, o, &s, o->osz);
    uint16_t sel = stack_pop(c, o, &s, o->osz);
    uint64_t flags = stack_pop(c, o, &s, o->osz);
    if (o->osz == 4 && (flags & RFLAGS_VM) && c->cpl == 0 && !is_lma(c)) {
        return iret_to_vm86(c, o, &s, rip, sel, flags);
    }
    return_code_check(c, o, sel, &cs);
    unsigned cpl = sel & 3;
    uint64_t mask = iret_flags_mask(c, c->cpl, o->osz);
    if (cpl == c->cpl && !is_long64(c)) {
        target_check(c, o, &cs, rip);
        desc_set_accessed(c, o, &cs);
        stack_commit(c, &s);
        cs_commit(c, &cs, sel, cpl);
        rflags_load(c, flags, mask);
        return iret_end(c, rip);
    }
    struct seg new_ss;
    struct stack outer = {.ss = &new_ss};
    outer.sp = stack_pop(c, o, &s, o->osz);
    uint16_t ss_sel = stack_pop(c, o, &s, o->osz);
    return_stack_check(c, o, ss_sel, cpl, is_lma(c) && desc_long(&cs), &ss, &new_ss);
    target_check(c, o, &cs, rip);
    desc_set_accessed(c, o, &cs);
    outer.mask = stack_mask_after(c, &cs, &new_ss);
    bool outwards = cpl != c->cpl;
    cs_commit(c, &cs, sel, cpl);
    c->seg[SEG_SS] = new_ss;
    stack_commit(c, &outer);
    rflags_load(c, flags, mask);
    if (outwards) {
        seg_drop_inner(c);
    }
    return iret_end(c, rip);
}

/* ---------------------------------------------------------------- SYSCALL, SYSENTER */

static void flat_code(struct seg *s, uint16_t sel, unsigned dpl, bool l)
{
    *s = (struct seg){.sel = sel,
                      .limit = UINT32_MAX,
                      .type = 11,
                      .s = 1,
                      .dpl = dpl,
                      .present = 1,
                      .l = l,
                      .db = !l,
                      .g = 1};
}

static void flat_stack(struct seg *s, uint16_t sel, unsigned dpl)
{
    *s = (struct seg){.sel = sel,
                      .limit = UINT32_MAX,
                      .type = 3,
                      .s = 1,
                      .dpl = dpl,
                      .present = 1,
                      .db = 1,
                      .g = 1};
}

/* AMD's processors have SYSCALL in compatibility mode (to CSTAR), but no SYSENTER in long mode (APM
 * vol. 3); with Intel's it is the other way round. Their SYSCALL outside long mode is left out. */
static bool is_amd(const struct cpu *c)
{
    return c->model != NULL && cpu_vendor_is_amd(c->model);
}

OP(op_syscall)
{
    bool compatibility = is_lma(c) && !is_long64(c) && is_amd(c);
    uint64_t target = compatibility ? c->cstar : c->lstar;
    if ((!is_long64(c) && !compatibility) || !(c->efer & EFER_SCE)) {
        raise_fault(c, o, EXC_UD);
    }
    uint64_t flags = rflags_get(c) & ~(uint64_t)RFLAGS_RF;
    c->r[RCX] = OP_NEXT_RIP(c, o);
    c->r[R11] = flags;
    rflags_set(c, flags & ~c->sfmask);
    uint16_t sel = c->star >> 32 & 0xfffc;
    flat_code(&c->seg[SEG_CS], sel, 0, true);
    flat_stack(&c->seg[SEG_SS], sel + 8, 0);
    c->cpl = 0;
    c->trap_armed = c->sysflags & RFLAGS_TF; /* a masked TF gives no trap after SYSCALL itself */
    mode_update(c);
    return leave_at(c, target);
}

OP(op_sysret)
{
    if (!is_long64(c) || !(c->efer & EFER_SCE)) {
        raise_fault(c, o, EXC_UD);
    }
    bool wide = o->osz == 8;
    if (c->cpl != 0 || (wide && !is_canonical(c->r[RCX]))) {
        raise_error(c, o, EXC_GP, 0);
    }
    uint16_t base = c->star >> 48;
    flat_code(&c->seg[SEG_CS], (base + (wide ? 16 : 0)) | 3, 3, wide);
    flat_stack(&c->seg[SEG_SS], (base + 8) | 3, 3);
    c->cpl = 3;
    rflags_load(c, c->r[R11],
                RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT |
                    RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID);
    c->trap_armed = c->sysflags & RFLAGS_TF; /* the trap comes right after SYSRET */
    mode_update(c);
    intr_recheck(c);
    return leave_at(c, wide ? c->r[RCX] : (uint32_t)c->r[RCX]);
}

OP(op_sysenter)
{
    if (is_lma(c) && is_amd(c)) {
        raise_fault(c, o, EXC_UD);
    }
    if (!(c->cr0 & CR0_PE) || sel_is_null(c->sysenter_cs)) {
        raise_error(c, o, EXC_GP, 0);
    }
    bool lma = is_lma(c);
    uint16_t sel = c->sysenter_cs & 0xfffc;
    c->sysflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    flat_code(&c->seg[SEG_CS], sel, 0, lma);
    flat_stack(&c->seg[SEG_SS], sel + 8, 0);
    c->cpl = 0;
    c->r[RSP] = lma ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    mode_update(c);
    return leave_at(c, lma ? c->sysenter_eip : (uint32_t)c->sysenter_eip);
}

OP(op_sysexit)
{
    if (is_lma(c) && is_amd(c)) {
        raise_fault(c, o, EXC_UD);
    }
    bool wide = o->osz == 8;
    if (c->cpl != 0 || !(c->cr0 & CR0_PE) || sel_is_null(c->sysenter_cs) ||
        (wide && (!is_canonical(c->r[RCX]) || !is_canonical(c->r[RDX])))) {
        raise_error(c, o, EXC_GP, 0);
    }
    uint16_t base = c->sysenter_cs & 0xfffc;
    flat_code(&c->seg[SEG_CS], (base + (wide ? 32 : 16)) | 3, 3, wide);
    flat_stack(&c->seg[SEG_SS], (base + (wide ? 40 : 24)) | 3, 3);
    c->cpl = 3;
    uint64_t rip = c->r[RDX];
    c->r[RSP] = wide ? c->r[RCX] : (uint32_t)c->r[RCX];
    mode_update(c);
    return leave_at(c, wide ? rip : (uint32_t)rip);
}
