#ifndef DEVICES_VIRTIO_VHOST_VSOCK_H
#define DEVICES_VIRTIO_VHOST_VSOCK_H

#include "devices/core/device.h"

/* Sockets between guest and host (VIRTIO 1.2, 5.10), by the host's kernel. */
extern const struct device_class vhost_vsock_pci_class, vhost_vsock_device_class;

#endif
