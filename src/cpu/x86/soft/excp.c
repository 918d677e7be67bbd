/*
 * Exceptions and interrupts: raising, delivery in every mode, and what happens between
 * instructions. Intel SDM volume 3, chapters 6 and 17.
 *
 * raise_*() records the fault in c->fault and jumps to whoever runs the CPU: soft_run(), or the
 * attempt to deliver an earlier event (event_try), which then decides between serial handling,
 * double fault and shutdown. A delivery pushes its frame before it commits registers, so a fault on
 * the way leaves the registers of the interrupted code in place.
 *
 * Left out: virtual-8086 mode extensions (no model offers VME and PVI; a guest that turns
 * them on where -cpu does stops with internal-error), SMM.
 */
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"

#define DR6_BD (1u << 13)
#define DR6_BS (1u << 14)
#define DR6_BT (1u << 15)
#define DR7_GD (1u << 13)

/* ---------------------------------------------------------------- raising */

G_GNUC_NORETURN static void raise_jump(struct cpu *c, const struct op *o)
{
    c->fault.rip = o != NULL ? rip_wrap(c, OP_RIP(c, o)) : c->rip;
    __builtin_longjmp(c->jump, 1);
}

void raise_fault(struct cpu *c, const struct op *o, int vector)
{
    c->fault.vector = vector;
    c->fault.has_error = false;
    c->fault.error = 0;
    c->fault.soft = false;
    c->fault.dr6 = 0;
    raise_jump(c, o);
}

void raise_error(struct cpu *c, const struct op *o, int vector, uint32_t error)
{
    c->fault.vector = vector;
    c->fault.has_error = true;
    c->fault.error = error;
    c->fault.soft = false;
    c->fault.dr6 = 0;
    raise_jump(c, o);
}

void raise_page_fault(struct cpu *c, const struct op *o, uint64_t cr2, uint32_t error)
{
    c->fault.cr2 = cr2;
    raise_error(c, o, EXC_PF, error);
}

void raise_debug(struct cpu *c, const struct op *o, uint32_t dr6)
{
    c->fault.vector = EXC_DB;
    c->fault.has_error = false;
    c->fault.error = 0;
    c->fault.soft = false;
    c->fault.dr6 = dr6;
    raise_jump(c, o);
}

/* ---------------------------------------------------------------- flags */

void rflags_load(struct cpu *c, uint64_t value, uint64_t mask)
{
    if (!debug_has_code_breakpoints(c)) {
        value &=
            ~(uint64_t)RFLAGS_RF; /* nothing could see it before the next instruction clears it */
    }
    rflags_set(c, (rflags_get(c) & ~mask) | (value & mask));
}

/* ---------------------------------------------------------------- delivery */

/* RFLAGS to save. */
static uint64_t event_flags(const struct cpu *c, const struct event *e)
{
    uint64_t flags = rflags_get(c);
    return e->rf ? flags | RFLAGS_RF : flags;
}

static void deliver_real(struct cpu *c, const struct op *o, const struct event *e)
{
    struct stack s;
    uint32_t at = e->vector * 4;
    if (at + 3 > c->idt.limit) {
        raise_error(c, o, EXC_GP, at + 2);
    }
    uint32_t vector = sys_read(c, o, (uint32_t)(c->idt.base + at), 4);
    stack_init(c, &s);
    stack_push(c, o, &s, event_flags(c, e), 2);
    stack_push(c, o, &s, c->seg[SEG_CS].sel, 2);
    stack_push(c, o, &s, e->rip, 2);
    stack_commit(c, &s);
    c->sysflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
    seg_set_real(c, SEG_CS, vector >> 16);
    c->rip = vector & 0xffff;
}

