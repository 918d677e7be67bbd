/*
 * The tree of objects as clients see it: the machine, its vCPUs and its devices, by paths. It is
 * made anew each time that somebody looks, from what there is. Main thread, lock held.
 */
#ifndef MACHINE_OBJECTS_H
#define MACHINE_OBJECTS_H

#include <glib.h>

struct device;
struct machine;
struct object;
struct vcpu;

struct qom_object {
    char *path; /* "/machine/peripheral/wd" */
    char *type; /* "ib700" */
    /* One of these, or none: a container, or the machine. */
    struct vcpu *vcpu;
    struct device *device;
    struct object *user; /* made with -object */
};

/* struct qom_object *, parents before what is in them; owned by the caller. */
GPtrArray *objects_new(struct machine *m);

/* The last part of the path; "" for the root. */
const char *object_name(const struct qom_object *object);
/* Whether it is right in that one. */
gboolean object_is_in(const struct qom_object *object, const struct qom_object *parent);

/* The device's or vCPU's path, owned by the caller. */
char *machine_vcpu_path(struct machine *m, const struct vcpu *vcpu);
char *machine_device_path(struct machine *m, const struct device *device);

#endif
