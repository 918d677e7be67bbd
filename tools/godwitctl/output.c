/* Printing: see output.h. Colours are the eight that every terminal has. */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LEAF_DEPTH_MAX 8 /* below that, json_append_leaves() prints JSON */

const char *style_start(enum style style)
{
    static const char *const starts[] = {
        [STYLE_PLAIN] = "",        [STYLE_BOLD] = "\033[1m",  [STYLE_DIM] = "\033[2m",
        [STYLE_GOOD] = "\033[32m", [STYLE_WARN] = "\033[33m", [STYLE_BAD] = "\033[1;31m",
        [STYLE_NAME] = "\033[36m", [STYLE_MARK] = "\033[7m",
    };
    return starts[style];
}

void text_append(GString *out, bool colour, enum style style, const char *text)
{
    if (!colour || style == STYLE_PLAIN) {
        g_string_append(out, text);
        return;
    }
    g_string_append(out, style_start(style));
    g_string_append(out, text);
    g_string_append(out, STYLE_END);
}

/* As JSON escapes it, which is legible to people and still JSON inside a string. */
static void append_escaped(GString *out, gunichar c)
{
    if (c > 0xffff) {
        c -= 0x10000;
        g_string_append_printf(out, "\\u%04x\\u%04x", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04x", c);
    }
}

char *text_safe(const char *text, bool lines)
{
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
    GString *out = g_string_sized_new(strlen(valid));
    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (c < 0x7f && c >= ' ') {
            g_string_append_c(out, (char)c);
        } else if (lines && (c == '\n' || c == '\t')) {
            g_string_append_c(out, (char)c);
        } else if (lines && c == '\r') {
            continue;
        } else if (g_unichar_isprint(c)) {
            g_string_append_unichar(out, c);
        } else {
            append_escaped(out, c);
        }
    }
    return g_string_free(out, FALSE);
}

char *json_text(struct json_object *value, bool pretty)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
    if (pretty) {
        flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
    }
    return text_safe(json_object_to_json_string_ext(value, flags), pretty);
}

struct json_object *json_member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

const char *json_member_string(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

int64_t json_member_int(struct json_object *object, const char *key, int64_t fallback)
{
    struct json_object *value = json_member(object, key);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : fallback;
}

static void append_leaf(GString *out, const char *path, struct json_object *value, bool colour)
{
    g_autofree char *name = text_safe(path, false);
    g_autofree char *text = NULL;
    if (json_object_is_type(value, json_type_string)) {
        text = text_safe(json_object_get_string(value), false);
    } else {
        text = json_text(value, false);
    }
    g_string_append_c(out, ' ');
    text_append(out, colour, STYLE_DIM, name);
    text_append(out, colour, STYLE_DIM, "=");
    g_string_append(out, text);
}

static void append_leaves(GString *out, const char *prefix, struct json_object *object, bool colour,
                          unsigned depth)
{
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        struct json_object *value = json_object_iter_peek_value(&at);
        g_autofree char *path = g_strconcat(prefix, json_object_iter_peek_name(&at), NULL);
        if (json_object_is_type(value, json_type_object) && depth < LEAF_DEPTH_MAX) {
            g_autofree char *inner = g_strconcat(path, ".", NULL);
            append_leaves(out, inner, value, colour, depth + 1);
        } else {
            append_leaf(out, path, value, colour);
        }
    }
}

void json_append_leaves(GString *out, struct json_object *object, bool colour)
{
    if (json_object_is_type(object, json_type_object)) {
        append_leaves(out, "", object, colour, 0);
    }
}

enum style event_style(const char *name)
{
    static const struct {
        const char *name;
        enum style style;
    } styles[] = {
        {"RESUME", STYLE_GOOD},
        {"WAKEUP", STYLE_GOOD},
        {"STOP", STYLE_WARN},
        {"SUSPEND", STYLE_WARN},
        {"SUSPEND_DISK", STYLE_WARN},
        {"RESET", STYLE_WARN},
        {"POWERDOWN", STYLE_WARN},
        {"SHUTDOWN", STYLE_BAD},
        {"GUEST_PANICKED", STYLE_BAD},
        {"GUEST_CRASHLOADED", STYLE_BAD},
        {"WATCHDOG", STYLE_BAD},
        {"MEMORY_FAILURE", STYLE_BAD},
        {"BLOCK_IO_ERROR", STYLE_BAD},
        {"QUORUM_FAILURE", STYLE_BAD},
        {"GODWIT_BLACK_BOX", STYLE_BAD},
        {"GODWIT_STALL", STYLE_BAD},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(styles); i++) {
        if (strcmp(name, styles[i].name) == 0) {
            return styles[i].style;
        }
    }
    return STYLE_NAME;
}

