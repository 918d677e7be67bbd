/*
 * virtio-serial-pci: VIRTIO 1.2, section 5.3, with multiport: port 0 has queues 0 and 1, the
 * control queues are 2 and 3, port n has queues 2n + 2 and 2n + 3 (in each pair the first is the
 * one that the device fills).
 *
 * All of it works on the main loop, as the chardevs do. A buffer of the guest's is held while a
 * chardev has not taken all of it, or has nothing to put into it; a pause puts it back.
 */
#include "devices/virtio/virtio-serial.h"

#include "base/log.h"
#include "devices/virtio/virtio-pci.h"
#include <string.h>

#define F_SIZE         0
#define F_MULTIPORT    1
#define F_EMERG_WRITE  2

#define CONFIG_PORTS   4
#define CONFIG_EMERG   8
#define CONFIG_BYTES   12

/* control messages (5.3.6.2) */
#define C_DEVICE_READY 0
#define C_PORT_ADD     1
#define C_PORT_REMOVE  2
#define C_PORT_READY   3
#define C_CONSOLE_PORT 4
#define C_PORT_OPEN    6
#define C_PORT_NAME    7
#define CONTROL_BYTES  8

#define MAX_PORTS      31
#define QUEUE_SIZE     128
#define CONTROL_SIZE   32
#define CHUNK_BYTES    4096
#define MAX_WAITING    1024 /* control messages for which the guest has no buffers */

struct serial_port_state {
    uint64_t done; /* bytes of the guest's buffer that were taken */
    bool guest_open, ready;
    uint8_t pad[6];
};

struct virtio_serial_state {
    struct virtio_pci_state proxy;
    struct serial_port_state port[MAX_PORTS];
};

static const struct state_field port_fields[] = {
    STATE(struct serial_port_state, done),
    STATE(struct serial_port_state, guest_open),
    STATE(struct serial_port_state, ready),
    STATE_PAD(struct serial_port_state, pad),
    {0},
};

static const struct state_field virtio_serial_fields[] = {
    STATE_STRUCT(struct virtio_serial_state, proxy, virtio_pci_state_fields),
    STATE_STRUCT_ARRAY(struct virtio_serial_state, port, port_fields),
    {0},
};

static const struct state_desc virtio_serial_desc = {
    .name = "virtio-serial",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_serial_state),
    .fields = virtio_serial_fields,
};

struct port {
    bool used, console, connected;
    const char *name;
    const struct virtio_port_ops *ops;
    void *opaque;
    struct virtqueue_element *from_guest, *to_guest; /* held */
};

struct control {
    uint32_t id;
    uint16_t event, value;
    const char *name; /* after the message */
};

struct virtio_serial {
    struct virtio_pci proxy; /* first */
    struct {
        uint32_t max_ports;
    } cfg;
    struct virtio_serial_state s;
    struct port port[MAX_PORTS];
    GQueue control; /* struct control, for the guest */
};

/* ---- queues */

static struct virtqueue *port_queue(struct virtio_serial *d, unsigned number, bool from_guest)
{
    return &d->proxy.virtio.queue[(number ? 2 * number + 2 : 0) + from_guest];
}

static bool has_multiport(const struct virtio_serial *d)
{
    return virtio_has(&d->proxy.virtio, F_MULTIPORT);
}

/* Without multiport there are no messages: port 0 is open while the driver is there. */
static bool guest_has_open(const struct virtio_serial *d, unsigned number)
{
    return has_multiport(d) ? d->s.port[number].guest_open
                            : number == 0 && virtio_is_running(&d->proxy.virtio);
}

/* ---- control messages */

