/*
 * virtio-serial: a console device with ports (VIRTIO 1.2, 5.3). virtio-serial-pci is the device and
 * makes a bus named ID.0; virtserialport and virtconsole are ports on it, each with a chardev.
 * Main thread or vCPU, machine lock held.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_SERIAL_H
#define DEVICES_VIRTIO_VIRTIO_SERIAL_H

#include "devices/core/device.h"

extern const struct device_class virtio_serial_pci_class, virtio_serial_device_class,
    virtserialport_class, virtconsole_class;

struct virtio_serial;

/* What a port's owner is told. */
struct virtio_port_ops {
    void (*opened)(void *opaque, bool open); /* the guest opened or closed it */
    /* Bytes that the guest wrote; how many were taken. With fewer than all virtio_port_writable()
     * has it called again. */
    size_t (*write)(void *opaque, const uint8_t *buf, size_t length);
    void (*room)(void *opaque); /* the guest may have given new buffers to fill */
};

/* The device of that bus name (ID.0), or with NULL the first with a free port. NULL and *error. */
struct virtio_serial *virtio_serial_find(struct device_env *env, const char *bus, GError **error);

/* Adds a port. number: UINT32_MAX: the next free one. name: for the guest, or NULL; stays alive.
 * Returns its number, -1 and *error. A running guest is told. */
int virtio_port_add(struct virtio_serial *serial, uint32_t number, const char *name, bool console,
                    const struct virtio_port_ops *ops, void *opaque, GError **error);
void virtio_port_remove(struct virtio_serial *serial, unsigned number);

/* Whether somebody listens on the host's side: the guest is told, and what it writes to nobody is
 * thrown away. */
void virtio_port_set_connected(struct virtio_serial *serial, unsigned number, bool connected);
/* Bytes that the guest has room for now; 0 unless it has the port open. */
size_t virtio_port_room(struct virtio_serial *serial, unsigned number);
void virtio_port_send(struct virtio_serial *serial, unsigned number, const uint8_t *buf,
                      size_t length);
void virtio_port_writable(struct virtio_serial *serial, unsigned number);

#endif
