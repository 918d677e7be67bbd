/*
 * PIRQ routing registers (Intel 82371SB data sheet, 4.1.12; ICH9 data sheet, 13.1.15): bit 7 turns
 * a PIRQ off, bits 0 to 3 are its ISA interrupt. Several PIRQs may share one.
 */
#include "devices/pci/pirq.h"

void pirq_update(struct device_env *env, const uint8_t *route, const uint32_t *asserted, unsigned n,
                 uint16_t *driven)
{
    uint16_t wanted = 0, changed;

    for (unsigned pirq = 0; pirq < n; pirq++) {
        if (asserted[pirq] && !(route[pirq] & PIRQ_OFF)) {
            wanted |= (uint16_t)(1u << (route[pirq] & PIRQ_IRQ));
        }
    }
    changed = wanted ^ *driven;
    *driven = wanted;
    for (unsigned irq = 3; irq < 16; irq++) {
        if (changed & (1u << irq)) {
            irq_set(&env->isa_irq[irq], wanted & (1u << irq));
        }
    }
}
