/*
 * i8042: the PC's keyboard controller (IBM PS/2 technical reference, "Keyboard and auxiliary device
 * controller"), with a keyboard (101 keys and those that came later) and a mouse of three buttons
 * that a monitor works.
 *
 * Keys come as numbers: scan codes of set 1, 0x80 added for those with a prefix of 0xe0. The
 * keyboard speaks set 2 after a reset, and the controller turns that into set 1 while the
 * translation bit of its command byte is on; so what the guest sees is made from that number in one
 * step. A key whose codes no longer fit into the queue is lost, as on real keyboards.
 *
 * The output buffer is filled from three sources in this order: the controller's own answers, the
 * keyboard, the mouse; each has a small queue. The command 0xfe (and bit 0 of the output port)
 * resets the machine.
 *
 * Left out, as a guest would notice: the A20 bit can be written and read but address line 20 always
 * works; scan code set 3 and the mouse's wheel do not exist; keys do not repeat; the test inputs
 * and the controller's RAM beyond the command byte read as zero.
 */
#include "devices/isa/i8042.h"
#include <string.h>

#define STS_OBF      0x01
#define STS_SYS      0x04
#define STS_CMD      0x08
#define STS_UNLOCKED 0x10
#define STS_AUX      0x20

#define CTR_KBD_INT  0x01
#define CTR_AUX_INT  0x02
#define CTR_SYS      0x04
#define CTR_KBD_OFF  0x10
#define CTR_AUX_OFF  0x20
#define CTR_XLATE    0x40

#define OUT_RESET    0x01
#define OUT_A20      0x02

#define PS2_ACK      0xfa
#define PS2_RESEND   0xfe
#define PS2_OK       0xaa

#define QUEUE_SIZE   16
#define TYPED_MAX    1024 /* keys that wait for their time */
#define MOVED_MAX    0x4000
#define KEY_PAUSE    0xc6
#define KEY_EXTENDED 0x80

enum { SRC_NONE, SRC_CTL, SRC_KBD, SRC_AUX };

struct ps2_state {
    int64_t dx, dy; /* mouse: since the last report; up is positive */
    uint8_t queue[QUEUE_SIZE], head, count;
    uint8_t pending; /* command that waits for its parameter; 0 none */
    uint8_t leds, scancode_set, rate, resolution, scaling;
    bool enabled, wrap;
    uint8_t buttons; /* mouse: bit 0 left, 1 right, 2 middle */
    bool moved;      /* mouse: there is something to report */
    uint8_t pad[4];
};

struct i8042_state {
    struct ps2_state kbd, aux;
    uint8_t reply[4], reply_head, reply_count; /* the controller's own answers */
    bool reply_aux;                            /* they count as the mouse's (command 0xd3) */
    uint8_t control, output_port;
    uint8_t pending; /* controller command that waits for its data byte; 0 none */
    uint8_t buffer, buffer_source;
    bool sys, last_was_command;
    uint8_t pad[2];
};

static const struct state_field ps2_fields[] = {
    STATE(struct ps2_state, dx),
    STATE(struct ps2_state, dy),
    STATE_ARRAY(struct ps2_state, queue),
    STATE_MAX(struct ps2_state, head, QUEUE_SIZE - 1),
    STATE_MAX(struct ps2_state, count, QUEUE_SIZE),
    STATE(struct ps2_state, pending),
    STATE(struct ps2_state, leds),
    STATE(struct ps2_state, scancode_set),
    STATE(struct ps2_state, rate),
    STATE(struct ps2_state, resolution),
    STATE(struct ps2_state, scaling),
    STATE(struct ps2_state, enabled),
    STATE(struct ps2_state, wrap),
    STATE(struct ps2_state, buttons),
    STATE(struct ps2_state, moved),
    STATE_PAD(struct ps2_state, pad),
    {0},
};

static const struct state_field i8042_fields[] = {
    STATE_STRUCT(struct i8042_state, kbd, ps2_fields),
    STATE_STRUCT(struct i8042_state, aux, ps2_fields),
    STATE_ARRAY(struct i8042_state, reply),
    STATE_MAX(struct i8042_state, reply_head, 3),
    STATE_MAX(struct i8042_state, reply_count, 4),
    STATE(struct i8042_state, reply_aux),
    STATE(struct i8042_state, control),
    STATE(struct i8042_state, output_port),
    STATE(struct i8042_state, pending),
    STATE(struct i8042_state, buffer),
    STATE_MAX(struct i8042_state, buffer_source, SRC_AUX),
    STATE(struct i8042_state, sys),
    STATE(struct i8042_state, last_was_command),
    STATE_PAD(struct i8042_state, pad),
    {0},
};

