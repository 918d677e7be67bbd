/* The vCPU's registers as a state table: how they travel. */
#include "cpu/x86/state-fields.h"

#include "cpu/x86/state.h"

#define REG(name) STATE(struct x_regs, name)

static const struct state_field regs_fields[] = {
    REG(rax), REG(rbx), REG(rcx), REG(rdx),    REG(rsi), REG(rdi), REG(rsp),
    REG(rbp), REG(r8),  REG(r9),  REG(r10),    REG(r11), REG(r12), REG(r13),
    REG(r14), REG(r15), REG(rip), REG(rflags), {0},
};

#define SEG(name)          STATE(struct x_seg, name)
#define SEG_MAX(name, max) STATE_MAX(struct x_seg, name, max)

static const struct state_field seg_fields[] = {
    SEG(base),
    SEG(limit),
    SEG(selector),
    SEG_MAX(type, 15),
    SEG_MAX(present, 1),
    SEG_MAX(dpl, 3),
    SEG_MAX(db, 1),
    SEG_MAX(s, 1),
    SEG_MAX(l, 1),
    SEG_MAX(g, 1),
    SEG_MAX(avl, 1),
    SEG_MAX(unusable, 1),
    STATE_PAD(struct x_seg, pad),
    {0},
};

static const struct state_field dtable_fields[] = {
    STATE(struct x_dtable, base),
    STATE(struct x_dtable, limit),
    STATE_PAD(struct x_dtable, pad),
    {0},
};

#define SEGMENT(name) STATE_STRUCT(struct x_sregs, name, seg_fields)
#define SREG(name)    STATE(struct x_sregs, name)

static const struct state_field sregs_fields[] = {
    SEGMENT(cs),
    SEGMENT(ds),
    SEGMENT(es),
    SEGMENT(fs),
    SEGMENT(gs),
    SEGMENT(ss),
    SEGMENT(tr),
    SEGMENT(ldt),
    STATE_STRUCT(struct x_sregs, gdt, dtable_fields),
    STATE_STRUCT(struct x_sregs, idt, dtable_fields),
    SREG(cr0),
    SREG(cr2),
    SREG(cr3),
    SREG(cr4),
    STATE_MAX(struct x_sregs, cr8, 15),
    SREG(efer),
    SREG(apic_base),
    STATE_ARRAY(struct x_sregs, interrupt_bitmap),
    {0},
};

#define EVENT(name)          STATE(struct x_events, name)
#define EVENT_MAX(name, max) STATE_MAX(struct x_events, name, max)

static const struct state_field events_fields[] = {
    EVENT_MAX(exception.injected, 1),
    EVENT_MAX(exception.nr, 31),
    EVENT_MAX(exception.has_error_code, 1),
    EVENT_MAX(exception.pending, 1),
    EVENT(exception.error_code),
    EVENT_MAX(interrupt.injected, 1),
    EVENT(interrupt.nr),
    EVENT_MAX(interrupt.soft, 1),
    EVENT_MAX(interrupt.shadow, 3),
    EVENT_MAX(nmi.injected, 1),
    EVENT(nmi.pending),
    EVENT_MAX(nmi.masked, 1),
    STATE_PAD(struct x_events, nmi.pad),
    STATE_MAX(struct x_events, sipi_vector, 255),
    EVENT(flags),
    EVENT_MAX(smi.smm, 1),
    EVENT_MAX(smi.pending, 1),
    EVENT_MAX(smi.smm_inside_nmi, 1),
    EVENT_MAX(smi.latched_init, 1),
    EVENT_MAX(triple_fault.pending, 1),
    STATE_PAD(struct x_events, reserved),
    EVENT_MAX(exception_has_payload, 1),
    EVENT(exception_payload),
    {0},
};

static const struct state_field debug_fields[] = {
    STATE_ARRAY(struct x_debugregs, db),     STATE(struct x_debugregs, dr6),
    STATE(struct x_debugregs, dr7),          STATE(struct x_debugregs, flags),
    STATE_PAD(struct x_debugregs, reserved), {0},
};

static const struct state_field msr_fields[] = {
    STATE(struct x_msr, index),
    STATE_PAD(struct x_msr, reserved),
    STATE(struct x_msr, data),
    {0},
};

static const struct state_field fields[] = {
    STATE_STRUCT(struct cpu_state, regs, regs_fields),
    STATE_STRUCT(struct cpu_state, sregs, sregs_fields),
    STATE_ARRAY(struct cpu_state, xsave),
    STATE(struct cpu_state, xcr0),
    STATE_STRUCT(struct cpu_state, events, events_fields),
    STATE_STRUCT(struct cpu_state, debug, debug_fields),
    STATE_MAX(struct cpu_state, mp_state, 4),
    STATE_ARRAY(struct cpu_state, lapic),
    STATE_SINCE(struct cpu_state, a20_off, 2),
    STATE(struct cpu_state, tsc),
    STATE_MAX(struct cpu_state, n_msrs, X_MSRS_MAX),
    STATE_PAD(struct cpu_state, pad2),
    STATE_STRUCT_ARRAY(struct cpu_state, msr, msr_fields),
    {0},
};

const struct state_desc cpu_state_desc = {
    .name = "x86-vcpu",
    .version = 2,
    .min_version = 1,
    .size = sizeof(struct cpu_state),
    .fields = fields,
};
