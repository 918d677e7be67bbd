/*
 * The local APIC's registers, by memory and by MSR: Intel SDM volume 3, sections 11.4.1 and
 * 11.12.1; and all of them as a page, which is their saved form.
 */
#include "cpu/x86/lapic-priv.h"

#include <string.h>

#define APIC_VERSION 0x00050014u /* integrated, 6 LVT entries */

/* ---- registers */

static uint32_t lvt_writable(unsigned i)
{
    switch (i) {
    case LVT_TIMER:
        return 0x700ff;
    case LVT_LINT0:
    case LVT_LINT1:
        return 0x1a7ff;
    case LVT_ERROR:
        return 0x100ff;
    default:
        return 0x107ff;
    }
}

static void write_lvt(struct lapic *apic, unsigned i, uint32_t value)
{
    value &= lvt_writable(i);
    if (!(apic->svr & SVR_ENABLE)) {
        value |= LVT_MASKED;
    }
    if (i == LVT_TIMER) {
        lapic_timer_set_lvt(apic, value);
    } else {
        apic->lvt[i] = value;
    }
    if (i == LVT_LINT0) {
        lapic_recheck(apic);
    }
}

static void write_svr(struct lapic *apic, uint32_t value)
{
    apic->svr = value & 0x1ff; /* EOI broadcast suppression is not offered (version bit 24 is 0) */
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++) {
            write_lvt(apic, i, apic->lvt[i] | LVT_MASKED);
        }
    }
}

static uint32_t read_register(struct lapic *apic, unsigned reg)
{
    switch (reg) {
    case REG_ID:
        return lapic_in_x2apic(apic) ? apic->id : (uint32_t)apic->xapic_id;
    case REG_VERSION:
        return APIC_VERSION;
    case REG_TPR:
        return apic->tpr;
    case REG_PPR:
        return lapic_priority(apic);
    case REG_LDR:
        return apic->ldr;
    case REG_DFR:
        return apic->dfr;
    case REG_SVR:
        return apic->svr;
    case REG_ESR:
        return apic->esr;
    case REG_ICR_LOW:
        return apic->icr_low;
    case REG_ICR_HIGH:
        return apic->icr_high;
    case REG_TIMER_INITIAL:
        return apic->timer_initial;
    case REG_TIMER_CURRENT:
        return lapic_timer_current(apic);
    case REG_TIMER_DIVIDE:
        return apic->timer_divide;
    default:
        break;
    }
    if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
        return apic->lvt[(reg - REG_LVT_TIMER) >> 4];
    }
    if (reg >= REG_ISR && reg < REG_ISR + 0x80) {
        return apic->isr[(reg - REG_ISR) >> 4];
    }
    if (reg >= REG_TMR && reg < REG_TMR + 0x80) {
        return apic->tmr[(reg - REG_TMR) >> 4];
    }
    if (reg >= REG_IRR && reg < REG_IRR + 0x80) {
        return apic->irr[(reg - REG_IRR) >> 4];
    }
    return 0;
}

/* A count that has come to its end starts anew, or stays there, when it is looked at: the main
 * thread may be late. */
static uint32_t guest_read(struct lapic *apic, unsigned reg)
{
    if (reg == REG_TIMER_CURRENT) {
        lapic_timer_expired(apic);
    }
    return read_register(apic, reg);
}

static void write_register(struct lapic *apic, unsigned reg, uint32_t value)
{
    switch (reg) {
    case REG_TPR:
        lapic_set_tpr(apic, value);
        break;
    case REG_EOI:
        lapic_end_of_interrupt(apic);
        break;
    case REG_SVR:
        write_svr(apic, value);
        break;
    case REG_ESR:
        apic->esr = atomic_exchange(&apic->esr_pending, 0);
        break;
    case REG_ICR_LOW:
        apic->icr_low = value & ~LVT_PENDING & 0xccfff;
        lapic_send_ipi(apic, value, apic->icr_high >> 24);
        break;
    case REG_TIMER_INITIAL:
        lapic_timer_start(apic, value);
        break;
    case REG_TIMER_DIVIDE:
        lapic_timer_set_divide(apic, value);
        break;
    default:
        if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
            write_lvt(apic, (reg - REG_LVT_TIMER) >> 4, value);
        }
        break;
    }
}

uint32_t lapic_read(struct lapic *apic, unsigned offset)
{
    return offset & 15 ? 0 : guest_read(apic, offset);
}

void lapic_write(struct lapic *apic, unsigned offset, uint32_t value)
{
    if (offset & 15) {
        return;
    }
    switch (
        offset) { /* registers that only the memory-mapped form can write, or writes its own way */
    case REG_ID:
        apic->xapic_id = value & 0xff000000;
        break;
    case REG_LDR:
        apic->ldr = value & 0xff000000;
        break;
    case REG_DFR:
        apic->dfr = value | 0x0fffffff;
        break;
    case REG_ICR_HIGH:
        apic->icr_high = value & 0xff000000;
        break;
    default:
        write_register(apic, offset, value);
        break;
    }
}

