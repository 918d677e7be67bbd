/*
 * The queue of one client's output (see output.h): a ring of pieces.
 *
 * Dropping has hysteresis: once an event of the ordinary kind was left out, all are until half of
 * the room is free. So a slow client gets runs of consecutive events with a notice between them,
 * not a notice for every second event.
 */
#include "monitor/output.h"

#include "monitor/monitor-priv.h"
#include "qapi-events.h"
#include <string.h>

#define FIRST_CAPACITY 16

/* Kinds of events with room of their own: a client that reads too slowly for a flood of others
 * still learns how the machine stands. */
static const bool has_reserve[QAPI_EVENT__MAX] = {
    [QAPI_EVENT_SHUTDOWN] = true,       [QAPI_EVENT_RESET] = true,
    [QAPI_EVENT_STOP] = true,           [QAPI_EVENT_RESUME] = true,
    [QAPI_EVENT_POWERDOWN] = true,      [QAPI_EVENT_SUSPEND] = true,
    [QAPI_EVENT_SUSPEND_DISK] = true,   [QAPI_EVENT_WAKEUP] = true,
    [QAPI_EVENT_GUEST_PANICKED] = true, [QAPI_EVENT_WATCHDOG] = true,
};

/* Out of whose room a piece was taken. */
enum { ROOM_REPLIES = -2, ROOM_COMMON = -1 /* else the kind of event */ };

struct piece {
    struct event_line *line; /* its text as it is; or NULL */
    char *text;              /* owned; without line */
    size_t length;           /* on the wire */
    size_t cost;             /* in memory: what its room is charged */
    int16_t room;
    bool cut; /* line without Godwit's own members */
};

struct output {
    const char *boot_id; /* the journal's */
    struct piece *ring;
    unsigned capacity /* a power of two */, first, n;
    size_t written; /* of the first piece */
    size_t reply_bytes, event_bytes;
    size_t reserve_bytes[QAPI_EVENT__MAX];
    /* Left out and not told: how many, and between which numbers. */
    uint64_t lost;
    int64_t lost_first, lost_last;
    uint64_t dropped; /* since output_take_dropped() */
};

static const char cut_end[] = "}\r\n";
#define CUT_END_BYTES (sizeof(cut_end) - 1)

struct output *output_new(const char *boot_id)
{
    struct output *out = g_new0(struct output, 1);

    out->boot_id = boot_id;
    out->capacity = FIRST_CAPACITY;
    out->ring = g_new0(struct piece, out->capacity);
    return out;
}

static struct piece *piece_at(const struct output *out, unsigned i)
{
    return &out->ring[(out->first + i) & (out->capacity - 1)];
}

static size_t *room_of(struct output *out, int room)
{
    switch (room) {
    case ROOM_REPLIES:
        return &out->reply_bytes;
    case ROOM_COMMON:
        return &out->event_bytes;
    default:
        return &out->reserve_bytes[room];
    }
}

static void drop_first_piece(struct output *out)
{
    struct piece *p = piece_at(out, 0);

    *room_of(out, p->room) -= p->cost;
    if (p->line) {
        event_line_unref(p->line);
    }
    g_free(p->text);
    out->first = (out->first + 1) & (out->capacity - 1);
    out->n--;
    out->written = 0;
}

void output_clear(struct output *out)
{
    while (out->n) {
        drop_first_piece(out);
    }
}

void output_free(struct output *out)
{
    if (out) {
        output_clear(out);
        g_free(out->ring);
        g_free(out);
    }
}

bool output_is_empty(const struct output *out)
{
    return out->n == 0;
}

size_t output_reply_bytes(const struct output *out)
{
    return out->reply_bytes;
}

static void set_capacity(struct output *out, unsigned capacity)
{
    struct piece *ring = g_new(struct piece, capacity);

    for (unsigned i = 0; i < out->n; i++) {
        ring[i] = *piece_at(out, i);
    }
    g_free(out->ring);
    out->ring = ring;
    out->capacity = capacity;
    out->first = 0;
}

static void push(struct output *out, struct piece piece)
{
    if (out->n == out->capacity) {
        set_capacity(out, 2 * out->capacity);
    }
    *piece_at(out, out->n++) = piece;
    *room_of(out, piece.room) += piece.cost;
}

void output_add_reply(struct output *out, char *text, size_t length)
{
    push(out, (struct piece){.text = text, .length = length, .cost = length, .room = ROOM_REPLIES});
}

/* ---- events */

static char *make_pretty(const char *text, size_t *length)
{
    GString *pretty = g_string_sized_new(2 * *length);

    qmp_append_pretty(pretty, text);
    *length = pretty->len;
    return g_string_free(pretty, FALSE);
}

static struct piece event_piece(struct event_line *line, struct output_form form, int room)
{
    struct piece p = {.length = line->length, .cost = line->length, .room = (int16_t)room};
    g_autofree char *plain = NULL;

