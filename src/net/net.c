/*
 * Cards and back ends, and the frames between them: see net.h.
 *
 * A back end that can be held up (tap, sockets) reads only while net_can_deliver(); the other kind
 * (user) has its frames wait in a bounded queue here.
 */
#include "net/net-priv.h"

#include "base/log.h"
#include "base/threads.h"
#include "net/announce.h"
#include "qapi-visit.h"
#include "qapi/error.h"
#include "qapi/keyval.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

GQuark net_error_quark(void)
{
    return g_quark_from_static_string("godwit-net");
}

/* ---- the thread */

static gpointer net_thread(gpointer data)
{
    struct net *net = data;

    thread_begin("net", THREAD_IO);
    loop_run(net->loop);
    thread_end();
    return NULL;
}

struct loop *net_loop(struct net *net)
{
    if (!net->loop) {
        net->loop = loop_new(NULL);
        net->thread = g_thread_new("net", net_thread, net);
    }
    return net->loop;
}

void net_run(struct net *net, void (*fn)(void *), void *arg)
{
    struct loop *loop = net_loop(net);

    if (net->thread) {
        loop_call(loop, fn, arg);
    } else {
        fn(arg);
    }
}

struct net *net_new(struct event_sink *events, struct vclock *clock, struct loop *main,
                    bool own_thread)
{
    struct net *net = g_new0(struct net, 1);

    net->events = events;
    net->clock = clock;
    net->main = main;
    net->loop = own_thread ? NULL : main;
    net->backends = g_ptr_array_new();
    net->cards = g_ptr_array_new();
    net->hub_ports = g_ptr_array_new();
    g_mutex_init(&net->info_mutex);
    return net;
}

void net_set_fd_finder(struct net *net, int (*find)(void *opaque, const char *name), void *opaque)
{
    net->find_fd = find;
    net->find_opaque = opaque;
}

struct loop *net_backend_loop(const struct net_backend *b)
{
    return b->net->loop;
}

struct event_sink *net_backend_events(const struct net_backend *b)
{
    return b->net->events;
}

struct vclock *net_backend_clock(const struct net_backend *b)
{
    return b->net->clock;
}

GPtrArray *net_hub_ports(const struct net_backend *b)
{
    return b->net->hub_ports;
}

void net_set_info(struct net_backend *b, char *info)
{
    g_mutex_lock(&b->net->info_mutex);
    g_free(b->info);
    b->info = info;
    g_mutex_unlock(&b->net->info_mutex);
}

/* ---- frames to the card */

static bool link_is_up(const struct net_backend *b, const struct net_card *card)
{
    return !__atomic_load_n(&b->link_down, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&card->link_down, __ATOMIC_RELAXED);
}

bool net_can_deliver(struct net_backend *b, unsigned queue)
{
    const struct net_card *card = b->card;

    /* With nobody at the other end, or no link, frames are lost rather than kept. */
    return !card || !link_is_up(b, card) ||
           (b->waiting[queue].n == 0 && card->ops->can_receive(card->opaque, queue));
}

static void queue_frame(struct net_backend *b, unsigned queue, const uint8_t *frame, size_t bytes)
{
    struct net_queued *q;

    if (b->waiting[queue].n == NET_QUEUE_FRAMES) {
        return;
    }
    q = g_malloc(sizeof(*q) + bytes);
    q->next = NULL;
    q->bytes = bytes;
    memcpy(q->frame, frame, bytes);
    *b->waiting[queue].last = q;
    b->waiting[queue].last = &q->next;
    b->waiting[queue].n++;
}

void net_deliver(struct net_backend *b, unsigned queue, const uint8_t *frame, size_t bytes)
{
    struct net_card *card = b->card;

    if (!card || !link_is_up(b, card) || bytes > NET_FRAME_BYTES) {
        return;
    }
    if (b->waiting[queue].n > 0 || !card->ops->can_receive(card->opaque, queue) ||
        !card->ops->receive(card->opaque, queue, frame, bytes)) {
        queue_frame(b, queue, frame, bytes);
    }
}

void net_delivered(struct net_backend *b, unsigned queue)
{
    if (b->card) {
        b->card->ops->received(b->card->opaque, queue);
    }
}