static const struct state_desc i8042_desc = {
    .name = "i8042",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct i8042_state),
    .fields = i8042_fields,
};

struct i8042 {
    struct device dev;
    struct {
        bool mouse;
    } cfg;
    struct i8042_state s;
    struct region data, command;
    struct vtimer typing;
    GQueue typed; /* struct typed_key */
    int64_t typed_until_ns;
};

/* A key that somebody pressed or let go of, at its time on the virtual clock. */
struct typed_key {
    int64_t at_ns;
    uint8_t number;
    bool down;
};

/* ---- the output buffer */

static uint8_t ring_pop(uint8_t *ring, unsigned size, uint8_t *head, uint8_t *count)
{
    uint8_t value = ring[*head];

    *head = (uint8_t)((*head + 1u) % size);
    (*count)--;
    return value;
}

static void mouse_report(struct ps2_state *p);

static void i8042_update(struct i8042 *d)
{
    struct i8042_state *s = &d->s;
    struct device_env *env = d->dev.env;
    bool full, aux;

    if (s->buffer_source == SRC_NONE) {
        if (s->reply_count) {
            s->buffer = ring_pop(s->reply, sizeof(s->reply), &s->reply_head, &s->reply_count);
            s->buffer_source = s->reply_aux ? SRC_AUX : SRC_CTL;
        } else if (s->kbd.count && !(s->control & CTR_KBD_OFF)) {
            s->buffer = ring_pop(s->kbd.queue, QUEUE_SIZE, &s->kbd.head, &s->kbd.count);
            s->buffer_source = SRC_KBD;
        } else if (!(s->control & CTR_AUX_OFF) && (mouse_report(&s->aux), s->aux.count)) {
            s->buffer = ring_pop(s->aux.queue, QUEUE_SIZE, &s->aux.head, &s->aux.count);
            s->buffer_source = SRC_AUX;
        }
    }
    full = s->buffer_source != SRC_NONE;
    aux = s->buffer_source == SRC_AUX;
    irq_set(&env->isa_irq[1], full && !aux && (s->control & CTR_KBD_INT));
    irq_set(&env->isa_irq[12], aux && (s->control & CTR_AUX_INT));
}

static void controller_reply(struct i8042 *d, uint8_t value, bool aux)
{
    struct i8042_state *s = &d->s;

    if (s->reply_count < sizeof(s->reply)) {
        s->reply[(s->reply_head + s->reply_count) % sizeof(s->reply)] = value;
        s->reply_count++;
        s->reply_aux = aux;
    }
}

static void ps2_put(struct ps2_state *p, uint8_t value)
{
    if (p->count < QUEUE_SIZE) {
        p->queue[(p->head + p->count) % QUEUE_SIZE] = value;
        p->count++;
    }
}

/* ---- keyboard */

static void kbd_defaults(struct ps2_state *p)
{
    p->leds = 0;
    p->rate = 0x2b;
    p->scancode_set = 2;
}

static void kbd_parameter(struct ps2_state *p, uint8_t value)
{
    uint8_t command = p->pending;

    p->pending = 0;
    ps2_put(p, PS2_ACK);
    switch (command) {
    case 0xed:
        p->leds = value & 7;
        break;
    case 0xf0:
        if (value == 0) {
            ps2_put(p, p->scancode_set);
        } else if (value <= 2) {
            p->scancode_set = value;
        } else {
            ps2_put(p, PS2_RESEND);
        }
        break;
    default: /* 0xf3 */
        p->rate = value;
        break;
    }
}

