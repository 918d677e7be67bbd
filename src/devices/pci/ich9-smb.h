/* The SMBus controller of q35 boards. See ich9-smb.c. */
#ifndef DEVICES_PCI_ICH9_SMB_H
#define DEVICES_PCI_ICH9_SMB_H

#include "devices/core/device.h"

extern const struct device_class ich9_smb_class;

/* ram_bytes: what the memory modules' EEPROMs tell of. */
struct device *ich9_smb_create(struct device_env *env, uint64_t ram_bytes, GError **error);

#endif
