/*
 * `info registers`: general, segment, control, debug, x87 and SSE registers. The widths of the
 * columns follow the mode: 64-bit where CS is, addresses of tables where long mode is active.
 *
 * Left out: the upper halves of AVX registers.
 */
#include "cpu/x86/print.h"

#include <inttypes.h>
#include <string.h>

/* Offsets in the legacy area of an XSAVE image (SDM volume 1, section 10.5.1). */
#define XSAVE_FCW   0
#define XSAVE_FSW   2
#define XSAVE_FTW   4
#define XSAVE_MXCSR 24
#define XSAVE_ST0   32
#define XSAVE_XMM0  160

static bool is_code64(const struct cpu_state *s)
{
    return (s->sregs.efer & EFER_LMA) && s->sregs.cs.l;
}

static bool is_long(const struct cpu_state *s)
{
    return s->sregs.efer & EFER_LMA;
}

static void print_general(const struct cpu_state *s, GString *out)
{
    const struct x_regs *r = &s->regs;

    if (!is_code64(s)) {
        g_string_append_printf(out, "EAX=%08x EBX=%08x ECX=%08x EDX=%08x\n", (uint32_t)r->rax,
                               (uint32_t)r->rbx, (uint32_t)r->rcx, (uint32_t)r->rdx);
        g_string_append_printf(out, "ESI=%08x EDI=%08x EBP=%08x ESP=%08x\n", (uint32_t)r->rsi,
                               (uint32_t)r->rdi, (uint32_t)r->rbp, (uint32_t)r->rsp);
        return;
    }
    g_string_append_printf(
        out, "RAX=%016" PRIx64 " RBX=%016" PRIx64 " RCX=%016" PRIx64 " RDX=%016" PRIx64 "\n",
        r->rax, r->rbx, r->rcx, r->rdx);
    g_string_append_printf(
        out, "RSI=%016" PRIx64 " RDI=%016" PRIx64 " RBP=%016" PRIx64 " RSP=%016" PRIx64 "\n",
        r->rsi, r->rdi, r->rbp, r->rsp);
    g_string_append_printf(
        out, "R8 =%016" PRIx64 " R9 =%016" PRIx64 " R10=%016" PRIx64 " R11=%016" PRIx64 "\n", r->r8,
        r->r9, r->r10, r->r11);
    g_string_append_printf(
        out, "R12=%016" PRIx64 " R13=%016" PRIx64 " R14=%016" PRIx64 " R15=%016" PRIx64 "\n",
        r->r12, r->r13, r->r14, r->r15);
}

static unsigned privilege(const struct cpu_state *s)
{
    if (!(s->sregs.cr0 & CR0_PE)) {
        return 0;
    }
    return s->regs.rflags & RFLAGS_VM ? 3 : s->sregs.ss.dpl;
}

static void print_flags(const struct cpu_state *s, GString *out)
{
    static const struct {
        uint32_t bit;
        char letter;
    } letters[] = {
        {RFLAGS_DF, 'D'}, {RFLAGS_OF, 'O'}, {RFLAGS_SF, 'S'}, {RFLAGS_ZF, 'Z'},
        {RFLAGS_AF, 'A'}, {RFLAGS_PF, 'P'}, {RFLAGS_CF, 'C'},
    };
    const struct x_regs *r = &s->regs;

    if (is_code64(s)) {
        g_string_append_printf(out, "RIP=%016" PRIx64 " RFL=%08x [", r->rip, (uint32_t)r->rflags);
    } else {
        g_string_append_printf(out, "EIP=%08x EFL=%08x [", (uint32_t)r->rip, (uint32_t)r->rflags);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(letters); i++) {
        g_string_append_c(out, r->rflags & letters[i].bit ? letters[i].letter : '-');
    }
    g_string_append_printf(out, "] CPL=%u II=%u A20=%u SMM=%u HLT=%u\n", privilege(s),
                           s->events.interrupt.shadow != 0, s->a20_off == 0, s->events.smi.smm != 0,
                           s->mp_state != MP_RUNNABLE);
}