static void control_flush(struct virtio_serial *d)
{
    struct virtqueue *vq = &d->proxy.virtio.queue[2];
    struct virtqueue_element *e;
    bool any = false;

    while (!g_queue_is_empty(&d->control) && (e = virtqueue_pop(vq))) {
        struct control *c = g_queue_pop_head(&d->control);
        uint8_t bytes[CONTROL_BYTES];
        uint32_t id = GUINT32_TO_LE(c->id);
        uint16_t event = GUINT16_TO_LE(c->event), value = GUINT16_TO_LE(c->value);
        size_t n;

        memcpy(bytes, &id, 4);
        memcpy(bytes + 4, &event, 2);
        memcpy(bytes + 6, &value, 2);
        n = iov_write(e->in, e->n_in, 0, bytes, sizeof(bytes));
        if (c->name) {
            n += iov_write(e->in, e->n_in, sizeof(bytes), c->name, strlen(c->name));
        }
        virtqueue_push(vq, e, n);
        g_free(c);
        any = true;
    }
    if (any) {
        virtqueue_notify(vq);
    }
    virtqueue_set_doorbell(vq, true);
}

static void control_send(struct virtio_serial *d, unsigned number, uint16_t event, uint16_t value,
                         const char *name)
{
    struct control *c;

    if (!has_multiport(d) || !virtio_is_running(&d->proxy.virtio)) {
        return;
    }
    if (g_queue_get_length(&d->control) >= MAX_WAITING) {
        virtio_break(&d->proxy.virtio, "%u control messages wait for buffers", MAX_WAITING);
        return;
    }
    c = g_new0(struct control, 1);
    c->id = number;
    c->event = event;
    c->value = value;
    c->name = name;
    g_queue_push_tail(&d->control, c);
    control_flush(d);
}

static void set_guest_open(struct virtio_serial *d, unsigned number, bool open)
{
    struct port *p = &d->port[number];

    d->s.port[number].guest_open = open;
    if (p->ops->opened) {
        p->ops->opened(p->opaque, open);
    }
    if (open) {
        p->ops->room(p->opaque);
    }
}

static void device_ready(struct virtio_serial *d, uint16_t value)
{
    for (unsigned i = 0; i < d->cfg.max_ports && value; i++) {
        if (d->port[i].used) {
            control_send(d, i, C_PORT_ADD, 1, NULL);
        }
    }
}

static void port_ready(struct virtio_serial *d, unsigned number, uint16_t value)
{
    const struct port *p = &d->port[number];

    d->s.port[number].ready = value != 0;
    if (!value) {
        log_guest("virtio-serial: the guest could not add port %u", number);
        return;
    }
    if (p->console) {
        control_send(d, number, C_CONSOLE_PORT, 1, NULL);
    }
    if (p->name) {
        control_send(d, number, C_PORT_NAME, 1, p->name);
    }
    if (p->connected) {
        control_send(d, number, C_PORT_OPEN, 1, NULL);
    }
}

static void control_handle(struct virtio_serial *d, const uint8_t bytes[CONTROL_BYTES])
{
    uint32_t id;
    uint16_t event, value;

    memcpy(&id, bytes, 4);
    memcpy(&event, bytes + 4, 2);
    memcpy(&value, bytes + 6, 2);
    id = GUINT32_FROM_LE(id);
    event = GUINT16_FROM_LE(event);
    value = GUINT16_FROM_LE(value);
    if (event == C_DEVICE_READY) {
        if (!value) {
            log_guest("virtio-serial: the guest could not set up the device");
        }
        device_ready(d, value);
        return;
    }
    if (id >= d->cfg.max_ports || !d->port[id].used) {
        log_guest("virtio-serial: a message for port %u, which is not there", id);
        return;
    }
    if (event == C_PORT_READY) {
        port_ready(d, id, value);
    } else if (event == C_PORT_OPEN) {
        set_guest_open(d, id, value != 0);
    }
}

static void control_receive(struct virtio_serial *d, struct virtqueue *vq)
{
    struct virtqueue_element *e;
    bool any = false;

    do {
        while ((e = virtqueue_pop(vq))) {
            uint8_t bytes[CONTROL_BYTES];
            size_t n = iov_read(e->out, e->n_out, 0, bytes, sizeof(bytes));

            if (n == sizeof(bytes)) { /* else there is nothing to understand */
                control_handle(d, bytes);
            }
            virtqueue_push(vq, e, 0);
            any = true;
        }
        virtqueue_set_doorbell(vq, true);
    } while (virtqueue_has_more(vq));
    if (any) {
        virtqueue_notify(vq);
    }
}

