/*
 * The server's own description of its commands (query-qmp-schema), indexed: which commands and
 * events there are, what arguments a command takes, which values an argument accepts.
 *
 * Type names in the description mean nothing by themselves; they are keys of this index.
 */
#ifndef GODWITCTL_SCHEMA_H
#define GODWITCTL_SCHEMA_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

struct schema;

/* An argument of a command, or a member of one. Strings belong to the schema. */
struct schema_member {
    const char *name;
    const char *type;
    bool optional;
};

/* Indexes the array that query-qmp-schema returns and keeps a reference; NULL when it is none. */
struct schema *schema_new(struct json_object *entities);
void schema_free(struct schema *schema); /* NULL is fine */

bool schema_has_command(const struct schema *schema, const char *name);
bool schema_has_event(const struct schema *schema, const char *name);
/* Sorted, ended by NULL; the vector is the caller's (g_free), its strings are the schema's. */
const char **schema_commands(const struct schema *schema);
const char **schema_events(const struct schema *schema);

/* The type of a command's arguments; NULL when the command is unknown. */
const char *schema_arguments(const struct schema *schema, const char *command);
/* The data members of an event, likewise. */
const char *schema_event_data(const struct schema *schema, const char *event);

/* The members of an object type; of a union also those of the branches that given selects, an
 * object with the arguments typed so far (may be NULL). Elements are struct schema_member by value.
 */
GArray *schema_members(const struct schema *schema, const char *type, struct json_object *given);
/* Finds a.b.c below type; false when there is none. */
bool schema_member_find(const struct schema *schema, const char *type, const char *path,
                        struct json_object *given, struct schema_member *found);
/* The values that a type accepts by name: of an enum, or true and false; of an array, its
 * element's. NULL when they can't be named. As schema_commands(). */
const char **schema_values(const struct schema *schema, const char *type);
/* What a type is, for people: "string", "int", "boolean", "enum", "object", "array of string"... */
char *schema_type_label(const struct schema *schema, const char *type);

/* The JSON value that text means for a type; schema and type may be NULL: then text that looks like
 * a number, true, false, null, an object or an array is that, all else a string. */
struct json_object *schema_value(const struct schema *schema, const char *type, const char *text);

#endif