/* The second word of the descriptor that a segment register was loaded from. */
static uint32_t descriptor_flags(const struct x_seg *seg)
{
    uint32_t limit = seg->g ? seg->limit >> 12 : seg->limit;

    return (uint32_t)seg->type << 8 | (uint32_t)seg->s << 12 | (uint32_t)seg->dpl << 13 |
           (uint32_t)(seg->present && !seg->unusable) << 15 | (limit & 0xf0000) |
           (uint32_t)seg->avl << 20 | (uint32_t)seg->l << 21 | (uint32_t)seg->db << 22 |
           (uint32_t)seg->g << 23;
}

static const char *system_type(const struct cpu_state *s, unsigned type)
{
    static const char *const names[2][16] = {
        {"Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
         "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved",
         "IntGate32", "TrapGate32"},
        {"<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
         "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64",
         "TrapGate64"},
    };

    return names[is_long(s)][type & 15];
}

static void print_segment_kind(const struct cpu_state *s, const struct x_seg *seg, GString *out)
{
    g_string_append_printf(out, " DPL=%u ", seg->dpl);
    if (!seg->s) {
        g_string_append(out, system_type(s, seg->type));
        return;
    }
    if (seg->type & 8) {
        g_string_append(out, seg->l ? "CS64" : seg->db ? "CS32" : "CS16");
        g_string_append_printf(out, " [%c%c", seg->type & 4 ? 'C' : '-', seg->type & 2 ? 'R' : '-');
    } else {
        g_string_append(out, seg->db || is_long(s) ? "DS  " : "DS16");
        g_string_append_printf(out, " [%c%c", seg->type & 4 ? 'E' : '-', seg->type & 2 ? 'W' : '-');
    }
    g_string_append_printf(out, "%c]", seg->type & 1 ? 'A' : '-');
}

static void print_segment(const struct cpu_state *s, const char *name, const struct x_seg *seg,
                          GString *out)
{
    if (is_code64(s)) {
        g_string_append_printf(out, "%-3s=%04x %016" PRIx64 " %08x %08x", name, seg->selector,
                               seg->base, seg->limit, descriptor_flags(seg));
    } else {
        g_string_append_printf(out, "%-3s=%04x %08x %08x %08x", name, seg->selector,
                               (uint32_t)seg->base, seg->limit, descriptor_flags(seg));
    }
    if (s->sregs.cr0 & CR0_PE && seg->present && !seg->unusable) {
        print_segment_kind(s, seg, out);
    }
    g_string_append_c(out, '\n');
}

static void print_segments(const struct cpu_state *s, GString *out)
{
    const struct x_sregs *r = &s->sregs;

    print_segment(s, "ES", &r->es, out);
    print_segment(s, "CS", &r->cs, out);
    print_segment(s, "SS", &r->ss, out);
    print_segment(s, "DS", &r->ds, out);
    print_segment(s, "FS", &r->fs, out);
    print_segment(s, "GS", &r->gs, out);
    print_segment(s, "LDT", &r->ldt, out);
    print_segment(s, "TR", &r->tr, out);
}

static void print_control(const struct cpu_state *s, GString *out)
{
    const struct x_sregs *r = &s->sregs;

    if (is_long(s)) {
        g_string_append_printf(out, "GDT=     %016" PRIx64 " %08x\n", r->gdt.base, r->gdt.limit);
        g_string_append_printf(out, "IDT=     %016" PRIx64 " %08x\n", r->idt.base, r->idt.limit);
        g_string_append_printf(out, "CR0=%08x CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08x\n",
                               (uint32_t)r->cr0, r->cr2, r->cr3, (uint32_t)r->cr4);
    } else {
        g_string_append_printf(out, "GDT=     %08x %08x\n", (uint32_t)r->gdt.base, r->gdt.limit);
        g_string_append_printf(out, "IDT=     %08x %08x\n", (uint32_t)r->idt.base, r->idt.limit);
        g_string_append_printf(out, "CR0=%08x CR2=%08x CR3=%08x CR4=%08x\n", (uint32_t)r->cr0,
                               (uint32_t)r->cr2, (uint32_t)r->cr3, (uint32_t)r->cr4);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(out, "DR%u=%016" PRIx64 " ", i, s->debug.db[i]);
    }
    g_string_append_printf(out, "\nDR6=%016" PRIx64 " DR7=%016" PRIx64 "\n", s->debug.dr6,
                           s->debug.dr7);
    g_string_append_printf(out, "EFER=%016" PRIx64 "\n", r->efer);
}

