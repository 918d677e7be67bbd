/* Finding displays: those devices whose class has display operations. */
#include "devices/display/display.h"

#include <string.h>

struct search {
    const char *id;
    struct device *found;
};

static void look_at(struct device *dev, void *opaque)
{
    struct search *search = opaque;

    if (!search->found && dev->class->display &&
        (!search->id || g_strcmp0(dev->id, search->id) == 0)) {
        search->found = dev;
    }
}

struct device *display_find(struct device_env *env, const char *id)
{
    struct search search = {.id = id};

    devices_foreach(env, look_at, &search);
    return search.found;
}

void display_render(struct device *display, struct image *image)
{
    display->class->display->render(display, image);
}