/* A gate of the IDT, with the checks that are common to all kinds. */
static void gate_read(struct cpu *c, const struct op *o, const struct event *e, struct desc *gate)
{
    unsigned size = is_lma(c) ? 16 : 8;
    uint32_t at = e->vector * size, error = e->vector * 8 + 2;
    if (at + size - 1 > c->idt.limit) {
        raise_error(c, o, EXC_GP, error);
    }
    gate->lin = c->idt.base + at;
    if (!is_lma(c)) {
        gate->lin = (uint32_t)gate->lin;
    }
    uint64_t raw = sys_read(c, o, gate->lin, 8);
    gate->lo = raw;
    gate->hi = raw >> 32;
    gate->hi2 = is_lma(c) ? sys_read(c, o, gate->lin + 8, 4) : 0;
    gate->sel = error;
    unsigned type = desc_type(gate);
    bool known = type == SYS_INT32 || type == SYS_TRAP32 ||
                 (!is_lma(c) && (type == SYS_INT16 || type == SYS_TRAP16 || type == SYS_TASK_GATE));
    if (desc_is_segment(gate) || !known || (e->kind == EVENT_SOFT && desc_dpl(gate) < c->cpl)) {
        raise_error(c, o, EXC_GP, error);
    }
    if (!desc_present(gate)) {
        raise_error(c, o, EXC_NP, error);
    }
}

/* The handler's code segment. */
static void handler_check(struct cpu *c, const struct op *o, uint16_t sel, struct desc *cs)
{
    desc_need(c, o, sel, EXC_GP, cs);
    if (!desc_is_code(cs) || desc_dpl(cs) > c->cpl ||
        (is_lma(c) && (!desc_long(cs) || desc_db(cs)))) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    if (!desc_present(cs)) {
        raise_error(c, o, EXC_NP, sel_error(sel));
    }
}

static void enter_handler(struct cpu *c, bool interrupt_gate, uint64_t rip)
{
    c->sysflags &= ~(RFLAGS_TF | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT);
    if (interrupt_gate) {
        c->sysflags &= ~RFLAGS_IF;
    }
    c->rip = rip;
}

static void deliver_task(struct cpu *c, const struct op *o, const struct event *e,
                         const struct desc *gate)
{
    struct desc tss;
    uint16_t sel = gate->lo >> 16;
    if ((sel & 4) || !desc_fetch(c, o, sel, &tss) || desc_is_segment(&tss) ||
        (desc_type(&tss) != SYS_TSS16 && desc_type(&tss) != SYS_TSS32)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    if (!desc_present(&tss)) {
        raise_error(c, o, EXC_NP, sel_error(sel));
    }
    if (e->rf) {
        c->sysflags |= RFLAGS_RF;
    }
    task_switch(c, o, &tss, TASK_EVENT, e->rip, e->has_error, e->error);
}

/* Pushes the frame that handlers of 16- and 32-bit gates see. */
static void push_frame32(struct cpu *c, const struct op *o, const struct event *e, struct stack *s,
                         unsigned size, bool with_stack, uint64_t old_sp)
{
    if (with_stack && (c->sysflags & RFLAGS_VM)) {
        static const uint8_t order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
        for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
            stack_push(c, o, s, c->seg[order[i]].sel, size);
        }
    }
    if (with_stack) {
        stack_push(c, o, s, c->seg[SEG_SS].sel, size);
        stack_push(c, o, s, old_sp, size);
    }
    stack_push(c, o, s, event_flags(c, e), size);
    stack_push(c, o, s, c->seg[SEG_CS].sel, size);
    stack_push(c, o, s, e->rip, size);
    if (e->has_error) {
        stack_push(c, o, s, e->error, size);
    }
}

