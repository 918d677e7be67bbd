/*
 * Segment registers, descriptors and the instructions on them. Intel SDM volume 3, chapters 3
 * and 5.
 *
 * The hidden part of each segment register (struct seg) is all that addressing looks at; in real
 * mode only selector and base change, so limits loaded in protected mode stay ("unreal mode").
 */
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"

/* ---------------------------------------------------------------- descriptors */

bool desc_fetch(struct cpu *c, const struct op *o, uint16_t sel, struct desc *d)
{
    uint64_t base = c->gdt.base;
    uint32_t limit = c->gdt.limit;
    if (sel & 4) {
        if (c->ldt.unusable) {
            return false;
        }
        base = c->ldt.base;
        limit = c->ldt.limit;
    }
    if ((sel | 7u) > limit) {
        return false;
    }
    d->lin = base + (sel & ~7u);
    if (!is_lma(c)) {
        d->lin = (uint32_t)d->lin;
    }
    uint64_t raw = sys_read(c, o, d->lin, 8);
    d->lo = raw;
    d->hi = raw >> 32;
    d->hi2 = 0;
    d->sel = sel;
    return true;
}

bool desc_fetch_high(struct cpu *c, const struct op *o, struct desc *d)
{
    uint32_t limit = d->sel & 4 ? c->ldt.limit : c->gdt.limit;
    if ((d->sel & 0xfff8u) + 15 > limit) {
        return false;
    }
    uint64_t raw = sys_read(c, o, d->lin + 8, 8);
    d->hi2 = raw;
    return (raw >> 40 & 0x1f) == 0; /* the type field of the second half is 0 */
}

void desc_need(struct cpu *c, const struct op *o, uint16_t sel, int vector, struct desc *d)
{
    if (sel_is_null(sel)) {
        raise_error(c, o, vector, 0);
    }
    if (!desc_fetch(c, o, sel, d)) {
        raise_error(c, o, vector, sel_error(sel));
    }
}

void desc_set_accessed(struct cpu *c, const struct op *o, struct desc *d)
{
    if (!(d->hi & 0x100)) {
        d->hi |= 0x100;
        sys_write(c, o, d->lin + 5, d->hi >> 8 & 0xff, 1);
    }
}

void seg_from_desc(struct seg *s, const struct desc *d, uint16_t sel)
{
    *s = (struct seg){
        .base = desc_base(d),
        .limit = desc_limit(d),
        .sel = sel,
        .type = desc_type(d),
        .s = desc_is_segment(d),
        .dpl = desc_dpl(d),
        .present = desc_present(d),
        .avl = d->hi >> 20 & 1,
        .l = desc_long(d),
        .db = desc_db(d),
        .g = d->hi >> 23 & 1,
    };
}

void seg_set_null(struct seg *s, uint16_t sel, unsigned dpl)
{
    *s = (struct seg){.sel = sel, .dpl = dpl, .unusable = true};
}

void seg_set_real(struct cpu *c, unsigned n, uint16_t sel)
{
    struct seg *s = &c->seg[n];
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    s->unusable = false;
    if (c->sysflags & RFLAGS_VM) {
        s->limit = 0xffff;
        s->type = 3;
        s->s = s->present = 1;
        s->dpl = 3;
        s->db = s->l = s->g = s->avl = 0;
    } else if (n == SEG_CS) {
        /* writable through an override, whatever it was in protected mode */
        s->type = 3;
        s->s = s->present = 1;
        s->dpl = 0;
        s->l = 0;
    }
}

void cs_commit(struct cpu *c, const struct desc *d, uint16_t sel, unsigned cpl)
{
    seg_from_desc(&c->seg[SEG_CS], d, (sel & ~3u) | cpl);
    c->cpl = cpl;
}

void ss_check(struct cpu *c, const struct op *o, uint16_t sel, unsigned rpl_dpl, int vector,
              struct desc *d)
{
    desc_need(c, o, sel, vector, d);
    if ((sel & 3) != rpl_dpl || !desc_is_writable_data(d) || desc_dpl(d) != rpl_dpl) {
        raise_error(c, o, vector, sel_error(sel));
    }
    if (!desc_present(d)) {
        raise_error(c, o, EXC_SS, sel_error(sel));
    }
}

