/*
 * virtserialport and virtconsole: a port of a virtio-serial device with a chardev behind it.
 *
 * A virtserialport is connected while somebody is at the chardev's other end; what the guest writes
 * otherwise is lost, and it is told so. A virtconsole is always connected, as a console is.
 */
#include "devices/virtio/virtio-serial.h"

#include "qapi-events.h"

struct port_device {
    struct device dev; /* first */
    struct {
        char *bus, *name;
        struct chardev *chardev;
        uint32_t number;
    } cfg;
    struct virtio_serial *serial; /* NULL: not on the bus */
    unsigned number;
    struct chardev_frontend frontend;
    bool attached;
};

static bool is_console(const struct port_device *d)
{
    return d->dev.class == &virtconsole_class;
}

/* ---- the guest's side */

static void port_opened(void *opaque, bool open)
{
    struct port_device *d = opaque;

    if (d->cfg.chardev && !is_console(d)) {
        d->cfg.chardev->frontend_open = open;
    }
    if (d->dev.id && d->dev.env->events) {
        qapi_event_send_vserport_change(d->dev.env->events, d->dev.id, open);
    }
}

static size_t port_write(void *opaque, const uint8_t *buf, size_t length)
{
    struct port_device *d = opaque;
    size_t n = d->cfg.chardev ? chardev_write(d->cfg.chardev, buf, length) : length;

    if (d->cfg.chardev) {
        chardev_push(d->cfg.chardev);
    }
    return n;
}

static void port_room(void *opaque)
{
    struct port_device *d = opaque;

    if (d->cfg.chardev) {
        chardev_accept_input(d->cfg.chardev);
    }
}

static const struct virtio_port_ops port_ops = {
    .opened = port_opened, .write = port_write, .room = port_room};

/* ---- the host's side */

static int front_can_receive(void *opaque)
{
    struct port_device *d = opaque;

    return d->serial ? (int)MIN(virtio_port_room(d->serial, d->number), 1u << 20) : 0;
}

static void front_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct port_device *d = opaque;

    virtio_port_send(d->serial, d->number, buf, length);
}

static void front_event(void *opaque, enum chardev_event event)
{
    struct port_device *d = opaque;

    if (d->serial && !is_console(d) && (event == CHARDEV_OPENED || event == CHARDEV_CLOSED)) {
        virtio_port_set_connected(d->serial, d->number, event == CHARDEV_OPENED);
    }
}

static void front_writable(void *opaque)
{
    struct port_device *d = opaque;

    if (d->serial) {
        virtio_port_writable(d->serial, d->number);
    }
}

static void front_changed(void *opaque, struct chardev *chr)
{
    struct port_device *d = opaque;

    d->cfg.chardev = chr;
    if (d->serial && !is_console(d)) {
        virtio_port_set_connected(d->serial, d->number, chr->connected);
    }
}

/* ---- the device */

static bool port_attach(struct port_device *d, GError **error)
{
    struct chardev *chr = d->cfg.chardev;

    d->frontend = (struct chardev_frontend){.can_receive = front_can_receive,
                                            .receive = front_receive,
                                            .event = front_event,
                                            .writable = front_writable,
                                            .changed = front_changed,
                                            .opaque = d};
    if (!chardev_attach(chr, &d->frontend)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: property 'chardev': '%s' is in use",
                    d->dev.class->name, chr->id);
        return false;
    }
    d->attached = true;
    chr->frontend_open = is_console(d);
    return true;
}

static bool port_realize(struct device *dev, GError **error)
{
    struct port_device *d = (struct port_device *)dev;
    struct virtio_serial *serial = virtio_serial_find(dev->env, d->cfg.bus, error);
    int number;

    if (!serial || (d->cfg.chardev && !port_attach(d, error))) {
        return false;
    }
    number =
        virtio_port_add(serial, d->cfg.number, d->cfg.name, is_console(d), &port_ops, d, error);
    if (number < 0) {
        g_prefix_error(error, "%s: ", dev->class->name);
        return false;
    }
    d->number = (unsigned)number;
    d->serial = serial;
    dev->parent = (struct device *)serial; /* its first member */
    if (is_console(d) || (d->cfg.chardev && d->cfg.chardev->connected)) {
        virtio_port_set_connected(serial, d->number, true);
    }
    return true;
}

static void port_unrealize(struct device *dev)
{
    struct port_device *d = (struct port_device *)dev;

    if (d->attached) {
        chardev_detach(d->cfg.chardev, &d->frontend);
    }
    if (d->serial) {
        virtio_port_remove(d->serial, d->number);
    }
}

#define CFG(member) offsetof(struct port_device, cfg.member)
static const struct property port_props[] = {
    {"bus", PROP_STRING, CFG(bus), .help = "ID.0 of a virtio-serial-pci; else the first"},
    {"nr", PROP_U32, CFG(number), .def = UINT32_MAX, .min = 0, .max = UINT32_MAX,
     .help = "port number; else the next free one"},
    {"chardev", PROP_CHARDEV, CFG(chardev), .help = "where the bytes go"},
    {"name", PROP_STRING, CFG(name), .help = "name that the guest sees"},
    {NULL},
};

const struct device_class virtserialport_class = {
    .name = "virtserialport",
    .help = "port of a virtio-serial device",
    .bus = BUS_NONE,
    .size = sizeof(struct port_device),
    .props = port_props,
    .state = &state_none,
    .realize = port_realize,
    .unrealize = port_unrealize,
    .hotplug = HOTPLUG_ALWAYS,
};

const struct device_class virtconsole_class = {
    .name = "virtconsole",
    .help = "console of a virtio-serial device",
    .bus = BUS_NONE,
    .size = sizeof(struct port_device),
    .props = port_props,
    .state = &state_none,
    .realize = port_realize,
    .unrealize = port_unrealize,
    .hotplug = HOTPLUG_ALWAYS,
};
