/* The human monitor's commands about networks: see hmp-net.h. */
#include "monitor/hmp-net.h"

#include "qapi/keyval.h"
#include <string.h>

static void print_error(GString *out, const GError *error)
{
    if (error) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}

void hmp_netdev_add(struct machine *m, const char *args, GString *out)
{
    g_autoptr(GError) error = NULL;

    net_backend_add_text(m->net, args, &error);
    print_error(out, error);
}

void hmp_netdev_del(struct machine *m, const char *args, GString *out)
{
    g_autoptr(GError) error = NULL;

    net_backend_delete(m->net, args, &error);
    print_error(out, error);
}

/* NAME on|off */
void hmp_set_link(struct machine *m, const char *args, GString *out)
{
    g_auto(GStrv) word = g_strsplit(args, " ", 2);
    g_autoptr(GError) error = NULL;
    bool up;

    if (!word[0] || !word[1] || !qapi_parse_bool(word[1], &up)) {
        g_string_append(out, "set_link: a name and 'on' or 'off' are expected\n");
        return;
    }
    net_set_link(m->net, word[0], up, &error);
    print_error(out, error);
}

/* [INTERFACE[,INTERFACE...] [ID]], with the times that a migration has */
void hmp_announce_self(struct machine *m, const char *args, GString *out)
{
    g_auto(GStrv) word = g_strsplit(args, " ", 2);
    g_auto(GStrv) names = word[0] && *word[0] ? g_strsplit(word[0], ",", -1) : NULL;
    struct str_list list = {.n = names ? g_strv_length(names) : 0, .v = names};
    struct announce_parameters how = {.initial = 50,
                                      .max = 550,
                                      .rounds = 5,
                                      .step = 100,
                                      .interfaces = names ? &list : NULL,
                                      .id = word[0] ? word[1] : NULL};
    g_autoptr(GError) error = NULL;

    net_announce(m->net, &how, &error);
    print_error(out, error);
}