/* ---- data */

/* Hands the held buffer's bytes on; true: all of them are taken. */
static bool drain_element(struct virtio_serial *d, unsigned number)
{
    struct port *p = &d->port[number];
    struct virtqueue_element *e = p->from_guest;
    uint64_t *done = &d->s.port[number].done;

    while (*done < e->out_bytes && p->used && p->connected) {
        uint8_t bytes[CHUNK_BYTES];
        size_t n = iov_read(e->out, e->n_out, *done, bytes, sizeof(bytes));
        size_t taken = p->ops->write(p->opaque, bytes, n);

        *done += taken;
        if (taken < n) {
            return false;
        }
    }
    *done = 0;
    return true;
}

static void take_from_guest(struct virtio_serial *d, unsigned number)
{
    struct virtqueue *vq = port_queue(d, number, true);
    struct port *p = &d->port[number];
    bool any = false, stuck = false;

    do {
        while (!stuck && (p->from_guest || (p->from_guest = virtqueue_pop(vq)))) {
            stuck = !drain_element(d, number);
            if (!stuck) {
                virtqueue_push(vq, g_steal_pointer(&p->from_guest), 0);
                any = true;
            }
        }
        virtqueue_set_doorbell(vq, true);
    } while (!stuck && virtqueue_has_more(vq));
    if (any) {
        virtqueue_notify(vq);
    }
}

static void serial_queue(struct virtio *v, struct virtqueue *vq)
{
    struct virtio_serial *d = (struct virtio_serial *)v->dev;
    unsigned number = vq->index < 2 ? 0 : vq->index / 2 - 1;

    if (vq->index == 2) {
        control_flush(d);
    } else if (vq->index == 3) {
        control_receive(d, vq);
    } else if (vq->index & 1) {
        take_from_guest(d, number);
    } else {
        virtqueue_set_doorbell(vq, true);
        if (d->port[number].used && guest_has_open(d, number)) {
            d->port[number].ops->room(d->port[number].opaque);
        }
    }
}

size_t virtio_port_room(struct virtio_serial *d, unsigned number)
{
    struct port *p = &d->port[number];

    if (!guest_has_open(d, number) || d->proxy.virtio.paused) {
        return 0;
    }
    if (!p->to_guest) {
        p->to_guest = virtqueue_pop(port_queue(d, number, false));
    }
    return p->to_guest ? p->to_guest->in_bytes : 0;
}

void virtio_port_send(struct virtio_serial *d, unsigned number, const uint8_t *buf, size_t length)
{
    struct virtqueue *vq = port_queue(d, number, false);
    struct port *p = &d->port[number];

    while (length && virtio_port_room(d, number)) {
        struct virtqueue_element *e = g_steal_pointer(&p->to_guest);
        size_t n = iov_write(e->in, e->n_in, 0, buf, length);

        virtqueue_push(vq, e, n);
        buf += n;
        length -= n;
    }
    virtqueue_notify(vq);
}

void virtio_port_writable(struct virtio_serial *d, unsigned number)
{
    if (!d->proxy.virtio.paused) {
        take_from_guest(d, number);
    }
}

/* ---- ports */

struct virtio_serial *virtio_serial_find(struct device_env *env, const char *bus, GError **error)
{
    struct device *dev;

    for (unsigned i = 0; (dev = devices_nth_of_class(env, &virtio_serial_pci_class, i)); i++) {
        g_autofree char *name = dev->id ? g_strdup_printf("%s.0", dev->id) : NULL;

        if (!bus || (name && strcmp(bus, name) == 0)) {
            return (struct virtio_serial *)dev;
        }
    }
    if (bus) {
        g_set_error(error, DEVICE_ERROR, 0, "Bus '%s' not found", bus);
    } else {
        g_set_error(error, DEVICE_ERROR, 0, "No 'virtio-serial-bus' bus found for the port");
    }
    return NULL;
}

