/*
 * Where events go. Generated emitters build the text of an event's data and hand it to a sink;
 * the monitor supplies the real one, a test may supply its own.
 */
#ifndef QAPI_EVENT_H
#define QAPI_EVENT_H

#include <stdint.h>

struct event_sink {
    /*
     * @event: a value of the generated enum (enum qapi_event).
     * @data_json: text of the data object; NULL for an event without data. Valid only during
     * the call. Called from any thread, also from several at once.
     */
    void (*emit)(struct event_sink *sink, unsigned event, const char *data_json);

    /*
     * The same for those who know why: @cause_json is the text of an object, NULL if nothing is
     * known. Returns the event's number in the journal. NULL in sinks that keep no journal.
     */
    int64_t (*emit_caused)(struct event_sink *sink, unsigned event, const char *data_json,
                           const char *cause_json);
};

#endif