static uint64_t load(const struct cpu_state *s, unsigned offset, unsigned bytes)
{
    uint64_t value = 0;

    memcpy(&value, s->xsave + offset, bytes);
    return value;
}

static void print_fpu(const struct cpu_state *s, GString *out)
{
    unsigned fsw = (unsigned)load(s, XSAVE_FSW, 2), top = fsw >> 11 & 7;
    unsigned n_xmm = is_code64(s) ? 16 : 8;

    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n",
                           (unsigned)load(s, XSAVE_FCW, 2), fsw, top,
                           (unsigned)load(s, XSAVE_FTW, 1), (unsigned)load(s, XSAVE_MXCSR, 4));
    for (unsigned i = 0; i < 8; i++) {
        unsigned offset = XSAVE_ST0 + 16 * ((i - top) & 7); /* the image is in stack order */

        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, load(s, offset, 8),
                               (unsigned)load(s, offset + 8, 2), i & 1 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < n_xmm; i++) {
        unsigned offset = XSAVE_XMM0 + 16 * i;

        g_string_append_printf(out, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%c", i,
                               load(s, offset + 8, 8), load(s, offset, 8), i & 1 ? '\n' : ' ');
    }
}

void cpu_state_print(const struct cpu_state *state, GString *out)
{
    print_general(state, out);
    print_flags(state, out);
    print_segments(state, out);
    print_control(state, out);
    print_fpu(state, out);
}

/* ---- one register */

#define REG64(text, member)                                                                        \
    {                                                                                              \
        text, offsetof(struct cpu_state, member), 8                                                \
    }
#define REG32(text, member)                                                                        \
    {                                                                                              \
        text, offsetof(struct cpu_state, member), 4                                                \
    }
#define SEG(text, member)                                                                          \
    {                                                                                              \
        text, offsetof(struct cpu_state, sregs.member.selector), 2                                 \
    }

static const struct {
    const char *name;
    size_t offset;
    unsigned bytes;
} registers[] = {
    REG64("rax", regs.rax),  REG64("rbx", regs.rbx),
    REG64("rcx", regs.rcx),  REG64("rdx", regs.rdx),
    REG64("rsi", regs.rsi),  REG64("rdi", regs.rdi),
    REG64("rbp", regs.rbp),  REG64("rsp", regs.rsp),
    REG64("r8", regs.r8),    REG64("r9", regs.r9),
    REG64("r10", regs.r10),  REG64("r11", regs.r11),
    REG64("r12", regs.r12),  REG64("r13", regs.r13),
    REG64("r14", regs.r14),  REG64("r15", regs.r15),
    REG64("rip", regs.rip),  REG64("rflags", regs.rflags),
    REG32("eax", regs.rax),  REG32("ebx", regs.rbx),
    REG32("ecx", regs.rcx),  REG32("edx", regs.rdx),
    REG32("esi", regs.rsi),  REG32("edi", regs.rdi),
    REG32("ebp", regs.rbp),  REG32("esp", regs.rsp),
    REG32("eip", regs.rip),  REG32("eflags", regs.rflags),
    SEG("cs", cs),           SEG("ds", ds),
    SEG("es", es),           SEG("fs", fs),
    SEG("gs", gs),           SEG("ss", ss),
    REG64("cr0", sregs.cr0), REG64("cr2", sregs.cr2),
    REG64("cr3", sregs.cr3), REG64("cr4", sregs.cr4),
};

bool cpu_state_register(const struct cpu_state *state, const char *name, uint64_t *value)
{
    if (strcmp(name, "pc") == 0) {
        *value = state->regs.rip + (is_code64(state) ? 0 : state->sregs.cs.base);
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(registers); i++) {
        if (strcmp(registers[i].name, name) == 0) {
            *value = 0;
            memcpy(value, (const char *)state + registers[i].offset, registers[i].bytes);
            return true;
        }
    }
    return false;
}
