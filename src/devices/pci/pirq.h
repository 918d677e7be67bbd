/* From PIRQ lines to ISA interrupts, as the south bridges route them. See pirq.c. */
#ifndef DEVICES_PCI_PIRQ_H
#define DEVICES_PCI_PIRQ_H

#include "devices/core/device.h"

#define PIRQ_OFF 0x80
#define PIRQ_IRQ 0x0f

/* n PIRQs: their routing registers, and for each whether (not 0) it is asserted. *driven: the ISA
 * interrupts that are held, the caller's to keep; brought up to date, as env->isa_irq[] is. */
void pirq_update(struct device_env *env, const uint8_t *route, const uint32_t *asserted, unsigned n,
                 uint16_t *driven);

#endif
