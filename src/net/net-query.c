/*
 * What clients ask of networks and change: links, filters, announcements, the text of "info
 * network", forwarded ports.
 */
#include "net/net-priv.h"

#include "net/announce.h"
#include "qapi-visit.h"
#include "qapi/error.h"
#include <string.h>

bool net_set_link(struct net *net, const char *id, bool up, GError **error)
{
    struct net_card *card = net_card_find(net, id);
    struct net_backend *b = card ? NULL : net_backend_find(net, id);

    if (!card && !b) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return false;
    }
    if (b) { /* its card goes with it; the other way round the back end stays as it is */
        __atomic_store_n(&b->link_down, !up, __ATOMIC_RELAXED);
        card = b->card;
    }
    if (card) {
        __atomic_store_n(&card->link_down, !up, __ATOMIC_RELAXED);
        card->ops->link_changed(card->opaque);
    }
    return true;
}

struct rx_query {
    struct net_card *card;
    struct rx_filter_info *info;
};

static void query_card(void *arg)
{
    struct rx_query *q = arg;

    q->info = q->card->ops->query_rx_filter(q->card->opaque);
}

struct rx_filter_info_list *net_query_rx_filter(struct net *net, const char *name, GError **error)
{
    struct rx_filter_info_list *list;

    if (name && !net_card_find(net, name)) {
        g_set_error(error, NET_ERROR, 0,
                    net_backend_find(net, name) ? "net client(%s) isn't a NIC"
                                                : "invalid net client name: %s",
                    name);
        return NULL;
    }
    list = rx_filter_info_list_new();
    for (guint i = 0; i < net->cards->len; i++) {
        struct net_card *card = net->cards->pdata[i];

        if (!name || strcmp(card->name, name) == 0) {
            struct rx_query q = {.card = card};

            net_run(net, query_card, &q);
            q.info->name = g_strdup(card->name);
            rx_filter_info_list_append(list, q.info);
        }
    }
    return list;
}

struct raw {
    struct net_card *card;
    const uint8_t *frame;
    size_t bytes;
};

static void send_raw_now(void *arg)
{
    static const uint8_t header[NET_HEADER_MAX];
    const struct raw *raw = arg;
    const struct net_backend *b = raw->card->backend;
    const struct iovec iov[2] = {
        {.iov_base = (void *)header, .iov_len = b ? b->header_bytes : 0},
        {.iov_base = (void *)raw->frame, .iov_len = raw->bytes},
    };

    net_send(raw->card, 0, iov, 2);
}

/* For those that know of no header. */
static void send_raw(struct net_card *card, const uint8_t *frame, size_t bytes)
{
    net_run(card->net, send_raw_now, &(struct raw){card, frame, bytes});
}

bool net_announce(struct net *net, const struct announce_parameters *how, GError **error)
{
    if (!net->announcer) {
        net->announcer = announcer_new(net->main, net->cards, send_raw);
    }
    return announcer_start(net->announcer, how, error);
}

static void describe_backend(const struct net_backend *b, GString *out)
{
    for (unsigned i = 0; i < b->queues; i++) {
        g_string_append_printf(out, "%s: index=%u,type=%s,%s\n", b->id, i,
                               net_client_driver_str(b->ops->type), b->info ? b->info : "");
    }
}

void net_describe(struct net *net, GString *out)
{
    g_mutex_lock(&net->info_mutex);
    for (guint i = 0; i < net->cards->len; i++) {
        const struct net_card *card = net->cards->pdata[i];
        uint8_t m[6];

        net_card_mac(card, m);
        g_string_append_printf(
            out, "%s: index=0,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x\n",
            card->name, card->model, m[0], m[1], m[2], m[3], m[4], m[5]);
        if (card->backend) {
            g_string_append(out, " \\ ");
            describe_backend(card->backend, out);
        }
    }
    for (guint i = 0; i < net->backends->len; i++) {
        const struct net_backend *b = net->backends->pdata[i];

        if (!b->card) {
            describe_backend(b, out);
        }
    }
    g_mutex_unlock(&net->info_mutex);
}

struct connections {
    struct net_backend *b;
    char *text;
};

static void get_connections(void *arg)
{
    struct connections *c = arg;

    c->text = net_user_connections(c->b);
}

void net_describe_user(struct net *net, GString *out)
{
    for (guint i = 0; i < net->backends->len; i++) {
        struct connections c = {.b = net->backends->pdata[i]};

        if (c.b->ops == &net_user_ops) {
            net_run(net, get_connections, &c);
            g_string_append_printf(out, "Hub -1 (%s):\n%s\n", c.b->id, c.text);
            g_free(c.text);
        }
    }
}

/* "[ID] RULE": the back end of the kind user, and the rule; NULL after saying why. */
static struct net_backend *user_of_args(struct net *net, const char **args, GString *out)
{
    const char *space = strchr(*args, ' ');
    g_autofree char *id = space ? g_strndup(*args, (gsize)(space - *args)) : NULL;

    if (id) {
        struct net_backend *b = net_backend_find(net, id);

        *args = space + 1;
        if (!b) {
            g_string_append_printf(out, "unrecognized netdev id '%s'\n", id);
        } else if (b->ops != &net_user_ops) {
            g_string_append(out, "invalid device specified\n");
            b = NULL;
        }
        return b;
    }
    for (guint i = 0; i < net->backends->len; i++) {
        struct net_backend *b = net->backends->pdata[i];

        if (b->ops == &net_user_ops) {
            return b;
        }
    }
    g_string_append(out, "user mode network stack not in use\n");
    return NULL;
}

struct forward {
    struct net_backend *b;
    const char *rule;
    GError *error;
    int result;
};

static void forward_add(void *arg)
{
    struct forward *f = arg;

    net_user_hostfwd_add(f->b, f->rule, &f->error);
}

static void forward_remove(void *arg)
{
    struct forward *f = arg;

    f->result = net_user_hostfwd_remove(f->b, f->rule);
}

void net_hostfwd_add(struct net *net, const char *args, GString *out)
{
    struct forward f = {.b = user_of_args(net, &args, out), .rule = args};

    if (f.b) {
        net_run(net, forward_add, &f);
    }
    if (f.error) {
        g_string_append_printf(out, "%s\n", f.error->message);
        g_error_free(f.error);
    }
}

void net_hostfwd_remove(struct net *net, const char *args, GString *out)
{
    struct forward f = {.b = user_of_args(net, &args, out), .rule = args};

    if (!f.b) {
        return;
    }
    net_run(net, forward_remove, &f);
    if (f.result < 0) {
        g_string_append(out, "invalid format\n");
    } else {
        g_string_append_printf(out, "host forwarding rule for %s %s\n", f.rule,
                               f.result ? "removed" : "not found");
    }
}