static void deliver_protected(struct cpu *c, const struct op *o, const struct event *e)
{
    struct desc gate, cs, ss;
    struct seg new_ss;
    struct stack s;

    gate_read(c, o, e, &gate);
    if (desc_type(&gate) == SYS_TASK_GATE) {
        deliver_task(c, o, e, &gate);
        return;
    }
    bool wide = desc_type(&gate) & 8;
    uint16_t sel = gate.lo >> 16;
    uint32_t rip = (gate.lo & 0xffff) | (wide ? gate.hi & 0xffff0000 : 0);
    handler_check(c, o, sel, &cs);

    bool inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < c->cpl;
    bool vm = c->sysflags & RFLAGS_VM;
    unsigned cpl = inner ? desc_dpl(&cs) : c->cpl;
    if (vm && (!inner || cpl != 0)) {
        raise_error(c, o, EXC_GP, sel_error(sel));
    }
    if (inner) {
        uint16_t ss_sel;
        uint32_t esp;
        tss_stack(c, o, cpl, &ss_sel, &esp);
        ss_check(c, o, ss_sel, cpl, EXC_TS, &ss);
        desc_set_accessed(c, o, &ss);
        seg_from_desc(&new_ss, &ss, ss_sel);
        s = (struct stack){
            .ss = &new_ss, .sp = esp, .mode = mem_mode_of(c, cpl), .error = sel_error(ss_sel)};
        s.mask = new_ss.db ? UINT32_MAX : UINT16_MAX;
    } else {
        stack_init(c, &s);
    }
    if (rip > desc_limit(&cs)) {
        raise_error(c, o, EXC_GP, 0);
    }
    push_frame32(c, o, e, &s, wide ? 4 : 2, inner, c->r[RSP]);
    desc_set_accessed(c, o, &cs);

    if (inner) {
        c->seg[SEG_SS] = new_ss;
    }
    if (vm) {
        seg_set_null(&c->seg[SEG_DS], 0, 0);
        seg_set_null(&c->seg[SEG_ES], 0, 0);
        seg_set_null(&c->seg[SEG_FS], 0, 0);
        seg_set_null(&c->seg[SEG_GS], 0, 0);
    }
    stack_commit(c, &s);
    cs_commit(c, &cs, sel, cpl);
    enter_handler(c, !(desc_type(&gate) & 1), rip);
}

static void deliver_long(struct cpu *c, const struct op *o, const struct event *e)
{
    struct desc gate, cs;
    struct stack s = {.mask = UINT64_MAX, .flat64 = true};

    gate_read(c, o, e, &gate);
    uint16_t sel = gate.lo >> 16;
    uint64_t rip = (gate.lo & 0xffff) | (gate.hi & 0xffff0000) | (uint64_t)gate.hi2 << 32;
    unsigned ist = gate.hi & 7;
    handler_check(c, o, sel, &cs);

    bool inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < c->cpl;
    unsigned cpl = inner ? desc_dpl(&cs) : c->cpl;
    if (ist != 0) {
        s.sp = tss_stack64(c, o, 3 + ist);
    } else if (inner) {
        s.sp = tss_stack64(c, o, cpl);
    } else {
        s.sp = c->r[RSP];
    }
    s.mode = mem_mode_of(c, cpl);
    if (!is_canonical(rip)) {
        raise_error(c, o, EXC_GP, 0);
    }
    s.sp &= ~15ull;
    stack_push(c, o, &s, c->seg[SEG_SS].sel, 8);
    stack_push(c, o, &s, c->r[RSP], 8);
    stack_push(c, o, &s, event_flags(c, e), 8);
    stack_push(c, o, &s, c->seg[SEG_CS].sel, 8);
    stack_push(c, o, &s, e->rip, 8);
    if (e->has_error) {
        stack_push(c, o, &s, e->error, 8);
    }
    desc_set_accessed(c, o, &cs);

    if (inner) {
        seg_set_null(&c->seg[SEG_SS], cpl, cpl);
    }
    c->r[RSP] = s.sp;
    cs_commit(c, &cs, sel, cpl);
    enter_handler(c, !(desc_type(&gate) & 1), rip);
}

void event_deliver(struct cpu *c, const struct op *o, const struct event *e)
{
    if (!(c->cr0 & CR0_PE)) {
        deliver_real(c, o, e);
    } else if (is_lma(c)) {
        deliver_long(c, o, e);
    } else {
        deliver_protected(c, o, e);
    }
    c->shadow = c->shadow_ss = false;
    c->trap_armed = false;
    c->halted = false;
    mode_update(c);
}

/* ---------------------------------------------------------------- faults during delivery */

/* One attempt with c->jump pointing here: false when it raised, the fault being in c->fault. Keeps
 * no local variable across the jump. */
static __attribute__((noinline)) bool event_try(struct cpu *c, const struct event *e)
{
    if (__builtin_setjmp(c->jump)) {
        return false;
    }
    event_deliver(c, NULL, e);
    return true;
}

