/*
 * mux: a character device that several front ends share: devices and the human monitor, all on one
 * terminal, say.
 *
 * Output of all goes out as it comes. Input goes to one of them, whose turn it is; the escape key
 * Ctrl-A with c gives the turn to the next, and with other keys does what its help says. The
 * escape key must work while a front end takes no input, so input is read all the same: a little
 * of it waits for whom it was typed. From a terminal the surplus of that is lost; from a file, pipe
 * or socket it waits where it comes from.
 *
 * A mux has the id that the user gave; the back end below it has that with "-base" behind it. One
 * that `chardev-add` puts over a chardev that is there leaves that its own id.
 */
#include "chardev/chardev-priv.h"
#include <stdio.h>
#include <string.h>

#define ESCAPE        1 /* Ctrl-A */
#define MAX_FRONTENDS 4
#define HELD_BYTES    1024

static const char help_text[] = "\r\n"
                                "C-a h    print this help\r\n"
                                "C-a x    end the emulator\r\n"
                                "C-a b    send break (magic sysrq)\r\n"
                                "C-a c    switch to the next of those who share the line\r\n"
                                "C-a t    begin lines with the time since the first, or not\r\n"
                                "C-a C-a  send C-a\r\n";
static const char alone_text[] = "\r\nno monitor here\r\n";

struct place {
    const struct chardev_frontend *frontend;
    GByteArray *held; /* input that waits for it */
};

struct mux {
    struct chardev chr; /* first */
    struct chardev *base;
    struct chardev_frontend below; /* the base's front end */
    struct place places[MAX_FRONTENDS];
    unsigned n, turn;
    bool owns;    /* the base */
    bool escaped; /* the escape key was the last */
    bool drop;    /* what does not fit is lost, rather than waits */
    bool timestamps, line_open;
    int64_t first_ns; /* when the first line with a timestamp began; 0: none */
    void (*quit)(void *opaque);
    void *quit_opaque;
};

static struct place *place_of_turn(struct mux *m)
{
    return m->n ? &m->places[m->turn] : NULL;
}

/* ---- input */

static void deliver_held(struct place *p)
{
    int room = p && p->held->len && p->frontend->can_receive
                   ? p->frontend->can_receive(p->frontend->opaque)
                   : 0;
    guint n = room > 0 ? MIN((guint)room, p->held->len) : 0;
    g_autofree uint8_t *copy = NULL;

    if (n) {
        copy = g_memdup2(p->held->data, n); /* the front end may come back for more meanwhile */
        g_byte_array_remove_range(p->held, 0, n);
        p->frontend->receive(p->frontend->opaque, copy, n);
    }
}

static void tell(const struct place *p, enum chardev_event event)
{
    if (p && p->frontend->event) {
        p->frontend->event(p->frontend->opaque, event);
    }
}

static void set_turn(struct mux *m, unsigned turn)
{
    m->turn = turn;
    m->chr.frontend = m->places[turn].frontend;
    tell(place_of_turn(m), CHARDEV_MUX_IN);
    deliver_held(place_of_turn(m));
}

static void next_turn(struct mux *m)
{
    if (m->n < 2) {
        chardev_write(&m->chr, (const uint8_t *)alone_text, sizeof(alone_text) - 1);
        return;
    }
    tell(place_of_turn(m), CHARDEV_MUX_OUT);
    set_turn(m, (m->turn + 1) % m->n);
}

static void escape(struct mux *m, uint8_t key)
{
    switch (g_ascii_tolower((char)key)) {
    case 'x':
        if (m->quit) {
            m->quit(m->quit_opaque);
        }
        break;
    case 'b':
        tell(place_of_turn(m), CHARDEV_BREAK);
        break;
    case 'c':
        next_turn(m);
        break;
    case 't':
        m->timestamps = !m->timestamps;
        m->first_ns = 0;
        m->line_open = false;
        break;
    case 'h':
    case '?':
        chardev_write(&m->chr, (const uint8_t *)help_text, sizeof(help_text) - 1);
        break;
    default:
        break;
    }
}

static void put_byte(struct mux *m, uint8_t byte)
{
    struct place *p = place_of_turn(m);

    if (p && p->held->len < HELD_BYTES) {
        g_byte_array_append(p->held, &byte, 1);
    }
}

static int mux_can_receive(void *opaque)
{
    struct mux *m = opaque;
    const struct place *p = place_of_turn(m);

    return m->drop || !p ? HELD_BYTES : (int)(HELD_BYTES - p->held->len);
}

static void mux_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct mux *m = opaque;

    for (size_t i = 0; i < length; i++) {
        if (m->escaped) {
            m->escaped = false;
            if (buf[i] == ESCAPE) {
                put_byte(m, ESCAPE);
            } else {
                deliver_held(place_of_turn(m)); /* what came before it */
                escape(m, buf[i]);
            }
        } else if (buf[i] == ESCAPE) {
            m->escaped = true;
        } else {
            put_byte(m, buf[i]);
        }
    }
    deliver_held(place_of_turn(m));
}

static void mux_event(void *opaque, enum chardev_event event)
{
    struct mux *m = opaque;

    m->chr.connected = m->base->connected;
    if (event == CHARDEV_BREAK) {
        tell(place_of_turn(m), event);
        return;
    }
    m->escaped = false;
    for (unsigned i = 0; i < m->n; i++) {
        tell(&m->places[i], event);
    }
}