/* HH:MM:SS.mmm in local time. The host's clock may have failed: then the members are -1. */
static void append_time(GString *out, struct json_object *timestamp, bool colour)
{
    time_t seconds = (time_t)json_member_int(timestamp, "seconds", -1);
    int64_t micros = json_member_int(timestamp, "microseconds", -1);
    struct tm local;
    char text[32] = "--:--:--.---";
    if (seconds >= 0 && micros >= 0 && micros < G_USEC_PER_SEC && localtime_r(&seconds, &local)) {
        g_snprintf(text, sizeof(text), "%02d:%02d:%02d.%03d", local.tm_hour, local.tm_min,
                   local.tm_sec, (int)(micros / 1000));
    }
    text_append(out, colour, STYLE_DIM, text);
}

int64_t event_sequence(struct json_object *event)
{
    return json_member_int(event, "seq", -1);
}

/* One member of an object as " prefix value", when it is there. */
static void append_member(GString *out, struct json_object *object, const char *key,
                          const char *prefix)
{
    struct json_object *value = json_member(object, key);
    if (value) {
        const char *raw = json_object_is_type(value, json_type_string)
                              ? json_object_get_string(value)
                              : json_object_to_json_string(value);
        g_autofree char *text = text_safe(raw, false);
        g_string_append_printf(out, "%s%s", prefix, text);
    }
}

/* " (guest cf9 vCPU 0 at 0x100066 wrote 0x6 to port 0xcf9)": Godwit's causes. */
static void append_cause(GString *out, struct json_object *cause, bool colour)
{
    struct json_object *access = json_member(cause, "access");
    struct json_object *client = json_member(cause, "client");
    struct json_object *parent = json_member(cause, "parent");
    g_autoptr(GString) text = g_string_new(" (");
    append_member(text, cause, "who", "");
    append_member(text, cause, "what", " ");
    append_member(text, cause, "vcpu", " vCPU ");
    append_member(text, cause, "rip", " at ");
    append_member(text, access, "value", " wrote ");
    append_member(text, access, "space", json_member(access, "value") ? " to " : " read ");
    append_member(text, access, "address", " ");
    append_member(text, cause, "exception", " exception ");
    append_member(text, client, "pid", " pid ");
    append_member(text, client, "address", " ");
    append_member(text, json_member(cause, "signal"), "pid", " pid ");
    append_member(text, parent, "seq", " after #");
    g_string_append_c(text, ')');
    text_append(out, colour, STYLE_DIM, text->str);
}

void event_append(GString *out, struct json_object *event, bool colour)
{
    append_time(out, json_member(event, "timestamp"), colour);
    int64_t sequence = event_sequence(event);
    if (sequence >= 0) {
        char text[32];
        g_snprintf(text, sizeof(text), " #%" G_GINT64_FORMAT, sequence);
        text_append(out, colour, STYLE_DIM, text);
    }
    const char *raw_name = json_member_string(event, "event");
    g_autofree char *name = text_safe(raw_name ? raw_name : "?", false);
    g_string_append_c(out, ' ');
    text_append(out, colour, event_style(name), name);
    json_append_leaves(out, json_member(event, "data"), colour);
    struct json_object *cause = json_member(event, "cause");
    if (cause) {
        append_cause(out, cause, colour);
    }
}

void change_append(GString *out, struct json_object *change, bool colour)
{
    const char *from = json_member_string(change, "from"), *to = json_member_string(change, "to");
    g_autofree char *was = text_safe(from ? from : "?", false);
    g_autofree char *is = text_safe(to ? to : "?", false);
    append_time(out, json_member(change, "timestamp"), colour);
    g_string_append_printf(out, " %s to ", was);
    text_append(out, colour, STYLE_NAME, is);
    struct json_object *cause = json_member(change, "cause");
    if (cause) {
        append_cause(out, cause, colour);
    }
}

bool output_text(const char *text)
{
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0;
}
