/* The chipset of the older PCs: host bridge, ISA bridge and power management. See i440fx.c and
 * piix.c. */
#ifndef DEVICES_PCI_I440FX_H
#define DEVICES_PCI_I440FX_H

#include "devices/pci/pam.h"
#include "devices/pci/pci.h"

#define PIIX4_PM_BASE 0xb000 /* where the ACPI block is after reset */

extern const struct device_class i440fx_class, piix3_class, piix4_pm_class;

/* Makes env->pci and ports 0xcf8 to 0xcff. Before all PCI devices. pam as for q35_host_create(). */
struct device *i440fx_create(struct device_env *env, const struct pam_wiring *pam, GError **error);

/* At 00:01.0: PIRQ routing into env->isa_irq[], and the reset control register. */
struct device *piix3_create(struct device_env *env, GError **error);

/* At 00:01.3: places the ACPI block `pm`. ram_bytes: what the memory modules' EEPROMs on its SMBus
 * tell of; 0: no SMBus. */
struct device *piix4_pm_create(struct device_env *env, struct device *pm, uint64_t ram_bytes,
                               GError **error);
bool piix4_pm_offers_s3(const struct device *dev);
bool piix4_pm_offers_s4(const struct device *dev);
/* Whether devices on the root bus may come and go (acpi-pcihp.h). */
bool piix4_pm_offers_hotplug(const struct device *dev);

#endif
