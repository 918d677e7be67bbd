/*
 * A network of the program's own (netdev user): libslirp plays gateway, DHCP server and name
 * server, and carries the guest's TCP and UDP on sockets of this process, so it needs no rights.
 *
 * libslirp ends TCP connections here, so it takes segments of any length; checksums that the guest
 * left undone are computed on the way. Guest time is libslirp's: a connection of a machine that
 * stands still does not time out on the guest's side.
 *
 * Left out: SMB; guestfwd to a character device (a command works); IPv6 in hostfwd.
 */
#include "net/net-priv.h"

#include "base/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_TIMEOUT_MS 1000

struct user_timer {
    GSource *source;
    struct user *d;
    SlirpTimerId id;
    void *opaque;
};

struct user_source;

struct user {
    struct net_backend b; /* first */
    Slirp *slirp;
    struct in_addr net, mask, host, dhcp, dns;
    struct user_source *source;
    bool csum; /* the guest need not look at checksums */
    uint8_t frame[NET_FRAME_BYTES], received[NET_FRAME_BYTES];
};

/* The virtio-net header (VIRTIO 1.2, 5.1.6), as far as it matters here. */
#define HEADER_FLAGS       0
#define HEADER_CSUM_START  6
#define HEADER_CSUM_OFFSET 8
#define FLAG_NEEDS_CSUM    1
#define FLAG_DATA_VALID    2

/* Descriptors are libslirp's, told anew before each poll; a slot that stays the same costs nothing.
 */
struct user_source {
    GSource source;
    struct user *d;
    GPtrArray *slots; /* GPollFD */
    guint used;
    int64_t due_us; /* monotonic */
};

/* ---- what libslirp asks for */

static ssize_t slirp_sends(const void *frame, size_t bytes, void *opaque)
{
    struct user *d = opaque;
    unsigned header = d->b.header_bytes;

    if (header == 0) {
        net_deliver(&d->b, 0, frame, bytes);
    } else if (bytes <= sizeof(d->received) - header) {
        memset(d->received, 0, header);
        d->received[HEADER_FLAGS] = d->csum ? FLAG_DATA_VALID : 0;
        memcpy(d->received + header, frame, bytes);
        net_deliver(&d->b, 0, d->received, header + bytes);
    }
    return (ssize_t)bytes;
}

static void slirp_guest_error(const char *text, void *opaque)
{
    log_guest("netdev %s: %s", ((struct user *)opaque)->b.id, text);
}

static int64_t slirp_clock_ns(void *opaque)
{
    return vclock_now(net_backend_clock(&((struct user *)opaque)->b));
}

static gboolean timer_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    struct user_timer *t = data;

    g_source_set_ready_time(source, -1);
    slirp_handle_timer(t->d->slirp, t->id, t->opaque);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = {.dispatch = timer_dispatch};

static gboolean timer_nothing(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

static void *slirp_timer_new(SlirpTimerId id, void *timer_opaque, void *opaque)
{
    struct user_timer *t = g_new0(struct user_timer, 1);

    t->d = opaque;
    t->id = id;
    t->opaque = timer_opaque;
    t->source = g_source_new(&timer_funcs, sizeof(GSource));
    g_source_set_callback(t->source, timer_nothing, t, NULL);
    g_source_attach(t->source, net_backend_loop(&t->d->b)->context);
    return t;
}

static void slirp_timer_free(void *timer, void *opaque)
{
    struct user_timer *t = timer;

    if (t) {
        g_source_destroy(t->source);
        g_source_unref(t->source);
        g_free(t);
    }
}

static void slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    int64_t wait_ms = expire_ms - slirp_clock_ns(opaque) / NS_PER_MS;

    g_source_set_ready_time(((struct user_timer *)timer)->source,
                            g_get_monotonic_time() + 1000 * MAX(wait_ms, 0));
}

static void slirp_poll_fd(int fd, void *opaque)
{
}