    if (!form.own_events) {
        p.cut = true;
        p.length = line->plain_length + CUT_END_BYTES;
    }
    if (!form.pretty) {
        p.line = event_line_ref(line);
        return p;
    }
    if (p.cut) {
        plain = g_strdup_printf("%.*s%s", (int)line->plain_length, line->text, cut_end);
    }
    p.text = make_pretty(plain ? plain : line->text, &p.length);
    p.cost = p.length;
    return p;
}

static void free_piece(struct piece *p)
{
    if (p->line) {
        event_line_unref(p->line);
    }
    g_free(p->text);
}

/* What the generated emitter makes, as text. */
struct notice_sink {
    struct event_sink sink; /* first */
    const struct output *out;
    GString *text;
};

/* The notice stands for the events that were left out, so its number is the last of theirs. */
static void notice_emit(struct event_sink *sink, unsigned event, const char *data_json)
{
    struct notice_sink *to = (struct notice_sink *)sink;

    to->text = journal_unkept_event(to->out->boot_id, to->out->lost_last, event, data_json);
}

/* The notice of what was left out; to be pushed. */
static struct piece loss_piece(const struct output *out, struct output_form form, int room)
{
    struct notice_sink to = {.sink.emit = notice_emit, .out = out};
    struct piece p = {.room = (int16_t)room};

    qapi_event_send_godwit_events_dropped(&to.sink, (int64_t)out->lost, out->lost_first,
                                          out->lost_last);
    p.length = to.text->len;
    p.text = g_string_free(to.text, FALSE);
    if (form.pretty) {
        g_autofree char *plain = p.text;

        p.text = make_pretty(plain, &p.length);
    }
    p.cost = p.length;
    return p;
}

static void push_loss(struct output *out, struct output_form form, int room)
{
    if (out->lost && form.own_events) {
        push(out, loss_piece(out, form, room));
    }
    out->lost = 0;
}

static void count_lost(struct output *out, const struct event_line *line)
{
    if (!out->lost++) {
        out->lost_first = line->seq;
        out->lost_last = line->seq;
    }
    /* Events that a rate limit held back come out of order. */
    out->lost_first = MIN(out->lost_first, line->seq);
    out->lost_last = MAX(out->lost_last, line->seq);
    out->dropped++;
}

void output_add_event(struct output *out, struct event_line *line, struct output_form form)
{
    bool roomy = !out->lost && out->event_bytes + line->length <= OUTPUT_EVENTS_BYTES;
    struct piece p;

    if (!roomy && !has_reserve[line->id]) {
        count_lost(out, line);
        return;
    }
    p = event_piece(line, form, roomy ? ROOM_COMMON : (int)line->id);
    if (!roomy) {
        struct piece notice = {0};
        bool told = out->lost && form.own_events;

        if (told) {
            notice = loss_piece(out, form, p.room);
        }
        if (*room_of(out, p.room) + p.cost + notice.cost > OUTPUT_RESERVE_BYTES) {
            free_piece(&p);
            free_piece(&notice);
            count_lost(out, line);
            return;
        }
        if (told) {
            push(out, notice);
            out->lost = 0;
        }
    }
    push(out, p);
}

uint64_t output_take_dropped(struct output *out)
{
    uint64_t dropped = out->dropped;

    out->dropped = 0;
    return dropped;
}

/* ---- writing */

/* Adds a part of a piece, less what of it was written. */
static unsigned add_part(struct iovec *iov, const char *text, size_t length, size_t *written)
{
    size_t skip = MIN(*written, length);

    *written -= skip;
    if (skip == length) {
        return 0;
    }
    *iov = (struct iovec){.iov_base = (char *)text + skip, .iov_len = length - skip};
    return 1;
}

unsigned output_peek(struct output *out, struct iovec *iov, unsigned max, size_t max_bytes)
{
    size_t written = out->written, bytes = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < out->n && n + 2 <= max && bytes < max_bytes; i++) {
        const struct piece *p = piece_at(out, i);
        const char *text = p->line ? p->line->text : p->text;
        size_t length = p->line && p->cut ? p->line->plain_length : p->length;

        bytes += p->length - (i ? 0 : out->written);
        n += add_part(&iov[n], text, length, &written);
        if (p->length > length) {
            n += add_part(&iov[n], cut_end, CUT_END_BYTES, &written);
        }
    }
    return n;
}

void output_advance(struct output *out, size_t bytes, struct output_form form)
{
    while (bytes) {
        size_t left = piece_at(out, 0)->length - out->written;

        if (bytes < left) {
            out->written += bytes;
            break;
        }
        bytes -= left;
        drop_first_piece(out);
    }
    if (out->lost && out->event_bytes <= OUTPUT_EVENTS_BYTES / 2) {
        push_loss(out, form, ROOM_COMMON);
    }
    if (!out->n && out->capacity > FIRST_CAPACITY) {
        set_capacity(out, FIRST_CAPACITY);
    }
}
