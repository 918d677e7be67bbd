/*
 * The CPU's state as a whole: reset, the mode key, and the exchange with struct cpu_state.
 */
#include "base/log.h"
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/soft/xlat.h"
#include <inttypes.h>
#include <sys/mman.h>

/* ---------------------------------------------------------------- mode */

/* Whether every offset may be read and written. */
static bool is_open(const struct seg *s)
{
    return !s->unusable && s->limit == UINT32_MAX && !(s->type & 8) && (s->type & 2) &&
           !(s->type & 4);
}

static bool is_flat(const struct seg *s)
{
    return s->base == 0 && is_open(s);
}

void mode_update(struct cpu *c)
{
    const struct seg *cs = &c->seg[SEG_CS], *ss = &c->seg[SEG_SS];
    uint32_t key = c->cpl;
    bool lma = c->efer & EFER_LMA;
    if (c->cr0 & CR0_PE) {
        key |= KEY_PE;
    }
    if (c->sysflags & RFLAGS_VM) {
        key |= KEY_VM86;
    }
    if (lma) {
        key |= KEY_LMA;
    }
    if (lma && cs->l) {
        key |= KEY_LONG64 | KEY_FLAT | KEY_CS_FLAT;
    } else {
        key |= cs->db ? KEY_CS_D : 0;
        key |= ss->db ? KEY_SS_B : 0;
        if (is_flat(ss) && is_flat(&c->seg[SEG_DS]) && is_flat(&c->seg[SEG_ES])) {
            key |= KEY_FLAT;
        }
        if (cs->base == 0 && cs->limit == UINT32_MAX) {
            key |= KEY_CS_FLAT;
        } else {
            key |= block_limit_number(c, cs->limit) << KEY_CS_LIMIT_SHIFT;
        }
    }
    key |= c->cr0 & CR0_TS ? KEY_TS : 0;
    key |= c->cr0 & CR0_EM ? KEY_EM : 0;
    key |= c->cr0 & CR0_MP ? KEY_MP : 0;
    key |= c->cr4 & CR4_OSFXSR ? KEY_OSFXSR : 0;
    key |= c->cr4 & CR4_OSXSAVE ? KEY_OSXSAVE : 0;
    key |= (c->cr4 & CR4_SMAP) && c->cpl != 3 ? KEY_SMAP : 0;
    key |= (c->cr4 & CR4_OSXSAVE) && (c->xcr0 & 6) == 6 ? KEY_AVX : 0;
    if ((c->sysflags & RFLAGS_TF) || c->shadow || c->pending_db != 0 || c->trap_armed ||
        (c->dr[7] & 0xff)) {
        key |= KEY_STEP;
    }
    /* Blocks know addresses by RIP: where that does not tell the linear address, breakpoints of the
     * debugger are looked for at each instruction. */
    if (c->host_step || (c->vcpu && atomic_load(&c->vcpu->cpus->one_insn)) ||
        (c->host_breaks && !(key & (KEY_LONG64 | KEY_CS_FLAT)))) {
        key |= KEY_STEP;
    }
    c->seg_open[0] = is_open(&c->seg[SEG_FS]);
    c->seg_open[1] = is_open(&c->seg[SEG_GS]);
    if (c->cpl == 3 && (c->cr0 & CR0_AM) && (c->sysflags & RFLAGS_AC)) {
        key |= KEY_ALIGN;
    }
    if ((~c->mxcsr >> 7 & 0x3f) != 0) {
        key |= KEY_FPEXC;
    }
    c->key = key;
    jump_gen_select(c);
    c->tlb = c->tlb_mode[key & KEY_ALIGN ? TLB_ALIGN : mem_mode(c)];
}

/* ---------------------------------------------------------------- reset */

static void seg_reset(struct seg *s, uint8_t type)
{
    *s = (struct seg){.limit = 0xffff, .type = type, .s = 1, .present = 1};
}

