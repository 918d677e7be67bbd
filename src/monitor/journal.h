/*
 * The journal: every event, numbered and dated, kept for clients that come late or come back, and
 * written to a file when -event-log asks for one.
 *
 * Numbers begin at 1 and have no gaps; they belong to one process, which the boot id names. Events
 * that the rate limit holds back or drops are in the journal like all others.
 *
 * Bounded by number and by bytes: the oldest go first. The owner locks; journal_write_log() has a
 * lock of its own, so that a disk that hangs holds up nobody but those who wait for it.
 */
#ifndef MONITOR_JOURNAL_H
#define MONITOR_JOURNAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_MAX_EVENTS 4096u
#define JOURNAL_MAX_BYTES  (1u << 20)

/* An event as text. Constant once made; counted references. */
struct event_line {
    const char *name;
    unsigned id; /* enum qapi_event */
    int64_t seq;
    size_t plain_length; /* what every session gets, less the closing "}\r\n" */
    size_t length;       /* of text: the whole line with Godwit's own members, CR LF included */
    char text[];
};

struct event_line *event_line_ref(struct event_line *line);
void event_line_unref(struct event_line *line);

struct journal;

struct journal *journal_new(unsigned max_events, size_t max_bytes);
void journal_free(struct journal *j); /* NULL is fine */

/* Lines go to this file from now on: appended, whole, in order. A file that ends within a line gets
 * an end of line first. */
bool journal_open_log(struct journal *j, const char *path, GError **error);

const char *journal_boot_id(const struct journal *j); /* a UUID, 36 characters */

/* An event happens now. data_json and cause_json are texts of objects or NULL. Returns a reference
 * that the caller drops. */
struct event_line *journal_add(struct journal *j, unsigned event, const char *data_json,
                               const char *cause_json);

/* The line of an event that happens now and concerns one client only: it is not kept and has the
 * number of another. */
GString *journal_unkept_event(const char *boot_id, int64_t seq, unsigned event,
                              const char *data_json);

/* Number of the oldest event that is kept and of the one that comes next; equal: none is kept. */
int64_t journal_first(const struct journal *j);
int64_t journal_next(const struct journal *j);
/* References to the events from number since on, oldest first; owned by the array. */
GPtrArray *journal_since(const struct journal *j, int64_t since);

/*
 * Writes the lines that were added since to the file, if there is one. Not under the owner's lock.
 * With may_wait it returns when they are written; without, it leaves them to the thread that is
 * writing, if there is one.
 */
void journal_write_log(struct journal *j, bool may_wait);

#endif
