/* The host bridge of the q35 board. See q35-host.c. */
#ifndef DEVICES_PCI_Q35_HOST_H
#define DEVICES_PCI_Q35_HOST_H

#include "devices/pci/pam.h"
#include "devices/pci/pci.h"

#define Q35_HOST_ECAM 0xb0000000u /* where the ECAM window is after reset */

extern const struct device_class q35_host_class;

/* Makes env->pci, ports 0xcf8 to 0xcff and the ECAM window. Before all PCI devices. pam: what is
 * between 768 KiB and 1 MiB, copied; NULL: nothing. */
struct device *q35_host_create(struct device_env *env, const struct pam_wiring *pam,
                               GError **error);

#endif
