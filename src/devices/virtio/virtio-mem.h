#ifndef DEVICES_VIRTIO_VIRTIO_MEM_H
#define DEVICES_VIRTIO_VIRTIO_MEM_H

#include "devices/core/device.h"

/* Memory of which the guest takes as much as it is asked to (VIRTIO 1.2, 5.15). */
extern const struct device_class virtio_mem_pci_class;

struct virtio_mem_info {
    gpa_t addr;
    uint64_t requested_bytes, plugged_bytes, max_bytes, block_bytes;
    unsigned node;
    const char *memdev; /* the id */
};
void virtio_mem_info(const struct device *dev, struct virtio_mem_info *info);
/* Asks the guest to have so many bytes of it. */
bool virtio_mem_request(struct device *dev, uint64_t bytes, GError **error);

#endif
