/*
 * Objects: what -object and object-add make, for devices to name in a property. Main thread,
 * machine lock held.
 */
#ifndef DEVICES_CORE_OBJECT_H
#define DEVICES_CORE_OBJECT_H

#include "devices/core/device.h"
#include "qapi-types.h"

struct object {
    struct object_options *options; /* with its id and kind */
    unsigned users;
    struct ram_block *ram;     /* memory-backend-...; else NULL */
    struct iothread *iothread; /* iothread; else NULL */
    int fd;                    /* rng-random: the file, to be read without blocking; else -1 */
    GBytes *secret;            /* secret: what it holds, decoded; else NULL */
    struct throttle_group *throttle; /* throttle-group; else NULL */
};

/* The memory that an object of a memory-backend kind has; false: it is of another. Strings stay
 * the options'. */
bool object_options_memory(const struct object_options *options, uint64_t *bytes,
                           struct ram_backing *backing);
/* Whether a memory back end can be so at all. */
bool object_options_check_memory(const struct object_options *options, GError **error);
/* A copy in which no member of a memory back end is left to its default. */
struct object_options *object_options_complete(const struct object_options *options);
/* "KIND,id=ID,KEY=VALUE..." or JSON; of host-nodes= also ranges, and more than one. */
struct object_options *object_options_parse(const char *text, GError **error);

bool object_add(struct device_env *env, const struct object_options *options, GError **error);
/* One that the machine's RAM is made of: it is in use for good, and the memory is not its own. */
void object_add_ram(struct device_env *env, const struct object_options *options);
bool object_delete(struct device_env *env, const char *id, GError **error);
/* Frees all; the devices are gone. */
void objects_free(struct device_env *env);

/* The object of that name, counted as used until object_release(). types: the kinds that will do, a
 * bit each. property: of whom, for the error. */
struct object *object_use(struct device_env *env, const char *id, unsigned types,
                          const char *property, GError **error);
void object_release(struct object *object); /* NULL is fine */

#endif
