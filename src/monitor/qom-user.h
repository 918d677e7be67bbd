/*
 * Properties of the objects that -object and object-add make, for qom-get and qom-set. Main thread,
 * machine lock held.
 */
#ifndef MONITOR_QOM_USER_H
#define MONITOR_QOM_USER_H

#include <glib.h>
#include <stdbool.h>

struct json_object;
struct object;

/* Its value, a reference; NULL: there is no such property, or it can't be read. */
struct json_object *qom_user_get(const struct object *object, const char *name);
/* *ours: there is a property of that name that this knows how to set or refuse. */
bool qom_user_set(struct object *object, const char *name, struct json_object *value, bool *ours,
                  GError **error);

#endif
