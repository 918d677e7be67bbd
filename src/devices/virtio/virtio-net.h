/* virtio-net-pci: see virtio-net.c. */
#ifndef DEVICES_VIRTIO_VIRTIO_NET_H
#define DEVICES_VIRTIO_VIRTIO_NET_H

#include "devices/core/device.h"

extern const struct device_class virtio_net_pci_class, virtio_net_device_class;

#endif
