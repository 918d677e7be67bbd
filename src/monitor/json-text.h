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

#define JSON_TEXT_MAX_DEPTH  1024
#define JSON_TEXT_MAX_TOKENS (2u << 20)

/*
 * Parses all of text[0..length). On success *value is a new reference (NULL for null). On failure
 * false and an error of the domain QMP_ERROR, "JSON parse error, ..." in the words that clients
 * know. Any thread.
 */
bool json_text_parse(const char *text, size_t length, struct json_object **value, GError **error);

#endif
