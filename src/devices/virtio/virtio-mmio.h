/*
 * Virtio registers in memory, without a bus that finds devices (VIRTIO 1.2, section 4.2): slots
 * that a board has and its ACPI tables tell of. An empty slot has device id 0.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_VIRTIO_MMIO_H

#include "devices/virtio/virtio-pci.h"

#define VIRTIO_MMIO_SLOTS 8
#define VIRTIO_MMIO_BYTES 0x200

/* Slots from base on, VIRTIO_MMIO_BYTES each; the nth has interrupt gsi + n. Sets
 * env->virtio_mmio. */
struct virtio_mmio_bus *virtio_mmio_bus_new(struct device_env *env, gpa_t base,
                                            const struct irq_line *gsi);
void virtio_mmio_bus_free(struct virtio_mmio_bus *bus); /* no devices; NULL is fine */

/* For virtio-pci.c: takes the first free slot; leaves it; where firmware finds the slot; the
 * level of its interrupt. */
bool virtio_mmio_realize(struct virtio_pci *p, GError **error);
void virtio_mmio_unrealize(struct virtio_pci *p);            /* not in a slot is fine */
char *virtio_mmio_firmware_path(const struct virtio_pci *p); /* owned by the caller */
void virtio_mmio_interrupt(const struct virtio_pci *p, bool level);

#endif
