/*
 * Properties from text, as -device NAME,PROPERTY=VALUE gives them.
 *
 * Numbers are decimal, 0x hexadecimal or 0 octal; sizes take k, M, G, T suffixes; booleans are
 * on/off (yes/no, true/false too).
 */
#include "devices/core/device.h"
#include "devices/pci/pci.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *property_type_name(enum property_type type)
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
    case PROP_I32:
        return "int32";
    case PROP_SIZE:
        return "size";
    default:
        return "str";
    }
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const on[] = {"on", "yes", "true", "y", NULL};
    static const char *const off[] = {"off", "no", "false", "n", NULL};

    *value = g_strv_contains(on, text);
    return *value || g_strv_contains(off, text);
}

static bool parse_number(const char *text, bool size, uint64_t *value)
{
    char *end;
    unsigned shift = 0;

    if (!g_ascii_isdigit(text[0])) {
        return false; /* strtoull would take blanks and a minus sign */
    }
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (errno || end == text) {
        return false;
    }
    if (size && *end) {
        static const char suffixes[] = "bkmgt";
        const char *suffix = strchr(suffixes, g_ascii_tolower(*end));

        if (!suffix) {
            return false;
        }
        shift = 10 * (unsigned)(suffix - suffixes);
        end++;
    }
    if (*end || (*value << shift) >> shift != *value) {
        return false;
    }
    *value <<= shift;
    return true;
}

static uint64_t type_max(enum property_type type)
{
    return type == PROP_U8    ? UINT8_MAX
           : type == PROP_U16 ? UINT16_MAX
           : type == PROP_U32 ? UINT32_MAX
                              : UINT64_MAX;
}

static bool set_number(struct device *dev, const struct property *p, const char *value,
                       GError **error)
{
    void *field = (uint8_t *)dev + p->offset;
    uint64_t number, max = p->max ? p->max : type_max(p->type);

    if (!parse_number(value, p->type == PROP_SIZE, &number)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: property '%s': '%s' is not a %s", dev->class->name,
                    p->name, value, p->type == PROP_SIZE ? "size" : "number");
        return false;
    }
    if (number < p->min || number > max) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "%s: property '%s': %s is out of range, it takes %" G_GUINT64_FORMAT
                    " to %" G_GUINT64_FORMAT,
                    dev->class->name, p->name, value, p->min, max);
        return false;
    }
    switch (p->type) {
    case PROP_U8:
        *(uint8_t *)field = (uint8_t)number;
        break;
    case PROP_U16:
        *(uint16_t *)field = (uint16_t)number;
        break;
    case PROP_U32:
        *(uint32_t *)field = (uint32_t)number;
        break;
    default:
        *(uint64_t *)field = number;
        break;
    }
    return true;
}

static bool set_signed(struct device *dev, const struct property *p, const char *value,
                       GError **error)
{
    uint64_t number;

    if (strcmp(value, "-1") != 0 && (!parse_number(value, false, &number) || number > INT32_MAX)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: property '%s': '%s' is not a number from -1 to %d",
                    dev->class->name, p->name, value, INT32_MAX);
        return false;
    }
    *(int32_t *)((uint8_t *)dev + p->offset) = *value == '-' ? -1 : (int32_t)number;
    return true;
}

static bool set_chardev(struct device *dev, const struct property *p, const char *value,
                        GError **error)
{
    struct chardev *chr = dev->env->find_chardev ? dev->env->find_chardev(dev->env, value) : NULL;

    if (!chr) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: property '%s': there is no chardev '%s'",
                    dev->class->name, p->name, value);
        return false;
    }
    *(struct chardev **)((uint8_t *)dev + p->offset) = chr;
    return true;
}

static bool set_enum(struct device *dev, const struct property *p, const char *value,
                     GError **error)
{
    g_autofree char *names = NULL;
    int number;

    if (qapi_enum_parse(p->values, value, &number)) {
        *(uint32_t *)((uint8_t *)dev + p->offset) = (uint32_t)number;
        return true;
    }
    names = g_strjoinv(", ", (char **)p->values->values);
    g_set_error(error, DEVICE_ERROR, 0, "%s: property '%s': there is no '%s', only %s",
                dev->class->name, p->name, value, names);
    return false;
}

const struct property *device_class_property(const struct device_class *class, unsigned n)
{
    static const struct property boot[] = {
        {"bootindex", PROP_I32, offsetof(struct device, bootindex), .def = (uint64_t)BOOTINDEX_NONE,
         .help = "when firmware tries to boot from it: the least number first; -1: not"},
        {NULL},
    };
    const struct property *common = class->bus == BUS_PCI ? pci_properties : NULL;

    for (const struct property *p = class->props; p && p->type != PROP_END; p++) {
        if (n-- == 0) {
            return p;
        }
    }
    for (const struct property *p = common; p && p->type != PROP_END; p++) {
        if (n-- == 0) {
            return p;
        }
    }
    return class->boot_path && n == 0 ? boot : NULL;
}

static const struct property *property_find(const struct device_class *class, const char *name)
{
    const struct property *p;

    for (unsigned i = 0; (p = device_class_property(class, i)); i++) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

bool device_set_property(struct device *dev, const char *name, const char *value, GError **error)
{
    const struct property *p = property_find(dev->class, name);
    void *field;

    if (!p) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: there is no property '%s' (value '%s')",
                    dev->class->name, name, value);
        return false;
    }
    field = (uint8_t *)dev + p->offset;
    switch (p->type) {
    case PROP_BOOL:
        if (!parse_bool(value, field)) {
            g_set_error(error, DEVICE_ERROR, 0,
                        "%s: property '%s': '%s' is not a boolean, use on or off", dev->class->name,
                        name, value);
            return false;
        }
        return true;
    case PROP_STRING:
        g_free(*(char **)field);
        *(char **)field = g_strdup(value);
        return true;
    case PROP_ENUM:
        return set_enum(dev, p, value, error);
    case PROP_CHARDEV:
        return set_chardev(dev, p, value, error);
    case PROP_I32:
        return set_signed(dev, p, value, error);
    default:
        return set_number(dev, p, value, error);
    }
}
