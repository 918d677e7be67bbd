/*
 * What waits to be written to one client: replies and events, in order, whole.
 *
 * Events are bounded. Those above the bound are left out for this client, and it is told how many
 * and which: the numbers are those of the journal, where they can be fetched. Kinds of events that
 * end things or change the run state have room of their own, which no other kind can use up.
 * Replies are not bounded here: their number is, by not taking further requests.
 *
 * Lines of events are shared with the journal and with other clients. The owner locks.
 */
#ifndef MONITOR_OUTPUT_H
#define MONITOR_OUTPUT_H

#include "monitor/journal.h"
#include <glib.h>
#include <stdbool.h>
#include <sys/uio.h>

/* Events of all kinds that a client has not read. */
#define OUTPUT_EVENTS_BYTES  (128u << 10)
/* Beyond that: of each kind that has room of its own. */
#define OUTPUT_RESERVE_BYTES (8u << 10)
/* Entries of struct iovec that one write takes at most. */
#define OUTPUT_IOVECS        128

struct output;

/* How a client wants its events. */
struct output_form {
    bool own_events; /* with Godwit's own members */
    bool pretty;     /* indented */
};

/* boot_id is the journal's and stays. */
struct output *output_new(const char *boot_id);
void output_free(struct output *out); /* NULL is fine */
void output_clear(struct output *out);
bool output_is_empty(const struct output *out);

/* Bytes of replies that wait. */
size_t output_reply_bytes(const struct output *out);

/* Takes the text, which g_free() frees. */
void output_add_reply(struct output *out, char *text, size_t length);

/* Adds the event or counts it as left out. Who has own_events is told of what was left out, before
 * the first event that is not, or when half of the room is free again. */
void output_add_event(struct output *out, struct event_line *line, struct output_form form);

/* Events that were left out since the last call. */
uint64_t output_take_dropped(struct output *out);

/*
 * What is to be written next: fills iov (max entries, at least 2) with max_bytes at most (but at
 * least one piece) and returns their number, 0 when nothing waits. The text stays valid until
 * output_advance() or output_clear().
 */
unsigned output_peek(struct output *out, struct iovec *iov, unsigned max, size_t max_bytes);
/* So many bytes of it were written. */
void output_advance(struct output *out, size_t bytes, struct output_form form);

#endif
