/*
 * What is printed: server text made safe for a terminal, JSON, events as lines for people.
 *
 * Whatever a server sends may hold control or escape characters: nothing of it goes to the terminal
 * other than through text_safe() or json_text().
 */
#ifndef GODWITCTL_OUTPUT_H
#define GODWITCTL_OUTPUT_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

enum style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_GOOD, /* green */
    STYLE_WARN, /* yellow */
    STYLE_BAD,  /* red */
    STYLE_NAME, /* cyan */
    STYLE_MARK, /* reverse */
};

/* The escape sequence that starts a style ("" for STYLE_PLAIN), and the one that ends any. */
const char *style_start(enum style style);
#define STYLE_END "\033[0m"

/* Appends text in a style; as it is without colour. */
void text_append(GString *out, bool colour, enum style style, const char *text);

/* A copy in which each character that is no printable one is \uXXXX, and invalid UTF-8 replaced.
 * NULL gives "". Newlines are kept with lines, else escaped. The caller's. */
char *text_safe(const char *text, bool lines);
/* JSON text, safe for a terminal; pretty spreads it over lines. NULL is null. The caller's. */
char *json_text(struct json_object *value, bool pretty);

/* The string member key of object; NULL when there is none or it is no string. Object may be NULL.
 */
const char *json_member_string(struct json_object *object, const char *key);
/* The member key of object, or NULL. Object may be NULL or of any type. */
struct json_object *json_member(struct json_object *object, const char *key);
/* The integer member key; fallback when there is none or it is no integer. */
int64_t json_member_int(struct json_object *object, const char *key, int64_t fallback);

/* Appends " key=value" for each leaf of object, nested ones as a.b=value. */
void json_append_leaves(GString *out, struct json_object *object, bool colour);

/* How grave an event is, as a style. */
enum style event_style(const char *name);
/* Appends one line without newline: local time, sequence number if any, name, data. */
/* Appends a change of state as godwit-query-cause tells it: time, both states, cause. */
void change_append(GString *out, struct json_object *change, bool colour);
void event_append(GString *out, struct json_object *event, bool colour);
/* The sequence number that servers with godwit-events give, -1 without. */
int64_t event_sequence(struct json_object *event);

/* Prints text and flushes. False when standard output takes no more. */
bool output_text(const char *text);

#endif