static void slirp_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
    .send_packet = slirp_sends,
    .guest_error = slirp_guest_error,
    .clock_get_ns = slirp_clock_ns,
    .timer_free = slirp_timer_free,
    .timer_mod = slirp_timer_mod,
    .timer_new_opaque = slirp_timer_new,
    .register_poll_fd = slirp_poll_fd,
    .unregister_poll_fd = slirp_poll_fd,
    .notify = slirp_notify,
};

/* ---- its place in the loop */

static int add_poll(int fd, int events, void *opaque)
{
    struct user_source *s = opaque;
    GPollFD *slot;
    gushort want = 0;

    want |= events & SLIRP_POLL_IN ? G_IO_IN : 0;
    want |= events & SLIRP_POLL_OUT ? G_IO_OUT : 0;
    want |= events & SLIRP_POLL_PRI ? G_IO_PRI : 0;
    want |= events & (SLIRP_POLL_IN | SLIRP_POLL_ERR) ? G_IO_ERR : 0;
    want |= events & (SLIRP_POLL_IN | SLIRP_POLL_HUP) ? G_IO_HUP : 0;
    if (s->used == s->slots->len) {
        slot = g_new0(GPollFD, 1);
        slot->fd = -1;
        g_ptr_array_add(s->slots, slot);
    }
    slot = s->slots->pdata[s->used];
    if (slot->fd != fd) {
        if (slot->fd >= 0) {
            g_source_remove_poll(&s->source, slot);
        }
        slot->fd = fd;
        slot->events = want;
        g_source_add_poll(&s->source, slot);
    }
    slot->events = want;
    slot->revents = 0;
    return (int)s->used++;
}

static int get_revents(int index, void *opaque)
{
    const struct user_source *s = opaque;
    const GPollFD *slot = s->slots->pdata[index];
    int events = 0;

    events |= slot->revents & G_IO_IN ? SLIRP_POLL_IN : 0;
    events |= slot->revents & G_IO_OUT ? SLIRP_POLL_OUT : 0;
    events |= slot->revents & G_IO_PRI ? SLIRP_POLL_PRI : 0;
    events |= slot->revents & (G_IO_ERR | G_IO_NVAL) ? SLIRP_POLL_ERR : 0;
    events |= slot->revents & G_IO_HUP ? SLIRP_POLL_HUP : 0;
    return events;
}

static gboolean source_prepare(GSource *source, gint *timeout_ms)
{
    struct user_source *s = (struct user_source *)source;
    uint32_t wait_ms = MAX_TIMEOUT_MS;

    s->used = 0;
    slirp_pollfds_fill(s->d->slirp, &wait_ms, add_poll, s);
    for (guint i = s->used; i < s->slots->len; i++) {
        GPollFD *slot = s->slots->pdata[i];

        if (slot->fd >= 0) {
            g_source_remove_poll(source, slot);
            slot->fd = -1;
        }
    }
    s->due_us = g_get_monotonic_time() + 1000 * (int64_t)wait_ms;
    *timeout_ms = (gint)wait_ms;
    return FALSE;
}

static gboolean source_check(GSource *source)
{
    const struct user_source *s = (const struct user_source *)source;

    for (guint i = 0; i < s->used; i++) {
        if (((const GPollFD *)s->slots->pdata[i])->revents) {
            return TRUE;
        }
    }
    return g_get_monotonic_time() >= s->due_us;
}

static gboolean source_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    struct user_source *s = (struct user_source *)source;

    slirp_pollfds_poll(s->d->slirp, 0, get_revents, s);
    net_delivered(&s->d->b, 0);
    return G_SOURCE_CONTINUE;
}

static void source_finalize(GSource *source)
{
    g_ptr_array_unref(((struct user_source *)source)->slots);
}

