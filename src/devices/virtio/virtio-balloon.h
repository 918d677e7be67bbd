#ifndef DEVICES_VIRTIO_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_VIRTIO_BALLOON_H

#include "devices/core/device.h"

/* Memory that the guest gives back (VIRTIO 1.2, 5.5). */
extern const struct device_class virtio_balloon_pci_class;

/* Asks the guest to make do with so many bytes; more than it has means all. */
void virtio_balloon_set_target(struct device *dev, uint64_t bytes);
/* Bytes that the guest has left to itself. */
uint64_t virtio_balloon_actual(const struct device *dev);

#endif
