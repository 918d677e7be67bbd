/* Socket addresses of the schema, as the host's kernel has them. */
#include "net/net-priv.h"

#include "chardev/sock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)

static bool resolve_unix(const struct unix_socket_address *u, struct net_address *out,
                         GError **error)
{
    bool abstract = u->has_abstract && u->abstract;
    size_t n = strlen(u->path), room = sizeof(out->un.sun_path);

    if (n == 0 || n + (abstract ? 1 : 0) > room - (abstract ? 0 : 1)) {
        g_set_error(error, NET_ERROR, 0, "UNIX socket path '%s' has no 1 to %zu characters",
                    u->path, room - 1);
        return false;
    }
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path + abstract, u->path, n);
    out->bytes = abstract && !(u->has_tight && !u->tight) ? (socklen_t)(PATH_AT + 1 + n)
                                                          : (socklen_t)sizeof(out->un);
    return true;
}

static bool resolve_inet(const struct inet_socket_address *a, int type, bool passive,
                         struct net_address *out, GError **error)
{
    struct addrinfo hints = {.ai_socktype = type}, *found = NULL;
    const char *why;

    if (!sock_choose_family(a->has_ipv4 ? a->ipv4 : -1, a->has_ipv6 ? a->ipv6 : -1,
                            &hints.ai_family, error)) {
        return false;
    }
    hints.ai_flags =
        (passive ? AI_PASSIVE : 0) | (a->has_numeric && a->numeric ? AI_NUMERICHOST : 0);
    why = sock_resolve(a->host, a->port, &hints, &found);
    if (why) {
        g_set_error(error, NET_ERROR, 0, "address resolution failed for %s:%s: %s", a->host,
                    a->port, why);
        return false;
    }
    memcpy(&out->room, found->ai_addr, found->ai_addrlen);
    out->bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

bool net_address_resolve(const struct socket_address *address, int type, bool passive,
                         struct net_address *out, GError **error)
{
    *out = (struct net_address){0};
    switch (address->type) {
    case SOCKET_ADDRESS_TYPE_UNIX:
        return resolve_unix(&address->u.q_unix, out, error);
    case SOCKET_ADDRESS_TYPE_INET:
        return resolve_inet(&address->u.inet, type, passive, out, error);
    default:
        g_assert_not_reached();
    }
}

struct socket_address *net_address_parse(const char *text, GError **error)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : strrchr(text, ':');
    struct socket_address *a;

    if (!end || (text[0] == '[' && end[1] != ':') || !end[text[0] == '[' ? 2 : 1]) {
        g_set_error(error, NET_ERROR, 0,
                    "host address '%s' doesn't contain ':' separating host "
                    "from port",
                    text);
        return NULL;
    }
    a = g_new0(struct socket_address, 1);
    a->type = SOCKET_ADDRESS_TYPE_INET;
    if (text[0] == '[') {
        a->u.inet.host = g_strndup(text + 1, (gsize)(end - text - 1));
        a->u.inet.port = g_strdup(end + 2);
    } else {
        a->u.inet.host = g_strndup(text, (gsize)(end - text));
        a->u.inet.port = g_strdup(end + 1);
    }
    return a;
}

struct socket_address *net_address_of(const struct net_address *a)
{
    return sock_address_to_qapi(&a->any, a->bytes);
}

char *net_address_text(const struct net_address *a)
{
    struct socket_address *s = net_address_of(a);
    char *text;

    if (s->type == SOCKET_ADDRESS_TYPE_UNIX) {
        text = g_strdup(s->u.q_unix.path);
    } else {
        text = g_strdup_printf(strchr(s->u.inet.host, ':') ? "[%s]:%s" : "%s:%s", s->u.inet.host,
                               s->u.inet.port);
    }
    socket_address_free(s);
    return text;
}

bool net_address_is_multicast(const struct net_address *a)
{
    return a->any.sa_family == AF_INET && IN_MULTICAST(ntohl(a->in.sin_addr.s_addr));
}

int net_socket(int family, int type, GError **error)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        g_set_error(error, NET_ERROR, 0, "can't create a socket: %s", g_strerror(errno));
    }
    return fd;
}

/* The next port to try, as long as there is one. */
static bool next_port(const struct socket_address *address, struct net_address *a)
{
    in_port_t *port = a->any.sa_family == AF_INET6 ? &a->in6.sin6_port : &a->in.sin_port;

    if (address->type != SOCKET_ADDRESS_TYPE_INET || !address->u.inet.has_to ||
        ntohs(*port) >= address->u.inet.to) {
        return false;
    }
    *port = htons((uint16_t)(ntohs(*port) + 1));
    return true;
}

bool net_bind(int fd, const struct socket_address *address, int type, struct net_address *bound,
              GError **error)
{
    const int one = 1;
    int code;

    if (bound->any.sa_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    } else if (bound->un.sun_path[0]) {
        unlink(bound->un.sun_path);
    }
    do {
        /* Linux tells some ports that are taken only when it comes to listening. */
        if (bind(fd, &bound->any, bound->bytes) == 0 &&
            (type != SOCK_STREAM || listen(fd, 1) == 0)) {
            return true;
        }
        code = errno;
    } while (code == EADDRINUSE && next_port(address, bound));
    g_autofree char *text = net_address_text(bound);
    g_set_error(error, NET_ERROR, 0, "can't bind to %s: %s", text, g_strerror(code));
    return false;
}
