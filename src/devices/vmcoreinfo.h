/* Where the guest's kernel describes itself for dumps. See vmcoreinfo.c. */
#ifndef DEVICES_VMCOREINFO_H
#define DEVICES_VMCOREINFO_H

#include "devices/core/device.h"

extern const struct device_class vmcoreinfo_class;

/* Where the guest has put its ELF note, in guest-physical memory, as the guest says it: neither is
 * checked. false: it has not told, or in a format other than ELF. */
bool vmcoreinfo_get(const struct device *dev, gpa_t *addr, uint32_t *size);

#endif