void seg_load(struct cpu *c, const struct op *o, unsigned n, uint16_t sel)
{
    struct desc d;
    if (!is_protected(c)) {
        seg_set_real(c, n, sel);
        return;
    }
    if (n == SEG_SS) {
        if (sel_is_null(sel)) {
            if (!is_long64(c) || c->cpl == 3 || (sel & 3) != c->cpl) {
                raise_error(c, o, EXC_GP, 0);
            }
            seg_set_null(&c->seg[n], sel, c->cpl);
            return;
        }
        ss_check(c, o, sel, c->cpl, EXC_GP, &d);
    } else {
        if (sel_is_null(sel)) {
            seg_set_null(&c->seg[n], sel, 0);
            return;
        }
        desc_need(c, o, sel, EXC_GP, &d);
        unsigned type = desc_type(&d);
        bool conforming = (type & 12) == 12;
        if (!desc_is_segment(&d) || (type & 10) == 8 ||
            (!conforming && MAX(sel & 3u, c->cpl) > desc_dpl(&d))) {
            raise_error(c, o, EXC_GP, sel_error(sel));
        }
        if (!desc_present(&d)) {
            raise_error(c, o, EXC_NP, sel_error(sel));
        }
    }
    desc_set_accessed(c, o, &d);
    seg_from_desc(&c->seg[n], &d, sel);
}

void seg_drop_inner(struct cpu *c)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < G_N_ELEMENTS(data); i++) {
        struct seg *s = &c->seg[data[i]];
        bool conforming = (s->type & 12) == 12;
        if (!s->unusable && !conforming && s->dpl < c->cpl) {
            /* the base stays: 64-bit code goes on using that of FS and GS */
            s->unusable = true;
            s->sel = 0;
        } else if (sel_is_null(s->sel)) {
            s->sel = 0;
        }
    }
}

/* ---------------------------------------------------------------- stacks */

uint64_t stack_mask(const struct cpu *c, const struct seg *ss)
{
    return is_long64(c) ? UINT64_MAX : ss->db ? UINT32_MAX : UINT16_MAX;
}

void stack_init(struct cpu *c, struct stack *s)
{
    s->ss = &c->seg[SEG_SS];
    s->sp = c->r[RSP];
    s->mask = stack_mask(c, s->ss);
    s->mode = mem_mode(c);
    s->error = 0;
    s->flat64 = is_long64(c);
}

static uint64_t stack_linear(struct cpu *c, const struct op *o, const struct stack *s, uint64_t sp,
                             unsigned size)
{
    if (s->flat64) {
        if (!is_canonical(sp) || !is_canonical(sp + size - 1)) {
            raise_error(c, o, EXC_SS, s->error);
        }
        return sp;
    }
    if (!segment_holds(s->ss, sp & s->mask, size)) {
        raise_error(c, o, EXC_SS, s->error);
    }
    return (uint32_t)(s->ss->base + (sp & s->mask));
}

void stack_push(struct cpu *c, const struct op *o, struct stack *s, uint64_t value, unsigned size)
{
    uint64_t sp = s->sp - size;
    mem_write_as(c, o, stack_linear(c, o, s, sp, size), &value, size, s->mode);
    s->sp = sp;
}

uint64_t stack_pop(struct cpu *c, const struct op *o, struct stack *s, unsigned size)
{
    uint64_t value = 0;
    mem_read_as(c, o, stack_linear(c, o, s, s->sp, size), &value, size, s->mode);
    s->sp += size;
    return value;
}

void stack_commit(struct cpu *c, const struct stack *s)
{
    if (s->mask == UINT16_MAX) {
        c->r[RSP] = (c->r[RSP] & ~s->mask) | (s->sp & s->mask);
    } else {
        c->r[RSP] = s->sp & s->mask;
    }
}