static bool is_contributory(int vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/* Whether a fault `second` while delivering `first` makes a double fault (or, from one, a
 * shutdown). */
static bool is_double(int first, int second)
{
    if (first == EXC_PF || first == EXC_DF) {
        return second == EXC_PF || is_contributory(second);
    }
    return is_contributory(first) && is_contributory(second);
}

static bool is_fault_class(int vector)
{
    return vector <= EXC_XM && vector != EXC_NMI && vector != EXC_BP && vector != EXC_OF &&
           vector != EXC_DF && vector != EXC_MC && vector != EXC_DB;
}

static void debug_registers_update(struct cpu *c, uint64_t dr6)
{
    c->dr[6] = (c->dr[6] & ~0xfull) | dr6;
    c->dr[7] &= ~(uint64_t)DR7_GD;
    c->pending_db = 0;
}

/* Delivers e, whatever goes wrong on the way. false: shutdown. */
static bool event_deliver_fully(struct cpu *c, struct event e)
{
    void *outer[G_N_ELEMENTS(c->jump)];
    memcpy(outer, c->jump, sizeof(outer));
    bool ok = true;
    int first = e.kind == EVENT_FAULT ? e.vector : -1; /* -1: benign */
    int began_with = e.vector;
    c->rip = e.rip;
    while (!event_try(c, &e)) {
        int second = c->fault.vector;
        if (second == EXC_PF) {
            c->cr2 = c->fault.cr2;
        }
        if (is_double(first, second)) {
            if (first == EXC_DF) {
                if (c->vcpu != NULL) {
                    c->vcpu->fatal_exception = began_with;
                }
                ok = false;
                break;
            }
            e = (struct event){
                .vector = EXC_DF, .kind = EVENT_FAULT, .has_error = true, .rip = c->rip};
        } else {
            e = (struct event){.vector = second,
                               .kind = EVENT_FAULT,
                               .has_error = c->fault.has_error,
                               .error = c->fault.error,
                               .rip = c->rip,
                               .rf = is_fault_class(second)};
            if (second >= EXC_TS && second <= EXC_GP) {
                e.error |= 1; /* EXT: not the instruction's own doing */
            }
        }
        first = e.vector;
    }
    memcpy(c->jump, outer, sizeof(outer));
    c->fault.vector = -1;
    return ok;
}

bool exception_deliver(struct cpu *c)
{
    int vector = c->fault.vector;
    struct event e = {
        .vector = vector,
        .kind = EVENT_FAULT,
        .has_error = c->fault.has_error && (c->cr0 & CR0_PE),
        .error = c->fault.error,
        .rip = c->fault.rip,
        .rf = is_fault_class(vector),
    };
    if (vector == EXC_PF) {
        c->cr2 = c->fault.cr2;
    } else if (vector == EXC_DB) {
        e.rf = c->fault.dr6 & DR6_BD;
        debug_registers_update(c, c->fault.dr6);
    }
    c->pending_db = 0;
    return event_deliver_fully(c, e);
}

/* ---------------------------------------------------------------- between instructions */

/* An interrupt waits that can be taken. */
static bool wakes(struct cpu *c)
{
    return (c->nmi_pending > 0 && !c->nmi_masked) ||
           (c->lapic != NULL && (c->sysflags & RFLAGS_IF) && lapic_has_interrupt(c->lapic));
}

void intr_recheck(struct cpu *c)
{
    if (wakes(c)) {
        atomic_fetch_or(c->req, VCPU_REQ_INTR);
    }
}

static uint32_t request_take(struct cpu *c, uint32_t bits)
{
    if (!(atomic_load_explicit(c->req, memory_order_relaxed) & bits)) {
        return 0;
    }
    return atomic_fetch_and(c->req, ~bits) & bits;
}

static int mp_state_get(const struct cpu *c)
{
    return c->vcpu != NULL ? atomic_load(&c->vcpu->mp_state) : MP_RUNNABLE;
}

static bool waits_for_sipi(int mp_state)
{
    return mp_state == MP_UNINITIALIZED || mp_state == MP_INIT_RECEIVED;
}

/* Hardware takes one NMI and latches one more while it is masked. */
static void nmi_request(struct cpu *c)
{
    if (request_take(c, VCPU_REQ_NMI) && c->vcpu != NULL) {
        uint64_t n = atomic_exchange(&c->vcpu->nmis, 0);
        c->nmi_pending = MIN(c->nmi_pending + n, c->nmi_masked ? 1 : 2);
    }
}

/* INIT and start-up IPIs. */
static void startup_requests(struct cpu *c)
{
    if (c->vcpu == NULL) {
        return;
    }
    if (request_take(c, VCPU_REQ_INIT)) {
        cpu_reset(c, true);
        bool boot_cpu = c->lapic == NULL || (lapic_get_base(c->lapic) & APIC_BASE_BSP);
        atomic_store(&c->vcpu->mp_state, boot_cpu ? MP_RUNNABLE : MP_INIT_RECEIVED);
    }
    if (request_take(c, VCPU_REQ_SIPI) && waits_for_sipi(mp_state_get(c))) {
        uint8_t vector = atomic_load(&c->vcpu->sipi_vector);
        seg_set_real(c, SEG_CS, vector << 8);
        c->rip = 0;
        c->halted = false;
        mode_update(c);
        atomic_store(&c->vcpu->mp_state, MP_RUNNABLE);
    }
}

/* A trap, NMI or interrupt at the boundary. Returns true when the CPU shut down. */
static bool event_now(struct cpu *c, uint8_t vector, enum event_kind kind, enum run_exit *exit)
{
    struct event e = {.vector = vector, .kind = kind, .rip = c->rip};
    c->host_stepped = true;
    if (c->vcpu != NULL && c->halted) {
        atomic_store(&c->vcpu->mp_state, MP_RUNNABLE);
    }
    if (!event_deliver_fully(c, e)) {
        *exit = RUN_SHUTDOWN;
        return true;
    }
    return false;
}

/* What a saved state had in delivery comes before anything else, IF or not: the interrupt
 * controller has already let go of it. */
static bool inject_now(struct cpu *c, enum run_exit *exit)
{
    int vector = c->inject;
    c->inject = -1;
    c->nmi_masked = c->nmi_masked || vector == EXC_NMI;
    return event_now(c, (uint8_t)vector, EVENT_EXTERNAL, exit);
}

/* DR6 bits of enabled instruction breakpoints at the present RIP. */
static uint32_t code_breakpoints(const struct cpu *c)
{
    uint64_t lin = is_long64(c) ? c->rip : (uint32_t)(c->seg[SEG_CS].base + c->rip);
    uint32_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        if ((c->dr[7] >> (2 * n) & 3) && !(c->dr[7] >> (16 + 4 * n) & 3) && c->dr[n] == lin) {
            hit |= 1u << n;
        }
    }
    return hit;
}

