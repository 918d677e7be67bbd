/* Interrupt lines: a level that a device drives and somebody listens to. Machine lock held. */
#ifndef DEVICES_CORE_IRQ_H
#define DEVICES_CORE_IRQ_H

#include <stdbool.h>

struct irq_line {
    void (*set)(void *opaque, int n, bool level);
    void *opaque;
    int n;
};

/* An unconnected line (irq->set NULL) is fine. */
static inline void irq_set(const struct irq_line *irq, bool level)
{
    if (irq->set) {
        irq->set(irq->opaque, irq->n, level);
    }
}

static inline void irq_pulse(const struct irq_line *irq)
{
    irq_set(irq, true);
    irq_set(irq, false);
}

#endif
