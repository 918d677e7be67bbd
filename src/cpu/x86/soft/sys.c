/*
 * System instructions: control and debug registers, CPUID, TSC, HLT, flags with privilege, port
 * I/O, TLB maintenance, FS/GS bases, random numbers. Intel SDM volume 2.
 *
 * Handlers that keep on in the block (NEXT) give no address of a local away, so that they stay tail
 * calls.
 */
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/block.h"
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"
#include <sys/random.h>

#define DR6_FIXED    0xffff0ff0u
#define DR6_WRITABLE 0x0000e00fu
#define DR6_BD       (1u << 13)
#define DR7_FIXED    0x00000400u
#define DR7_WRITABLE 0xffff23ffu
#define DR7_GD       (1u << 13)

static void need_cpl0(struct cpu *c, const struct op *o)
{
    if (unlikely(c->cpl != 0)) {
        raise_error(c, o, EXC_GP, 0);
    }
}

static unsigned phys_bits(const struct cpu *c)
{
    return c->model != NULL && c->model->phys_bits != 0 ? c->model->phys_bits : 40;
}

static bool is_pae_paging(const struct cpu *c)
{
    return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !is_lma(c);
}

/* ---------------------------------------------------------------- control registers */

#define CR0_KNOWN                                                                                  \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)

void cr0_set(struct cpu *c, const struct op *o, uint64_t value)
{
    uint64_t old = c->cr0, efer = c->efer;
    if (value >> 32 != 0 || ((value & CR0_PG) && !(value & CR0_PE)) ||
        ((value & CR0_NW) && !(value & CR0_CD))) {
        raise_error(c, o, EXC_GP, 0);
    }
    value = (value & CR0_KNOWN) | CR0_ET;
    if ((value & CR0_PG) && !(old & CR0_PG)) {
        if (efer & EFER_LME) {
            if (!(c->cr4 & CR4_PAE) || c->seg[SEG_CS].l) {
                raise_error(c, o, EXC_GP, 0);
            }
            efer |= EFER_LMA;
        } else if ((c->cr4 & CR4_PAE) && !pdptrs_load(c, o, c->cr3)) {
            raise_error(c, o, EXC_GP, 0);
        }
    } else if (!(value & CR0_PG) && (old & CR0_PG)) {
        if (is_long64(c) || (c->cr4 & CR4_PCIDE)) {
            raise_error(c, o, EXC_GP, 0);
        }
        efer &= ~(uint64_t)EFER_LMA;
    }
    c->cr0 = value;
    c->efer = efer;
    if ((old ^ value) & (CR0_PG | CR0_WP | CR0_PE)) {
        tlb_flush_all(c);
    }
}

void cr3_set(struct cpu *c, const struct op *o, uint64_t value)
{
    bool keep = false;
    if (is_lma(c)) {
        if (c->cr4 & CR4_PCIDE) {
            keep = value >> 63;
            value &= ~(1ull << 63);
        }
        if (value >> phys_bits(c) != 0) {
            raise_error(c, o, EXC_GP, 0);
        }
    } else {
        value = (uint32_t)value;
        if (is_pae_paging(c) && !pdptrs_load(c, o, value)) {
            raise_error(c, o, EXC_GP, 0);
        }
    }
    c->cr3 = value;
    if (keep) {
        tlb_switch_space(c);
    } else {
        tlb_flush_nonglobal(c);
    }
}

static uint64_t cr4_known(const struct cpu *c)
{
    uint64_t known = CR4_TSD | CR4_DE | CR4_MCE | CR4_PCE;
    known |= cpu_has(c, F_VME) ? CR4_VME | CR4_PVI : 0;
    known |= cpu_has(c, F_PSE) ? CR4_PSE : 0;
    known |= cpu_has(c, F_PAE) ? CR4_PAE : 0;
    known |= cpu_has(c, F_PGE) ? CR4_PGE : 0;
    known |= cpu_has(c, F_FXSR) ? CR4_OSFXSR : 0;
    known |= cpu_has(c, F_SSE) ? CR4_OSXMMEXCPT : 0;
    known |= cpu_has(c, F_UMIP) ? CR4_UMIP : 0;
    known |= cpu_has(c, F_FSGSBASE) ? CR4_FSGSBASE : 0;
    known |= cpu_has(c, F_PCID) ? CR4_PCIDE : 0;
    known |= cpu_has(c, F_XSAVE) ? CR4_OSXSAVE : 0;
    known |= cpu_has(c, F_SMEP) ? CR4_SMEP : 0;
    known |= cpu_has(c, F_SMAP) ? CR4_SMAP : 0;
    known |= cpu_has(c, F_PKS) ? CR4_PKS : 0;
    known |= cpu_has(c, F_PKU) ? CR4_PKE : 0;
    return known;
}

