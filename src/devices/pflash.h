/* Flash memory that keeps firmware and its variables. See pflash.c. */
#ifndef DEVICES_PFLASH_H
#define DEVICES_PFLASH_H

#include "devices/core/device.h"

extern const struct device_class pflash_class;

/* The flash behind `drive` (a -drive's id or a node name), its last byte at `last`. Errors name
 * what is wrong with its size or the drive. */
struct device *pflash_create(struct device_env *env, const char *drive, gpa_t last, GError **error);

/* Its contents, for other places where they can be read. */
const struct region *pflash_region(const struct device *flash);

#endif
