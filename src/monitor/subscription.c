/*
 * Subscriptions (see subscription.h): a set of events and a rate limit of one session.
 */
#include "monitor/subscription.h"

#include "monitor/journal.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include <inttypes.h>
#include <string.h>

struct subscription {
    bool wanted[QAPI_EVENT__MAX], own_rate[QAPI_EVENT__MAX];
    struct rate_rule *rules; /* of the session's own, ended by a NULL event */
    unsigned n_rules;
    struct rate_limit *limit;
};

/* The event with that name, or QAPI_EVENT__MAX and *error. */
static unsigned find_event(const char *name, bool own_events, GError **error)
{
    unsigned event = 0;

    while (event < QAPI_EVENT__MAX && strcmp(qapi_event_str(event), name) != 0) {
        event++;
    }
    if (event == QAPI_EVENT__MAX) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "There is no event '%s'", name);
    } else if (g_str_has_prefix(name, "GODWIT_") && !own_events) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "The event '%s' is only for sessions with the capability 'godwit-events'",
                    name);
        event = QAPI_EVENT__MAX;
    }
    return event;
}

static bool set_wanted(struct subscription *sub, const struct str_list *names, bool own_events,
                       GError **error)
{
    for (size_t i = 0; names && i < names->n; i++) {
        unsigned event = find_event(names->v[i], own_events, error);

        if (event == QAPI_EVENT__MAX) {
            return false;
        }
        sub->wanted[event] = true;
    }
    for (unsigned i = 0; !names && i < QAPI_EVENT__MAX; i++) {
        sub->wanted[i] = true;
    }
    return true;
}

/* The member of the event's data by which its shared limit tells buckets apart. */
static const char *shared_key(const char *event)
{
    for (const struct rate_rule *rule = rate_rules; rule->event; rule++) {
        if (strcmp(rule->event, event) == 0) {
            return rule->key;
        }
    }
    return NULL;
}

static bool add_rate(struct subscription *sub, const struct godwit_event_rate *rate,
                     bool own_events, GError **error)
{
    unsigned event = find_event(rate->event, own_events, error);

    if (event == QAPI_EVENT__MAX) {
        return false;
    }
    if (rate->interval_ms < 0 || rate->interval_ms > SUBSCRIPTION_MAX_MS) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "The interval of '%s' must be 0 to %d ms, not %" PRId64, rate->event,
                    SUBSCRIPTION_MAX_MS, rate->interval_ms);
        return false;
    }
    if (sub->own_rate[event]) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "The event '%s' has two intervals",
                    rate->event);
        return false;
    }
    sub->own_rate[event] = true;
    if (rate->interval_ms > 0) { /* without a rule an event passes */
        const char *name = qapi_event_str(event);

        sub->rules[sub->n_rules++] = (struct rate_rule){
            .event = name, .key = shared_key(name), .period_us = rate->interval_ms * 1000};
    }
    return true;
}

static void drop_line(void *line)
{
    event_line_unref(line);
}

struct subscription *subscription_new(const struct godwit_subscription *wanted, bool own_events,
                                      rate_deliver_fn deliver, void *opaque, GError **error)
{
    struct subscription *sub = g_new0(struct subscription, 1);
    const struct godwit_event_rate_list *rates = wanted->rates;
    bool ok = set_wanted(sub, wanted->events, own_events, error);

    sub->rules = g_new0(struct rate_rule, QAPI_EVENT__MAX + 1);
    for (size_t i = 0; ok && rates && i < rates->n; i++) {
        ok = add_rate(sub, rates->v[i], own_events, error);
    }
    if (!ok) {
        subscription_free(sub);
        return NULL;
    }
    if (rates && rates->n) {
        sub->limit = rate_limit_new(sub->rules, deliver, drop_line, opaque);
    }
    return sub;
}

void subscription_free(struct subscription *sub)
{
    if (sub) {
        rate_limit_free(sub->limit);
        g_free(sub->rules);
        g_free(sub);
    }
}

bool subscription_wants(const struct subscription *sub, unsigned event)
{
    return !sub || sub->wanted[event];
}

struct rate_limit *subscription_limit(const struct subscription *sub, unsigned event)
{
    return sub && sub->own_rate[event] ? sub->limit : NULL;
}

struct rate_limit *subscription_limits(const struct subscription *sub)
{
    return sub ? sub->limit : NULL;
}