/* The debugger's step goes without interrupts: one that is pending ends HLT, but is not delivered.
 */
static void host_holds_interrupts(struct cpu *c)
{
    request_take(c, VCPU_REQ_INTR); /* intr_recheck() after the step */
    if (c->halted && wakes(c)) {
        c->halted = false;
        atomic_store(&c->vcpu->mp_state, MP_RUNNABLE);
    }
}

/* The events between two instructions, in the order that the SDM gives (volume 3, table 6-2):
 *   1. requests of the VMM (reset, park), INIT, SIPI
 *   2. debug traps of the instruction before: TF, data and I/O breakpoints, task switch
 *      (held for one instruction after MOV SS)
 *   3. in the shadow of STI or MOV SS: nothing of what follows
 *   4. machine checks: first of all on hardware, but they come at any time, so nobody can tell
 *   5. NMI
 *   6. external interrupts
 *   7. instruction breakpoints (a fault of the instruction to come; not with RF)
 * Fetch faults and the rest are found when the instruction is fetched and executed. */
bool soft_events(struct cpu *c, enum run_exit *exit)
{
    uint32_t req = atomic_load_explicit(c->req, memory_order_acquire);
    if (req & (VCPU_REQ_PAUSE | VCPU_REQ_EXCLUSIVE | VCPU_REQ_EXIT | VCPU_REQ_RUN)) {
        *exit = RUN_KICKED;
        return true;
    }
    request_take(c, VCPU_REQ_SMI | VCPU_REQ_DEBUG);
    if (request_take(c, VCPU_REQ_TLB_FLUSH)) {
        mmu_map_changed(c);
        mmu_a20_changed(c);
    }
    startup_requests(c);
    if (waits_for_sipi(mp_state_get(c))) {
        request_take(c, VCPU_REQ_INTR | VCPU_REQ_NMI |
                            VCPU_REQ_MCE); /* nothing else counts until then */
        *exit = RUN_HALT;
        return true;
    }
    nmi_request(c);
    if (unlikely(req & VCPU_REQ_TIMER)) {
        lapic_timer_watch(c->lapic, c->halted);
    }
    if (unlikely(c->inject >= 0)) {
        return inject_now(c, exit);
    }

    if (unlikely(c->key & KEY_STEP)) {
        if ((c->trap_armed || c->pending_db) && !c->shadow_ss) {
            debug_registers_update(c, c->pending_db | (c->trap_armed ? DR6_BS : 0));
            return event_now(c, EXC_DB, EVENT_EXTERNAL, exit);
        }
        if (!c->shadow) {
            mode_update(c); /* the shadow, or RF, may be over */
        }
    }
    if (unlikely(c->shadow)) {
        /* KEY_STEP stays in force for the one instruction, so that this is called after it */
        c->shadow = c->shadow_ss = false;
        c->trap_armed = c->sysflags & RFLAGS_TF;
        return false;
    }
    if (request_take(c, VCPU_REQ_MCE)) {
        if (!(c->cr4 & CR4_MCE)) { /* switched off since the injection */
            *exit = RUN_SHUTDOWN;
            return true;
        }
        return event_now(c, EXC_MC, EVENT_EXTERNAL, exit);
    }
    if (unlikely(c->host_noirq)) {
        host_holds_interrupts(c);
    } else if (c->nmi_pending > 0 && !c->nmi_masked) {
        c->nmi_pending--;
        c->nmi_masked = true;
        return event_now(c, EXC_NMI, EVENT_EXTERNAL, exit);
    }
    if (!c->host_noirq && request_take(c, VCPU_REQ_INTR) && (c->sysflags & RFLAGS_IF) &&
        c->lapic != NULL) {
        int vector = lapic_take_interrupt(c->lapic);
        if (vector >= 0) {
            bool shutdown = event_now(c, vector, EVENT_EXTERNAL, exit);
            intr_recheck(c);
            return shutdown;
        }
    }
    if (c->halted) {
        *exit = RUN_HALT;
        return true;
    }
    if (unlikely(c->key & KEY_STEP)) {
        uint32_t hit = c->sysflags & RFLAGS_RF ? 0 : code_breakpoints(c);
        if (hit != 0) {
            debug_registers_update(c, hit);
            return event_now(c, EXC_DB, EVENT_EXTERNAL, exit);
        }
        c->sysflags &= ~RFLAGS_RF;
        c->trap_armed = c->sysflags & RFLAGS_TF;
    } else {
        c->trap_armed = false;
    }
    return false;
}

/* ---------------------------------------------------------------- INT n and its like */

static __attribute__((noinline)) op_ret software_interrupt(struct cpu *c, const struct op *o,
                                                           uint8_t vector, enum event_kind kind)
{
    struct event e = {.vector = vector, .kind = kind, .rip = OP_NEXT_RIP(c, o)};
    event_deliver(c, o, &e);
    LEAVE;
}

OP(op_int)
{
    if ((c->sysflags & RFLAGS_VM) && (c->sysflags & RFLAGS_IOPL) != RFLAGS_IOPL) {
        raise_error(c, o, EXC_GP, 0);
    }
    return software_interrupt(c, o, o->imm, EVENT_SOFT);
}

OP(op_int3)
{
    return software_interrupt(c, o, EXC_BP, EVENT_SOFT);
}

OP(op_into)
{
    if (rflags_get(c) & RFLAGS_OF) {
        return software_interrupt(c, o, EXC_OF, EVENT_SOFT);
    }
    NEXT;
}

OP(op_int1)
{
    if (c->pending_db != 0) {
        debug_registers_update(c, c->pending_db); /* held by MOV SS: part of this #DB */
    }
    return software_interrupt(c, o, EXC_DB, EVENT_INT1);
}
