/*
 * The types of objects as clients see them: what machines, accelerators, CPUs, devices and back
 * ends there are, and what is derived from what. Made anew each time that somebody asks. Any
 * thread.
 */
#ifndef MONITOR_QOM_TYPES_H
#define MONITOR_QOM_TYPES_H

#include "devices/core/device.h"
#include <glib.h>

enum qom_kind {
    QOM_OTHER, /* a container, a type that others are derived from */
    QOM_MACHINE,
    QOM_ACCEL,
    QOM_CPU,
    QOM_DEVICE,
    QOM_OBJECT /* what -object makes */
};

struct qom_type {
    char *name;
    const char *parent; /* "" for the root */
    enum qom_kind kind;
    bool abstract;
    const struct device_class *class; /* of a QOM_DEVICE */
};

/* struct qom_type *, parents before what is derived from them; owned by the caller. */
GPtrArray *qom_types_new(void);
/* NULL: there is none. */
const struct qom_type *qom_type_find(const GPtrArray *types, const char *name);
/* Whether it is derived from the ancestor or is it, or has the interface of that name. */
bool qom_type_implements(const GPtrArray *types, const struct qom_type *type, const char *ancestor);

#endif