void cr4_set(struct cpu *c, const struct op *o, uint64_t value)
{
    uint64_t old = c->cr4, changed = old ^ value;
    if ((value & ~cr4_known(c)) != 0 || (is_lma(c) && !(value & CR4_PAE)) ||
        ((changed & value & CR4_PCIDE) && (!is_lma(c) || (c->cr3 & 0xfff) != 0))) {
        raise_error(c, o, EXC_GP, 0);
    }
    if ((c->cr0 & CR0_PG) && !is_lma(c) && (value & CR4_PAE) &&
        (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && !pdptrs_load(c, o, c->cr3)) {
        raise_error(c, o, EXC_GP, 0);
    }
    if (value & (CR4_VME | CR4_PVI)) { /* no model has them, but -cpu can ask for them */
        raise_internal(c, o, "CR4.VME or CR4.PVI is offered by the CPU model but not implemented");
    }
    c->cr4 = value;
    if (changed &
        (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKS | CR4_PKE)) {
        tlb_flush_all(c);
    }
}

/* Of a move from or to CR8 too: the register numbers that exist. */
static void need_control_register(struct cpu *c, const struct op *o)
{
    unsigned n = o->dst;
    if (n == 1 || (n > 4 && n != 8)) {
        raise_fault(c, o, EXC_UD);
    }
    need_cpl0(c, o);
}

static unsigned natural_size(const struct cpu *c)
{
    return is_long64(c) ? 8 : 4;
}

OP(op_mov_from_cr)
{
    need_control_register(c, o);
    uint64_t value;
    switch (o->dst) {
    case 0:
        value = c->cr0;
        break;
    case 2:
        value = c->cr2;
        break;
    case 3:
        value = c->cr3;
        break;
    case 4:
        value = c->cr4;
        break;
    default:
        value = c->lapic != NULL ? lapic_get_cr8(c->lapic) : 0;
        break;
    }
    reg_set(c, o, o->src, natural_size(c), value);
    NEXT;
}

OP(op_mov_to_cr)
{
    need_control_register(c, o);
    uint64_t value = reg_get(c, o, o->src, natural_size(c));
    switch (o->dst) {
    case 0:
        cr0_set(c, o, value);
        break;
    case 2:
        c->cr2 = value;
        break;
    case 3:
        cr3_set(c, o, value);
        END_BLOCK; /* no mode_update: the key does not change */
    case 4:
        cr4_set(c, o, value);
        break;
    default:
        if (value & ~15ull) {
            raise_error(c, o, EXC_GP, 0);
        }
        if (c->lapic != NULL) {
            lapic_set_cr8(c->lapic, value);
        }
        END_BLOCK;
    }
    uint64_t next = OP_NEXT_RIP(c, o);
    if (!(c->cr0 & CR0_PE)) {
        c->cpl = 0;
    }
    mode_update(c);
    return leave_at(c, next);
}

OP(op_clts)
{
    need_cpl0(c, o);
    c->cr0 &= ~(uint64_t)CR0_TS;
    mode_update(c);
    END_BLOCK;
}

OP(op_smsw)
{
    if ((c->cr4 & CR4_UMIP) && c->cpl != 0) {
        raise_error(c, o, EXC_GP, 0);
    }
    if (o->bits & OB_MEM) {
        mem_st16(c, o, ea(c, o, 2, true), c->cr0);
    } else {
        reg_set(c, o, o->src, o->osz, c->cr0);
    }
    NEXT;
}

OP(op_lmsw)
{
    need_cpl0(c, o);
    uint64_t value = rm_get(c, o, 2) & 15;
    cr0_set(c, o, (c->cr0 & ~14ull) | value); /* PE can be set, not cleared */
    mode_update(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- debug registers */

static bool is_data_kind(const struct cpu *c, unsigned kind)
{
    return kind == 1 || kind == 3 || (kind == 2 && (c->cr4 & CR4_DE));
}

void debug_update(struct cpu *c)
{
    c->watch = false;
    for (unsigned n = 0; n < 4; n++) {
        if ((c->dr[7] >> (2 * n) & 3) && is_data_kind(c, c->dr[7] >> (16 + 4 * n) & 3)) {
            c->watch = true;
        }
    }
    tlb_switch_space(c); /* watched pages must not be in the first level */
}

bool debug_has_code_breakpoints(const struct cpu *c)
{
    for (unsigned n = 0; n < 4; n++) {
        if ((c->dr[7] >> (2 * n) & 3) && !(c->dr[7] >> (16 + 4 * n) & 3)) {
            return true;
        }
    }
    return false;
}

/* The register that ModRM.reg means, after the checks in the manual's order. */
static unsigned debug_register(struct cpu *c, const struct op *o)
{
    unsigned n = o->dst;
    if (n > 7 || ((n == 4 || n == 5) && (c->cr4 & CR4_DE))) {
        raise_fault(c, o, EXC_UD);
    }
    need_cpl0(c, o);
    if (c->dr[7] & DR7_GD) {
        raise_debug(c, o, DR6_BD);
    }
    return n == 4 || n == 5 ? n + 2 : n;
}

OP(op_mov_from_dr)
{
    unsigned n = debug_register(c, o);
    reg_set(c, o, o->src, natural_size(c), c->dr[n]);
    NEXT;
}

OP(op_mov_to_dr)
{
    unsigned n = debug_register(c, o);
    uint64_t value = reg_get(c, o, o->src, natural_size(c));
    if (n >= 6 && value >> 32 != 0) {
        raise_error(c, o, EXC_GP, 0);
    }
    if (n == 6) {
        c->dr[6] = (value & DR6_WRITABLE) | DR6_FIXED;
    } else if (n == 7) {
        c->dr[7] = (value & DR7_WRITABLE) | DR7_FIXED;
    } else {
        c->dr[n] = value;
    }
    debug_update(c);
    mode_update(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- identification, time */

OP(op_cpuid)
{
    uint32_t number = c->r[RAX], sub = c->r[RCX];
    struct cpuid_plain *plain = &c->cpuid_plain[cpuid_plain_index(number, sub)];
    uint64_t key = number | (uint64_t)sub << 32;
    struct cpuid_leaf leaf = {number, sub, plain->eax, plain->ebx, plain->ecx, plain->edx};
    if (plain->key != key) {
        unsigned index = c->vcpu != NULL ? c->vcpu->index : 0;
        leaf = c->model != NULL ? cpu_model_cpuid(c->model, index, number, sub)
                                : (struct cpuid_leaf){0};
        if (number == 1) {
            if (c->cr4 & CR4_OSXSAVE) {
                leaf.ecx |= 1u << 27;
            }
            if (c->lapic != NULL && !(lapic_get_base(c->lapic) & APIC_BASE_ENABLE)) {
                leaf.edx &= ~(1u << 9);
            }
        } else if (number == 7 && (c->cr4 & CR4_PKE)) {
            leaf.ecx |= sub == 0 ? 1u << 4 : 0;
        } else if (number == 0xd) {
            if (sub < 2 && leaf.ebx) {
                leaf.ebx = xsave_enabled_bytes(c, sub == 1);
            }
        } else {
            *plain = (struct cpuid_plain){key, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx, 0};
        }
    }
    c->r[RAX] = leaf.eax;
    c->r[RBX] = leaf.ebx;
    c->r[RCX] = leaf.ecx;
    c->r[RDX] = leaf.edx;
    END_BLOCK;
}

uint64_t tsc_read(struct cpu *c)
{
    return (c->host != NULL && c->host->tsc != NULL ? c->host->tsc(c) : 0) + c->tsc_offset;
}

static void tsc_load(struct cpu *c, const struct op *o)
{
    if ((c->cr4 & CR4_TSD) && c->cpl != 0) {
        raise_error(c, o, EXC_GP, 0);
    }
    uint64_t tsc = tsc_read(c);
    c->r[RAX] = (uint32_t)tsc;
    c->r[RDX] = tsc >> 32;
}

OP(op_rdtsc)
{
    tsc_load(c, o);
    NEXT;
}

OP(op_rdtscp)
{
    tsc_load(c, o);
    c->r[RCX] = (uint32_t)c->tsc_aux;
    NEXT;
}

OP(op_rdpid)
{
    reg_set(c, o, o->src, natural_size(c), c->tsc_aux);
    NEXT;
}

OP(op_rdpmc)
{
    if (c->cpl != 0 && !(c->cr4 & CR4_PCE) && (c->cr0 & CR0_PE)) {
        raise_error(c, o, EXC_GP, 0);
    }
    raise_error(c, o, EXC_GP, 0); /* no counters */
}

/* ---------------------------------------------------------------- HLT, interrupt flag */

OP(op_hlt)
{
    need_cpl0(c, o);
    c->halted = true;
    if (c->vcpu != NULL) {
        atomic_store(&c->vcpu->mp_state, MP_HALTED);
    }
    c->exit = RUN_HALT;
    c->leave = true;
    END_BLOCK;
}

static void need_iopl(struct cpu *c, const struct op *o)
{
    if (unlikely(c->cpl > (c->sysflags >> 12 & 3))) {
        raise_error(c, o, EXC_GP, 0);
    }
}

OP(op_cli)
{
    need_iopl(c, o);
    c->sysflags &= ~RFLAGS_IF;
    NEXT;
}

/* The shadow after STI costs nothing when no interrupt waits: the next instruction of the block
 * runs before requests are looked at anyway. */
OP(op_sti)
{
    need_iopl(c, o);
    if (c->sysflags & RFLAGS_IF) {
        NEXT;
    }
    c->sysflags |= RFLAGS_IF;
    if (likely(!(c->key & KEY_STEP) && o[1].fn != op_fall &&
               (c->lapic == NULL || !lapic_has_interrupt(c->lapic)))) {
        NEXT;
    }
    intr_recheck(c);
    c->shadow = true;
    mode_update(c);
    END_BLOCK;
}

static __attribute__((noinline)) void push_value(struct cpu *c, const struct op *o, uint64_t value)
{
    struct stack s;
    stack_init(c, &s);
    stack_push(c, o, &s, value, o->osz);
    stack_commit(c, &s);
}

static __attribute__((noinline)) uint64_t pop_value(struct cpu *c, const struct op *o)
{
    struct stack s;
    stack_init(c, &s);
    uint64_t value = stack_pop(c, o, &s, o->osz);
    stack_commit(c, &s);
    return value;
}

static void need_vm86_iopl(struct cpu *c, const struct op *o)
{
    if ((c->sysflags & RFLAGS_VM) && (c->sysflags & RFLAGS_IOPL) != RFLAGS_IOPL) {
        raise_error(c, o, EXC_GP, 0);
    }
}

OP(op_pushf)
{
    need_vm86_iopl(c, o);
    push_value(c, o, rflags_get(c) & ~(uint64_t)(RFLAGS_VM | RFLAGS_RF));
    NEXT;
}

OP(op_popf)
{
    need_vm86_iopl(c, o);
    uint64_t mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    if (o->osz > 2) {
        mask |= RFLAGS_AC | RFLAGS_ID | RFLAGS_RF; /* RF is cleared */
    }
    if (c->cpl == 0) {
        mask |= RFLAGS_IOPL;
    }
    if (c->cpl <= (c->sysflags >> 12 & 3)) {
        mask |= RFLAGS_IF;
    }
    uint32_t old = c->sysflags;
    uint64_t value = pop_value(c, o) & ~(uint64_t)RFLAGS_RF;
    rflags_set(c, (rflags_get(c) & ~mask) | (value & mask));
    uint32_t changed = old ^ c->sysflags;
    if (likely(!(changed & (RFLAGS_TF | RFLAGS_AC | RFLAGS_IF)))) {
        NEXT;
    }
    mode_update(c);
    intr_recheck(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- MSRs */

OP(op_rdmsr)
{
    need_cpl0(c, o);
    uint64_t value;
    if (!msr_read(c, c->r[RCX], &value)) {
        raise_error(c, o, EXC_GP, 0);
    }
    c->r[RAX] = (uint32_t)value;
    c->r[RDX] = value >> 32;
    END_BLOCK;
}

/* A write by the guest, which its consequences can be traced to. */
static bool msr_write_guest(struct cpu *c, uint32_t index, uint64_t value)
{
    if (c->vcpu != NULL) {
        c->vcpu->access = (struct vcpu_access){
            .kind = VCPU_ACCESS_MSR, .write = true, .size = 8, .address = index, .value = value};
    }
    bool ok = msr_write(c, index, value);
    if (c->vcpu != NULL) {
        c->vcpu->access.kind = VCPU_ACCESS_NONE;
    }
    return ok;
}

OP(op_wrmsr)
{
    need_cpl0(c, o);
    uint64_t value = (uint32_t)c->r[RAX] | c->r[RDX] << 32;
    c->access_op = o;
    if (!msr_write_guest(c, c->r[RCX], value)) {
        raise_error(c, o, EXC_GP, 0);
    }
    mode_update(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- TLB and caches */

OP(op_invlpg)
{
    need_cpl0(c, o);
    uint64_t lin = ea_offset(c, o);
    if (o->mflags & (MF_SEG64 | MF_SEGCHK)) {
        lin += c->seg[o->seg].base; /* no limit check */
    }
    tlb_flush_page(c, is_long64(c) ? lin : (uint32_t)lin);
    END_BLOCK;
}

OP(op_invpcid)
{
    need_cpl0(c, o);
    uint64_t type = reg_get(c, o, o->dst, natural_size(c));
    uint64_t d[2];
    mem_read_slow(c, o, ea(c, o, 16, false), d, 16);
    if (type > 3 || d[0] >> 12 != 0 || (type <= 1 && d[0] != 0 && !(c->cr4 & CR4_PCIDE)) ||
        (type == 0 && !is_canonical(d[1]))) {
        raise_error(c, o, EXC_GP, 0);
    }
    switch (type) {
    case 0:
        tlb_flush_page_pcid(c, d[1], d[0]);
        break;
    case 1:
        tlb_flush_pcid(c, d[0]);
        break;
    case 2:
        tlb_flush_all(c);
        break;
    default:
        tlb_flush_all_nonglobal(c);
        break;
    }
    END_BLOCK;
}

OP(op_cache_all) /* INVD, WBINVD: there are no caches to see */
{
    need_cpl0(c, o);
    NEXT;
}

OP(op_cache_line) /* CLFLUSH, CLFLUSHOPT, CLWB: faults as a read of one byte */
{
    mem_probe(c, o, ea(c, o, 1, false), 1, ACCESS_READ);
    NEXT;
}

OP(op_lfence)
{
    NEXT;
}

OP(op_sfence)
{
    NEXT;
}

OP(op_mfence)
{
    atomic_thread_fence(memory_order_seq_cst);
    NEXT;
}

/* ---------------------------------------------------------------- FS and GS bases, SMAP */

OP(op_swapgs)
{
    need_cpl0(c, o);
    uint64_t base = c->seg[SEG_GS].base;
    c->seg[SEG_GS].base = c->kernel_gs_base;
    c->kernel_gs_base = base;
    NEXT;
}

static void need_fsgsbase(struct cpu *c, const struct op *o)
{
    if (!(c->cr4 & CR4_FSGSBASE)) {
        raise_fault(c, o, EXC_UD);
    }
}

static uint64_t new_base(struct cpu *c, const struct op *o)
{
    uint64_t value = reg_get(c, o, o->src, o->osz);
    if (!is_canonical(value)) {
        raise_error(c, o, EXC_GP, 0);
    }
    return value;
}

OP(op_rdfsbase)
{
    need_fsgsbase(c, o);
    reg_set(c, o, o->src, o->osz, c->seg[SEG_FS].base);
    NEXT;
}

OP(op_rdgsbase)
{
    need_fsgsbase(c, o);
    reg_set(c, o, o->src, o->osz, c->seg[SEG_GS].base);
    NEXT;
}

OP(op_wrfsbase)
{
    need_fsgsbase(c, o);
    c->seg[SEG_FS].base = new_base(c, o);
    NEXT;
}

OP(op_wrgsbase)
{
    need_fsgsbase(c, o);
    c->seg[SEG_GS].base = new_base(c, o);
    NEXT;
}

static void set_ac(struct cpu *c, const struct op *o, bool ac)
{
    if (c->cpl != 0) {
        raise_fault(c, o, EXC_UD);
    }
    c->sysflags = ac ? c->sysflags | RFLAGS_AC : c->sysflags & ~RFLAGS_AC;
    c->tlb = c->tlb_mode[mem_mode(c)];
}

OP(op_stac)
{
    set_ac(c, o, true);
    NEXT;
}

OP(op_clac)
{
    set_ac(c, o, false);
    NEXT;
}

/* ---------------------------------------------------------------- random numbers */

static uint64_t random_get(struct cpu *c)
{
    if (c->random_left == 0) {
        if (getrandom(c->random, sizeof(c->random), 0) != sizeof(c->random)) {
            return 0;
        }
        c->random_left = G_N_ELEMENTS(c->random);
    }
    uint64_t value = c->random[--c->random_left];
    c->random[c->random_left] = 0;
    return value;
}

OP(op_rdrand)
{
    reg_set(c, o, o->src, o->osz, random_get(c));
    flags_arith_set(c, RFLAGS_CF);
    NEXT;
}

/* ---------------------------------------------------------------- ports */

void io_check(struct cpu *c, const struct op *o, uint16_t port, unsigned size)
{
    if (!(c->cr0 & CR0_PE) || (!(c->sysflags & RFLAGS_VM) && c->cpl <= (c->sysflags >> 12 & 3))) {
        return;
    }
    bool ok = false;
    if (!c->tr.unusable && (c->tr.type & ~2u) == SYS_TSS32 && c->tr.limit >= 103) {
        uint64_t base = c->tr.base;
        uint32_t at = sys_read(c, o, is_lma(c) ? base + 102 : (uint32_t)(base + 102), 2);
        at += port / 8;
        if (at + 1 <= c->tr.limit) {
            uint32_t bits = sys_read(c, o, is_lma(c) ? base + at : (uint32_t)(base + at), 2);
            ok = (bits >> (port & 7) & ((1u << size) - 1)) == 0;
        }
    }
    if (!ok) {
        raise_error(c, o, EXC_GP, 0);
    }
}

static void watch_port(struct cpu *c, uint16_t port, unsigned size)
{
    for (unsigned n = 0; n < 4; n++) {
        static const uint8_t len[4] = {1, 2, 8, 4};
        unsigned bits = c->dr[7] >> (16 + 4 * n) & 15;
        if ((c->dr[7] >> (2 * n) & 3) && (bits & 3) == 2 && (c->cr4 & CR4_DE)) {
            uint64_t first = c->dr[n] & ~(uint64_t)(len[bits >> 2] - 1);
            if (port < first + len[bits >> 2] && first < (uint64_t)port + size) {
                c->pending_db |= 1u << n;
            }
        }
    }
}

uint32_t io_read(struct cpu *c, const struct op *o, uint16_t port, unsigned size)
{
    io_check(c, o, port, size);
    c->access_op = o;
    if (unlikely(c->watch)) {
        watch_port(c, port, size);
    }
    return c->host != NULL && c->host->io_read != NULL ? c->host->io_read(c, port, size)
                                                       : UINT32_MAX;
}

void io_write(struct cpu *c, const struct op *o, uint16_t port, uint32_t value, unsigned size)
{
    io_check(c, o, port, size);
    c->access_op = o;
    if (unlikely(c->watch)) {
        watch_port(c, port, size);
    }
    if (c->host != NULL && c->host->io_write != NULL) {
        c->host->io_write(c, port, value, size);
    }
}

/* After an access to a device: on to the next instruction, unless something was asked of the vCPU.
 */
static op_ret after_port(struct cpu *c, const struct op *o)
{
    if (unlikely((c->key & KEY_STEP) || atomic_load_explicit(c->req, memory_order_relaxed))) {
        END_BLOCK;
    }
    NEXT;
}

static op_ret port_in(struct cpu *c, const struct op *o, uint16_t port)
{
    unsigned size = MIN(o->osz, 4);
    uint64_t value = io_read(c, o, port, size);
    reg_set(c, o, RAX, size, value);
    return after_port(c, o);
}

static op_ret port_out(struct cpu *c, const struct op *o, uint16_t port)
{
    unsigned size = MIN(o->osz, 4);
    io_write(c, o, port, reg_get(c, o, RAX, size), size);
    return after_port(c, o);
}

OP(op_in_imm)
{
    return port_in(c, o, (uint8_t)o->imm);
}

OP(op_in_dx)
{
    return port_in(c, o, c->r[RDX]);
}

OP(op_out_imm)
{
    return port_out(c, o, (uint8_t)o->imm);
}

OP(op_out_dx)
{
    return port_out(c, o, c->r[RDX]);
}
