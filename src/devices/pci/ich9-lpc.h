/* The LPC bridge of the ICH9. See ich9-lpc.c. */
#ifndef DEVICES_PCI_ICH9_LPC_H
#define DEVICES_PCI_ICH9_LPC_H

#include "devices/pci/pci.h"

extern const struct device_class ich9_lpc_class;

/* At 00:1f.0. pm: the ACPI block that its registers place; NULL none. pirq: called with .n = 16 to
 * 23 for PIRQA to PIRQH, the I/O APIC's pins (whatever n it holds); also drives env->isa_irq[] as
 * the PIRQ routing registers say. */
struct device *ich9_lpc_create(struct device_env *env, struct device *pm,
                               const struct irq_line *pirq, GError **error);

/* What the user wants the guest to be told of sleeping (disable_s3, disable_s4). */
bool ich9_lpc_offers_s3(const struct device *lpc);
bool ich9_lpc_offers_s4(const struct device *lpc);

#endif
