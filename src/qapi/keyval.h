/*
 * The command line's key=value text, and the words and numbers in it.
 *
 *     driver=qcow2,file.driver=file,file.filename=a,,b.img,addr.0=x,addr.1=y
 *
 * '.' nests, numbers as keys make lists, a doubled comma stands for one, a key given twice keeps
 * its last value. Every value is a string; what it means is decided by the type it is read into.
 * Not taken: a bare `foo` or `nofoo` for a boolean; say `foo=on`.
 *
 * Any thread. Errors are of the domain QMP_ERROR.
 */
#ifndef QAPI_KEYVAL_H
#define QAPI_KEYVAL_H

#include "qapi/type.h"

/*
 * Parses @text to a JSON object of strings, objects and arrays; released with json_object_put().
 * @implied_key: the key of a first value that stands without one, or NULL. NULL on error.
 */
struct json_object *qapi_keyval_parse(const char *text, const char *implied_key, GError **errp);

/*
 * Parses @text and reads it as the pointer type @type. Text that begins with '{' is JSON instead,
 * as QEMU's structured options allow. Returns a new object, NULL on error.
 */
void *qapi_object_from_keyval(const struct qapi_type *type, const char *text,
                              const char *implied_key, GError **errp);

/* Whether it will do as an id or a name: a letter, then letters, digits, '-', '.' and '_'. */
bool qapi_id_is_valid(const char *id);

/* on, yes, true, y; off, no, false, n. */
bool qapi_parse_bool(const char *text, bool *value);

/*
 * Decimal, 0x... or 0...; the whole text must be used. @value is the magnitude as it is, or the
 * two's complement when @negative. False when malformed or beyond 64 bits.
 */
bool qapi_parse_int(const char *text, bool *negative, uint64_t *value);

/* A finite decimal number; the whole text must be used. */
bool qapi_parse_number(const char *text, double *value);

/* Bytes: an integer or decimal fraction, then nothing or one of B K M G T P E (any case). */
bool qapi_parse_size(const char *text, uint64_t *value);

#endif
