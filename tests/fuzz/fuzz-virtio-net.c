/*
 * Hostile drivers and hostile cables of virtio-net: the input fills the rings of the receive, send
 * and control queues, and what comes over a socket from the other end, whole frames or not. Nothing
 * may crash, hang or write outside guest RAM.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() runs inputs from a fixed seed.
 */
#include "../machine/virtio-driver.h"

#include <sys/socket.h>
#include <unistd.h>

#define N_QUEUES  3
#define QUEUE_GAP 0x2000 /* between the rings of two queues */
#define SIZE      8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

struct net_driver {
    struct driver d; /* first */
    uint16_t avail[N_QUEUES];
    int cable; /* the other end */
};

static uint64_t take(struct input *in, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n && in->size; i++, in->data++, in->size--) {
        value = value << 8 | *in->data;
    }
    return value;
}

static gpa_t ring_at(unsigned queue, gpa_t part)
{
    return part + queue * QUEUE_GAP;
}

static void up(struct net_driver *n, uint64_t features)
{
    struct driver *d = &n->d;

    d->packed = features & VIRTIO_BIT(VIRTIO_F_RING_PACKED);
    d->size = SIZE;
    memset(n->avail, 0, sizeof(n->avail));
    memset(d->ram + DESC_AT, 0, DATA_AT - DESC_AT);
    reg_write(d, 0x14, 0, 1);
    reg_write(d, 0x14, 3, 1);
    features |= VIRTIO_BIT(VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < 2; i++) {
        reg_write(d, 0x08, i, 4);
        reg_write(d, 0x0c, (uint32_t)(features >> (32 * i)), 4);
    }
    reg_write(d, 0x14, 11, 1);
    for (unsigned i = 0; i < N_QUEUES; i++) {
        reg_write(d, 0x16, i, 2);
        reg_write(d, 0x18, SIZE, 2);
        reg_write(d, 0x1a, 1, 2);
        reg_write(d, 0x20, ring_at(i, DESC_AT), 8);
        reg_write(d, 0x28, ring_at(i, AVAIL_AT), 8);
        reg_write(d, 0x30, ring_at(i, USED_AT), 8);
        reg_write(d, 0x1c, 1, 2);
    }
    reg_write(d, 0x14, 15, 1);
}

/* Mostly near what makes sense, or chance would never get deep. */
static void fill_desc(struct net_driver *n, struct input *in)
{
    static const gpa_t where[] = {DATA_AT, DATA_AT + 4096,    INDIRECT_AT, DESC_AT,
                                  USED_AT, BUS_RAM_BYTES - 8, DRIVER_BAR,  UINT64_MAX - 7};
    static const uint32_t lengths[] = {12, 1, 512, 2048, 60, 0, 70000, UINT32_MAX};
    unsigned what = (unsigned)take(in, 1), queue = (unsigned)take(in, 1) % N_QUEUES;
    unsigned i = (unsigned)take(in, 1) % SIZE, flags = (unsigned)take(in, 1) & 7;
    gpa_t table = what & 0x80 ? INDIRECT_AT : ring_at(queue, DESC_AT);

    flags |= n->d.packed ? (what & 0x40 ? 0x80u : 0x8000u) : 0;
    desc_set(&n->d, table, i, where[what & 7], lengths[what >> 3 & 7], flags,
             (unsigned)take(in, 1) % (SIZE + 2));
}

static void offer(struct net_driver *n, unsigned queue, unsigned head)
{
    gpa_t at = ring_at(queue, AVAIL_AT);

    ram16_set(&n->d, at + 4 + 2 * (n->avail[queue] % SIZE), (uint16_t)head);
    ram16_set(&n->d, at + 2, ++n->avail[queue]);
    reg_write(&n->d, 0x3000 + 4 * queue, queue, 2);
}

