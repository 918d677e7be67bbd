/*
 * One complete JSON value from text, as the control protocol's clients may write it: RFC 8259 plus
 * strings in single quotes; no comments, no NaN, no duplicate keys, no NUL in a key.
 *
 * Integers of up to 64 bits, signed or unsigned, are exact; larger ones become doubles that keep
 * their digits. A \u0000 in a value stays a NUL in the string's middle.
 */
#ifndef MONITOR_JSON_TEXT_H
#define MONITOR_JSON_TEXT_H

#include <glib.h>
#include <stdbool.h>

struct json_object;
struct json_tokener;

#define JSON_TEXT_MAX_DEPTH  1024
#define JSON_TEXT_MAX_TOKENS (2u << 20)
#define JSON_TEXT_MAX_BYTES  (64u << 20)

/* A parser, to be used for one value after the other; json_tokener_free(). It keeps a buffer as
 * long as the longest string that it has seen. */
struct json_tokener *json_text_tokener_new(void);

/*
 * Parses all of text[0..length), JSON_TEXT_MAX_BYTES at most. On success *value is a new reference
 * (NULL for null). On failure false and an error of the domain QMP_ERROR, "JSON parse error, ..."
 * in the words that clients know. tokener is from json_text_tokener_new(). Any thread.
 */
bool json_text_parse(struct json_tokener *tokener, const char *text, size_t length,
                     struct json_object **value, GError **error);

#endif
