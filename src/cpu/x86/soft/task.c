/*
 * Hardware task switching, 16- and 32-bit. Intel SDM volume 3, section 8.3.
 *
 * The old task's state is saved and the new TSS is read before anything is committed; both are
 * probed first, so that page faults on them belong to the old task. What is wrong with the new
 * task's segments is raised in its own context, after the switch, as on hardware.
 */
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"

#define DR6_BT     (1u << 15)
#define DR7_LOCAL  0x155u /* local enables, and LE */
#define DESC_BUSY  0x200u
#define TSS32_SIZE 104u
#define TSS16_SIZE 44u
#define N_SEGS32   SEG_COUNT
#define N_SEGS16   4u /* ES, CS, SS, DS */

/* Where things are in a TSS. */
struct tss_layout {
    unsigned word; /* size of a slot */
    unsigned ip, flags, regs, segs, ldt;
    unsigned n_segs;
    unsigned saved_first, saved_end; /* what a switch writes */
    unsigned size;
};

static const struct tss_layout layout32 = {4, 32, 36, 40, 72, 96, N_SEGS32, 32, 96, TSS32_SIZE};
static const struct tss_layout layout16 = {2, 14, 16, 18, 34, 42, N_SEGS16, 14, 42, TSS16_SIZE};

struct task { /* a TSS as read */
    uint32_t cr3, ip, flags, reg[8];
    uint16_t sel[SEG_COUNT], ldt;
    bool trap, has_cr3;
};

static uint32_t tss_read(struct cpu *c, const struct op *o, uint64_t base, unsigned at,
                         unsigned size)
{
    return sys_read(c, o, (uint32_t)(base + at), size);
}

static void tss_write(struct cpu *c, const struct op *o, uint64_t base, unsigned at, uint32_t value,
                      unsigned size)
{
    sys_write(c, o, (uint32_t)(base + at), value, size);
}

static void task_read(struct cpu *c, const struct op *o, uint64_t base, bool wide, struct task *t)
{
    const struct tss_layout *l = wide ? &layout32 : &layout16;
    *t = (struct task){0};
    t->ip = tss_read(c, o, base, l->ip, l->word);
    t->flags = tss_read(c, o, base, l->flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        t->reg[i] = tss_read(c, o, base, l->regs + i * l->word, l->word);
    }
    for (unsigned i = 0; i < l->n_segs; i++) {
        t->sel[i] = tss_read(c, o, base, l->segs + i * l->word, 2);
    }
    t->ldt = tss_read(c, o, base, l->ldt, 2);
    if (wide) {
        t->has_cr3 = true;
        t->cr3 = tss_read(c, o, base, 28, 4);
        t->trap = tss_read(c, o, base, 100, 2) & 1;
    }
}

static void task_save(struct cpu *c, const struct op *o, uint32_t ip, uint32_t flags)
{
    const struct tss_layout *l = c->tr.type & 8 ? &layout32 : &layout16;
    uint64_t base = c->tr.base;
    tss_write(c, o, base, l->ip, ip, l->word);
    tss_write(c, o, base, l->flags, flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        tss_write(c, o, base, l->regs + i * l->word, c->r[i], l->word);
    }
    for (unsigned i = 0; i < l->n_segs; i++) {
        tss_write(c, o, base, l->segs + i * l->word, c->seg[i].sel, 2);
    }
}

static void busy_set(struct cpu *c, const struct op *o, uint16_t sel, bool busy)
{
    uint64_t lin = (uint32_t)(c->gdt.base + (sel & ~7u) + 5);
    uint8_t type = sys_read(c, o, lin, 1);
    sys_write(c, o, lin, busy ? type | 2 : type & ~2u, 1);
}

/* ---------------------------------------------------------------- the new task's segments */

static void load_ldt(struct cpu *c, uint16_t sel)
{
    struct desc d;
    seg_set_null(&c->ldt, sel, 0);
    if (sel_is_null(sel)) {
        return;
    }
    if ((sel & 4) || !desc_fetch(c, NULL, sel, &d) || desc_is_segment(&d) ||
        desc_type(&d) != SYS_LDT || !desc_present(&d)) {
        raise_error(c, NULL, EXC_TS, sel_error(sel));
    }
    seg_from_desc(&c->ldt, &d, sel);
}

static void load_cs(struct cpu *c, uint16_t sel)
{
    struct desc d;
    desc_need(c, NULL, sel, EXC_TS, &d);
    unsigned rpl = sel & 3, dpl = desc_dpl(&d);
    if (!desc_is_code(&d) || (desc_is_conforming(&d) ? dpl > rpl : dpl != rpl)) {
        raise_error(c, NULL, EXC_TS, sel_error(sel));
    }
    if (!desc_present(&d)) {
        raise_error(c, NULL, EXC_NP, sel_error(sel));
    }
    desc_set_accessed(c, NULL, &d);
    cs_commit(c, &d, sel, rpl);
}

