/* The human monitor's commands about networks. */
#include "monitor/hmp-priv.h"

#include "monitor/monitor-priv.h"
#include "qapi-commands.h"

static void info_network(struct hmp *h, struct json_object *args)
{
    net_describe(h->m->net, h->out);
}

static void info_usernet(struct hmp *h, struct json_object *args)
{
    net_describe_user(h->m->net, h->out);
}

static void run_netdev_add(struct hmp *h, struct json_object *args)
{
    const char *options = hmp_string(args, "options");
    g_autoptr(GError) error = NULL;

    net_backend_add_text(h->m->net, options ? options : "", &error);
    hmp_print_error(h, error);
}

/* With the times that a migration has. */
static void run_announce_self(struct hmp *h, struct json_object *args)
{
    const char *interfaces = hmp_string(args, "interfaces");
    g_auto(GStrv) names = interfaces ? g_strsplit(interfaces, ",", -1) : NULL;
    struct str_list list = {.n = names ? g_strv_length(names) : 0, .v = names};
    const struct announce_parameters how = {.initial = 50,
                                            .max = 550,
                                            .rounds = 5,
                                            .step = 100,
                                            .interfaces = names ? &list : NULL,
                                            .id = (char *)hmp_string(args, "id")};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;

    qmp_announce_self(&call, &how, &error);
    hmp_print_error(h, error);
}

/* The rule stands alone, or behind the back end's id. */
static char *forwarding(const struct json_object *args)
{
    const char *rule = hmp_string(args, "rule");

    return g_strjoin(" ", hmp_string(args, "first"), rule, NULL);
}

static void run_hostfwd_add(struct hmp *h, struct json_object *args)
{
    g_autofree char *text = forwarding(args);

    net_hostfwd_add(h->m->net, text, h->out);
}

static void run_hostfwd_remove(struct hmp *h, struct json_object *args)
{
    g_autofree char *text = forwarding(args);

    net_hostfwd_remove(h->m->net, text, h->out);
}

const struct hmp_command hmp_net_commands[] = {
    {"announce_self", NULL, "[interfaces] [id]", "tell switches where the network cards are",
     "interfaces:s? id:s?", .run = run_announce_self},
    {"hostfwd_add", NULL, "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
     "hand connections to the host to the guest", "first:s rule:s?", .run = run_hostfwd_add},
    {"hostfwd_remove", NULL, "[netdev_id] [tcp|udp]:[hostaddr]:hostport", "end that",
     "first:s rule:s?", .run = run_hostfwd_remove},
    {"info network", NULL, "", "network cards and their back ends", .run = info_network},
    {"info usernet", NULL, "", "connections of user networks", .run = info_usernet},
    {"netdev_add", NULL, "type,id=str[,prop=value][,...]", "add a network back end", "options:S?",
     .run = run_netdev_add},
    {"netdev_del", NULL, "id", "remove a network back end", "id:s", "netdev_del"},
    {"set_link", NULL, "name on|off", "plug a network cable in, or pull it", "name:s up:b",
     "set_link"},
    {0}};
