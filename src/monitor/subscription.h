/*
 * What one session wants of the events: which kinds, and how often of each.
 *
 * A kind with an interval of the session's own is taken out of the rate limit that all sessions
 * share: the session gets it as it happens, at most once in its interval, or always when that is 0.
 * Not locked: one owner.
 */
#ifndef MONITOR_SUBSCRIPTION_H
#define MONITOR_SUBSCRIPTION_H

#include "monitor/rate-limit.h"
#include "qapi-types.h"
#include <glib.h>
#include <stdbool.h>

/* The longest interval, an hour. */
#define SUBSCRIPTION_MAX_MS 3600000

struct subscription;

/* own_events: the session gets Godwit's own events. deliver gets the events that pass an interval
 * of the session's own (a struct event_line each, which it takes over). NULL and *error: an event
 * that does not exist or is not for this session, or an interval out of range. */
struct subscription *subscription_new(const struct godwit_subscription *wanted, bool own_events,
                                      rate_deliver_fn deliver, void *opaque, GError **error);
void subscription_free(struct subscription *sub); /* NULL is fine, here and below */

/* Whether the session wants that kind (enum qapi_event) at all. Without subscription: all. */
bool subscription_wants(const struct subscription *sub, unsigned event);
/* The interval of the session's own for that kind; NULL: it has none. */
struct rate_limit *subscription_limit(const struct subscription *sub, unsigned event);
/* All of them, for their timer; NULL: none. */
struct rate_limit *subscription_limits(const struct subscription *sub);

#endif
