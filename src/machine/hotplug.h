/*
 * Devices that a user plugs in and takes out, at the start or while the guest runs. Main thread,
 * machine lock held.
 */
#ifndef MACHINE_HOTPLUG_H
#define MACHINE_HOTPLUG_H

#include "machine/machine.h"
#include "qapi/params.h"

/* -device, where the user asked for the device (plugged) or the board does. All of p is taken. */
bool machine_add_device(struct machine *m, struct params *p, bool plugged, GError **error);

/* device_add: the same while the machine is there; the guest is told. moves: the guest is on its
 * way to another machine, which was told what this one consists of. That is the last error looked
 * for before there is a device, as by QEMU. */
bool machine_hotplug(struct machine *m, struct params *p, bool moves, GError **error);

/* device_del: asks the guest to give up the device with that id, or path. It goes when the guest
 * has (DEVICE_DELETED), or with the next reset. */
bool machine_unplug(struct machine *m, const char *id, bool moves, GError **error);

/* Whether device_del can take it out where it is. */
bool machine_device_hotpluggable(const struct device *dev);

/* For machine_system_ops. */
void machine_device_unplugged(void *machine, struct device *dev);
void machine_unplug_failed(void *machine, struct device *dev);

#endif