void net_writable(struct net_backend *b, unsigned queue)
{
    if (b->card) {
        b->card->ops->writable(b->card->opaque, queue);
    }
}

static void unqueue_first(struct net_backend *b, unsigned queue)
{
    struct net_queued *q = b->waiting[queue].first;

    b->waiting[queue].first = q->next;
    if (!q->next) {
        b->waiting[queue].last = &b->waiting[queue].first;
    }
    b->waiting[queue].n--;
    g_free(q);
}

static void forget_waiting(struct net_backend *b)
{
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++) {
        while (b->waiting[i].n > 0) {
            unqueue_first(b, i);
        }
    }
}

void net_room(struct net_card *card, unsigned queue)
{
    struct net_backend *b = card->backend;
    bool any = false;

    if (!b || queue >= b->queues) {
        return;
    }
    while (b->waiting[queue].n > 0 && card->ops->can_receive(card->opaque, queue)) {
        const struct net_queued *q = b->waiting[queue].first;

        if (link_is_up(b, card) && !card->ops->receive(card->opaque, queue, q->frame, q->bytes)) {
            break;
        }
        unqueue_first(b, queue);
        any = true;
    }
    if (any) {
        card->ops->received(card->opaque, queue);
    }
    if (b->ops->accept && net_can_deliver(b, queue)) {
        b->ops->accept(b, queue);
    }
}

/* ---- frames from the card */

bool net_send(struct net_card *card, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct net_backend *b = card->backend;

    if (!b || queue >= b->queues || !link_is_up(b, card)) {
        return true;
    }
    return b->ops->send(b, queue, iov, n);
}

void net_set_header(struct net_card *card, unsigned bytes)
{
    struct net_backend *b = card->backend;

    if (b && b->has_header) {
        forget_waiting(b); /* they have the old one */
        b->ops->set_header(b, bytes);
        b->header_bytes = bytes;
    }
}

void net_set_offload(struct net_card *card, const struct net_offload *offload)
{
    if (card->backend && card->backend->has_header) {
        card->backend->ops->set_offload(card->backend, offload);
    }
}

void net_set_queues(struct net_card *card, unsigned queues)
{
    if (card->backend && card->backend->ops->set_queues) {
        card->backend->ops->set_queues(card->backend, queues);
    }
}

void net_set_vhost(struct net_card *card, unsigned queue, bool on)
{
    if (card->backend && card->backend->ops->set_vhost) {
        card->backend->ops->set_vhost(card->backend, queue, on);
    }
}

size_t net_iov_bytes(const struct iovec *iov, unsigned n)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

size_t net_iov_gather(const struct iovec *iov, unsigned n, uint8_t *buf, size_t bytes)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && done < bytes; i++) {
        size_t part = MIN(iov[i].iov_len, bytes - done);

        memcpy(buf + done, iov[i].iov_base, part);
        done += part;
    }
    return done;
}

/* ---- back ends */

struct net_backend *net_backend_find(const struct net *net, const char *id)
{
    for (guint i = 0; i < net->backends->len; i++) {
        struct net_backend *b = net->backends->pdata[i];

        if (strcmp(b->id, id) == 0) {
            return b;
        }
    }
    return NULL;
}

struct net_card *net_card_find(const struct net *net, const char *name)
{
    for (guint i = 0; i < net->cards->len; i++) {
        struct net_card *card = net->cards->pdata[i];

        if (strcmp(card->name, name) == 0) {
            return card;
        }
    }
    return NULL;
}

static void backend_close(void *arg)
{
    struct net_backend *b = arg;

    b->ops->close(b);
    forget_waiting(b);
    if (b->card) {
        b->card->backend = NULL;
        b->card = NULL;
    }
}

static void backend_free(struct net_backend *b)
{
    net_run(b->net, backend_close, b);
    g_free(b->id);
    g_free(b->info);
    g_free(b);
}

struct opening {
    struct net_backend *b;
    const struct netdev *options;
    GError **error;
    bool ok;
};

static void backend_open(void *arg)
{
    struct opening *o = arg;

    o->ok = o->b->ops->open(o->b, o->options, o->error);
}

static const struct net_backend_ops *const kinds[] = {
    &net_user_ops, &net_tap_ops, &net_socket_ops, &net_stream_ops, &net_dgram_ops, &net_hub_ops,
};