static int free_number(const struct virtio_serial *d, bool console)
{
    for (unsigned i = console ? 0 : 1; i < d->cfg.max_ports; i++) {
        if (!d->port[i].used) {
            return (int)i;
        }
    }
    return -1;
}

int virtio_port_add(struct virtio_serial *d, uint32_t wanted, const char *name, bool console,
                    const struct virtio_port_ops *ops, void *opaque, GError **error)
{
    int number = wanted == UINT32_MAX ? free_number(d, console) : (int)MIN(wanted, MAX_PORTS);

    if (number < 0) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "Maximum port limit for this device reached (max. %u ports)", d->cfg.max_ports);
        return -1;
    }
    if ((unsigned)number >= d->cfg.max_ports) {
        g_set_error(error, DEVICE_ERROR, 0, "Out-of-range port id %u specified, max. allowed: %u",
                    wanted, d->cfg.max_ports - 1);
        return -1;
    }
    if (number == 0 && !console) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "Port number 0 on virtio-serial devices reserved for virtconsole devices for "
                    "backward compatibility.");
        return -1;
    }
    if (d->port[number].used) {
        g_set_error(error, DEVICE_ERROR, 0, "A port already exists at id %d", number);
        return -1;
    }
    for (unsigned i = 0; name && i < d->cfg.max_ports; i++) {
        if (d->port[i].used && g_strcmp0(d->port[i].name, name) == 0) {
            g_set_error(error, DEVICE_ERROR, 0, "A port already exists by name %s", name);
            return -1;
        }
    }
    d->port[number] =
        (struct port){.used = true, .console = console, .name = name, .ops = ops, .opaque = opaque};
    control_send(d, (unsigned)number, C_PORT_ADD, 1, NULL);
    return number;
}

static void drop_held(struct port *p)
{
    virtqueue_drop(g_steal_pointer(&p->from_guest));
    virtqueue_drop(g_steal_pointer(&p->to_guest));
}

void virtio_port_remove(struct virtio_serial *d, unsigned number)
{
    struct port *p = &d->port[number];

    if (p->from_guest) { /* a buffer of the guest's is its own again */
        virtqueue_push(port_queue(d, number, true), g_steal_pointer(&p->from_guest), 0);
    }
    if (p->to_guest) {
        virtqueue_push(port_queue(d, number, false), g_steal_pointer(&p->to_guest), 0);
    }
    *p = (struct port){0};
    d->s.port[number] = (struct serial_port_state){0};
    control_send(d, number, C_PORT_REMOVE, 1, NULL);
}

void virtio_port_set_connected(struct virtio_serial *d, unsigned number, bool connected)
{
    struct port *p = &d->port[number];

    if (p->connected == connected) {
        return;
    }
    p->connected = connected;
    if (d->s.port[number].ready) {
        control_send(d, number, C_PORT_OPEN, connected, NULL);
    }
    if (!connected && !d->proxy.virtio.paused) {
        take_from_guest(d, number); /* to nobody */
    }
}

/* ---- virtio */

static uint64_t serial_features(struct virtio *v)
{
    const struct virtio_serial *d = (const struct virtio_serial *)v->dev;

    return (d->cfg.max_ports > 1 ? VIRTIO_BIT(F_MULTIPORT) : 0) | VIRTIO_BIT(F_EMERG_WRITE);
}

static void serial_get_config(struct virtio *v, uint8_t *config)
{
    const struct virtio_serial *d = (const struct virtio_serial *)v->dev;
    uint32_t ports = GUINT32_TO_LE(d->cfg.max_ports);

    memcpy(config + CONFIG_PORTS, &ports, 4);
}

