#ifndef DEVICES_VIRTIO_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_VIRTIO_BALLOON_H

#include "devices/core/device.h"

/* Memory that the guest gives back (VIRTIO 1.2, 5.5). */
extern const struct device_class virtio_balloon_pci_class, virtio_balloon_device_class;

/* Asks the guest to make do with so many bytes; more than it has means all. */
void virtio_balloon_set_target(struct device *dev, uint64_t bytes);
/* Bytes that the guest has left to itself. */
uint64_t virtio_balloon_actual(const struct device *dev);

/* Figures of the guest's about its memory, by VIRTIO's tags (5.5.6.4): UINT64_MAX is unknown. */
#define BALLOON_STATS 10

struct balloon_stats {
    uint64_t value[BALLOON_STATS];
    int64_t updated_s; /* wall-clock time; 0: never */
};

void virtio_balloon_stats(const struct device *dev, struct balloon_stats *stats);
/* Every so many seconds of guest time the guest is asked for new ones; 0: never. */
unsigned virtio_balloon_stats_interval(const struct device *dev);
void virtio_balloon_set_stats_interval(struct device *dev, unsigned seconds);

#endif
