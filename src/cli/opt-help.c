/* What "-machine help", "-accel help" and "-device help" print. */
#include "cli/options-priv.h"

#include <stdio.h>

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

static const char *bus_text(enum bus_kind bus)
{
    return bus == BUS_ISA   ? ", bus ISA"
           : bus == BUS_PCI ? ", bus PCI"
           : bus == BUS_IDE ? ", bus IDE"
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

static const char *type_name(enum property_type type)
{
    switch (type) {
    case PROP_BOOL:
        return "bool";
    case PROP_U8:
        return "uint8";
    case PROP_U16:
        return "uint16";
    case PROP_U32:
        return "uint32";
    case PROP_U64:
        return "uint64";
    case PROP_SIZE:
        return "size";
    case PROP_STRING:
        return "str";
    default:
        return "chardev";
    }
}

bool help_device(const char *name)
{
    const struct device_class *c = device_class_find(name);

    if (!c || c->bus == BUS_SYSTEM) {
        return false;
    }
    printf("%s options:\n", name);
    for (const struct property *p = c->props; p && p->type != PROP_END; p++) {
        printf("  %s=<%s>  - %s\n", p->name, type_name(p->type), p->help ? p->help : "");
    }
    return true;
}