static void load_data(struct cpu *c, unsigned n, uint16_t sel)
{
    struct desc d;
    if (sel_is_null(sel)) {
        return;
    }
    desc_need(c, NULL, sel, EXC_TS, &d);
    bool conforming = desc_is_code(&d) && desc_is_conforming(&d);
    if (!desc_is_segment(&d) || (desc_type(&d) & 10) == 8 ||
        (!conforming && MAX(sel & 3u, c->cpl) > desc_dpl(&d))) {
        raise_error(c, NULL, EXC_TS, sel_error(sel));
    }
    if (!desc_present(&d)) {
        raise_error(c, NULL, EXC_NP, sel_error(sel));
    }
    desc_set_accessed(c, NULL, &d);
    seg_from_desc(&c->seg[n], &d, sel);
}

static void load_segments(struct cpu *c, const struct task *t)
{
    struct desc d;
    if (c->sysflags & RFLAGS_VM) {
        for (unsigned n = 0; n < SEG_COUNT; n++) {
            seg_set_real(c, n, t->sel[n]);
        }
        c->cpl = 3;
        load_ldt(c, t->ldt);
        return;
    }
    c->cpl = t->sel[SEG_CS] & 3;
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        seg_set_null(&c->seg[n], t->sel[n], n == SEG_SS ? c->cpl : 0);
    }
    load_ldt(c, t->ldt);
    load_cs(c, t->sel[SEG_CS]);
    ss_check(c, NULL, t->sel[SEG_SS], c->cpl, EXC_TS, &d);
    desc_set_accessed(c, NULL, &d);
    seg_from_desc(&c->seg[SEG_SS], &d, t->sel[SEG_SS]);
    load_data(c, SEG_ES, t->sel[SEG_ES]);
    load_data(c, SEG_DS, t->sel[SEG_DS]);
    load_data(c, SEG_FS, t->sel[SEG_FS]);
    load_data(c, SEG_GS, t->sel[SEG_GS]);
}

/* ---------------------------------------------------------------- the switch */

static void probe(struct cpu *c, const struct op *o, uint64_t base, unsigned first, unsigned end,
                  enum access how)
{
    mem_probe_as(c, o, (uint32_t)(base + first), 1, how, TLB_KERNEL);
    mem_probe_as(c, o, (uint32_t)(base + end - 1), 1, how, TLB_KERNEL);
}

void task_switch(struct cpu *c, const struct op *o, struct desc *tss, enum task_switch_kind kind,
                 uint64_t next_rip, bool has_error, uint32_t error)
{
    bool wide = desc_type(tss) & 8, nested = kind == TASK_CALL || kind == TASK_EVENT;
    const struct tss_layout *old = c->tr.type & 8 ? &layout32 : &layout16;
    const struct tss_layout *new = wide ? &layout32 : &layout16;
    uint64_t base = desc_base(tss);
    uint16_t old_sel = c->tr.sel;
    struct task t;

    if (desc_limit(tss) < new->size - 1) {
        raise_error(c, o, EXC_TS, sel_error(tss->sel));
    }
    if (c->tr.unusable || c->tr.limit < old->size - 1) {
        raise_error(c, o, EXC_TS, sel_error(old_sel));
    }
    probe(c, o, c->tr.base, old->saved_first, old->saved_end, ACCESS_WRITE);
    probe(c, o, base, 0, new->size, nested ? ACCESS_WRITE : ACCESS_READ);
    task_read(c, o, base, wide, &t);

    uint32_t flags = rflags_get(c);
    if (kind == TASK_IRET) {
        flags &= ~RFLAGS_NT;
    }
    if (kind == TASK_JMP || kind == TASK_IRET) {
        busy_set(c, o, old_sel, false);
    }
    task_save(c, o, next_rip, flags);
    if (nested) {
        tss_write(c, o, base, 0, old_sel, 2);
        t.flags |= RFLAGS_NT;
    }
    if (kind != TASK_IRET) {
        busy_set(c, o, tss->sel, true);
    }

    /* From here on it is the new task that faults. */
    seg_from_desc(&c->tr, tss, tss->sel);
    c->tr.type |= 2;
    c->cr0 |= CR0_TS;
    c->dr[7] &= ~(uint64_t)DR7_LOCAL;
    if (t.has_cr3 && (c->cr0 & CR0_PG)) {
        c->rip = t.ip;
        cr3_set(c, NULL, t.cr3);
    }
    c->rip = wide ? t.ip : (uint16_t)t.ip;
    rflags_set(c, wide ? t.flags & 0x3f7fd7 : (t.flags & 0x7fd7) | (rflags_get(c) & ~0xffffull));
    if (!wide) {
        c->sysflags &= ~RFLAGS_VM;
    }
    for (unsigned i = 0; i < 8; i++) {
        c->r[i] = wide ? t.reg[i] : (c->r[i] & ~0xffffull) | t.reg[i];
    }
    debug_update(c);
    load_segments(c, &t);
    mode_update(c);
    if (c->rip > c->seg[SEG_CS].limit) {
        raise_error(c, NULL, EXC_GP, 0);
    }
    if (has_error) {
        struct stack s;
        stack_init(c, &s);
        stack_push(c, NULL, &s, error, wide ? 4 : 2);
        stack_commit(c, &s);
    }
    if (t.trap) {
        c->pending_db |= DR6_BT;
    }
    mode_update(c);
    intr_recheck(c);
}