/* What only power-on resets. */
static void power_on(struct cpu *c)
{
    c->cr0 = CR0_ET | CR0_NW | CR0_CD;
    c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = c->tsc_aux = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->pat = 0x0007040600070406ull;
    c->misc_enable = 0x1801; /* fast strings; no branch trace, no PEBS */
    c->spec_ctrl = 0;
    c->pkrs = 0;
    c->pkru = 0;
    c->tsc_adjust = 0;
    c->mtrr_def_type = 0;
    memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
    memset(c->mtrr_base, 0, sizeof(c->mtrr_base));
    memset(c->mtrr_mask, 0, sizeof(c->mtrr_mask));
    c->mcg_status = 0;
    c->mcg_ctl = UINT64_MAX;
    for (unsigned i = 0; i < MCE_BANKS; i++) {
        c->mce_bank[i][0] = UINT64_MAX; /* what the banks have recorded stays */
    }
    memset(c->hv_crash, 0, sizeof(c->hv_crash));
    c->feat_ctl = 1; /* locked, VMX off */
    memset(c->xmm, 0, sizeof(c->xmm));
    memset(c->ymm_hi, 0, sizeof(c->ymm_hi));
    c->xcr0 = 1;
    fp_reset(c);
    c->tsc_offset = 0;
    c->tsc_offset = -tsc_read(c);
}

/* SDM volume 3, table 9-1. */
void cpu_reset(struct cpu *c, bool init)
{
    memset(c->r, 0, sizeof(c->r));
    c->r[R_4K] = 4096;
    c->r[RDX] = c->model != NULL ? cpu_model_cpuid(c->model, 0, 1, 0).eax : 0x600;
    c->rip = 0xfff0;
    c->sysflags = RFLAGS_1;
    rflags_set(c, RFLAGS_1);
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        seg_reset(&c->seg[n], 3);
    }
    c->seg[SEG_CS].sel = 0xf000;
    c->seg[SEG_CS].base = 0xffff0000;
    c->seg[SEG_CS].type = 11;
    c->ldt = (struct seg){.limit = 0xffff, .type = SYS_LDT, .present = 1};
    c->tr = (struct seg){.limit = 0xffff, .type = SYS_TSS32_BUSY, .present = 1};
    c->gdt.base = c->idt.base = 0;
    c->gdt.limit = c->idt.limit = 0xffff;
    /* INIT keeps CD and NW */
    c->cr0 = CR0_ET | (init ? c->cr0 & (CR0_NW | CR0_CD) : 0);
    c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
    memset(c->pdptr, 0, sizeof(c->pdptr));
    memset(c->dr, 0, sizeof(c->dr));
    c->dr[6] = 0xffff0ff0;
    c->dr[7] = 0x400;
    c->watch = c->trap_armed = false;
    c->inject = -1;
    c->pending_db = 0;
    c->cpl = 0;
    c->shadow = c->shadow_ss = c->nmi_masked = c->halted = false;
    c->nmi_pending = 0;
    c->fault.vector = -1;
    c->leave = false;
    atomic_fetch_and(c->req, ~(uint32_t)VCPU_REQ_MCE);
    if (!init) {
        power_on(c);
    }
    if (c->lapic != NULL) {
        lapic_reset(c->lapic, init);
    }
    tlb_flush_all(c);
    mode_update(c);
}

/* ---------------------------------------------------------------- get */

static void seg_to_state(struct x_seg *to, const struct seg *s)
{
    *to = (struct x_seg){
        .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .type = s->type,
        .present = s->present,
        .dpl = s->dpl,
        .db = s->db,
        .s = s->s,
        .l = s->l,
        .g = s->g,
        .avl = s->avl,
        .unusable = s->unusable,
    };
}

static void seg_from_state(struct seg *s, const struct x_seg *from)
{
    *s = (struct seg){
        .base = from->base,
        .limit = from->limit,
        .sel = from->selector,
        .type = from->type & 15,
        .present = from->present & 1,
        .dpl = from->dpl & 3,
        .db = from->db & 1,
        .s = from->s & 1,
        .l = from->l & 1,
        .g = from->g & 1,
        .avl = from->avl & 1,
        .unusable = from->unusable & 1,
    };
}

/* x_regs holds RSP and RBP where the encoding has RSP=4, RBP=5, RSI=6, RDI=7 in another order. */
static const uint8_t gpr_order[16] = {RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP,
                                      R8,  R9,  R10, R11, R12, R13, R14, R15};

static void regs_get(const struct cpu *c, struct x_regs *regs)
{
    uint64_t *to = &regs->rax;
    for (unsigned i = 0; i < 16; i++) {
        to[i] = c->r[gpr_order[i]];
    }
    regs->rip = c->rip;
    regs->rflags = rflags_get(c);
}