void tss_stack(struct cpu *c, const struct op *o, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
    bool wide = c->tr.type & 8;
    uint32_t at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
    if (c->tr.unusable || at + (wide ? 5 : 3) > c->tr.limit) {
        raise_error(c, o, EXC_TS, sel_error(c->tr.sel));
    }
    *esp = sys_read(c, o, (uint32_t)(c->tr.base + at), wide ? 4 : 2);
    *ss = sys_read(c, o, (uint32_t)(c->tr.base + at + (wide ? 4 : 2)), 2);
}

uint64_t tss_stack64(struct cpu *c, const struct op *o, unsigned index)
{
    uint32_t at = 4 + 8 * index;
    if (c->tr.unusable || at + 7 > c->tr.limit) {
        raise_error(c, o, EXC_TS, sel_error(c->tr.sel));
    }
    return sys_read(c, o, c->tr.base + at, 8);
}

/* ---------------------------------------------------------------- moves */

/* Handlers here end the block: those that give the address of a local variable away can't make a
 * tail call, and must not go on to the next op with their frame in place. */
static op_ret seg_end(struct cpu *c, const struct op *o)
{
    mode_update(c);
    END_BLOCK;
}

/* Interrupts, NMIs and debug traps wait until after the next instruction. */
static op_ret ss_end(struct cpu *c, const struct op *o)
{
    c->shadow = c->shadow_ss = true;
    mode_update(c);
    END_BLOCK;
}

OP(op_mov_from_sreg)
{
    if (o->dst % 8 >= SEG_COUNT) {
        raise_fault(c, o, EXC_UD);
    }
    uint16_t sel = c->seg[o->dst % 8].sel;
    if (o->bits & OB_MEM) {
        mem_st16(c, o, ea(c, o, 2, true), sel);
    } else {
        reg_set(c, o, o->src, o->osz, sel);
    }
    NEXT;
}

OP(op_mov_to_sreg)
{
    unsigned n = o->dst % 8;
    if (n >= SEG_COUNT || n == SEG_CS) {
        raise_fault(c, o, EXC_UD);
    }
    seg_load(c, o, n, rm_get(c, o, 2));
    return n == SEG_SS ? ss_end(c, o) : seg_end(c, o);
}

static op_ret sreg_push(struct cpu *c, const struct op *o, unsigned n)
{
    struct stack s;
    uint16_t sel = c->seg[n].sel;
    stack_init(c, &s);
    /* a 32-bit push stores 16 bits and leaves the rest of the slot alone; a 64-bit one stores all
     */
    unsigned size = o->osz == 4 ? 2 : o->osz;
    s.sp -= o->osz;
    mem_write_as(c, o, stack_linear(c, o, &s, s.sp, size), &(uint64_t){sel}, size, s.mode);
    stack_commit(c, &s);
    END_BLOCK;
}

static op_ret sreg_pop(struct cpu *c, const struct op *o, unsigned n)
{
    struct stack s;
    stack_init(c, &s);
    uint64_t value = stack_pop(c, o, &s, o->osz);
    seg_load(c, o, n, value);
    if (n != SEG_SS) {
        stack_commit(c, &s);
        return seg_end(c, o);
    }
    stack_commit(c, &s); /* the mask is that of the stack before */
    return ss_end(c, o);
}