/* A buffer that makes sense: to receive into, a frame, or a command. */
static void offer_good(struct net_driver *n, struct input *in)
{
    unsigned queue = (unsigned)take(in, 1) % N_QUEUES, length = 1 + (unsigned)take(in, 1) * 8;
    gpa_t at = DATA_AT + 0x1000 * (1 + queue);

    for (unsigned i = 0; i < 40; i++) {
        n->d.ram[at + i] = (uint8_t)take(in, 1);
    }
    desc_set(&n->d, ring_at(queue, DESC_AT), 0, at, length, queue == 0 ? D_WRITE : D_NEXT, 1);
    desc_set(&n->d, ring_at(queue, DESC_AT), 1, at + 0x800, 64, queue == 2 ? D_WRITE : 0, 0);
    offer(n, queue, 0);
}

/* From the other end: a frame, or bytes that are none. */
static void send_frame(struct net_driver *n, struct input *in)
{
    uint8_t frame[4 + 256];
    uint32_t length = (uint32_t)take(in, 1),
             said = take(in, 1) % 8 ? length : (uint32_t)take(in, 4);

    said = GUINT32_TO_BE(said);
    memcpy(frame, &said, 4);
    for (unsigned i = 0; i < length; i++) {
        frame[4 + i] = (uint8_t)take(in, 1);
    }
    if (send(n->cable, frame, 4 + length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        in->size = 0; /* the device has ended the connection */
    }
}

static void settle(struct net_driver *n)
{
    uint8_t sink[4096];

    driver_settle(&n->d);
    while (recv(n->cable, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
    }
}

static void step(struct net_driver *n, struct input *in)
{
    static const uint64_t features[] = {
        0x1ff8000,                                      /* all but offloads */
        0x1ff8000 | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC), /* */
        0x1ff0000 | VIRTIO_BIT(VIRTIO_F_RING_PACKED),   /* no mergeable buffers */
        VIRTIO_BIT(VIRTIO_F_EVENT_IDX),                 /* */
    };

    switch (take(in, 1) % 12) {
    case 0:
    case 1:
        fill_desc(n, in);
        break;
    case 2:
        offer(n, (unsigned)take(in, 1) % N_QUEUES, (unsigned)take(in, 1) % (SIZE + 1));
        break;
    case 3:
    case 4:
    case 5:
        offer_good(n, in);
        break;
    case 6:
    case 7:
        send_frame(n, in);
        break;
    case 8: {
        unsigned at = (unsigned)take(in, 1) % 0x40, bytes = 1u << take(in, 1) % 4;

        reg_write(&n->d, at, take(in, bytes), bytes);
        break;
    }
    case 9:
        up(n, features[take(in, 1) % 4] & 0xffffffffbf3fffffull);
        break;
    case 10:
        ram16_set(&n->d, AVAIL_AT + (take(in, 2) & 0x5ffe), (uint16_t)take(in, 2));
        break;
    default:
        settle(n);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *const properties[] = {"netdev", "n0", "packed", "on", NULL};
    struct input in = {.data = data, .size = size};
    struct net_driver n;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    n.cable = pair[0];
    driver_begin(&n.d);
    g_autofree char *text = g_strdup_printf("socket,id=n0,fd=%d", pair[1]);
    g_assert_true(net_backend_add_text(n.d.bus->env.net, text, NULL));
    driver_plug_into(&n.d, "virtio-net-pci", properties);
    driver_map(&n.d);
    driver_msix(&n.d, 2);
    up(&n, 0x1ff8000 & 0xbf3fffff);
    while (in.size) {
        step(&n, &in);
    }
    settle(&n);
    driver_free(&n.d);
    close(n.cable);
    return 0;
}

#ifndef FUZZ
int main(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);

    for (unsigned i = 0; i < 300; i++) {
        uint8_t input[1200];

        for (unsigned k = 0; k < sizeof(input); k++) {
            input[k] = (uint8_t)g_rand_int(rand);
        }
        LLVMFuzzerTestOneInput(input, sizeof(input));
    }
    return 0;
}
#endif
