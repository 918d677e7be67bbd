/*
 * The loop that runs blocks, and what ends it.
 *
 * A fault leaves a handler by jumping to run_guarded(), which delivers it and goes on. The jump
 * buffer is filled once per soft_run(). run_guarded() keeps nothing in local variables across the
 * jump and calls no inlined function that could: that is what makes __builtin_setjmp safe with
 * optimisation.
 */
#include "cpu/x86/soft/block.h"
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/soft/xlat.h"
#include <inttypes.h>

static void run_block(struct cpu *c, struct block *b)
{
    /* As op_enter, but without asking for requests: a request that stays set can't stop progress.
     */
    c->r[R_BLOCK] = b->rip;
    c->insn_count += b->n_insns;
    ops_run(c, &b->op[1]);
}

/* ---------------------------------------------------------------- the debugger */

static enum run_exit host_stop(struct cpu *c, enum debug_kind kind)
{
    struct debug_hit *hit = &c->vcpu->hit;
    if (hit->kind == DEBUG_NONE) {
        *hit = (struct debug_hit){kind, rip_linear(c, c->rip)};
    }
    return RUN_DEBUG;
}

void host_break(struct cpu *c)
{
    const struct debug_point *p = debug_break_at(c->vcpu->cpus, rip_linear(c, c->rip));
    c->exit = host_stop(c, p ? p->kind : DEBUG_BREAK_SOFT);
    c->leave = true;
}

/* Before the events of a boundary: has the debugger's step, or an instruction that met a
 * watchpoint, ended here? */
static bool host_stop_due(struct cpu *c, uint32_t req)
{
    if (unlikely(req & VCPU_REQ_DEBUG)) {
        atomic_fetch_and(c->req, ~(uint32_t)VCPU_REQ_DEBUG);
        return c->vcpu != NULL && c->vcpu->hit.kind != DEBUG_NONE;
    }
    if (c->host_step && c->host_stepped && vcpu_steps_on(c->vcpu, c->rip)) {
        c->host_stepped = false;
    }
    return c->host_step && c->host_stepped;
}

/* After them: an exception or interrupt that was delivered is a step, too. */
static bool host_stop_now(struct cpu *c, enum run_exit *exit)
{
    if (c->host_step) {
        if (c->host_stepped) {
            *exit = host_stop(c, DEBUG_STEP);
            return true;
        }
        c->host_stepped = true;
        return false;
    }
    if (c->host_breaks && (c->key & KEY_STEP) &&
        debug_break_at(c->vcpu->cpus, rip_linear(c, c->rip))) {
        host_break(c);
        c->leave = false;
        *exit = RUN_DEBUG;
        return true;
    }
    return false;
}

/* Runs until an exit, or until insn_count reaches the limit. */
static __attribute__((noinline)) enum run_exit run_loop(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    enum run_exit exit;
    for (;;) {
        if (unlikely(c->leave)) {
            c->leave = false;
            return c->exit;
        }
        if (unlikely(c->insn_count >= c->insn_limit)) {
            return RUN_KICKED;
        }
        uint32_t req = atomic_load_explicit(c->req, memory_order_acquire);
        if (unlikely(req || (c->key & KEY_STEP))) {
            bc->link_from = NULL;
            if (req & VCPU_REQ_CODE) {
                blocks_drain(c);
            }
            if (unlikely(host_stop_due(c, req))) {
                return host_stop(c, DEBUG_STEP);
            }
            if (soft_events(c, &exit)) {
                return exit;
            }
            if (unlikely(c->host_step || c->host_breaks) && host_stop_now(c, &exit)) {
                return exit;
            }
        }
        if (unlikely(c->insn_limit != UINT64_MAX)) {
            c->key |= KEY_STEP; /* one instruction at a time */
        }
        uint64_t lin = rip_linear(c, c->rip);
        const struct jump_entry *e = &c->jump_cache[jump_index(lin)];
        struct block *b =
            e->rip == lin && e->key == jump_key(c) && e->block->rip == c->rip && !e->block->dead
                ? e->block
                : block_find(c);
        if (bc->link_from) {
            block_link(c, b);
        }
        run_block(c, b);
    }
}

/* After a fault: delivers it. false: triple fault. */
static __attribute__((noinline)) bool deliver_pending(struct cpu *c)
{
    c->blocks->link_from = NULL;
    c->xl_running = false; /* it may have come out of translated code */
    xlat_flags_settle(c);
    while (c->vcpu && c->vcpu->exclusive_depth) {
        vcpu_exclusive_end(c->vcpu); /* the fault came from within a section */
    }
    return c->leave || exception_deliver(c);
}

static __attribute__((noinline)) enum run_exit run_guarded(struct cpu *c)
{
    if (__builtin_setjmp(c->jump)) {
        if (!deliver_pending(c)) {
            return RUN_SHUTDOWN;
        }
    }
    enum run_exit exit = run_loop(c);
    __asm__ volatile("" ::: "memory"); /* no tail call: the frame must outlive run_loop() */
    return exit;
}

