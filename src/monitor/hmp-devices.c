/* The human monitor's commands about devices, objects and chardevs. */
#include "monitor/hmp-priv.h"

#include "machine/hotplug.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi-visit.h"
#include "qapi/params.h"
#include <json-c/json.h>
#include <string.h>

static void run_device_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autoptr(GError) error = NULL;
    struct params *p = params_parse(args, "driver", &error);

    if (p && qmp_state_permits(h->m, "device_add", &error)) {
        machine_hotplug(h->m, p, &error);
    }
    params_free(p);
    hmp_print_error(h, error);
}

static void run_object_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;
    struct object_options *options = object_options_from_keyval(args, "qom-type", &error);

    if (options && qmp_state_permits(h->m, "object-add", &error)) {
        qmp_object_add(&call, options, &error);
    }
    object_options_free(options);
    hmp_print_error(h, error);
}

/* ---- chardevs */

/* A listening socket would wait for its first client, and the machine with it. */
static void run_chardev_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    bool listens = g_str_has_prefix(args, "socket") && strstr(args, ",server");
    g_autofree char *text = g_strconcat(args, listens ? ",wait=off" : "", NULL);
    g_autoptr(GError) error = NULL;
    struct chardev *chr = chardev_new_options(text, h->m->loop, &error);

    if (chr && machine_chardev(h->m, chr->id)) {
        hmp_print(h, "Error: Chardev with id '%s' already exists\n", chr->id);
        chardev_free(chr);
    } else if (chr) {
        g_ptr_array_add(h->m->chardevs, chr);
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

static void run_ringbuf_read(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *device = hmp_needed_word(h, command, &args, "string");
    struct qmp_ringbuf_read_arg arg = {.device = device};
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    uint64_t n;

    if (!device || !hmp_value(h, command, &args, &n) || !hmp_end(h, command, args)) {
        return;
    }
    arg.size = (int64_t)MIN(n, INT64_MAX);
    if (qmp_ringbuf_read(&call, &arg, &text, &error)) {
        put_text(h->out, text);
    }
    hmp_print_error(h, error);
}

/* ---- objects */

static void run_qom_list(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *path = hmp_word(&args);
    struct qmp_qom_list_arg arg = {.path = path};
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;
    struct object_property_info_list *list;

    if (!hmp_end(h, command, args)) {
        return;
    }
    if (!path) {
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

static void run_qom_get(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *path = hmp_needed_word(h, command, &args, "string");
    g_autofree char *property = path ? hmp_needed_word(h, command, &args, "string") : NULL;
    struct json_object *object;
    g_autofree char *value = NULL;

    if (!property || !hmp_end(h, command, args)) {
        return;
    }
    object = json_object_new_object();
    json_object_object_add(object, "path", json_object_new_string(path));
    json_object_object_add(object, "property", json_object_new_string(property));
    value = hmp_qmp(h, "qom-get", object);
    if (value) {
        hmp_print(h, "%s\n", value);
    }
}

/* PATH PROPERTY VALUE: JSON if it is that, else a string. */
static void run_qom_set(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *path = hmp_needed_word(h, command, &args, "string");
    g_autofree char *property = path ? hmp_needed_word(h, command, &args, "string") : NULL;
    struct json_object *object, *value;

    if (!property) {
        return;
    }
    if (!*args) {
        hmp_print(h, "%s: string expected\n", command->name);
        hmp_print_try_help(h, command);
        return;
    }
    value = json_tokener_parse(args);
    object = json_object_new_object();
    json_object_object_add(object, "path", json_object_new_string(path));
    json_object_object_add(object, "property", json_object_new_string(property));
    json_object_object_add(object, "value", value ? value : json_object_new_string(args));
    g_free(hmp_qmp(h, "qom-set", object));
}

const struct hmp_command hmp_device_commands[] = {
    {"balloon", NULL, "target", "ask the guest to make do with so many MiB", true, hmp_run_qmp,
     "balloon", "value:M"},
    {"chardev-add", NULL, "backend,id=str[,prop=value][,...]", "add a chardev", true,
     run_chardev_add},
    {"chardev-remove", NULL, "id", "remove a chardev", true, hmp_run_qmp, "chardev-remove", "id:s"},
    {"chardev-send-break", NULL, "id", "send a break on a chardev's line", true, hmp_run_qmp,
     "chardev-send-break", "id:s"},
    {"device_add", NULL, "driver[,prop=value][,...]", "plug a device in", true, run_device_add},
    {"device_del", NULL, "device", "take a device out", true, hmp_run_qmp, "device_del", "id:s"},
    {"object_add", NULL, "qom-type,id=str[,prop=value][,...]", "make an object", true,
     run_object_add},
    {"object_del", NULL, "id", "remove an object", true, hmp_run_qmp, "object-del", "id:s"},
    {"qom-get", NULL, "path property", "the value of an object's property", true, run_qom_get},
    {"qom-list", NULL, "path", "what is in an object", true, run_qom_list},
    {"qom-set", NULL, "path property value", "set an object's property", true, run_qom_set},
    {"ringbuf_read", NULL, "device size", "take bytes from a ringbuf chardev", true,
     run_ringbuf_read},
    {"ringbuf_write", NULL, "device data", "put a text into a ringbuf chardev", true, hmp_run_qmp,
     "ringbuf-write", "device:s data:s"},
    {0}};