static const struct net_backend_ops *kind_find(enum net_client_driver type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i]->type == type) {
            return kinds[i];
        }
    }
    g_assert_not_reached();
}

bool net_backend_add(struct net *net, const struct netdev *options, GError **error)
{
    const struct net_backend_ops *ops = kind_find(options->type);
    struct opening o = {.options = options, .error = error};

    if (!qapi_id_is_valid(options->id)) {
        g_set_error(error, NET_ERROR, 0, "Parameter 'id' expects an identifier");
        return false;
    }
    if (net_backend_find(net, options->id)) {
        g_set_error(error, NET_ERROR, 0, "Duplicate ID '%s'", options->id);
        return false;
    }
    net_loop(net);
    o.b = g_malloc0(ops->size);
    o.b->ops = ops;
    o.b->net = net;
    o.b->id = g_strdup(options->id);
    o.b->queues = 1;
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++) {
        o.b->waiting[i].last = &o.b->waiting[i].first;
    }
    net_run(net, backend_open, &o);
    if (!o.ok) {
        backend_free(o.b);
        return false;
    }
    g_ptr_array_add(net->backends, o.b);
    return true;
}

/* Repeated keys become lists, which is what they are in the schema. */
static char *number_lists(const char *text)
{
    static const char *const lists[] = {"hostfwd", "guestfwd", "dnssearch"};
    unsigned count[G_N_ELEMENTS(lists)] = {0};
    GString *out = g_string_new(NULL);
    const char *p = text;

    while (*p) {
        for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
            size_t n = strlen(lists[i]);

            if (strncmp(p, lists[i], n) == 0 && p[n] == '=') {
                g_string_append_printf(out, "%s.%u.str", lists[i], count[i]++);
                p += n;
                break;
            }
        }
        while (*p && *p != ',') {
            g_string_append_c(out, *p++);
        }
        while (*p == ',') { /* doubled ones belong to the value */
            bool doubled = p[1] == ',';

            g_string_append_len(out, p, doubled ? 2 : 1);
            p += doubled ? 2 : 1;
            if (!doubled) {
                break;
            }
            while (*p && *p != ',') {
                g_string_append_c(out, *p++);
            }
        }
    }
    return g_string_free(out, FALSE);
}

bool net_backend_add_text(struct net *net, const char *text, GError **error)
{
    g_autofree char *numbered = *text == '{' ? g_strdup(text) : number_lists(text);
    struct netdev *options = netdev_from_keyval(numbered, "type", error);
    bool ok = options && net_backend_add(net, options, error);

    netdev_free(options);
    return ok;
}

bool net_backend_delete(struct net *net, const char *id, GError **error)
{
    struct net_backend *b = net_backend_find(net, id);
    struct net_card *card;

    if (!b) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return false;
    }
    card = b->card;
    if (card && card->ops->detach) {
        card->ops->detach(card->opaque);
    }
    g_ptr_array_remove(net->backends, b);
    backend_free(b);
    if (card) {
        __atomic_store_n(&card->link_down, true, __ATOMIC_RELAXED);
        card->ops->link_changed(card->opaque);
    }
    return true;
}

int net_take_fd(struct net_backend *b, const char *text, GError **error)
{
    struct net *net = b->net;
    char *end;
    long n = strtol(text, &end, 10);
    int fd = -1;

    if (g_ascii_isdigit(text[0]) && !*end && n >= 0 && n <= INT_MAX) {
        fd = (int)n;
    } else if (net->find_fd) {
        fd = net->find_fd(net->find_opaque, text);
    }
    if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        g_set_error(error, NET_ERROR, 0, "File descriptor named '%s' has not been found", text);
        return -1;
    }
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    return fd;
}

/* ---- cards */

struct joining {
    struct net_card *card;
    struct net_backend *backend;
};

static void card_join(void *arg)
{
    struct joining *j = arg;

    j->card->backend = j->backend;
    j->backend->card = j->card;
}

