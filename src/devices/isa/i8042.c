/*
 * i8042: the PC's keyboard controller (IBM PS/2 technical reference, "Keyboard and auxiliary device
 * controller"), with a keyboard (101 keys and those that came later) and a mouse of three buttons
 * that a monitor works.
 *
 * The keyboard speaks scan code set 2 after a reset, and the controller turns that into set 1 while
 * the translation bit of its command byte is on (scan-codes.h). A key whose codes no longer fit
 * into the queue is lost, as on real keyboards. In set 3 the guest chooses which keys tell that
 * they go up. The mouse becomes one with a wheel (Microsoft's IntelliMouse) when it is asked for
 * the sample rates 200, 100 and 80 in turn.
 *
 * The output buffer is filled from three sources in this order: the controller's own answers, the
 * keyboard, the mouse; each has a small queue. The command 0xfe (and bit 0 of the output port)
 * resets the machine.
 *
 * Left out, as a guest would notice: keys do not repeat; the test inputs and the controller's RAM
 * beyond the command byte read as zero.
 */
#include "devices/isa/i8042.h"

#include "devices/isa/scan-codes.h"
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
#define OUT_IDLE     0xcc /* clock and data lines of both, at rest */

#define PS2_ACK      0xfa
#define PS2_RESEND   0xfe
#define PS2_OK       0xaa

#define QUEUE_SIZE   16
#define TYPED_MAX    1024 /* keys that wait for their time */
#define MOVED_MAX    0x4000

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
    int64_t dz; /* mouse: the wheel since the last report; down is positive */
    uint8_t reply[4], reply_head, reply_count; /* the controller's own answers */
    bool reply_aux;                            /* they count as the mouse's (command 0xd3) */
    uint8_t control, output_port;
    uint8_t pending; /* controller command that waits for its data byte; 0 none */
    uint8_t buffer, buffer_source;
    bool sys, last_was_command;
    uint8_t breaks[32];    /* keyboard: keys that tell that they go up, by their code of set 3 */
    bool remote;           /* mouse: reports when asked */
    bool wheel;            /* mouse: has one */
    uint8_t last_rates[2]; /* mouse: the sample rates before the present one, the last first */
    uint8_t pad[6];
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
    STATE_ARRAY_SINCE(struct i8042_state, breaks, 2),
    STATE_SINCE(struct i8042_state, dz, 2),
    STATE_SINCE(struct i8042_state, remote, 2),
    STATE_SINCE(struct i8042_state, wheel, 2),
    STATE_ARRAY_SINCE(struct i8042_state, last_rates, 2),
    STATE_PAD(struct i8042_state, pad),
    {0},
};

static const struct state_desc i8042_desc = {
    .name = "i8042",
    .version = 2,
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

static void mouse_report(struct i8042_state *s);

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
        } else if (!(s->control & CTR_AUX_OFF) && (mouse_report(s), s->aux.count)) {
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

static bool bit_get(const uint8_t *bits, uint8_t n)
{
    return bits[n / 8] >> (n % 8) & 1;
}

static void bit_put(uint8_t *bits, uint8_t n, bool on)
{
    bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1u << n % 8)) | (unsigned)on << n % 8);
}

/* Keys of set 3 that tell when they go up, as the keyboard comes: shifts, left Control and Alt,
 * Caps Lock. */
static void kbd_breaks_default(struct i8042_state *s)
{
    static const uint8_t codes[] = {0x11, 0x12, 0x14, 0x19, 0x59};

    memset(s->breaks, 0, sizeof(s->breaks));
    for (unsigned i = 0; i < sizeof(codes); i++) {
        bit_put(s->breaks, codes[i], true);
    }
}

static void kbd_defaults(struct i8042_state *s)
{
    struct ps2_state *p = &s->kbd;

    p->leds = 0;
    p->rate = 0x2b;
    p->scancode_set = 2;
    kbd_breaks_default(s);
}

/* The number of the set in use goes through the controller's translation as all else does. */
static uint8_t set_number(const struct i8042_state *s)
{
    uint8_t set = s->kbd.scancode_set;

    return s->control & CTR_XLATE ? scan_code_translate(set) : set;
}

static void kbd_parameter(struct i8042_state *s, uint8_t value)
{
    struct ps2_state *p = &s->kbd;
    uint8_t command = p->pending;

    if (command >= 0xfb && command <= 0xfd) {
        bit_put(s->breaks, value, command == 0xfc); /* the next byte may be another key */
        ps2_put(p, PS2_ACK);
        return;
    }
    p->pending = 0;
    ps2_put(p, command == 0xf0 && value > 3 ? PS2_RESEND : PS2_ACK);
    switch (command) {
    case 0xed:
        p->leds = value & 7;
        break;
    case 0xf0:
        if (value == 0) {
            ps2_put(p, set_number(s));
        } else if (value <= 3) {
            p->scancode_set = value;
        }
        break;
    default: /* 0xf3 */
        p->rate = value;
        break;
    }
}