static GSourceFuncs source_funcs = {
    .prepare = source_prepare,
    .check = source_check,
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

static void source_begin(struct user *d)
{
    GSource *source = g_source_new(&source_funcs, sizeof(struct user_source));

    d->source = (struct user_source *)source;
    d->source->d = d;
    d->source->slots = g_ptr_array_new_with_free_func(g_free);
    g_source_set_static_name(source, "user network");
    g_source_attach(source, net_backend_loop(&d->b)->context);
}

static uint16_t checksum(const uint8_t *p, size_t bytes)
{
    uint64_t sum = 0;
    uint16_t word;

    for (; bytes >= 2; p += 2, bytes -= 2) {
        memcpy(&word, p, 2);
        sum += word;
    }
    if (bytes) {
        word = 0;
        memcpy(&word, p, 1);
        sum += word;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

/* The field holds the sum of the pseudo header: the rest is added. */
static void complete_checksum(const uint8_t *header, uint8_t *frame, size_t bytes)
{
    uint16_t start, offset, sum;

    memcpy(&start, header + HEADER_CSUM_START, 2);
    memcpy(&offset, header + HEADER_CSUM_OFFSET, 2);
    start = GUINT16_FROM_LE(start);
    offset = GUINT16_FROM_LE(offset);
    if ((size_t)start + offset + 2 > bytes) {
        return; /* libslirp finds it wrong */
    }
    sum = checksum(frame + start, bytes - start);
    sum = sum ? sum : 0xffff; /* 0 says that there is none in UDP; in TCP they are the same */
    memcpy(frame + start + offset, &sum, 2);
}

static bool user_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct user *d = (struct user *)b;
    unsigned header = b->header_bytes;
    size_t bytes = net_iov_bytes(iov, n);

    if (bytes > sizeof(d->frame) || bytes <= header) {
        return true;
    }
    net_iov_gather(iov, n, d->frame, bytes);
    if (header && d->frame[HEADER_FLAGS] & FLAG_NEEDS_CSUM) {
        complete_checksum(d->frame, d->frame + header, bytes - header);
    }
    slirp_input(d->slirp, d->frame + header, (int)(bytes - header));
    net_delivered(b, 0); /* answers may have come at once */
    return true;
}

static void user_set_header(struct net_backend *b, unsigned bytes)
{
}

static void user_set_offload(struct net_backend *b, const struct net_offload *offload)
{
    ((struct user *)b)->csum = offload->csum;
}

/* ---- options */

static bool parse_ipv4(const char *what, const char *text, struct in_addr *a, GError **error)
{
    if (text && !inet_aton(text, a)) {
        g_set_error(error, NET_ERROR, 0, "Failed to parse %s: '%s' is no IPv4 address", what, text);
        return false;
    }
    return true;
}

static bool parse_ipv6(const char *what, const char *text, const char *def, struct in6_addr *a,
                       GError **error)
{
    if (inet_pton(AF_INET6, text ? text : def, a) != 1) {
        g_set_error(error, NET_ERROR, 0, "Failed to parse %s: '%s' is no IPv6 address", what, text);
        return false;
    }
    return true;
}

/* The mask that a network has by its first bits: classes, and RFC 1918 and 2544. */
static uint32_t default_mask(uint32_t net)
{
    if (!(net & 0x80000000)) {
        return 0xff000000;
    }
    if ((net & 0xfff00000) == 0xac100000) {
        return 0xfff00000;
    }
    if ((net & 0xc0000000) == 0x80000000 || (net & 0xffff0000) == 0xc0a80000) {
        return 0xffff0000;
    }
    if ((net & 0xfffe0000) == 0xc6120000) {
        return 0xfffe0000;
    }
    return (net & 0xe0000000) == 0xe0000000 ? 0xfffffff0 : 0xffffff00;
}

/* ADDRESS[/BITS|/MASK] */
static bool parse_net(struct user *d, const char *text, GError **error)
{
    g_auto(GStrv) part = g_strsplit(text ? text : "10.0.2.0/24", "/", 2);
    guint64 bits;
    bool ok = part[0] && inet_aton(part[0], &d->net);

    if (ok && !part[1]) {
        d->mask.s_addr = htonl(default_mask(ntohl(d->net.s_addr)));
    } else if (ok && g_ascii_string_to_unsigned(part[1], 10, 4, 30, &bits, NULL)) {
        d->mask.s_addr = htonl(UINT32_MAX << (32 - bits));
    } else if (ok) {
        ok = strchr(part[1], '.') && inet_aton(part[1], &d->mask);
    }
    if (!ok || !d->mask.s_addr) {
        g_set_error(error, NET_ERROR, 0,
                    "Failed to parse netmask: '%s' is no ADDRESS/BITS (4 to 30) or ADDRESS/MASK",
                    text);
        return false;
    }
    d->net.s_addr &= d->mask.s_addr;
    d->host.s_addr = d->net.s_addr | (htonl(0x0202) & ~d->mask.s_addr);
    d->dhcp.s_addr = d->net.s_addr | (htonl(0x020f) & ~d->mask.s_addr);
    d->dns.s_addr = d->net.s_addr | (htonl(0x0203) & ~d->mask.s_addr);
    return true;
}

static bool is_in_net(const struct user *d, struct in_addr a)
{
    return (a.s_addr & d->mask.s_addr) == d->net.s_addr;
}

static bool parse_addresses(struct user *d, const struct netdev_user_options *o, GError **error)
{
    if (!parse_net(d, o->net, error) || !parse_ipv4("host", o->host, &d->host, error) ||
        !parse_ipv4("DHCP start address", o->dhcpstart, &d->dhcp, error) ||
        !parse_ipv4("DNS", o->dns, &d->dns, error)) {
        return false;
    }
    if (!is_in_net(d, d->host)) {
        g_set_error(error, NET_ERROR, 0, "Host doesn't belong to network");
    } else if (!is_in_net(d, d->dhcp)) {
        g_set_error(error, NET_ERROR, 0, "DHCP doesn't belong to network");
    } else if (d->dhcp.s_addr == d->host.s_addr || d->dhcp.s_addr == d->dns.s_addr) {
        g_set_error(error, NET_ERROR, 0, "DHCP must be different from host and DNS");
    } else if (!is_in_net(d, d->dns)) {
        g_set_error(error, NET_ERROR, 0, "DNS doesn't belong to network");
    } else if (d->dns.s_addr == d->host.s_addr) {
        g_set_error(error, NET_ERROR, 0, "DNS must be different from host");
    } else {
        return true;
    }
    return false;
}

static bool parse_addresses6(SlirpConfig *c, const struct netdev_user_options *o, GError **error)
{
    int64_t bits = o->has_ipv6_prefixlen ? o->ipv6_prefixlen : 64;

    if (bits < 0 || bits > 126) {
        g_set_error(error, NET_ERROR, 0,
                    "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)");
        return false;
    }
    c->vprefix_len = (uint8_t)bits;
    if (!parse_ipv6("IPv6 prefix", o->ipv6_prefix, "fec0::", &c->vprefix_addr6, error)) {
        return false;
    }
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    return (!o->ipv6_host || parse_ipv6("IPv6 host", o->ipv6_host, NULL, &c->vhost6, error)) &&
           (!o->ipv6_dns || parse_ipv6("IPv6 DNS", o->ipv6_dns, NULL, &c->vnameserver6, error));
}

/* What goes into a DHCP reply has its bounds there. */
static bool check_texts(const struct netdev_user_options *o, GError **error)
{
    const struct {
        const char *name, *text;
        size_t max;
    } text[] = {{"hostname", o->hostname, 33},
                {"domainname", o->domainname, 255},
                {"bootfile", o->bootfile, 127},
                {"tftp-server-name", o->tftp_server_name, 255}};
    struct stat st;

    for (unsigned i = 0; i < G_N_ELEMENTS(text); i++) {
        if (text[i].text && (!*text[i].text || strlen(text[i].text) > text[i].max)) {
            g_set_error(error, NET_ERROR, 0, "'%s' parameter has 1 to %zu characters, not '%s'",
                        text[i].name, text[i].max, text[i].text);
            return false;
        }
    }
    if (o->tftp && (stat(o->tftp, &st) < 0 || !S_ISDIR(st.st_mode))) {
        g_set_error(error, NET_ERROR, 0, "tftp '%s' is no folder", o->tftp);
        return false;
    }
    return true;
}

/* Each is on unless it, or only the other one, is given. */
static void choose_protocols(const struct netdev_user_options *o, SlirpConfig *c)
{
    bool only6 = o->has_ipv6 && o->ipv6 && !o->has_ipv4;
    bool only4 = o->has_ipv4 && o->ipv4 && !o->has_ipv6;

    c->in_enabled = !only6 && !(o->has_ipv4 && !o->ipv4);
    c->in6_enabled = !only4 && !(o->has_ipv6 && !o->ipv6);
}

static bool configure(struct user *d, const struct netdev_user_options *o, SlirpConfig *c,
                      GError **error)
{
    choose_protocols(o, c);
    if (!c->in_enabled && !c->in6_enabled) {
        g_set_error(error, NET_ERROR, 0, "IPv4 and IPv6 disabled");
        return false;
    }
    if (!parse_addresses(d, o, error) || !parse_addresses6(c, o, error) || !check_texts(o, error)) {
        return false;
    }
    c->version = 4;
    c->restricted = o->has_q_restrict && o->q_restrict;
    c->vnetwork = d->net;
    c->vnetmask = d->mask;
    c->vhost = d->host;
    c->vdhcp_start = d->dhcp;
    c->vnameserver = d->dns;
    c->vhostname = o->hostname;
    c->tftp_server_name = o->tftp_server_name;
    c->tftp_path = o->tftp;
    c->bootfile = o->bootfile;
    c->vdomainname = o->domainname;
    return true;
}

/* ---- forwarding */

/* Takes the text up to the separator from *p; NULL when there is none. */
static char *take_field(const char **p, char separator)
{
    const char *end = strchr(*p, separator);
    char *field = end ? g_strndup(*p, (gsize)(end - *p)) : NULL;

    *p = end ? end + 1 : *p;
    return field;
}

static bool parse_port(const char *text, uint16_t least, uint16_t *port)
{
    guint64 n;
    bool ok = text && g_ascii_string_to_unsigned(text, 10, least, UINT16_MAX, &n, NULL);

    *port = ok ? (uint16_t)n : 0;
    return ok;
}

/* "tcp", "udp" or nothing, which is tcp. */
static bool parse_protocol(const char *text, bool *udp)
{
    *udp = strcmp(text, "udp") == 0;
    return *udp || strcmp(text, "tcp") == 0 || !*text;
}

struct hostfwd {
    bool udp;
    struct in_addr host, guest;
    uint16_t host_port, guest_port;
};

/* [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport; returns what is wrong, or NULL. */
static const char *parse_hostfwd(const char *text, struct hostfwd *f)
{
    const char *p = text;
    g_autofree char *protocol = take_field(&p, ':'), *host = protocol ? take_field(&p, ':') : NULL;
    g_autofree char *host_port = host ? take_field(&p, '-') : NULL;
    g_autofree char *guest = host_port ? take_field(&p, ':') : NULL;

    *f = (struct hostfwd){0};
    return !protocol                                  ? "No : separators"
           : !parse_protocol(protocol, &f->udp)       ? "Bad protocol name"
           : !host                                    ? "Missing : separator"
           : *host && !inet_aton(host, &f->host)      ? "Bad host address"
           : !host_port                               ? "Bad host port separator"
           : !parse_port(host_port, 0, &f->host_port) ? "Bad host port"
           : !guest                                   ? "Missing guest address"
           : *guest && !inet_aton(guest, &f->guest)   ? "Bad guest address"
           : !parse_port(p, 1, &f->guest_port)        ? "Bad guest port"
                                                      : NULL;
}

bool net_user_hostfwd_add(struct net_backend *b, const char *rule, GError **error)
{
    struct user *d = (struct user *)b;
    struct hostfwd f;
    const char *why = parse_hostfwd(rule, &f);

    if (why) {
        g_set_error(error, NET_ERROR, 0, "Invalid host forwarding rule '%s' (%s)", rule, why);
        return false;
    }
    if (slirp_add_hostfwd(d->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0) {
        g_set_error(error, NET_ERROR, 0, "Could not set up host forwarding rule '%s'", rule);
        return false;
    }
    return true;
}

int net_user_hostfwd_remove(struct net_backend *b, const char *rule)
{
    struct user *d = (struct user *)b;
    const char *p = rule;
    g_autofree char *protocol = take_field(&p, ':'), *host = protocol ? take_field(&p, ':') : NULL;
    struct in_addr address = {0};
    uint16_t port;
    bool udp;

    if (!host || !parse_protocol(protocol, &udp) || (*host && !inet_aton(host, &address)) ||
        !parse_port(p, 0, &port)) {
        return -1;
    }
    return slirp_remove_hostfwd(d->slirp, udp, address, port) == 0;
}

/* [tcp]:server:port-cmd:command */
static bool add_guestfwd(struct user *d, const char *rule, GError **error)
{
    const char *p = rule;
    g_autofree char *protocol = take_field(&p, ':');
    g_autofree char *server = protocol ? take_field(&p, ':') : NULL;
    g_autofree char *port_text = server ? take_field(&p, '-') : NULL;
    struct in_addr address = {0};
    uint16_t port;
    bool udp;

    if (!port_text || !parse_protocol(protocol, &udp) || udp ||
        (*server && !inet_aton(server, &address)) || !parse_port(port_text, 1, &port)) {
        g_set_error(error, NET_ERROR, 0, "Invalid guest forwarding rule '%s'", rule);
        return false;
    }
    if (!g_str_has_prefix(p, "cmd:") || !p[4]) {
        g_set_error(error, NET_ERROR, 0,
                    "guest forwarding rule '%s': only a command can answer (-cmd:COMMAND)", rule);
        return false;
    }
    if (slirp_add_exec(d->slirp, p + 4, &address, port) < 0) {
        g_set_error(error, NET_ERROR, 0,
                    "Conflicting/invalid host:port in guest forwarding rule '%s'", rule);
        return false;
    }
    return true;
}

char *net_user_connections(struct net_backend *b)
{
    char *text = slirp_connection_info(((struct user *)b)->slirp), *copy = g_strdup(text);

    g_free(text);
    return copy;
}

/* ---- life */

static bool add_rules(struct user *d, const struct netdev_user_options *o, GError **error)
{
    for (size_t i = 0; o->hostfwd && i < o->hostfwd->n; i++) {
        if (!net_user_hostfwd_add(&d->b, o->hostfwd->v[i]->str, error)) {
            return false;
        }
    }
    for (size_t i = 0; o->guestfwd && i < o->guestfwd->n; i++) {
        if (!add_guestfwd(d, o->guestfwd->v[i]->str, error)) {
            return false;
        }
    }
    return true;
}

static bool user_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct user *d = (struct user *)b;
    const struct netdev_user_options *o = &options->u.user;
    g_autoptr(GPtrArray) search = g_ptr_array_new();
    SlirpConfig config = {0};
    char text[INET_ADDRSTRLEN];

    if (!configure(d, o, &config, error)) {
        return false;
    }
    for (size_t i = 0; o->dnssearch && i < o->dnssearch->n; i++) {
        g_ptr_array_add(search, o->dnssearch->v[i]->str);
    }
    g_ptr_array_add(search, NULL);
    config.vdnssearch = search->len > 1 ? (const char **)search->pdata : NULL;
    d->slirp = slirp_new(&config, &callbacks, d);
    if (!d->slirp) {
        g_set_error(error, NET_ERROR, 0, "the user network could not be set up");
        return false;
    }
    if (!add_rules(d, o, error)) {
        return false;
    }
    net_set_info(b, g_strdup_printf("net=%s,restrict=%s",
                                    inet_ntop(AF_INET, &d->net, text, sizeof(text)),
                                    config.restricted ? "on" : "off"));
    b->has_header = true;
    source_begin(d);
    return true;
}

static void user_close(struct net_backend *b)
{
    struct user *d = (struct user *)b;

    if (d->source) {
        g_source_destroy(&d->source->source);
        g_source_unref(&d->source->source);
    }
    if (d->slirp) {
        slirp_cleanup(d->slirp);
    }
}

const struct net_backend_ops net_user_ops = {
    .type = NET_CLIENT_DRIVER_USER,
    .size = sizeof(struct user),
    .open = user_open,
    .close = user_close,
    .send = user_send,
    .set_header = user_set_header,
    .set_offload = user_set_offload,
};
