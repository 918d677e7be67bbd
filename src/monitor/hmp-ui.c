/* The human monitor's commands about displays and keys. */
#include "monitor/hmp-priv.h"

#include "monitor/keycodes.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include <string.h>

#define KEYS_MAX 16

static void run_screendump(struct hmp *h, struct json_object *args)
{
    const char *format = hmp_string(args, "format");
    struct qmp_screendump_arg arg = {.filename = (char *)hmp_string(args, "filename"),
                                     .device = (char *)hmp_string(args, "device"),
                                     .has_head = hmp_has(args, "head"),
                                     .head = (int64_t)hmp_number(args, "head"),
                                     .has_format = format != NULL};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;

    if (format && !image_format_parse(format, &arg.format)) {
        hmp_print(h, "Error: invalid parameter value: %s\n", format);
        return;
    }
    qmp_screendump(&call, &arg, &error);
    hmp_print_error(h, error);
}

/* A name, or 0x and a number. */
static bool parse_key(const char *name, struct key_value *key)
{
    char *end;

    if (g_str_has_prefix(name, "0x")) {
        key->type = KEY_VALUE_KIND_NUMBER;
        key->u.number.data = (int64_t)g_ascii_strtoull(name, &end, 16);
        return !*end;
    }
    key->type = KEY_VALUE_KIND_QCODE;
    return q_key_code_parse(strcmp(name, "<") == 0 ? "less" : name, &key->u.qcode.data);
}

static void run_sendkey(struct hmp *h, struct json_object *args)
{
    g_auto(GStrv) name = g_strsplit(hmp_string(args, "keys"), "-", KEYS_MAX + 1);
    struct key_value key[KEYS_MAX] = {0}, *keys[KEYS_MAX];
    struct key_value_list list = {.v = keys};
    const struct qmp_send_key_arg arg = {.keys = &list,
                                         .has_hold_time = hmp_has(args, "hold_time"),
                                         .hold_time = (int64_t)hmp_number(args, "hold_time")};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;

    for (; name[list.n]; list.n++) {
        if (list.n == KEYS_MAX) {
            hmp_print(h, "too many keys\n");
            return;
        }
        if (!parse_key(name[list.n], &key[list.n])) {
            hmp_print(h, "invalid parameter: %s\n", name[list.n]);
            return;
        }
        keys[list.n] = &key[list.n];
    }
    qmp_send_key(&call, &arg, &error);
    hmp_print_error(h, error);
}

const struct hmp_command hmp_ui_commands[] = {
    {"screendump", NULL, "filename [-f format] [device [head]]",
     "write what the display shows into a PPM or PNG file",
     "filename:F format:-fs device:s? head:i?", .run = run_screendump},
    {"sendkey", NULL, "keys [hold_ms]", "press keys together, as ctrl-alt-f1, 100 ms each",
     "keys:s hold_time:i?", .run = run_sendkey},
    {0}};