/* A new command ends what is left of the answer to the one before. */
static void kbd_write(struct i8042_state *s, uint8_t value)
{
    struct ps2_state *p = &s->kbd;

    p->count = 0;
    if (p->pending >= 0xfb && value >= 0xed) {
        p->pending = 0; /* a command ends the list of keys */
    }
    if (p->pending) {
        kbd_parameter(s, value);
        return;
    }
    switch (value) {
    case 0xed: /* lamps */
    case 0xf0: /* scan code set */
    case 0xf3: /* repeat rate */
    case 0xfb: /* keys of set 3: repeat only */
    case 0xfc: /* ... make and break */
    case 0xfd: /* ... make only */
        p->pending = value;
        ps2_put(p, PS2_ACK);
        break;
    case 0xee: /* echo */
        ps2_put(p, 0xee);
        break;
    case 0xf2: /* identify */
        ps2_put(p, PS2_ACK);
        ps2_put(p, 0xab);
        ps2_put(p, s->control & CTR_XLATE ? scan_code_translate(0x83) : 0x83);
        break;
    case 0xf4: /* enable */
        p->enabled = true;
        ps2_put(p, PS2_ACK);
        break;
    case 0xf5: /* defaults, disable */
    case 0xf6: /* defaults */
        kbd_defaults(s);
        p->enabled = value == 0xf6;
        ps2_put(p, PS2_ACK);
        break;
    case 0xf7: /* all keys of set 3: repeat only */
    case 0xf8: /* ... make and break */
    case 0xf9: /* ... make only */
    case 0xfa: /* ... repeat, make and break */
        memset(s->breaks, value == 0xf8 || value == 0xfa ? 0xff : 0, sizeof(s->breaks));
        ps2_put(p, PS2_ACK);
        break;
    case 0xff: /* reset */
        kbd_defaults(s);
        p->enabled = true;
        ps2_put(p, PS2_ACK);
        ps2_put(p, PS2_OK);
        break;
    default:
        ps2_put(p, PS2_RESEND);
        break;
    }
}

/* The bytes that the keyboard sends, after the controller's translation. */
static unsigned key_bytes(const struct i8042_state *s, uint8_t key, bool down,
                          uint8_t bytes[SCAN_BYTES_MAX])
{
    unsigned set = s->kbd.scancode_set, n;

    if (set == 3 && !down && !bit_get(s->breaks, scan_code_set3(key))) {
        return 0;
    }
    if (set == 2 && (s->control & CTR_XLATE)) {
        return scan_code_bytes(1, key, down, bytes);
    }
    n = scan_code_bytes(set, key, down, bytes);
    if (set == 3 && (s->control & CTR_XLATE) && n) {
        bytes[0] = (uint8_t)(scan_code_translate(bytes[n - 1]) | (down ? 0 : 0x80));
        n = 1;
    }
    return n;
}

static void key_send(struct i8042 *d, uint8_t key, bool down)
{
    struct ps2_state *p = &d->s.kbd;
    uint8_t bytes[SCAN_BYTES_MAX];
    unsigned n;

    if (!p->enabled) {
        return;
    }
    n = key_bytes(&d->s, key, down, bytes);
    if (p->count + n > QUEUE_SIZE) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        ps2_put(p, bytes[i]);
    }
}

/* ---- mouse */