static void sregs_get(const struct cpu *c, struct x_sregs *s)
{
    memset(s, 0, sizeof(*s));
    seg_to_state(&s->es, &c->seg[SEG_ES]);
    seg_to_state(&s->cs, &c->seg[SEG_CS]);
    seg_to_state(&s->ss, &c->seg[SEG_SS]);
    seg_to_state(&s->ds, &c->seg[SEG_DS]);
    seg_to_state(&s->fs, &c->seg[SEG_FS]);
    seg_to_state(&s->gs, &c->seg[SEG_GS]);
    seg_to_state(&s->ldt, &c->ldt);
    seg_to_state(&s->tr, &c->tr);
    s->gdt = (struct x_dtable){.base = c->gdt.base, .limit = c->gdt.limit};
    s->idt = (struct x_dtable){.base = c->idt.base, .limit = c->idt.limit};
    s->cr0 = c->cr0;
    s->cr2 = c->cr2;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->efer = c->efer;
    if (c->lapic != NULL) {
        s->cr8 = lapic_get_cr8(c->lapic);
        s->apic_base = lapic_get_base(c->lapic);
    }
}

/* An event that came with a state and has not been delivered yet. */
static void inject_get(const struct cpu *c, struct x_events *e)
{
    if (c->inject == EXC_NMI) {
        e->nmi.injected = 1;
    } else if (c->inject >= 0) {
        e->interrupt.injected = 1;
        e->interrupt.nr = (uint8_t)c->inject;
    }
    if (atomic_load(c->req) & VCPU_REQ_MCE) {
        e->exception.pending = 1;
        e->exception.nr = EXC_MC;
    }
}

static void events_get(const struct cpu *c, struct x_events *e)
{
    memset(e, 0, sizeof(*e));
    e->interrupt.shadow = (c->shadow ? 1 : 0) | (c->shadow_ss ? 2 : 0);
    e->nmi.masked = c->nmi_masked;
    if (c->vcpu != NULL) {
        e->nmi.pending = (uint8_t)MIN(c->nmi_pending + atomic_load(&c->vcpu->nmis), 2u);
        e->sipi_vector = atomic_load(&c->vcpu->sipi_vector);
        e->smi.latched_init = (atomic_load(c->req) & VCPU_REQ_INIT) != 0;
    }
    if (c->pending_db != 0 || c->trap_armed) {
        e->exception.pending = 1;
        e->exception.nr = EXC_DB;
        e->exception_has_payload = 1;
        e->exception_payload = c->pending_db | (c->trap_armed ? 1u << 14 : 0);
    }
    inject_get(c, e);
}

/* A start-up IPI has come and was not looked at. */
static bool start_up_waits(const struct cpu *c)
{
    return c->vcpu != NULL && (atomic_load(c->req) & VCPU_REQ_SIPI) &&
           (atomic_load(&c->vcpu->mp_state) == MP_UNINITIALIZED ||
            atomic_load(&c->vcpu->mp_state) == MP_INIT_RECEIVED);
}

static void msrs_get(struct cpu *c, struct cpu_state *st)
{
    st->n_msrs = 0;
    for (const uint32_t *index = msr_saved; *index != 0; index++) {
        uint64_t value;
        if (msr_read(c, *index, &value)) {
            st->msr[st->n_msrs++] = (struct x_msr){.index = *index, .data = value};
        }
    }
}

void soft_state_get(struct cpu *c, struct cpu_state *st, unsigned what)
{
    if (what & ST_REGS) {
        regs_get(c, &st->regs);
    }
    if (what & ST_SREGS) {
        sregs_get(c, &st->sregs);
    }
    if (what & ST_FPU) {
        memset(st->xsave, 0, sizeof(st->xsave));
        xsave_store(c, st->xsave);
        st->xcr0 = c->xcr0;
    }
    if (what & ST_MSRS) {
        msrs_get(c, st);
    }
    if (what & ST_EVENTS) {
        events_get(c, &st->events);
    }
    if (what & ST_DEBUG) {
        memset(&st->debug, 0, sizeof(st->debug));
        memcpy(st->debug.db, c->dr, sizeof(st->debug.db));
        st->debug.dr6 = c->dr[6];
        st->debug.dr7 = c->dr[7];
    }
    if (what & ST_MP) {
        st->mp_state = start_up_waits(c) ? MP_SIPI_RECEIVED
                       : c->vcpu != NULL ? (uint32_t)atomic_load(&c->vcpu->mp_state)
                       : c->halted       ? MP_HALTED
                                         : MP_RUNNABLE;
        st->a20_off = c->a20_mask != UINT64_MAX;
    }
    if ((what & ST_LAPIC) && c->lapic != NULL) {
        lapic_get_page(c->lapic, st->lapic);
    }
    if (what & ST_CLOCK) {
        st->tsc = tsc_read(c);
    }
}

