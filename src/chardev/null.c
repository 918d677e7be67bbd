/* null: takes everything, gives nothing. */
#include "chardev/chardev-priv.h"

static const struct chardev_ops null_ops = {.name = "null", .size = sizeof(struct chardev)};

struct chardev *chardev_null_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    return chardev_alloc(&null_ops, o->id, loop);
}