/* A new command ends what is left of the answer to the one before. */
static void kbd_write(struct ps2_state *p, uint8_t value)
{
    p->count = 0;
    if (p->pending) {
        kbd_parameter(p, value);
        return;
    }
    switch (value) {
    case 0xed: /* lamps */
    case 0xf0: /* scan code set */
    case 0xf3: /* repeat rate */
        p->pending = value;
        ps2_put(p, PS2_ACK);
        break;
    case 0xee: /* echo */
        ps2_put(p, 0xee);
        break;
    case 0xf2: /* identify */
        ps2_put(p, PS2_ACK);
        ps2_put(p, 0xab);
        ps2_put(p, 0x83);
        break;
    case 0xf4: /* enable */
        p->enabled = true;
        ps2_put(p, PS2_ACK);
        break;
    case 0xf5: /* defaults, disable */
    case 0xf6: /* defaults */
        kbd_defaults(p);
        p->enabled = value == 0xf6;
        ps2_put(p, PS2_ACK);
        break;
    case 0xff: /* reset */
        kbd_defaults(p);
        p->enabled = true;
        ps2_put(p, PS2_ACK);
        ps2_put(p, PS2_OK);
        break;
    default:
        ps2_put(p, PS2_RESEND);
        break;
    }
}

/* Set 2 for each code of set 1; 0: no key has it. */
static const uint8_t
    set2
        [128] =
            {
                [0x01] = 0x76, 0x16, 0x1e,          0x26,          0x25,          0x2e,
                0x36,          0x3d, 0x3e,          0x46,          0x45,          0x4e,
                0x55,          0x66, [0x0f] = 0x0d, 0x15,          0x1d,          0x24,
                0x2d,          0x2c, 0x35,          0x3c,          0x43,          0x44,
                0x4d,          0x54, 0x5b,          0x5a,          [0x1d] = 0x14, 0x1c,
                0x1b,          0x23, 0x2b,          0x34,          0x33,          0x3b,
                0x42,          0x4b, 0x4c,          0x52,          0x0e,          0x12,
                [0x2b] = 0x5d, 0x1a, 0x22,          0x21,          0x2a,          0x32,
                0x31,          0x3a, 0x41,          0x49,          0x4a,          0x59,
                0x7c,          0x11, [0x39] = 0x29, 0x58,          0x05,          0x06,
                0x04,          0x0c, 0x03,          0x0b,          0x83,          0x0a,
                0x01,          0x09, 0x77,          0x7e,          [0x47] = 0x6c, 0x75,
                0x7d,          0x7b, 0x6b,          0x73,          0x74,          0x79,
                0x69,          0x72, 0x7a,          0x70,          0x71,          0x84,
                [0x56] = 0x61, 0x78, 0x07,          0x0f,          [0x5b] = 0x1f, 0x27,
                0x2f,          0x37, 0x3f,          [0x63] = 0x5e, [0x70] = 0x13, 0xf2,
                0xf1,          0x51, [0x77] = 0x62, [0x79] = 0x64, [0x7b] = 0x67, [0x7d] = 0x6a,
                0x6d,
};

/* The bytes of a key; how many there are. */
static unsigned key_bytes(bool first_set, uint8_t number, bool down, uint8_t bytes[4])
{
    uint8_t code = number & 0x7f;
    unsigned n = 0;

    if (number & KEY_EXTENDED) {
        bytes[n++] = 0xe0;
    }
    if (first_set) {
        bytes[n++] = down ? code : code | 0x80;
    } else if (set2[code]) {
        if (!down) {
            bytes[n++] = 0xf0;
        }
        bytes[n++] = set2[code];
    } else {
        return 0;
    }
    return n;
}

