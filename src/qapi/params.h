/*
 * The text of one option as named parameters: "q35,accel=kvm:tcg,graphics=off", or as JSON:
 * {"driver":"isa-serial","index":0}. The order is kept.
 *
 * Whoever understands a parameter takes it; what nobody took is an error in params_end(), so
 * nothing that a user wrote is ignored. What is written into nested types is qapi/keyval.h's.
 */
#ifndef QAPI_PARAMS_H
#define QAPI_PARAMS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define PARAMS_ERROR (params_error_quark())
GQuark params_error_quark(void);

struct param {
    char *key, *value;
    bool taken;
};

struct params {
    GArray *items; /* struct param */
};

/* implied_key names a first value that stands without a key, or is NULL. A doubled comma stands for
 * one in a value. JSON values may be strings, numbers and booleans ("on", "off"). */
struct params *params_parse(const char *text, const char *implied_key, GError **error);
/* The same from a JSON object. */
struct json_object;
struct params *params_from_json(struct json_object *object, GError **error);
/* The same as params_parse() without JSON. */
struct params *params_parse_keyval(const char *text, const char *implied_key, GError **error);
void params_free(struct params *params); /* NULL is fine */

/* Takes what is before the next single comma from *text, not NULL, and steps past it; pairs of
 * commas become one. *text is NULL after the last. To be freed. */
char *params_word(const char **text);

/* The last value given for key, or NULL; all of them count as taken. Owned by params. */
const char *params_take(struct params *params, const char *key);

/* The value, if any, as a boolean (on/off, yes/no, true/false) or a number of at least min and at
 * most max. Not given: *value is unchanged. */
bool params_take_bool(struct params *params, const char *key, bool *value, GError **error);
bool params_take_uint(struct params *params, const char *key, uint64_t min, uint64_t max,
                      uint64_t *value, GError **error);

/* Error naming the first parameter that was not taken. */
bool params_end(const struct params *params, GError **error);

/* Bytes: a number, with one of B K M G T P E in either case a fraction too, else of default_unit.
 */
bool parse_size(const char *text, char default_unit, uint64_t *bytes);

#endif
