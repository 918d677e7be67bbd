/*
 * `info lapic`: the registers of a local APIC (SDM volume 3, chapter 11) from its page, in the
 * layout that QEMU's has.
 */
#include "cpu/x86/lapic.h"
#include "cpu/x86/print.h"

#include "base/bytes.h"
#include <inttypes.h>

#define REG_TPR      0x080
#define REG_APR      0x090
#define REG_PPR      0x0a0
#define REG_LDR      0x0d0
#define REG_DFR      0x0e0
#define REG_SVR      0x0f0
#define REG_ISR      0x100
#define REG_TMR      0x180
#define REG_IRR      0x200
#define REG_ESR      0x280
#define REG_ICR      0x300
#define REG_ICR2     0x310
#define REG_TIMER    0x320
#define REG_THERMAL  0x330
#define REG_PERF     0x340
#define REG_LINT0    0x350
#define REG_LINT1    0x360
#define REG_ERROR    0x370
#define REG_INITIAL  0x380
#define REG_CURRENT  0x390
#define REG_DIVIDE   0x3e0

#define LVT_PENDING  (1u << 12)
#define LVT_LOW      (1u << 13)
#define LVT_LEVEL    (1u << 15)
#define LVT_MASKED   (1u << 16)

#define DELIVERY_NMI 4

static uint32_t reg(const struct cpu_state *s, unsigned offset)
{
    return (uint32_t)bytes_get_le(s->lapic + offset, 4);
}

static void print_lvt(const struct cpu_state *s, const char *name, unsigned offset, GString *out)
{
    static const char *const delivery[] = {"Fixed", "...",  "SMI", "...",
                                           "NMI",   "INIT", "...", "ExtINT"};
    static const char *const timer[] = {"one-shot", "periodic", "tsc-deadline", "..."};
    uint32_t lvt = reg(s, offset), mode = lvt >> 8 & 7;

    g_string_append_printf(out, "%s\t 0x%08x %s %-5s %-6s %-7s %-12s %-6s", name, lvt,
                           lvt & LVT_LOW ? "active-lo" : "active-hi",
                           lvt & LVT_LEVEL ? "level" : "edge", lvt & LVT_MASKED ? "masked" : "",
                           lvt & LVT_PENDING ? "pending" : "",
                           offset == REG_TIMER ? timer[lvt >> 17 & 3] : "", delivery[mode]);
    if (mode != DELIVERY_NMI) {
        g_string_append_printf(out, " (vec %u)", lvt & 0xff);
    }
    g_string_append_c(out, '\n');
}

static void append_bits(GString *out, uint32_t bits, unsigned n)
{
    while (n-- > 0) {
        g_string_append_c(out, bits >> n & 1 ? '1' : '0');
    }
}

/* Whom the last interrupt between processors went to. */
static void print_destination(const struct cpu_state *s, GString *out)
{
    bool x2apic = s->sregs.apic_base & APIC_BASE_X2APIC;
    uint32_t to = x2apic ? reg(s, REG_ICR2) : reg(s, REG_ICR2) >> 24;
    unsigned bits = x2apic ? 16 : 4;
    const char *kind = x2apic ? "X2APIC ID" : "APIC ID";

    if (!(reg(s, REG_ICR) >> 11 & 1)) {
        g_string_append_printf(out, " cpu %u (%s)", to, kind);
    } else if (!x2apic && reg(s, REG_DFR) >> 28 == 0xf) {
        g_string_append(out, " mask ");
        append_bits(out, to, 8);
        g_string_append_printf(out, " (%s)", kind);
    } else {
        g_string_append_printf(out, " cluster %u mask ", to >> bits);
        append_bits(out, to, bits);
        g_string_append_printf(out, " (%s)", kind);
    }
}

static void print_icr(const struct cpu_state *s, GString *out)
{
    static const char *const shorthand[] = {"no-shorthand", "self", "all-self", "all"};
    uint32_t icr = reg(s, REG_ICR);

    g_string_append_printf(out, "ICR\t 0x%08x %s %s %s %s\nICR2\t 0x%08x", icr,
                           icr >> 11 & 1 ? "logical" : "physical", icr >> 15 & 1 ? "level" : "edge",
                           icr >> 14 & 1 ? "assert" : "de-assert", shorthand[icr >> 18 & 3],
                           reg(s, REG_ICR2));
    if (!(icr >> 18 & 3)) {
        print_destination(s, out);
    }
    g_string_append_c(out, '\n');
}

static void print_vectors(const struct cpu_state *s, const char *name, unsigned offset,
                          GString *out)
{
    bool none = true;

    g_string_append_printf(out, "%s\t ", name);
    for (unsigned v = 0; v < 256; v++) {
        unsigned at = v / 32 * 16;

        if (reg(s, offset + at) >> v % 32 & 1) {
            g_string_append_printf(out, "%u%s ", v,
                                   reg(s, REG_TMR + at) >> v % 32 & 1 ? "(level)" : "");
            none = false;
        }
    }
    g_string_append(out, none ? "(none)\n" : "\n");
}

void lapic_state_print(const struct cpu_state *s, GString *out)
{
    uint32_t divide = reg(s, REG_DIVIDE), spurious = reg(s, REG_SVR), ldr = reg(s, REG_LDR) >> 24;
    unsigned shift = (divide >> 1 & 4) | (divide & 3), format = reg(s, REG_DFR) >> 28;

    print_lvt(s, "LVT0", REG_LINT0, out);
    print_lvt(s, "LVT1", REG_LINT1, out);
    print_lvt(s, "LVTPC", REG_PERF, out);
    print_lvt(s, "LVTERR", REG_ERROR, out);
    print_lvt(s, "LVTTHMR", REG_THERMAL, out);
    print_lvt(s, "LVTT", REG_TIMER, out);
    g_string_append_printf(
        out, "Timer\t DCR=0x%x (divide by %u) initial_count = %u current_count = %u\n",
        divide & 0xb, shift == 7 ? 1 : 2u << shift, reg(s, REG_INITIAL), reg(s, REG_CURRENT));
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", spurious,
                           spurious >> 8 & 1 ? "enabled" : "disabled",
                           spurious >> 9 & 1 ? "on" : "off", spurious & 0xff);
    print_icr(s, out);
    g_string_append_printf(out, "ESR\t 0x%08x\n", reg(s, REG_ESR));
    print_vectors(s, "ISR", REG_ISR, out);
    print_vectors(s, "IRR", REG_IRR, out);
    g_string_append_printf(out, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x", reg(s, REG_APR),
                           reg(s, REG_TPR), format, ldr);
    if (format == 0 && !(s->sregs.apic_base & APIC_BASE_X2APIC)) {
        g_string_append_printf(out, "(cluster %u: id %u)", ldr >> 4, ldr & 0xf);
    }
    g_string_append_printf(out, " PPR 0x%02x\n", reg(s, REG_PPR));
}
