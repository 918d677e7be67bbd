/* The human monitor's commands about devices, objects and chardevs. */
#include "monitor/hmp-priv.h"

#include "devices/core/object.h"
#include "machine/hotplug.h"
#include "migration/migration.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi-visit.h"
#include "qapi/keyval.h"
#include "qapi/params.h"
#include <string.h>

static void run_device_add(struct hmp *h, struct json_object *args)
{
    const char *options = hmp_string(args, "options");
    g_autoptr(GError) error = NULL;
    struct params *p = params_parse(options ? options : "", "driver", &error);

    if (p && qmp_state_permits(h->m, "device_add", &error)) {
        machine_hotplug(h->m, p, migration_goes_out(h->m), &error);
    }
    params_free(p);
    hmp_print_error(h, error);
}

static void run_object_add(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct object_options *options = object_options_parse(hmp_string(args, "options"), &error);

    if (options && qmp_state_permits(h->m, "object-add", &error)) {
        qmp_object_add(&call, options, &error);
    }
    object_options_free(options);
    hmp_print_error(h, error);
}

/* ---- chardevs */

/* A listening socket would wait for its first client, and the machine with it. */
static struct chardev *make_chardev(struct hmp *h, const char *options, GError **error)
{
    bool listens = g_str_has_prefix(options, "socket") && strstr(options, ",server");
    g_autofree char *text = g_strconcat(options, listens ? ",wait=off" : "", NULL);

    return chardev_new_options(text, h->m->loop, error);
}

static void run_chardev_add(struct hmp *h, struct json_object *args)
{
    g_autoptr(GError) error = NULL;
    struct chardev *chr = make_chardev(h, hmp_string(args, "options"), &error);

    if (chr && machine_chardev(h->m, chr->id)) {
        hmp_print(h, "Error: Chardev with id '%s' already exists\n", chr->id);
        chardev_free(chr);
    } else if (chr) {
        machine_add_chardev(h->m, chr);
    }
    hmp_print_error(h, error);
}

static void run_chardev_change(struct hmp *h, struct json_object *args)
{
    const char *id = hmp_string(args, "id");
    const char *options = hmp_string(args, "options");
    size_t backend = strcspn(options, ",");
    /* An id among the options comes after this one and holds. A mux is not asked for here. */
    g_autofree char *text =
        g_strdup_printf("%.*s,id=%s%s,mux=off", (int)backend, options, id, options + backend);
    g_autoptr(GError) error = NULL;
    struct chardev *chr = NULL;

    if (monitor_chardev_can_change(h->m, id, false, &error)) {
        chr = make_chardev(h, text, &error);
    }
    if (chr && strcmp(chr->id, id) != 0) {
        hmp_print(h, "Error: Unexpected 'id' parameter\n");
        chardev_free(chr);
    } else if (chr) {
        monitor_chardev_change(h->m, chr);
    }
    hmp_print_error(h, error);
}

static void put_text(GString *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '\\') {
            g_string_append(out, "\\\\");
        } else if ((c < 0x20 && c != '\n') || c == 0x7f) {
            g_string_append_printf(out, "\\u%04X", c);
        } else {
            g_string_append_c(out, *p);
        }
    }
    g_string_append_c(out, '\n');
}

static void run_ringbuf_read(struct hmp *h, struct json_object *args)
{
    const struct qmp_ringbuf_read_arg arg = {.device = (char *)hmp_string(args, "device"),
                                             .size = (int64_t)hmp_number(args, "size")};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (qmp_ringbuf_read(&call, &arg, &text, &error)) {
        put_text(h->out, text);
    }
    hmp_print_error(h, error);
}

/* ---- objects */

static void run_qom_list(struct hmp *h, struct json_object *args)
{
    const struct qmp_qom_list_arg arg = {.path = (char *)hmp_string(args, "path")};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct object_property_info_list *list;

    if (!arg.path) {
        hmp_print(h, "/\n");
        return;
    }
    list = qmp_qom_list(&call, &arg, &error);
    for (size_t i = 0; list && i < list->n; i++) {
        hmp_print(h, "%s (%s)\n", list->v[i]->name, list->v[i]->type);
    }
    object_property_info_list_free(list);
    hmp_print_error(h, error);
}

static void run_qom_get(struct hmp *h, struct json_object *args)
{
    g_autofree char *value = hmp_qmp(h, "qom-get", args);

    if (value) {
        hmp_print(h, "%s\n", value);
    }
}

/* JSON if it is that, a size such as 64M, else a string; NULL: that is what it is already. */
static struct json_object *qom_value(const char *text)
{
    enum json_tokener_error trouble;
    struct json_tokener *tokener = json_tokener_new();
    size_t length = strlen(text);
    struct json_object *value = json_tokener_parse_ex(tokener, text, (int)length + 1);
    uint64_t bytes;

    trouble = json_tokener_get_error(tokener);
    if (trouble != json_tokener_success || json_tokener_get_parse_end(tokener) < length) {
        json_object_put(value);
        value = qapi_parse_size(text, &bytes) ? json_object_new_uint64(bytes) : NULL;
    }
    json_tokener_free(tokener);
    return value;
}

static void run_qom_set(struct hmp *h, struct json_object *args)
{
    struct json_object *value = qom_value(hmp_string(args, "value"));

    if (value) {
        json_object_object_add(args, "value", value);
    }
    g_free(hmp_qmp(h, "qom-set", args));
}

const struct hmp_command hmp_device_commands[] = {
    {"balloon", NULL, "target", "ask the guest to make do with so many MiB", "value:M", "balloon"},
    {"chardev-add", NULL, "backend,id=str[,prop=value][,...]", "add a chardev", "options:s",
     .run = run_chardev_add},
    {"chardev-change", NULL, "id backend[,prop=value][,...]", "give a chardev another back end",
     "id:s options:s", .run = run_chardev_change},
    {"chardev-remove", NULL, "id", "remove a chardev", "id:s", "chardev-remove"},
    {"chardev-send-break", NULL, "id", "send a break on a chardev's line", "id:s",
     "chardev-send-break"},
    {"device_add", NULL, "driver[,prop=value][,...]", "plug a device in", "options:S?",
     .run = run_device_add},
    {"device_del", NULL, "device", "take a device out", "id:s", "device_del"},
    {"object_add", NULL, "qom-type,id=str[,prop=value][,...]", "make an object", "options:S",
     .run = run_object_add},
    {"object_del", NULL, "id", "remove an object", "id:s", "object-del"},
    {"qom-get", NULL, "path property", "the value of an object's property", "path:s property:s",
     .run = run_qom_get},
    {"qom-list", NULL, "path", "what is in an object", "path:s?", .run = run_qom_list},
    {"qom-set", NULL, "path property value", "set an object's property",
     "path:s property:s value:S", .run = run_qom_set},
    {"ringbuf_read", NULL, "device size", "take bytes from a ringbuf chardev", "device:s size:i",
     .run = run_ringbuf_read},
    {"ringbuf_write", NULL, "device data", "put a text into a ringbuf chardev", "device:s data:s",
     "ringbuf-write"},
    {0}};