enum run_exit soft_execute(struct cpu *c, uint64_t max_insns)
{
    c->insn_limit = max_insns ? c->insn_count + max_insns : UINT64_MAX;
    if (c->xlat) {
        xlat_faults_begin(c);
    }
    fp_enter(c);
    enum run_exit exit = run_guarded(c);
    fp_leave(c);
    if (c->xlat) {
        xlat_faults_end();
    }
    if (max_insns) {
        mode_update(c); /* takes the forced KEY_STEP away */
    }
    return exit;
}

enum run_exit soft_run(struct vcpu *vcpu)
{
    return soft_execute(vcpu->accel, 0);
}

/* ---------------------------------------------------------------- giving up */

void cpu_describe_code(struct cpu *c, GString *text, uint64_t rip)
{
    g_string_append(text, "code:");
    for (unsigned i = 0; i < 15; i++) {
        gpa_t gpa;
        bool writable;
        struct ram_block *ram;
        uint64_t offset;
        uint64_t lin = rip_linear(c, rip + i);
        const uint8_t *page = NULL;
        if (mmu_translate_debug(c, lin, &gpa)) {
            page = c->host->ram_page(c, gpa & GUEST_PAGE_MASK, &writable, &ram, &offset);
        }
        if (page) {
            g_string_append_printf(text, " %02x", page[gpa & ~GUEST_PAGE_MASK]);
        } else {
            g_string_append(text, " ??");
        }
    }
    g_string_append_c(text, '\n');
}

void cpu_describe_registers(const struct cpu *c, GString *text)
{
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char segs[SEG_COUNT][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < 16; i++) {
        g_string_append_printf(text, "%3s %016" PRIx64 "%s", names[i], c->r[i],
                               i % 4 == 3 ? "\n" : "  ");
    }
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct seg *s = &c->seg[i];
        g_string_append_printf(text, " %s %04x base %016" PRIx64 " limit %08x type %x%s\n", segs[i],
                               s->sel, s->base, s->limit, s->type, s->unusable ? " null" : "");
    }
    g_string_append_printf(
        text,
        "rflags %08" PRIx64 "  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64
        "\ncr4 %08" PRIx64 "  efer %08" PRIx64 "  gdt %016" PRIx64 "  idt %016" PRIx64 "\n",
        rflags_get(c), c->cr0, c->cr2, c->cr3, c->cr4, c->efer, c->gdt.base, c->idt.base);
}

void cpu_describe_vectors(const struct cpu *c, GString *text)
{
    for (unsigned i = 0; i < 16; i++) {
        g_string_append_printf(
            text, " ymm%-2u %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", i,
            c->ymm_hi[i].u64[1], c->ymm_hi[i].u64[0], c->xmm[i].u64[1], c->xmm[i].u64[0]);
    }
    g_string_append_printf(text, "mxcsr %08x\n", c->mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = (c->fpu.top + i) & 7;
        g_string_append_printf(text, "st%u %04x %016" PRIx64 "%s", i, c->fpu.st[at].exponent,
                               c->fpu.st[at].mantissa, i % 4 == 3 ? "\n" : "  ");
    }
    g_string_append_printf(text, "fcw %04x  fsw %04x  top %u  empty %02x\n", c->fpu.control,
                           c->fpu.status, c->fpu.top, c->fpu.empty);
}

void cpu_internal_error(struct cpu *c, const char *text)
{
    if (c->vcpu) {
        const struct cpus *cpus = c->vcpu->cpus;
        cpus->hooks->internal_error(cpus->hooks_opaque, c->vcpu, text);
    } else {
        g_printerr("%s", text);
    }
    c->exit = RUN_ERROR;
    c->leave = true;
}

void raise_internal(struct cpu *c, const struct op *o, const char *why)
{
    uint64_t rip = o ? rip_wrap(c, OP_RIP(c, o)) : c->rip;
    GString *text = g_string_new(NULL);
    xlat_flags_settle(c);
    c->rip = rip;
    g_string_append_printf(text,
                           "%s\nrip %016" PRIx64 "  cs base %016" PRIx64 "  cpl %u  mode %s\n", why,
                           rip, c->seg[SEG_CS].base, c->cpl,
                           is_long64(c)         ? "64-bit"
                           : !(c->key & KEY_PE) ? "real"
                           : c->key & KEY_VM86  ? "virtual-8086"
                           : c->key & KEY_CS_D  ? "32-bit"
                                                : "16-bit");
    cpu_describe_code(c, text, rip);
    cpu_describe_registers(c, text);
    cpu_internal_error(c, text->str);
    g_string_free(text, true);
    __builtin_longjmp(c->jump, 1);
}