/* ---------------------------------------------------------------- set */

static void regs_set(struct cpu *c, const struct x_regs *regs)
{
    const uint64_t *from = &regs->rax;
    for (unsigned i = 0; i < 16; i++) {
        c->r[gpr_order[i]] = from[i];
    }
    c->rip = regs->rip;
    rflags_set(c, regs->rflags);
}

static bool sregs_check(const struct x_sregs *s, GError **error)
{
    const char *what = NULL;
    if ((s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE)) {
        what = "CR0 has PG without PE";
    } else if ((s->efer & EFER_LMA) && !(s->cr4 & CR4_PAE)) {
        what = "EFER has LMA, but CR4 has no PAE";
    } else if (!(s->efer & EFER_LMA) != !((s->cr0 & CR0_PG) && (s->efer & EFER_LME))) {
        what = "EFER.LMA does not agree with CR0.PG and EFER.LME";
    }
    if (what != NULL) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "vCPU state: %s (cr0 %#" PRIx64 ", cr4 %#" PRIx64 ", efer %#" PRIx64 ")", what,
                    s->cr0, s->cr4, s->efer);
        return false;
    }
    return true;
}

static void sregs_set(struct cpu *c, const struct x_sregs *s)
{
    seg_from_state(&c->seg[SEG_ES], &s->es);
    seg_from_state(&c->seg[SEG_CS], &s->cs);
    seg_from_state(&c->seg[SEG_SS], &s->ss);
    seg_from_state(&c->seg[SEG_DS], &s->ds);
    seg_from_state(&c->seg[SEG_FS], &s->fs);
    seg_from_state(&c->seg[SEG_GS], &s->gs);
    seg_from_state(&c->ldt, &s->ldt);
    seg_from_state(&c->tr, &s->tr);
    c->gdt.base = s->gdt.base;
    c->gdt.limit = s->gdt.limit;
    c->idt.base = s->idt.base;
    c->idt.limit = s->idt.limit;
    c->cr0 = s->cr0;
    c->cr2 = s->cr2;
    c->cr3 = s->cr3;
    c->cr4 = s->cr4;
    c->efer = s->efer;
    if ((c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !(c->efer & EFER_LMA)) {
        pdptrs_load(c, NULL, c->cr3);
    }
    /* SS.DPL is the CPL in protected mode */
    c->cpl = !(c->cr0 & CR0_PE) ? 0 : c->sysflags & RFLAGS_VM ? 3 : c->seg[SEG_SS].dpl;
    if (c->lapic != NULL) {
        lapic_set_cr8(c->lapic, s->cr8 & 15);
    }
    tlb_flush_all(c);
}

static void events_set(struct cpu *c, const struct x_events *e)
{
    c->shadow = e->interrupt.shadow != 0;
    c->shadow_ss = e->interrupt.shadow & 2;
    c->nmi_masked = e->nmi.masked;
    c->nmi_pending = 0;
    c->pending_db = 0;
    c->trap_armed = false;
    if (e->exception.pending && e->exception.nr == EXC_DB && e->exception_has_payload) {
        c->pending_db = e->exception_payload & 0xe00f;
    }
    /* Of what was in delivery, faults and INT n come again by themselves: RIP is still there. */
    c->inject = e->nmi.injected                               ? EXC_NMI
                : e->interrupt.injected && !e->interrupt.soft ? e->interrupt.nr
                                                              : -1;
    if ((e->exception.pending || e->exception.injected) && e->exception.nr == EXC_MC) {
        atomic_fetch_or(c->req, VCPU_REQ_MCE);
    }
    if (c->inject >= 0) {
        atomic_fetch_or(c->req, VCPU_REQ_INTR);
    }
    if (c->vcpu != NULL) {
        atomic_store(&c->vcpu->sipi_vector, (uint8_t)e->sipi_vector);
        atomic_store(&c->vcpu->nmis, 0);
        for (unsigned i = 0; i < MIN(e->nmi.pending, 2u); i++) {
            vcpu_nmi(c->vcpu);
        }
        if (e->smi.latched_init) {
            vcpu_request(c->vcpu, VCPU_REQ_INIT);
        }
    }
}

static bool msrs_set(struct cpu *c, const struct cpu_state *st, GError **error)
{
    for (unsigned i = 0; i < MIN(st->n_msrs, X_MSRS_MAX); i++) {
        const struct x_msr *m = &st->msr[i];
        if (m->index == 0x3b) { /* TSC_ADJUST: the TSC itself is in st->tsc */
            c->tsc_adjust = m->data;
        } else if (m->index == 0x3a) {
            c->feat_ctl = m->data;
        } else if (m->index - 0x400 < MCE_BANKS * 4) { /* a guest could only clear them */
            c->mce_bank[(m->index - 0x400) / 4][m->index % 4] = m->data;
        } else if (!msr_write(c, m->index, m->data) && m->data != 0) { /* 0: it may lack it */
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "vCPU state: MSR %#x does not take the value %#" PRIx64, m->index, m->data);
            return false;
        }
    }
    return true;
}

