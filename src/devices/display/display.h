/* What a display adapter offers to whoever wants to see its picture. Machine lock held. */
#ifndef DEVICES_DISPLAY_DISPLAY_H
#define DEVICES_DISPLAY_DISPLAY_H

#include "devices/core/device.h"
#include "devices/display/image.h"

struct display_ops {
    /* What it shows now; image is made by the call, the caller finishes it. */
    void (*render)(struct device *dev, struct image *image);
};

/* The adapter with that id, or the first there is when id is NULL; NULL: none. */
struct device *display_find(struct device_env *env, const char *id);
void display_render(struct device *display, struct image *image);

#endif
