/* -smbios: what the firmware's tables say of the machine's maker and parts. */
#include "cli/options-priv.h"

#include <stdlib.h>
#include <string.h>

enum kind { TEXT, BOOL, NUMBER, RELEASE, UUID };

struct field {
    unsigned type;
    const char *name;
    enum kind kind;
    uint64_t max; /* of a number */
};

static const struct field fields[] = {
    {0, "vendor", TEXT},
    {0, "version", TEXT},
    {0, "date", TEXT},
    {0, "release", RELEASE},
    {0, "uefi", BOOL},
    {1, "manufacturer", TEXT},
    {1, "product", TEXT},
    {1, "version", TEXT},
    {1, "serial", TEXT},
    {1, "uuid", UUID},
    {1, "sku", TEXT},
    {1, "family", TEXT},
    {2, "manufacturer", TEXT},
    {2, "product", TEXT},
    {2, "version", TEXT},
    {2, "serial", TEXT},
    {2, "asset", TEXT},
    {2, "location", TEXT},
    {3, "manufacturer", TEXT},
    {3, "version", TEXT},
    {3, "serial", TEXT},
    {3, "asset", TEXT},
    {3, "sku", TEXT},
    {4, "sock_pfx", TEXT},
    {4, "manufacturer", TEXT},
    {4, "version", TEXT},
    {4, "serial", TEXT},
    {4, "asset", TEXT},
    {4, "part", TEXT},
    {4, "processor-id", NUMBER, UINT64_MAX},
    {4, "max-speed", NUMBER, UINT16_MAX},
    {4, "current-speed", NUMBER, UINT16_MAX},
    {17, "loc_pfx", TEXT},
    {17, "bank", TEXT},
    {17, "manufacturer", TEXT},
    {17, "serial", TEXT},
    {17, "asset", TEXT},
    {17, "part", TEXT},
    {17, "speed", NUMBER, UINT16_MAX},
};

static bool release_valid(const char *text)
{
    char *end;
    unsigned long major = strtoul(text, &end, 10);

    if (!g_ascii_isdigit(text[0]) || *end != '.' || !g_ascii_isdigit(end[1]) || major > 255) {
        return false;
    }
    return strtoul(end + 1, &end, 10) <= 255 && !*end;
}

static bool is_number(const char *text, uint64_t max)
{
    bool hex = g_str_has_prefix(text, "0x");

    return g_ascii_string_to_unsigned(text + (hex ? 2 : 0), hex ? 16 : 10, 0, max, NULL, NULL);
}

static bool value_check(const struct field *f, const char *value, GError **error)
{
    bool on;

    switch (f->kind) {
    case BOOL:
        on = strcmp(value, "on") == 0 || strcmp(value, "off") == 0;
        if (!on) {
            g_set_error(error, CLI_ERROR, 0, "%s '%s': on or off", f->name, value);
        }
        return on;
    case NUMBER:
        if (!is_number(value, f->max)) {
            g_set_error(error, CLI_ERROR, 0, "%s '%s': a number up to %" G_GUINT64_FORMAT, f->name,
                        value, f->max);
            return false;
        }
        return true;
    case RELEASE:
        if (!release_valid(value)) {
            g_set_error(error, CLI_ERROR, 0, "%s '%s': two numbers up to 255, as in 1.16", f->name,
                        value);
            return false;
        }
        return true;
    case UUID:
        if (!g_uuid_string_is_valid(value)) {
            g_set_error(error, CLI_ERROR, 0, "'%s' is not a UUID", value);
            return false;
        }
        return true;
    default:
        return true;
    }
}

/* Type 11: strings in the order given, from the command line or files. */
static bool take_strings(struct options *o, struct params *p, GError **error)
{
    for (guint i = 0; i < p->items->len; i++) {
        struct param *item = &g_array_index(p->items, struct param, i);
        g_autofree char *text = NULL;
        gsize length;

        if (strcmp(item->key, "value") == 0) {
            text = g_strdup(item->value);
        } else if (strcmp(item->key, "path") == 0) {
            if (!g_file_get_contents(item->value, &text, &length, error)) {
                return false;
            }
            if (memchr(text, 0, length)) {
                g_set_error(error, CLI_ERROR, 0, "'%s': a text without NUL bytes is wanted",
                            item->value);
                return false;
            }
        } else {
            continue;
        }
        item->taken = true;
        machine_config_add_smbios(o->config, 11, "value", text);
    }
    return true;
}

static bool take_fields(struct options *o, struct params *p, unsigned type, GError **error)
{
    bool known = type == 11;

    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        const struct field *f = &fields[i];
        const char *value = f->type == type ? params_take(p, f->name) : NULL;

        known |= f->type == type;
        if (value && !value_check(f, value, error)) {
            return false;
        }
        if (value) {
            machine_config_add_smbios(o->config, type, f->name, value);
        }
    }
    if (!known) {
        g_set_error(error, CLI_ERROR, 0, "type %u is not supported (there are 0 to 4, 11 and 17)",
                    type);
        return false;
    }
    if (type == 0 || type == 2) { /* are there only when they were asked for */
        machine_config_add_smbios(o->config, type, "", "");
    }
    return type != 11 || take_strings(o, p, error);
}

bool opt_smbios(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    uint64_t type = UINT64_MAX;
    bool ok = p && params_take_uint(p, "type", 0, 255, &type, error);

    if (ok && type == UINT64_MAX) {
        g_set_error(error, CLI_ERROR, 0, "type=NUMBER is wanted");
        ok = false;
    }
    ok = ok && take_fields(o, p, (unsigned)type, error) && params_end(p, error);
    params_free(p);
    return ok;
}
