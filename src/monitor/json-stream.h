/*
 * A stream of JSON values as a client sends it: bytes in, parsed values and errors out.
 *
 * Values need nothing between them and may arrive in pieces of any size. Bounds: 64 MiB of text,
 * 1024 levels and 2 Mi tokens a value. What breaks a bound or is no JSON gives one error, after
 * which the stream finds its way back: at the end of the broken value, at the end of the line, or
 * at once where a control character or 0xFF (which is how clients ask for it) is followed by a '{'.
 *
 * Owned by one thread.
 */
#ifndef MONITOR_JSON_STREAM_H
#define MONITOR_JSON_STREAM_H

#include "monitor/json-text.h"

struct json_stream;

enum json_stream_result {
    JSON_STREAM_MORE, /* no complete value yet */
    JSON_STREAM_VALUE,
    JSON_STREAM_ERROR,
};

struct json_stream *json_stream_new(void);
void json_stream_free(struct json_stream *js); /* NULL is fine */

/* Room for at least size bytes to be written, then json_stream_add() says how many were. */
char *json_stream_room(struct json_stream *js, size_t size);
void json_stream_add(struct json_stream *js, size_t length);

/* The next value (a new reference; NULL is null) or error. */
enum json_stream_result json_stream_next(struct json_stream *js, struct json_object **value,
                                         GError **error);
/* Whether all that came is taken, but for white space. */
bool json_stream_is_empty(struct json_stream *js);

#endif