/* What happened since the last packet: buttons and signs, x, y, and the wheel if there is one. */
static void mouse_packet(struct i8042_state *s)
{
    struct ps2_state *p = &s->aux;
    int64_t dx = CLAMP(p->dx, -255, 255), dy = CLAMP(p->dy, -255, 255), dz = CLAMP(s->dz, -8, 7);

    ps2_put(p, (uint8_t)(0x08 | (p->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    ps2_put(p, (uint8_t)dx);
    ps2_put(p, (uint8_t)dy);
    p->dx -= dx;
    p->dy -= dy;
    if (s->wheel) {
        ps2_put(p, (uint8_t)dz);
        s->dz -= dz;
    } else {
        s->dz = 0;
    }
    p->moved = p->dx || p->dy || s->dz;
}

/* By itself, when all of it fits. */
static void mouse_report(struct i8042_state *s)
{
    const struct ps2_state *p = &s->aux;

    if (p->enabled && !s->remote && p->moved && p->count + (s->wheel ? 4 : 3) <= QUEUE_SIZE) {
        mouse_packet(s);
    }
}

static void mouse_defaults(struct i8042_state *s)
{
    struct ps2_state *p = &s->aux;

    p->rate = 100;
    p->resolution = 2;
    p->scaling = 1;
    p->enabled = false;
    p->wrap = false;
    p->dx = p->dy = s->dz = 0;
    p->moved = false;
    s->remote = false;
}

static void mouse_rate(struct i8042_state *s, uint8_t rate)
{
    if (s->last_rates[1] == 200 && s->last_rates[0] == 100 && rate == 80) {
        s->wheel = true;
    }
    s->last_rates[1] = s->last_rates[0];
    s->last_rates[0] = rate;
    s->aux.rate = rate;
}

static void mouse_parameter(struct i8042_state *s, uint8_t value)
{
    struct ps2_state *p = &s->aux;

    if (p->pending == 0xe8) {
        p->resolution = value;
    } else {
        mouse_rate(s, value);
    }
    p->pending = 0;
    ps2_put(p, PS2_ACK);
}

static bool mouse_knows(uint8_t command)
{
    return (command >= 0xe6 && command <= 0xec) || command == 0xee || command == 0xf0 ||
           (command >= 0xf2 && command <= 0xf6) || command == 0xff;
}

static void mouse_status(struct i8042_state *s)
{
    struct ps2_state *p = &s->aux;

    ps2_put(p, (uint8_t)((s->remote ? 0x40 : 0) | (p->enabled ? 0x20 : 0) |
                         (p->scaling == 2 ? 0x10 : 0) | (p->buttons & 1) << 2 |
                         (p->buttons & 2) >> 1 | (p->buttons & 4) >> 1));
    ps2_put(p, p->resolution);
    ps2_put(p, p->rate);
}

/* A command that mouse_knows(). */
static void mouse_command(struct i8042_state *s, uint8_t value)
{
    struct ps2_state *p = &s->aux;

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
    case 0xe9:
        mouse_status(s);
        break;
    case 0xeb: /* read data */
        mouse_packet(s);
        break;
    case 0xec: /* end of wrap mode */
    case 0xee: /* wrap mode */
        p->wrap = value == 0xee;
        break;
    case 0xea: /* stream mode */
    case 0xf0: /* remote mode */
        s->remote = value == 0xf0;
        break;
    case 0xf2: /* identify */
        ps2_put(p, s->wheel ? 0x03 : 0x00);
        break;
    case 0xf4: /* enable */
    case 0xf5: /* disable */
        p->enabled = value == 0xf4;
        break;
    case 0xf6: /* defaults */
        mouse_defaults(s);
        break;
    default: /* 0xff: reset */
        mouse_defaults(s);
        s->wheel = false;
        ps2_put(p, PS2_OK);
        ps2_put(p, 0x00);
        break;
    }
}

static void mouse_write(struct i8042_state *s, uint8_t value)
{
    struct ps2_state *p = &s->aux;

    p->count = 0;
    if (p->pending) {
        mouse_parameter(s, value);
    } else if (p->wrap && value != 0xec && value != 0xff) {
        ps2_put(p, value);
    } else if (!mouse_knows(value)) {
        ps2_put(p, PS2_RESEND);
    } else {
        mouse_command(s, value);
    }
}

/* ---- controller */

static void set_a20(struct i8042 *d, bool on)
{
    d->s.output_port = (uint8_t)(on ? d->s.output_port | OUT_A20 : d->s.output_port & ~OUT_A20);
    irq_set(&d->dev.env->a20, on);
}

static void write_output_port(struct i8042 *d, uint8_t value)
{
    d->s.output_port = value | OUT_RESET;
    set_a20(d, value & OUT_A20);
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
        set_a20(d, value == 0xdf);
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
            mouse_write(s, value);
        }
        break;
    default:
        s->control &= (uint8_t)~CTR_KBD_OFF;
        kbd_write(s, value);
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

void i8042_wheel(struct device *dev, int dz)
{
    struct i8042 *d = (struct i8042 *)dev;

    if (d->cfg.mouse && d->s.wheel) {
        d->s.dz = moved_by(d->s.dz, CLAMP(dz, -MOVED_MAX, MOVED_MAX));
        d->s.aux.moved = true;
        i8042_update(d);
    }
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
    if (p->enabled && (buttons & changed)) {
        system_request_wakeup(dev->env, "mouse");
    }
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
    d->s.output_port = OUT_RESET | OUT_A20 | OUT_IDLE;
    kbd_defaults(&d->s);
    d->s.kbd.enabled = true;
    mouse_defaults(&d->s);
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