/* ---- x2APIC: 11.12.1.2. Offsets are (msr - 800H) * 16. */

static bool x2apic_readable(unsigned reg)
{
    return reg == REG_ID || reg == REG_VERSION || reg == REG_TPR || reg == REG_PPR ||
           reg == REG_LDR || reg == REG_SVR || (reg >= REG_ISR && reg <= REG_ESR) ||
           reg == REG_ICR_LOW || (reg >= REG_LVT_TIMER && reg <= REG_TIMER_CURRENT) ||
           reg == REG_TIMER_DIVIDE;
}

bool lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *value)
{
    unsigned reg = (msr - 0x800) * 16;

    if (!lapic_in_x2apic(apic) || !x2apic_readable(reg)) {
        return false;
    }
    *value = guest_read(apic, reg);
    if (reg == REG_ICR_LOW) {
        *value |= (uint64_t)apic->icr_high << 32;
    }
    return true;
}

/* Bits that may be set in a write; UINT64_MAX means the register is not writable. */
static uint64_t x2apic_writable(unsigned reg)
{
    switch (reg) {
    case REG_TPR:
        return 0xff;
    case REG_EOI:
    case REG_ESR:
        return 0;
    case REG_SVR:
        return 0x3ff;
    case REG_ICR_LOW:
        return 0xffffffff000ccfff;
    case REG_TIMER_INITIAL:
        return 0xffffffff;
    case REG_TIMER_DIVIDE:
        return 0xb;
    case REG_SELF_IPI:
        return 0xff;
    default:
        if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
            return lvt_writable((reg - REG_LVT_TIMER) >> 4) | LVT_PENDING | LVT_REMOTE_IRR;
        }
        return UINT64_MAX;
    }
}

bool lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t value)
{
    unsigned reg = (msr - 0x800) * 16;
    uint64_t allowed = x2apic_writable(reg);

    if (!lapic_in_x2apic(apic) || allowed == UINT64_MAX || (value & ~allowed)) {
        return false;
    }
    switch (reg) {
    case REG_ICR_LOW:
        apic->icr_low = (uint32_t)value & ~LVT_PENDING;
        apic->icr_high = (uint32_t)(value >> 32);
        lapic_send_ipi(apic, apic->icr_low, apic->icr_high);
        break;
    case REG_SELF_IPI:
        lapic_send_ipi(apic, (uint32_t)value | 1u << 18, 0);
        break;
    default:
        write_register(apic, reg, (uint32_t)value);
        break;
    }
    return true;
}

/* ---- the register page */

static void page_put(uint8_t *page, unsigned reg, uint32_t value)
{
    memcpy(page + reg, &value, 4);
}

static uint32_t page_get(const uint8_t *page, unsigned reg)
{
    uint32_t value;

    memcpy(&value, page + reg, 4);
    return value;
}

void lapic_get_page(const struct lapic *apic, uint8_t page[1024])
{
    struct lapic *a = (struct lapic *)apic;

    memset(page, 0, 1024);
    for (unsigned reg = REG_ID; reg < 0x400; reg += 16) {
        page_put(page, reg, read_register(a, reg));
    }
    if (page_get(page, REG_TIMER_CURRENT) == 0 && lapic_timer_is_due(a)) {
        page_put(page, REG_TIMER_CURRENT, 1);
    }
}

bool lapic_set_page(struct lapic *apic, const uint8_t page[1024], uint64_t base, GError **error)
{
    if ((base & APIC_BASE_X2APIC) && !(base & APIC_BASE_ENABLE)) {
        g_set_error(error, g_quark_from_static_string("cpu-error"), 0,
                    "vCPU %u: APIC base 0x%" G_GINT64_MODIFIER "x has x2APIC mode without enable",
                    apic->vcpu->index, base);
        return false;
    }
    apic->base = base;
    apic->xapic_id = lapic_in_x2apic(apic) ? apic->id << 24 : page_get(page, REG_ID);
    apic->tpr = page_get(page, REG_TPR) & 0xff;
    apic->ldr = page_get(page, REG_LDR);
    apic->dfr = page_get(page, REG_DFR) | 0x0fffffff;
    apic->svr = page_get(page, REG_SVR) & 0x1ff;
    apic->esr = page_get(page, REG_ESR);
    apic->icr_low = page_get(page, REG_ICR_LOW);
    apic->icr_high = page_get(page, REG_ICR_HIGH);
    for (unsigned i = 0; i < 8; i++) {
        apic->isr[i] = page_get(page, REG_ISR + 16 * i);
        apic->tmr[i] = page_get(page, REG_TMR + 16 * i);
        apic->irr[i] = page_get(page, REG_IRR + 16 * i);
    }
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        apic->lvt[i] = page_get(page, REG_LVT_TIMER + 16 * i) & lvt_writable(i);
    }
    lapic_timer_load(apic, page_get(page, REG_TIMER_DIVIDE), page_get(page, REG_TIMER_INITIAL),
                     page_get(page, REG_TIMER_CURRENT));
    lapic_recheck(apic);
    return true;
}