#define SREG_STACK_OPS(name, n)                                                                    \
    OP(op_push_##name)                                                                             \
    {                                                                                              \
        return sreg_push(c, o, n);                                                                 \
    }                                                                                              \
    OP(op_pop_##name)                                                                              \
    {                                                                                              \
        return sreg_pop(c, o, n);                                                                  \
    }
SREG_STACK_OPS(es, SEG_ES)
SREG_STACK_OPS(ss, SEG_SS)
SREG_STACK_OPS(ds, SEG_DS)
SREG_STACK_OPS(fs, SEG_FS)
SREG_STACK_OPS(gs, SEG_GS)

OP(op_push_cs)
{
    return sreg_push(c, o, SEG_CS);
}

static op_ret far_pointer_load(struct cpu *c, const struct op *o, unsigned n)
{
    uint64_t lin = ea(c, o, o->osz + 2, false);
    uint64_t offset = 0;
    uint16_t sel;
    mem_probe(c, o, lin, o->osz + 2, ACCESS_READ);
    mem_read_slow(c, o, lin, &offset, o->osz);
    mem_read_slow(c, o, is_long64(c) ? lin + o->osz : (uint32_t)(lin + o->osz), &sel, 2);
    seg_load(c, o, n, sel);
    reg_set(c, o, o->dst, o->osz, offset);
    return n == SEG_SS ? ss_end(c, o) : seg_end(c, o);
}

#define FAR_POINTER_OP(name, n)                                                                    \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        return far_pointer_load(c, o, n);                                                          \
    }
FAR_POINTER_OP(les, SEG_ES)
FAR_POINTER_OP(lds, SEG_DS)
FAR_POINTER_OP(lss, SEG_SS)
FAR_POINTER_OP(lfs, SEG_FS)
FAR_POINTER_OP(lgs, SEG_GS)

/* ---------------------------------------------------------------- asking about descriptors */

static void set_zf(struct cpu *c, bool zf)
{
    flags_arith_set(c, (flags_arith_get(c) & ~RFLAGS_ZF) | (zf ? RFLAGS_ZF : 0));
}

/* Whether sel may be looked at, and its descriptor. `system` is a set of system types (bit n: type
 * n). */
static bool desc_visible(struct cpu *c, const struct op *o, uint16_t sel, uint32_t system,
                         struct desc *d)
{
    if (sel_is_null(sel) || !desc_fetch(c, o, sel, d)) {
        return false;
    }
    if (desc_is_segment(d)) {
        if (desc_is_code(d) && desc_is_conforming(d)) {
            return true;
        }
    } else if (!(system >> desc_type(d) & 1)) {
        return false;
    }
    return desc_dpl(d) >= MAX(c->cpl, sel & 3u);
}

OP(op_lar)
{
    uint16_t sel = rm_get(c, o, 2);
    struct desc d;
    bool ok = desc_visible(c, o, sel, is_lma(c) ? 0x1a04 : 0x1a3e, &d);
    if (ok) {
        reg_set(c, o, o->dst, o->osz, d.hi & 0x00ffff00);
    }
    set_zf(c, ok);
    END_BLOCK;
}

OP(op_lsl)
{
    uint16_t sel = rm_get(c, o, 2);
    struct desc d;
    bool ok = desc_visible(c, o, sel, is_lma(c) ? 0x0a04 : 0x0a0e, &d);
    if (ok) {
        reg_set(c, o, o->dst, o->osz, desc_limit(&d));
    }
    set_zf(c, ok);
    END_BLOCK;
}

OP(op_verr)
{
    struct desc d;
    bool ok = desc_visible(c, o, rm_get(c, o, 2), 0, &d);
    set_zf(c, ok && (desc_type(&d) & 10) != 8);
    END_BLOCK;
}

OP(op_verw)
{
    struct desc d;
    bool ok = desc_visible(c, o, rm_get(c, o, 2), 0, &d);
    set_zf(c, ok && desc_is_writable_data(&d));
    END_BLOCK;
}

OP(op_arpl)
{
    uint16_t to, from = c->r[o->dst];
    uint64_t lin = 0;
    if (o->bits & OB_MEM) {
        lin = ea(c, o, 2, true);
        mem_probe(c, o, lin, 2, ACCESS_WRITE);
        to = mem_ld16(c, o, lin);
    } else {
        to = c->r[o->src];
    }
    bool raise = (to & 3) < (from & 3);
    if (raise) {
        to = (to & ~3u) | (from & 3);
        if (o->bits & OB_MEM) {
            mem_st16(c, o, lin, to);
        } else {
            reg_set(c, o, o->src, 2, to);
        }
    }
    set_zf(c, raise);
    END_BLOCK;
}

/* ---------------------------------------------------------------- table registers */

static void need_cpl0(struct cpu *c, const struct op *o)
{
    if (c->cpl != 0) {
        raise_error(c, o, EXC_GP, 0);
    }
}

static void need_no_umip(struct cpu *c, const struct op *o)
{
    if ((c->cr4 & CR4_UMIP) && c->cpl != 0) {
        raise_error(c, o, EXC_GP, 0);
    }
}

static op_ret table_store(struct cpu *c, const struct op *o, uint16_t limit, uint64_t base)
{
    need_no_umip(c, o);
    unsigned size = is_long64(c) ? 8 : 4;
    uint64_t lin = ea(c, o, size + 2, true);
    mem_probe(c, o, lin, size + 2, ACCESS_WRITE);
    mem_st16(c, o, lin, limit);
    lin = is_long64(c) ? lin + 2 : (uint32_t)(lin + 2);
    mem_write_slow(c, o, lin, &base, size);
    END_BLOCK;
}

OP(op_sgdt)
{
    return table_store(c, o, c->gdt.limit, c->gdt.base);
}

OP(op_sidt)
{
    return table_store(c, o, c->idt.limit, c->idt.base);
}

static void table_load(struct cpu *c, const struct op *o, uint16_t *limit, uint64_t *base)
{
    need_cpl0(c, o);
    unsigned size = is_long64(c) ? 8 : 4;
    uint64_t lin = ea(c, o, size + 2, false), value = 0;
    uint16_t l = mem_ld16(c, o, lin);
    mem_read_slow(c, o, is_long64(c) ? lin + 2 : (uint32_t)(lin + 2), &value, size);
    if (is_long64(c) && !is_canonical(value)) {
        raise_error(c, o, EXC_GP, 0);
    }
    *limit = l;
    *base = o->osz == 2 && !is_long64(c) ? value & 0xffffff : value;
}

OP(op_lgdt)
{
    table_load(c, o, &c->gdt.limit, &c->gdt.base);
    END_BLOCK;
}

OP(op_lidt)
{
    table_load(c, o, &c->idt.limit, &c->idt.base);
    END_BLOCK;
}

/* To a register the whole operand size, to memory always 16 bits. */
static op_ret selector_store(struct cpu *c, const struct op *o, uint16_t sel)
{
    need_no_umip(c, o);
    if (o->bits & OB_MEM) {
        mem_st16(c, o, ea(c, o, 2, true), sel);
    } else {
        reg_set(c, o, o->src, o->osz, sel);
    }
    END_BLOCK;
}

OP(op_sldt)
{
    return selector_store(c, o, c->ldt.sel);
}

OP(op_str)
{
    return selector_store(c, o, c->tr.sel);
}

/* A system descriptor in the GDT with all its parts, or #GP(sel); not present is #NP(sel). */
static void system_desc_need(struct cpu *c, const struct op *o, uint16_t sel, uint32_t types,
                             struct desc *d)
{
    if ((sel & 4) || !desc_fetch(c, o, sel, d) || desc_is_segment(d) ||
        !(types >> desc_type(d) & 1)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    if (!desc_present(d)) {
        raise_error(c, o, EXC_NP, sel_error(sel));
    }
    if (is_lma(c)) {
        if (!desc_fetch_high(c, o, d) || !is_canonical(desc_base(d))) {
            raise_error(c, o, EXC_GP, sel_error(sel));
        }
    }
}

OP(op_lldt)
{
    need_cpl0(c, o);
    uint16_t sel = rm_get(c, o, 2);
    if (sel_is_null(sel)) {
        seg_set_null(&c->ldt, sel, 0);
        END_BLOCK;
    }
    struct desc d;
    system_desc_need(c, o, sel, 1u << SYS_LDT, &d);
    seg_from_desc(&c->ldt, &d, sel);
    END_BLOCK;
}

OP(op_ltr)
{
    need_cpl0(c, o);
    uint16_t sel = rm_get(c, o, 2);
    if (sel_is_null(sel)) {
        raise_error(c, o, EXC_GP, 0);
    }
    struct desc d;
    system_desc_need(c, o, sel, is_lma(c) ? 1u << SYS_TSS32 : 1u << SYS_TSS32 | 1u << SYS_TSS16,
                     &d);
    d.hi |= 0x200; /* busy */
    sys_write(c, o, d.lin + 5, d.hi >> 8 & 0xff, 1);
    seg_from_desc(&c->tr, &d, sel);
    END_BLOCK;
}
