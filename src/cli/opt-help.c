/* What "-machine help", "-accel help", "-cpu help" and "-device help" print. */
#include "cli/options-priv.h"
#include "cpu/x86/cpu-features.h"

#include <stdio.h>
#include <string.h>

void help_machines(void)
{
    printf("Supported machines are:\n");
    for (unsigned i = 0; boards[i]; i++) {
        const struct board *b = boards[i];
        if (b->alias) {
            printf("%-20s %s (alias of %s)\n", b->alias, b->desc, b->name);
        }
        printf("%-20s %s%s\n", b->name, b->desc, b->is_default ? " (default)" : "");
    }
}

void help_accels(void)
{
    static const char *const names[] = {"tcg", "soft", "kvm", "qtest"};

    printf("Accelerators built in:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (accel_find(names[i])) {
            printf("%s\n", names[i]);
        }
    }
}

static const char *param_type_text(enum command_line_parameter_type type)
{
    static const char *const texts[COMMAND_LINE_PARAMETER_TYPE__MAX] = {
        [COMMAND_LINE_PARAMETER_TYPE_STRING] = "str",
        [COMMAND_LINE_PARAMETER_TYPE_BOOLEAN] = "bool (on/off)",
        [COMMAND_LINE_PARAMETER_TYPE_NUMBER] = "num",
        [COMMAND_LINE_PARAMETER_TYPE_SIZE] = "size",
    };

    return texts[type];
}

static void help_params(const char *name, const struct option_param *params)
{
    printf("%s options:\n", name);
    for (unsigned i = 0; params[i].name; i++) {
        printf("  %s=<%s>\n", params[i].name, param_type_text(params[i].type));
    }
}

/* query-command-line-options has some options under names of their own. */
static const struct option_desc *option_params(const char *name)
{
    g_autofree char *opts = g_strconcat(name, "-opts", NULL);

    name = strcmp(name, "m") == 0 ? "memory" : strcmp(name, "M") == 0 ? "machine" : name;
    for (unsigned i = 0; option_descs[i].option; i++) {
        if (strcmp(option_descs[i].option, name) == 0 ||
            strcmp(option_descs[i].option, opts) == 0) {
            return option_descs[i].params ? &option_descs[i] : NULL;
        }
    }
    return NULL;
}

void help_machine(const struct board *board)
{
    g_autofree char *name = g_strdup_printf("%s-machine", board->name);

    help_params(name, option_params("machine")->params);
}

bool help_option(const char *name)
{
    const struct option_desc *desc = option_params(name);

    /* These have lists of their own for "help". */
    if (!desc || strcmp(desc->option, "machine") == 0 || strcmp(desc->option, "accel") == 0) {
        return false;
    }
    help_params(desc->option, desc->params);
    return true;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void help_cpus(void)
{
    g_autoptr(GPtrArray) names = cpu_model_names();
    unsigned column = 0;

    g_ptr_array_sort(names, compare_names);
    printf("Available CPUs:\n");
    for (guint i = 0; i < names->len; i++) {
        const char *name = names->pdata[i], *alias = cpu_model_alias_of(name);
        g_autofree char *text =
            alias ? g_strdup_printf("(alias of %s)", alias) : g_strdup(cpu_model_description(name));
        printf("x86 %-20s  %s\n", name, text);
    }
    printf("\nRecognized CPUID flags:");
    for (unsigned i = 0; i < cpu_features_n; i++) {
        int n = (int)strlen(cpu_features[i].name) + 1;

        if (cpu_feature_find(cpu_features[i].name) != &cpu_features[i]) {
            continue; /* a second bit of the same name */
        }
        column = i == 0 || column + (unsigned)n > 75 ? 0 : column;
        printf("%s%s", column ? " " : "\n  ", cpu_features[i].name);
        column += (unsigned)n;
    }
    printf("\n");
}

static const char *bus_text(enum bus_kind bus)
{
    return bus == BUS_ISA      ? ", bus ISA"
           : bus == BUS_PCI    ? ", bus PCI"
           : bus == BUS_IDE    ? ", bus IDE"
           : bus == BUS_VIRTIO ? ", bus virtio-bus"
                               : "";
}

void help_devices(void)
{
    for (unsigned i = 0; device_classes[i]; i++) {
        const struct device_class *c = device_classes[i];
        if (c->bus != BUS_SYSTEM) {
            printf("name \"%s\"%s, desc \"%s\"\n", c->name, bus_text(c->bus), c->help);
        }
    }
}

void help_netdevs(void)
{
    printf("Available netdev backend types:\n");
    for (int i = 0; i < NET_CLIENT_DRIVER__MAX; i++) {
        printf("%s\n", net_client_driver_str((enum net_client_driver)i));
    }
}

static void help_property(const struct property *p)
{
    printf("  %s=", p->name);
    if (p->type == PROP_ENUM) {
        for (size_t i = 0; i < p->values->n_values; i++) {
            printf("%s%s", i ? "|" : "", p->values->values[i]);
        }
    } else {
        printf("<%s>", p->type == PROP_CHARDEV ? "chardev" : property_type_name(p->type));
    }
    printf("  - %s\n", p->help ? p->help : "");
}

bool help_device(const char *name)
{
    const struct device_class *c = device_class_find(name);
    const struct property *p;

    if (!c || c->bus == BUS_SYSTEM) {
        return false;
    }
    printf("%s options:\n", name);
    for (unsigned i = 0; (p = device_class_property(c, i)); i++) {
        help_property(p);
    }
    return true;
}
