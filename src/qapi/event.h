/*
 * Where events go. Generated emitters build the text of an event's data and hand it to a sink;
 * the monitor supplies the real one, a test may supply its own.
 */
#ifndef QAPI_EVENT_H
#define QAPI_EVENT_H

#include <stdint.h>

/* What an event's sender knows besides its data. */
struct event_cause {
    const char *json; /* text of an object, NULL if nothing is known */
    /* Called with the event's number in the journal, before anybody gets the event. */
    void (*numbered)(void *opaque, int64_t seq);
    void *opaque;
};

struct event_sink {
    /*
     * @event: a value of the generated enum (enum qapi_event).
     * @data_json: text of the data object; NULL for an event without data. Valid only during
     * the call. Called from any thread, also from several at once.
     */
    void (*emit)(struct event_sink *sink, unsigned event, const char *data_json);

    /* The same for those who know why. NULL in sinks that keep no journal. */
    void (*emit_caused)(struct event_sink *sink, unsigned event, const char *data_json,
                        const struct event_cause *cause);
};

#endif
