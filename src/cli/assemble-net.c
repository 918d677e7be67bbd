/* -netdev and -nic: see assemble.h. */
#include "cli/assemble.h"

#include "cli/error.h"
#include <string.h>

#define NIC_MODEL "virtio-net-pci"

bool assemble_netdevs(struct machine *m, const struct options *o, GError **error)
{
    for (guint i = 0; i < o->netdevs->len; i++) {
        const struct option_text *option = o->netdevs->pdata[i];
        if (!net_backend_add_text(m->net, option->text, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return true;
}

static bool add_card(struct machine *m, const char *netdev, const char *mac, const char *addr,
                     GError **error)
{
    struct device *dev = device_new_named(NIC_MODEL, &m->env, error);

    if (!dev) {
        return false;
    }
    if (!device_set_property(dev, "netdev", netdev, error) ||
        (mac && !device_set_property(dev, "mac", mac, error)) ||
        (addr && !device_set_property(dev, "addr", addr, error))) {
        device_free(dev);
        return false;
    }
    return device_realize(dev, error);
}

/* What is left when the card has taken its part, as text again. */
static char *rest_as_text(const struct params *p, const char *id)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < p->items->len; i++) {
        const struct param *param = &g_array_index(p->items, struct param, i);
        if (!param->taken) {
            g_auto(GStrv) part = g_strsplit(param->value, ",", -1);
            g_autofree char *escaped = g_strjoinv(",,", part);
            g_string_append_printf(text, "%s=%s,", param->key, escaped);
        }
    }
    g_string_append_printf(text, "id=%s", id);
    return g_string_free(text, FALSE);
}

static bool add_nic(struct machine *m, const char *text, unsigned n, GError **error)
{
    struct params *p = params_parse_keyval(text, "type", error);
    if (!p) {
        return false;
    }
    const char *model = params_take(p, "model"), *id = params_take(p, "id");
    const char *mac = params_take(p, "mac"), *addr = params_take(p, "addr");
    g_autofree char *own = id ? g_strdup(id) : g_strdup_printf("nic%u", n);
    g_autofree char *rest = rest_as_text(p, own);
    bool ok = true;

    if (model && strcmp(model, NIC_MODEL) != 0 && strcmp(model, "virtio") != 0) {
        g_set_error(error, CLI_ERROR, 0, "Unsupported NIC model: %s (there is " NIC_MODEL ")",
                    model);
        ok = false;
    }
    ok = ok && net_backend_add_text(m->net, rest, error) && add_card(m, own, mac, addr, error);
    params_free(p);
    return ok;
}

bool assemble_nics(struct machine *m, const struct options *o, GError **error)
{
    for (guint i = 0; i < o->nics->len; i++) {
        const struct option_text *option = o->nics->pdata[i];
        if (!add_nic(m, option->text, i, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    net_warn_of_loose_ends(m->net);
    return true;
}
