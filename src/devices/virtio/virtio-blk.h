#ifndef DEVICES_VIRTIO_VIRTIO_BLK_H
#define DEVICES_VIRTIO_VIRTIO_BLK_H

#include "devices/core/device.h"

/* A disk (VIRTIO 1.2, 5.2). */
extern const struct device_class virtio_blk_pci_class, virtio_blk_device_class;

#endif
