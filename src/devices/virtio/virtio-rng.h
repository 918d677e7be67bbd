#ifndef DEVICES_VIRTIO_VIRTIO_RNG_H
#define DEVICES_VIRTIO_VIRTIO_RNG_H

#include "devices/core/device.h"

/* Random numbers from the host (VIRTIO 1.2, 5.4). */
extern const struct device_class virtio_rng_pci_class, virtio_rng_device_class;

#endif
