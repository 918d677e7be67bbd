/*
 * -readconfig: options from a file of sections (qapi/ini.h). A section is one option, its keys are
 * what the command line writes as KEY=VALUE:
 *
 *   [device "net0"]                    -device id=net0,driver=virtio-net-pci,addr=4
 *   driver = "virtio-net-pci"
 *   addr = "4"
 */
#include "cli/options-priv.h"

#include "qapi/ini.h"
#include <string.h>

/* The option that a group stands for; NULL: none. */
static const char *option_of(const char *group)
{
    static const struct {
        const char *group, *option;
    } renamed[] = {{"smp-opts", "smp"}, {"boot-opts", "boot"}, {"memory", "m"}};
    static const char *const same[] = {"accel",   "chardev", "device", "drive",  "global",
                                       "machine", "mon",     "name",   "netdev", "nic",
                                       "numa",    "object",  "rtc",    NULL};

    for (unsigned i = 0; i < G_N_ELEMENTS(renamed); i++) {
        if (strcmp(group, renamed[i].group) == 0) {
            return renamed[i].option;
        }
    }
    return g_strv_contains(same, group) ? group : NULL;
}

static bool apply(struct options *o, const struct ini_section *s, GError **error)
{
    const char *option = option_of(s->group);
    g_autofree char *text = NULL;

    if (!option) {
        g_set_error(error, CLI_ERROR, 0, "there is no such group");
        return false;
    }
    if (s->id && (strcmp(option, "machine") == 0 || strcmp(option, "global") == 0)) {
        g_set_error(error, CLI_ERROR, 0, "this group takes no id");
        return false;
    }
    text = s->id ? g_strdup_printf("id=%s%s%s", s->id, s->text->len ? "," : "", s->text->str)
                 : g_strdup(s->text->str);
    return !*text || option_apply(o, option, text, error);
}

bool opt_readconfig(struct options *o, const char *arg, GError **error)
{
    g_autoptr(GPtrArray) sections = ini_read(arg, error);

    for (guint i = 0; sections && i < sections->len; i++) {
        const struct ini_section *s = sections->pdata[i];

        if (!apply(o, s, error)) {
            g_prefix_error(error, "line %u: [%s%s%s%s]: ", s->line, s->group, s->id ? " \"" : "",
                           s->id ? s->id : "", s->id ? "\"" : "");
            return false;
        }
    }
    return sections != NULL;
}
