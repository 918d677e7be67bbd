/*
 * The rate limit of events: at most one in a period of a kind, the first at once and the last of a
 * burst at the end of its period; those between are lost.
 *
 * All sessions share one, of a second, but those that ask for periods of their own
 * (subscription.h). Time is given by the caller (microseconds of a real-time
 * clock that runs also while the machine is stopped), so tests need not wait. Not locked: one
 * owner.
 */
#ifndef MONITOR_RATE_LIMIT_H
#define MONITOR_RATE_LIMIT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define RATE_LIMIT_PERIOD_US 1000000

struct rate_rule {
    const char *event; /* name on the wire */
    const char *key;   /* member of its data that selects the bucket; NULL: one for all */
    int64_t period_us;
};

/* The events that are limited; ended by a NULL event. */
extern const struct rate_rule rate_rules[];

struct rate_limit;

/* An item is what the owner makes of an event. deliver takes it over. */
typedef void (*rate_deliver_fn)(void *opaque, void *item);

/* drop frees an item that is not delivered. */
struct rate_limit *rate_limit_new(const struct rate_rule *rules, rate_deliver_fn deliver,
                                  GDestroyNotify drop, void *opaque);
void rate_limit_free(struct rate_limit *limit); /* held items are dropped; NULL is fine */

/* An event happened: takes the item over and delivers it at once, or keeps it for later in place of
 * an earlier one. data_json may be NULL. */
void rate_limit_event(struct rate_limit *limit, const char *event, const char *data_json,
                      void *item, int64_t now_us);

/* When rate_limit_run() has something to do; -1: nothing is going on. */
int64_t rate_limit_deadline_us(const struct rate_limit *limit);
void rate_limit_run(struct rate_limit *limit, int64_t now_us);

#endif