bool net_card_add(struct net *net, struct net_card *card, const char *netdev, GError **error)
{
    struct joining j = {.card = card, .backend = netdev ? net_backend_find(net, netdev) : NULL};
    unsigned same = 0;

    if (netdev && !j.backend) {
        g_set_error(error, NET_ERROR, 0, "Property '%s.netdev' can't find value '%s'", card->model,
                    netdev);
        return false;
    }
    if (j.backend && j.backend->card) {
        g_set_error(error, NET_ERROR, 0, "Property '%s.netdev' can't take value '%s', it's in use",
                    card->model, netdev);
        return false;
    }
    for (guint i = 0; i < net->cards->len; i++) {
        same += strcmp(((const struct net_card *)net->cards->pdata[i])->model, card->model) == 0;
    }
    card->name = card->id ? g_strdup(card->id) : g_strdup_printf("%s.%u", card->model, same);
    card->net = net;
    g_ptr_array_add(net->cards, card);
    if (j.backend) {
        net_run(net, card_join, &j);
    }
    return true;
}

static void card_part(void *arg)
{
    struct net_card *card = arg;
    struct net_backend *b = card->backend;

    if (b) {
        forget_waiting(b);
        b->card = NULL;
        card->backend = NULL;
        if (b->has_header) {
            b->ops->set_header(b, 0);
            b->header_bytes = 0;
            b->ops->set_offload(b, &(struct net_offload){0});
        }
    }
}

void net_card_remove(struct net_card *card)
{
    if (!card->net) {
        return;
    }
    net_run(card->net, card_part, card);
    g_ptr_array_remove(card->net->cards, card);
    card->net = NULL;
    g_clear_pointer(&card->name, g_free);
}

void net_card_mac(const struct net_card *card, uint8_t mac[6])
{
    uint64_t all = __atomic_load_n(&card->mac, __ATOMIC_RELAXED);

    memcpy(mac, &all, 6);
}

void net_card_set_mac(struct net_card *card, const uint8_t mac[6])
{
    uint64_t all = 0;

    memcpy(&all, mac, 6);
    __atomic_store_n(&card->mac, all, __ATOMIC_RELAXED);
}

void net_card_default_mac(struct net *net, uint8_t mac[6])
{
    static const uint8_t first[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

    memcpy(mac, first, 6);
    for (unsigned last = first[5]; last <= 0xff; last++) {
        bool taken = false;

        mac[5] = (uint8_t)last;
        for (guint i = 0; net && i < net->cards->len; i++) {
            uint8_t other[6];

            net_card_mac(net->cards->pdata[i], other);
            taken |= memcmp(other, mac, 6) == 0;
        }
        if (!taken) {
            break;
        }
    }
}

unsigned net_card_queues(const struct net_card *card)
{
    return card->backend ? card->backend->queues : 1;
}

bool net_card_has_header(const struct net_card *card)
{
    return card->backend && card->backend->has_header;
}

bool net_card_vhost(const struct net_card *card, unsigned queue, struct net_vhost *vhost)
{
    const struct net_backend *b = card->backend;

    return b && b->ops->vhost && queue < b->queues && b->ops->vhost(b, queue, vhost);
}

bool net_card_has_ufo(const struct net_card *card)
{
    return card->backend && card->backend->has_ufo;
}

bool net_link_is_up(const struct net_card *card)
{
    return !__atomic_load_n(&card->link_down, __ATOMIC_RELAXED);
}

bool net_is_connected(const struct net_card *card)
{
    return card->backend && link_is_up(card->backend, card);
}

void net_warn_of_loose_ends(struct net *net)
{
    for (guint i = 0; i < net->cards->len; i++) {
        const struct net_card *card = net->cards->pdata[i];

        if (!card->backend) {
            log_warn("nic %s has no peer", card->name);
        }
    }
    for (guint i = 0; i < net->backends->len; i++) {
        const struct net_backend *b = net->backends->pdata[i];

        if (!b->card) {
            log_warn("netdev %s has no peer", b->id);
        }
    }
}

void net_free(struct net *net)
{
    if (!net) {
        return;
    }
    announcer_free(net->announcer);
    for (guint i = 0; i < net->backends->len; i++) {
        backend_free(net->backends->pdata[i]);
    }
    if (net->thread) {
        loop_quit(net->loop);
        g_thread_join(net->thread);
        loop_free(net->loop);
    }
    g_ptr_array_unref(net->backends);
    g_ptr_array_unref(net->cards);
    g_ptr_array_unref(net->hub_ports);
    g_mutex_clear(&net->info_mutex);
    g_free(net);
}
