/* The generation of a machine, for its guest. See vmgenid.c. */
#ifndef DEVICES_VMGENID_H
#define DEVICES_VMGENID_H

#include "devices/core/device.h"

#define VMGENID_BYTES 16u
/* The general purpose event that tells of a change. */
#define VMGENID_GPE   5u

extern const struct device_class vmgenid_class;

/* As the guest's memory has it, little-endian. */
const uint8_t *vmgenid_bytes(const struct device *dev);
/* In the usual text form; to be freed. */
char *vmgenid_text(const struct device *dev);
/* Without firmware the board says where in the guest's memory it is, after each reset. */
void vmgenid_place(struct device *dev, gpa_t addr);
/* The machine's state was loaded again: another generation begins, unless its user gave it an
 * identifier. Machine lock held, paused. */
void vmgenid_renew(struct device *dev);

#endif