bool soft_state_set(struct cpu *c, const struct cpu_state *st, unsigned what, GError **error)
{
    if ((what & ST_SREGS) && !sregs_check(&st->sregs, error)) {
        return false;
    }
    if ((what & ST_FPU) && !xcr0_valid(c, st->xcr0 | 1)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "vCPU state: XCR0 %#" PRIx64 " enables what the CPU model does not have",
                    st->xcr0);
        return false;
    }
    if (what & ST_REGS) {
        regs_set(c, &st->regs);
    }
    if ((what & ST_LAPIC) && c->lapic != NULL &&
        !lapic_set_page(c->lapic, st->lapic,
                        what & ST_SREGS ? st->sregs.apic_base : lapic_get_base(c->lapic), error)) {
        return false;
    }
    if (what & ST_SREGS) {
        sregs_set(c, &st->sregs);
    }
    if (what & ST_FPU) {
        xsave_load(c, st->xsave);
        c->xcr0 = st->xcr0 | 1;
    }
    if (what & ST_CLOCK) {
        c->tsc_offset += st->tsc - tsc_read(c);
    }
    if ((what & ST_MSRS) && !msrs_set(c, st, error)) {
        return false;
    }
    if (what & ST_EVENTS) {
        events_set(c, &st->events);
    }
    if (what & ST_DEBUG) {
        memcpy(c->dr, st->debug.db, sizeof(st->debug.db));
        c->dr[6] = st->debug.dr6;
        c->dr[7] = st->debug.dr7;
        debug_update(c);
    }
    if (what & ST_MP) {
        c->halted = st->mp_state == MP_HALTED;
        if (c->vcpu != NULL && st->mp_state >= MP_SIPI_RECEIVED) {
            atomic_store(&c->vcpu->mp_state, MP_INIT_RECEIVED);
            vcpu_request(c->vcpu, VCPU_REQ_SIPI);
        } else if (c->vcpu != NULL) {
            atomic_store(&c->vcpu->mp_state, (int)st->mp_state);
        }
        if (c->vcpu != NULL) {
            atomic_store(&c->vcpu->a20_off, st->a20_off != 0);
        }
        mmu_a20_changed(c);
    }
    mode_update(c);
    intr_recheck(c);
    return true;
}

/* ---------------------------------------------------------------- life */

#if defined(MAP_32BIT)
#define CPU_MAP_LOW MAP_32BIT
#else
#define CPU_MAP_LOW 0
#endif

struct cpu *soft_cpu_new(const struct cpu_model *model, const struct soft_host *host,
                         struct vcpu *vcpu)
{
    /* Zeroes that cost nothing while they stay; translated code wants them below 2 GiB. */
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const size_t bytes = CPU_STACK_BYTES + sizeof(struct cpu);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | CPU_MAP_LOW, -1, 0);
    struct cpu *c;

    if (memory == MAP_FAILED) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    }
    if (memory == MAP_FAILED) {
        return NULL;
    }
    c = (struct cpu *)(memory + CPU_STACK_BYTES);
    c->model = model;
    c->host = host;
    c->vcpu = vcpu;
    c->req = vcpu != NULL ? &vcpu->req : &c->own_req;
    for (unsigned i = 0; i < CPUID_PLAIN; i++) {
        c->cpuid_plain[i].key = i ^ 1;
    }
    if (model != NULL) {
        memcpy(c->features, model->features, sizeof(c->features));
    }
    if (!mmu_init(c) || !blocks_init(c)) {
        soft_cpu_free(c);
        return NULL;
    }
    cpu_reset(c, false);
    return c;
}

void soft_cpu_free(struct cpu *c)
{
    if (c == NULL) {
        return;
    }
    blocks_finish(c);
    xlat_finish(c);
    mmu_finish(c);
    munmap((uint8_t *)c - CPU_STACK_BYTES, CPU_STACK_BYTES + sizeof(*c));
}
