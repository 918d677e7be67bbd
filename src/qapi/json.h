/*
 * Between C objects and JSON.
 *
 * In: from json-c's parsed values, strictly: every member is checked, nothing unknown is let
 * through, nothing is converted. Out: straight to text. The text is ASCII only (other characters
 * as \uXXXX, surrogate pairs beyond the basic plane, U+FFFD for what is not UTF-8), on one line,
 * with a space after each ':' and ',' as QEMU prints it, so that scripts that grep still match.
 *
 * Errors of the reading functions are of the domain QMP_ERROR with the texts that QEMU's clients
 * know. Any thread.
 */
#ifndef QAPI_JSON_H
#define QAPI_JSON_H

#include "qapi/type.h"

enum qapi_read_mode {
    QAPI_READ_JSON,   /* JSON values have their own types */
    QAPI_READ_KEYVAL, /* every scalar is a string: "on", "4k", "12" */
};

/*
 * Reads @json as an object of the pointer type @type, which is not "any".
 * Returns a new object, freed with qapi_object_free(); NULL on error.
 */
void *qapi_object_read(const struct qapi_type *type, enum qapi_read_mode mode,
                       struct json_object *json, GError **errp);

/*
 * Reads the members of struct or union @type from @json (NULL: an empty object) into @obj, a
 * zeroed C struct of that type. On error @obj is left cleared. Used for the arguments of commands.
 */
bool qapi_members_read(const struct qapi_type *type, void *obj, struct json_object *json,
                       GError **errp);

/* Appends the text of an object of a pointer type. NULL prints as null. */
void qapi_object_write(const struct qapi_type *type, const void *obj, GString *out);

/* Appends the text of the value in the slot at @slot. */
void qapi_slot_write(const struct qapi_type *type, const void *slot, GString *out);

/* Appends a JSON string with its quotes. @len in bytes, -1: up to the NUL. */
void qapi_json_append_string(GString *out, const char *text, gssize len);

/* Appends a number; NaN and infinities, which JSON lacks, become null. */
void qapi_json_append_number(GString *out, double value);

/* Appends any parsed value, say a request's id. */
void qapi_json_append_any(GString *out, struct json_object *value);

#endif