static void mux_accept_input(struct chardev *chr)
{
    struct mux *m = (struct mux *)chr;

    for (unsigned i = 0; i < m->n; i++) { /* also what was typed for another before */
        deliver_held(&m->places[i]);
    }
    chardev_accept_input(m->base);
}

/* ---- output */

static void write_timestamp(struct mux *m)
{
    int64_t now_ns = g_get_monotonic_time() * 1000, ms;
    char text[32];

    m->first_ns = m->first_ns ? m->first_ns : now_ns;
    ms = (now_ns - m->first_ns) / 1000000;
    snprintf(text, sizeof(text), "[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
             (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
    chardev_write(m->base, (const uint8_t *)text, strlen(text));
}

static size_t mux_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct mux *m = (struct mux *)chr;
    size_t done = 0;

    if (!m->timestamps) {
        return chardev_write(m->base, buf, length);
    }
    while (done < length) {
        const uint8_t *end = memchr(buf + done, '\n', length - done);
        size_t part = end ? (size_t)(end - buf) + 1 - done : length - done, n;

        if (!m->line_open) {
            write_timestamp(m);
            m->line_open = true;
        }
        n = chardev_write(m->base, buf + done, part);
        done += n;
        if (n < part) {
            break;
        }
        m->line_open = !end;
    }
    return done;
}

static void mux_writable(void *opaque)
{
    struct mux *m = opaque;

    for (unsigned i = 0; i < m->n; i++) {
        const struct chardev_frontend *f = m->places[i].frontend;

        if (f->writable) {
            f->writable(f->opaque);
        }
    }
}

static void mux_push(struct chardev *chr)
{
    chardev_push(((struct mux *)chr)->base);
}

/* ---- front ends */

static bool mux_attach(struct chardev *chr, const struct chardev_frontend *frontend)
{
    struct mux *m = (struct mux *)chr;
    unsigned at = frontend->behind ? 0 : m->n;
    bool takes_turn = m->n == 0 || !frontend->behind;

    if (m->n == MAX_FRONTENDS) {
        return false;
    }
    memmove(&m->places[at + 1], &m->places[at], (m->n - at) * sizeof(m->places[0]));
    m->places[at] = (struct place){frontend, g_byte_array_new()};
    m->turn += at <= m->turn && m->n;
    m->n++;
    m->base->frontend_open = true;
    if (takes_turn) {
        if (m->n > 1) {
            tell(place_of_turn(m), CHARDEV_MUX_OUT);
        }
        set_turn(m, at);
    }
    mux_accept_input(chr);
    return true;
}

static void mux_detach(struct chardev *chr, const struct chardev_frontend *frontend)
{
    struct mux *m = (struct mux *)chr;
    unsigned i = 0;

    while (i < m->n && m->places[i].frontend != frontend) {
        i++;
    }
    if (i == m->n) {
        return;
    }
    g_byte_array_unref(m->places[i].held);
    memmove(&m->places[i], &m->places[i + 1], (m->n - i - 1) * sizeof(m->places[0]));
    m->n--;
    if (m->n == 0) {
        m->turn = 0;
        chr->frontend = NULL;
    } else if (i < m->turn) {
        m->turn--;
    } else if (i == m->turn) {
        set_turn(m, m->turn % m->n);
    }
}

static void mux_finish(struct chardev *chr)
{
    struct mux *m = (struct mux *)chr;

    while (m->n) {
        g_byte_array_unref(m->places[--m->n].held);
    }
    if (m->base) {
        chardev_detach(m->base, &m->below);
    }
    if (m->owns) {
        chardev_free(m->base);
    }
}

static const struct chardev_ops mux_ops = {
    .name = "mux",
    .size = sizeof(struct mux),
    .write = mux_write,
    .accept_input = mux_accept_input,
    .push = mux_push,
    .finish = mux_finish,
    .attach = mux_attach,
    .detach = mux_detach,
};

struct chardev *chardev_mux_over(const char *id, struct chardev *base)
{
    struct mux *m = (struct mux *)chardev_alloc(&mux_ops, id, base->loop);

    m->base = base;
    m->drop = base->typed;
    m->chr.connected = base->connected;
    m->below = (struct chardev_frontend){
        .can_receive = mux_can_receive,
        .receive = mux_receive,
        .event = mux_event,
        .writable = mux_writable,
        .opaque = m,
    };
    if (!chardev_attach(base, &m->below)) {
        m->base = NULL;
        chardev_free(&m->chr);
        return NULL;
    }
    if (base->ops != &mux_ops) {
        base->frontend_open = false; /* until there is one above */
    }
    return &m->chr;
}

struct chardev *chardev_mux_new(const char *id, struct chardev *base)
{
    struct chardev *chr = chardev_mux_over(id, base); /* nobody else uses it */

    g_free(base->id);
    base->id = g_strconcat(id, "-base", NULL);
    ((struct mux *)chr)->owns = true;
    return chr;
}

bool chardev_is_mux(const struct chardev *chr)
{
    return chr->ops == &mux_ops;
}

struct chardev *chardev_mux_base(const struct chardev *chr)
{
    const struct mux *m = (const struct mux *)chr;

    return chardev_is_mux(chr) && m->owns ? m->base : NULL;
}

void chardev_mux_on_quit(struct chardev *chr, void (*quit)(void *opaque), void *opaque)
{
    struct mux *m = (struct mux *)chr;

    m->quit = quit;
    m->quit_opaque = opaque;
}