/* 5.3.4: a character without any queue, for a guest in trouble. */
static void serial_set_config(struct virtio *v, const uint8_t *config)
{
    struct virtio_serial *d = (struct virtio_serial *)v->dev;

    if (d->port[0].used && config[CONFIG_EMERG]) {
        d->port[0].ops->write(d->port[0].opaque, config + CONFIG_EMERG, 1);
    }
}

static void serial_reset_requests(struct virtio *v)
{
    struct virtio_serial *d = (struct virtio_serial *)v->dev;

    g_queue_clear_full(&d->control, g_free);
    for (unsigned i = 0; i < MAX_PORTS; i++) {
        struct port *p = &d->port[i];
        bool was_open = d->s.port[i].guest_open;

        drop_held(p);
        d->s.port[i] = (struct serial_port_state){0};
        if (was_open && p->used && p->ops->opened) {
            p->ops->opened(p->opaque, false);
        }
    }
}

static const struct virtio_ops serial_ops = {
    .name = "virtio-serial",
    .id = 3,
    .config_bytes = CONFIG_BYTES,
    .features = serial_features,
    .get_config = serial_get_config,
    .set_config = serial_set_config,
    .queue = serial_queue,
    .reset = serial_reset_requests,
};

/* ---- the device */

static bool serial_realize(struct device *dev, GError **error)
{
    struct virtio_serial *d = (struct virtio_serial *)dev;

    g_queue_init(&d->control);
    virtio_init(&d->proxy.virtio, dev, &serial_ops, &d->s.proxy.virtio, dev->env->loop);
    for (unsigned i = 0; i < 2 * (d->cfg.max_ports + 1); i++) {
        virtio_add_queue(&d->proxy.virtio, i == 2 || i == 3 ? CONTROL_SIZE : QUEUE_SIZE);
    }
    return virtio_pci_realize(&d->proxy, &d->s.proxy, 0x0780, error);
}

/* Buffers that are held go back into the ring, to be taken again. */
static void serial_pause(struct device *dev)
{
    struct virtio_serial *d = (struct virtio_serial *)dev;

    for (unsigned i = 0; i < d->cfg.max_ports; i++) {
        struct port *p = &d->port[i];

        if (p->from_guest) {
            virtqueue_unpop(port_queue(d, i, true), g_steal_pointer(&p->from_guest));
        }
        if (p->to_guest) {
            virtqueue_unpop(port_queue(d, i, false), g_steal_pointer(&p->to_guest));
        }
    }
    virtio_pci_pause(dev);
}

/* Whoever looks at the other end of a port learns that the guest that has come has it open. */
static bool serial_post_load(struct device *dev, GError **error)
{
    struct virtio_serial *d = (struct virtio_serial *)dev;

    if (!virtio_pci_post_load(dev, error)) {
        return false;
    }
    for (unsigned i = 0; i < MAX_PORTS; i++) {
        struct port *p = &d->port[i];

        if (d->s.port[i].guest_open && p->used && p->ops->opened) {
            p->ops->opened(p->opaque, true);
        }
    }
    return true;
}

#define SERIAL_PROPERTIES                                                                          \
    {                                                                                              \
        "max_ports", PROP_U32, offsetof(struct virtio_serial, cfg.max_ports),                      \
            .def = MAX_PORTS, .min = 1, .max = MAX_PORTS, .help = "ports that it can have"         \
    }

static const struct property virtio_serial_props[] = {
    SERIAL_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct virtio_serial, 2),
    {NULL},
};

static const struct property virtio_serial_props_mmio[] = {
    SERIAL_PROPERTIES,
    VIRTIO_PROPERTIES(struct virtio_serial),
    {NULL},
};

VIRTIO_CLASSES(serial, "serial ports and consoles (virtio); makes the bus ID.0",
               struct virtio_serial, .realize = serial_realize, .unrealize = virtio_pci_unrealize,
               .reset = virtio_pci_reset, .pause = serial_pause, .resume = virtio_pci_resume,
               .post_load = serial_post_load);