/* Pause sends all of it when it goes down: Control and Num Lock of the first set. */
static void pause_send(struct ps2_state *p, bool first_set, bool down)
{
    static const uint8_t one[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    static const uint8_t two[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
    const uint8_t *bytes = first_set ? one : two;
    unsigned n = first_set ? sizeof(one) : sizeof(two);

    if (down && p->count + n <= QUEUE_SIZE) {
        for (unsigned i = 0; i < n; i++) {
            ps2_put(p, bytes[i]);
        }
    }
}

static void key_send(struct i8042 *d, uint8_t number, bool down)
{
    struct ps2_state *p = &d->s.kbd;
    bool first_set = p->scancode_set == 1 || (d->s.control & CTR_XLATE);
    uint8_t bytes[4];
    unsigned n;

    if (!p->enabled) {
        return;
    }
    if (number == KEY_PAUSE) {
        pause_send(p, first_set, down);
        return;
    }
    n = key_bytes(first_set, number, down, bytes);
    if (p->count + n > QUEUE_SIZE) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        ps2_put(p, bytes[i]);
    }
}

/* ---- mouse: a standard one, three buttons, no wheel */

/* One packet of what happened since the last, when all of it fits: buttons and signs, x, y. */
static void mouse_report(struct ps2_state *p)
{
    int64_t dx = CLAMP(p->dx, -255, 255), dy = CLAMP(p->dy, -255, 255);

    if (!p->enabled || !p->moved || p->count + 3 > QUEUE_SIZE) {
        return;
    }
    ps2_put(p, (uint8_t)(0x08 | (p->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    ps2_put(p, (uint8_t)dx);
    ps2_put(p, (uint8_t)dy);
    p->dx -= dx;
    p->dy -= dy;
    p->moved = p->dx || p->dy;
}

static void mouse_defaults(struct ps2_state *p)
{
    p->rate = 100;
    p->resolution = 2;
    p->scaling = 1;
    p->enabled = false;
    p->wrap = false;
    p->dx = p->dy = 0;
    p->moved = false;
}

static void mouse_parameter(struct ps2_state *p, uint8_t value)
{
    if (p->pending == 0xe8) {
        p->resolution = value;
    } else {
        p->rate = value;
    }
    p->pending = 0;
    ps2_put(p, PS2_ACK);
}

static bool mouse_knows(uint8_t command)
{
    return (command >= 0xe6 && command <= 0xec) || command == 0xee || command == 0xf0 ||
           (command >= 0xf2 && command <= 0xf6) || command == 0xff;
}

static void mouse_write(struct ps2_state *p, uint8_t value)
{
    p->count = 0;
    if (p->pending) {
        mouse_parameter(p, value);
        return;
    }
    if (p->wrap && value != 0xec && value != 0xff) {
        ps2_put(p, value);
        return;
    }
    if (!mouse_knows(value)) {
        ps2_put(p, PS2_RESEND);
        return;
    }
    ps2_put(p, PS2_ACK);
    switch (value) {
    case 0xe6: /* scaling 1:1 */
    case 0xe7: /* scaling 2:1 */
        p->scaling = value == 0xe6 ? 1 : 2;
        break;
    case 0xe8: /* resolution */
    case 0xf3: /* sample rate */
        p->pending = value;
        break;
    case 0xe9: /* status */
        ps2_put(p,
                (uint8_t)((p->enabled ? 0x20 : 0) | (p->scaling == 2 ? 0x10 : 0) |
                          (p->buttons & 1) << 2 | (p->buttons & 2) >> 1 | (p->buttons & 4) >> 1));
        ps2_put(p, p->resolution);
        ps2_put(p, p->rate);
        break;
    case 0xeb: /* read data: not moved, no button */
        ps2_put(p, 0x08);
        ps2_put(p, 0);
        ps2_put(p, 0);
        break;
    case 0xec: /* end of wrap mode */
    case 0xee: /* wrap mode */
        p->wrap = value == 0xee;
        break;
    case 0xea: /* stream mode */
    case 0xf0: /* remote mode */
        break;
    case 0xf2: /* identify */
        ps2_put(p, 0x00);
        break;
    case 0xf4: /* enable */
    case 0xf5: /* disable */
        p->enabled = value == 0xf4;
        break;
    case 0xf6: /* defaults */
        mouse_defaults(p);
        break;
    case 0xff: /* reset */
        mouse_defaults(p);
        ps2_put(p, PS2_OK);
        ps2_put(p, 0x00);
        break;
    default:
        break;
    }
}

/* ---- controller */

static void write_output_port(struct i8042 *d, uint8_t value)
{
    d->s.output_port = value | OUT_RESET;
    if (!(value & OUT_RESET)) {
        system_request_reset(d->dev.env, "i8042");
    }
}

static uint8_t read_output_port(const struct i8042 *d)
{
    return d->s.output_port | (d->s.buffer_source == SRC_NONE  ? 0
                               : d->s.buffer_source == SRC_AUX ? 0x20
                                                               : 0x10);
}

static void write_command(struct i8042 *d, uint8_t value)
{
    struct i8042_state *s = &d->s;

    s->pending = 0;
    switch (value) {
    case 0x20:
        controller_reply(d, s->control, false);
        break;
    case 0x60: /* command byte */
    case 0xd1: /* output port */
    case 0xd2: /* byte as if from the keyboard */
    case 0xd3: /* byte as if from the mouse */
    case 0xd4: /* byte to the mouse */
        s->pending = value;
        break;
    case 0xa7:
    case 0xa8:
        s->control = value == 0xa7 ? s->control | CTR_AUX_OFF : s->control & ~CTR_AUX_OFF;
        break;
    case 0xa9: /* test the mouse's line: 0 is good, 0xff no such thing */
        controller_reply(d, d->cfg.mouse ? 0x00 : 0xff, false);
        break;
    case 0xaa: /* self-test */
        s->sys = true;
        controller_reply(d, 0x55, false);
        break;
    case 0xab: /* test the keyboard's line */
        controller_reply(d, 0x00, false);
        break;
    case 0xad:
    case 0xae:
        s->control = value == 0xad ? s->control | CTR_KBD_OFF : s->control & ~CTR_KBD_OFF;
        break;
    case 0xc0: /* input port: keyboard not locked */
        controller_reply(d, 0x80, false);
        break;
    case 0xd0:
        controller_reply(d, read_output_port(d), false);
        break;
    case 0xdd:
    case 0xdf:
        s->output_port = value == 0xdf ? s->output_port | OUT_A20 : s->output_port & ~OUT_A20;
        break;
    default:
        if (value >= 0xf0 && !(value & OUT_RESET)) {
            system_request_reset(d->dev.env, "i8042");
        } else if ((value & 0xe0) == 0x20) { /* RAM that is not there */
            controller_reply(d, 0, false);
        }
        break;
    }
}

static void write_data(struct i8042 *d, uint8_t value)
{
    struct i8042_state *s = &d->s;
    uint8_t command = s->pending;

    s->pending = 0;
    switch (command) {
    case 0x60:
        s->control = value;
        s->sys = value & CTR_SYS;
        break;
    case 0xd1:
        write_output_port(d, value);
        break;
    case 0xd2:
        controller_reply(d, value, false);
        break;
    case 0xd3:
        if (d->cfg.mouse) {
            controller_reply(d, value, true);
        }
        break;
    case 0xd4:
        if (d->cfg.mouse) {
            s->control &= (uint8_t)~CTR_AUX_OFF;
            mouse_write(&s->aux, value);
        }
        break;
    default:
        s->control &= (uint8_t)~CTR_KBD_OFF;
        kbd_write(&s->kbd, value);
        break;
    }
}

static uint64_t data_read(void *opaque, gpa_t offset, unsigned size)
{
    struct i8042 *d = opaque;
    uint8_t value = d->s.buffer;

    if (d->s.buffer_source != SRC_NONE) {
        d->s.buffer_source = SRC_NONE;
        irq_set(&d->dev.env->isa_irq[1], false); /* the next byte makes a new edge */
        irq_set(&d->dev.env->isa_irq[12], false);
        i8042_update(d);
    }
    return value;
}

static void data_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct i8042 *d = opaque;

    d->s.last_was_command = false;
    write_data(d, (uint8_t)value);
    i8042_update(d);
}

static uint64_t status_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct i8042 *d = opaque;
    uint8_t value = STS_UNLOCKED;

    value |= d->s.sys ? STS_SYS : 0;
    value |= d->s.last_was_command ? STS_CMD : 0;
    value |= d->s.buffer_source != SRC_NONE ? STS_OBF : 0;
    value |= d->s.buffer_source == SRC_AUX ? STS_AUX : 0;
    return value;
}

static void command_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct i8042 *d = opaque;

    d->s.last_was_command = true;
    write_command(d, (uint8_t)value);
    i8042_update(d);
}

static const struct region_ops data_ops = {
    .read = data_read, .write = data_write, .min_size = 1, .max_size = 1};
static const struct region_ops command_ops = {
    .read = status_read, .write = command_write, .min_size = 1, .max_size = 1};

/* ---- hands */

static void typing_update(struct i8042 *d)
{
    struct typed_key *key;

    while ((key = g_queue_peek_head(&d->typed)) && key->at_ns <= vclock_now(d->dev.env->clock)) {
        g_queue_pop_head(&d->typed);
        key_send(d, key->number, key->down);
        if (key->down) {
            system_request_wakeup(d->dev.env, "keyboard");
        }
        g_free(key);
    }
    if (key) {
        vtimer_set(&d->typing, key->at_ns);
    } else {
        vtimer_cancel(&d->typing);
    }
    i8042_update(d);
}

static void typing_expired(void *opaque)
{
    typing_update(opaque);
}

void i8042_key(struct device *dev, uint8_t number, bool down, unsigned hold_ms)
{
    struct i8042 *d = (struct i8042 *)dev;
    int64_t now = vclock_now(dev->env->clock);
    struct typed_key *key;

    if (g_queue_get_length(&d->typed) >= TYPED_MAX) {
        return;
    }
    key = g_new(struct typed_key, 1);
    *key = (struct typed_key){MAX(now, d->typed_until_ns), number, down};
    d->typed_until_ns = key->at_ns + hold_ms * (int64_t)1000000;
    g_queue_push_tail(&d->typed, key);
    typing_update(d);
}

static int64_t moved_by(int64_t old, int by)
{
    return CLAMP(CLAMP(old, -MOVED_MAX, MOVED_MAX) + by, -MOVED_MAX, MOVED_MAX);
}

void i8042_mouse(struct device *dev, int dx, int dy, unsigned buttons, unsigned changed)
{
    struct i8042 *d = (struct i8042 *)dev;
    struct ps2_state *p = &d->s.aux;

    if (!d->cfg.mouse) {
        return;
    }
    p->buttons = (uint8_t)((p->buttons & ~changed) | (buttons & changed));
    p->dx = moved_by(p->dx, CLAMP(dx, -MOVED_MAX, MOVED_MAX));
    p->dy = moved_by(p->dy, CLAMP(dy, -MOVED_MAX, MOVED_MAX));
    p->moved = true;
    i8042_update(d);
}

/* ---- class */

static bool i8042_realize(struct device *dev, GError **error)
{
    struct i8042 *d = (struct i8042 *)dev;

    d->data = (struct region){
        .name = "i8042-data", .kind = REGION_IO, .size = 1, .ops = &data_ops, .opaque = d};
    d->command = (struct region){
        .name = "i8042-command", .kind = REGION_IO, .size = 1, .ops = &command_ops, .opaque = d};
    vtimer_init(&d->typing, dev->env->clock, typing_expired, d);
    g_queue_init(&d->typed);
    address_space_map(dev->env->io, 0x60, &d->data, 0);
    address_space_map(dev->env->io, 0x64, &d->command, 0);
    return true;
}

static void i8042_unrealize(struct device *dev)
{
    struct i8042 *d = (struct i8042 *)dev;

    vtimer_cancel(&d->typing);
    g_queue_clear_full(&d->typed, g_free);
    address_space_unmap(dev->env->io, &d->data);
    address_space_unmap(dev->env->io, &d->command);
}

static void i8042_reset(struct device *dev, enum reset_kind kind)
{
    struct i8042 *d = (struct i8042 *)dev;

    memset(&d->s, 0, sizeof(d->s));
    g_queue_clear_full(&d->typed, g_free);
    d->typed_until_ns = 0;
    vtimer_cancel(&d->typing);
    /* As firmware leaves it, because there may be no firmware. */
    d->s.control = CTR_KBD_INT | CTR_AUX_INT | CTR_SYS | CTR_XLATE;
    d->s.sys = true;
    d->s.output_port = OUT_RESET | OUT_A20;
    kbd_defaults(&d->s.kbd);
    d->s.kbd.enabled = true;
    mouse_defaults(&d->s.aux);
    i8042_update(d);
}

static bool i8042_post_load(struct device *dev, GError **error)
{
    i8042_update((struct i8042 *)dev);
    return true;
}

static const struct property i8042_props[] = {
    {.name = "mouse",
     .type = PROP_BOOL,
     .offset = offsetof(struct i8042, cfg.mouse),
     .def = true,
     .help = "a PS/2 mouse is plugged in"},
    {.type = PROP_END},
};

const struct device_class i8042_class = {
    .name = "i8042",
    .help = "keyboard controller",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct i8042),
    .props = i8042_props,
    .state = &i8042_desc,
    .state_offset = offsetof(struct i8042, s),
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
    .post_load = i8042_post_load,
};

struct device *i8042_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&i8042_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
