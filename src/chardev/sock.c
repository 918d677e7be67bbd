/*
 * Stream socket addresses: parsing, connecting.
 */
#include "chardev/sock.h"
#include "chardev/chardev-priv.h"
#include "qapi-types.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define RECONNECT_LIMIT_US                                                                         \
    200000 /* a connection that is tried again and again may block so long                         \
            */

/* ---- text */

static bool parse_fd(const char *text, int *fd, GError **error)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (!g_ascii_isdigit(text[0]) || *end || n < 0 || n > 1 << 20) {
        g_set_error(error, CHARDEV_ERROR, 0, "'%s' is not a file descriptor number", text);
        return false;
    }
    *fd = (int)n;
    return true;
}

/* "HOST:PORT", "[V6HOST]:PORT", ":PORT" */
static bool parse_host_port(const char *text, struct sock_address *a, GError **error)
{
    const char *colon;

    if (text[0] == '[') {
        const char *end = strchr(text, ']');

        if (!end || end[1] != ':') {
            g_set_error(error, CHARDEV_ERROR, 0, "'%s' is not [HOST]:PORT", text);
            return false;
        }
        a->host = g_strndup(text + 1, (gsize)(end - text - 1));
        a->port = g_strdup(end + 2);
    } else {
        colon = strrchr(text, ':');
        if (!colon) {
            g_set_error(error, CHARDEV_ERROR, 0, "'%s' is not HOST:PORT", text);
            return false;
        }
        a->host = g_strndup(text, (gsize)(colon - text));
        a->port = g_strdup(colon + 1);
    }
    if (!*a->port) {
        g_set_error(error, CHARDEV_ERROR, 0, "'%s': the port is missing", text);
        return false;
    }
    return true;
}

bool sock_choose_family(int ipv4, int ipv6, int *family, GError **error)
{
    if (ipv4 == 0 && ipv6 == 0) {
        g_set_error(error, CHARDEV_ERROR, 0, "Cannot disable IPv4 and IPv6 at same time");
        return false;
    }
    *family = ipv4 == ipv6 ? AF_UNSPEC : ipv4 == 1 || ipv6 == 0 ? AF_INET : AF_INET6;
    return true;
}

bool chardev_option_family(struct chardev_options *o, int *family, GError **error)
{
    int ipv4 = -1, ipv6 = -1;

    return chardev_option_switch(o, "ipv4", &ipv4, error) &&
           chardev_option_switch(o, "ipv6", &ipv6, error) &&
           sock_choose_family(ipv4, ipv6, family, error);
}

/* The last port of those that are tried. */
static bool take_to(struct sock_address *a, struct chardev_options *o, GError **error)
{
    g_autofree char *to = chardev_option(o, "to");
    guint64 value = 0;

    if (to &&
        (a->kind != SOCK_TCP || !g_ascii_string_to_unsigned(to, 10, 1, UINT16_MAX, &value, NULL))) {
        g_set_error(error, CHARDEV_ERROR, 0, "option 'to': '%s' is not the last port of a range",
                    to);
        return false;
    }
    a->to = (unsigned)value;
    return true;
}

bool sock_address_take_options(struct sock_address *a, struct chardev_options *o, GError **error)
{
    g_autofree char *reconnect = chardev_option(o, "reconnect");
    bool tight = true;
    char *end;

    a->wait = true;
    if (!chardev_option_bool(o, "server", &a->server, error) ||
        !chardev_option_bool(o, "wait", &a->wait, error) ||
        !chardev_option_bool(o, "nodelay", &a->nodelay, error) ||
        !chardev_option_family(o, &a->family, error) ||
        !chardev_option_bool(o, "keep-alive", &a->keep_alive, error) ||
        !chardev_option_bool(o, "abstract", &a->is_abstract, error) ||
        !chardev_option_bool(o, "tight", &tight, error) || !take_to(a, o, error)) {
        return false;
    }
    a->loose = !tight;
    if (reconnect) {
        a->reconnect_s = strtoll(reconnect, &end, 10);
        if (!g_ascii_isdigit(reconnect[0]) || *end || a->reconnect_s > 86400) {
            g_set_error(error, CHARDEV_ERROR, 0,
                        "option 'reconnect': '%s' is not a number of seconds", reconnect);
            return false;
        }
        if (a->server && a->reconnect_s) {
            g_set_error(error, CHARDEV_ERROR, 0,
                        "option 'reconnect' is for a socket that connects, not with server=on");
            return false;
        }
    }
    return true;
}

static bool address_parse_first(const char *first, struct sock_address *a, GError **error)
{
    if (g_str_has_prefix(first, "unix:") && first[5]) {
        a->kind = SOCK_UNIX;
        a->path = g_strdup(first + 5);
        return true;
    }
    if (g_str_has_prefix(first, "tcp:")) {
        a->kind = SOCK_TCP;
        return parse_host_port(first + 4, a, error);
    }
    if (g_str_has_prefix(first, "fd:")) {
        a->kind = SOCK_FD;
        return parse_fd(first + 3, &a->fd, error);
    }
    g_set_error(error, CHARDEV_ERROR, 0, "'%s' is not unix:PATH, tcp:HOST:PORT or fd:NUMBER",
                first);
    return false;
}

bool sock_address_take(struct sock_address *address, struct chardev_options *o, GError **error)
{
    g_autofree char *first = chardev_option_first(o);

    *address = (struct sock_address){.fd = -1, .path = chardev_option(o, "unix:path")};
    return (address->path || address_parse_first(first ? first : "", address, error)) &&
           sock_address_take_options(address, o, error);
}

bool sock_address_parse(const char *text, struct sock_address *address, GError **error)
{
    struct chardev_options *o = chardev_options_new(text);
    bool ok = sock_address_take(address, o, error) && chardev_options_all_taken(o, error);

    if (!ok) {
        g_prefix_error(error, "socket '%s': ", text);
        sock_address_clear(address);
    }
    chardev_options_free(o);
    return ok;
}

void sock_address_clear(struct sock_address *address)
{
    g_clear_pointer(&address->path, g_free);
    g_clear_pointer(&address->host, g_free);
    g_clear_pointer(&address->port, g_free);
}

const char *sock_address_protocol(const struct sock_address *address)
{
    return address->telnet ? "telnet" : address->websocket ? "websocket" : "tcp";
}

char *sock_address_describe(const struct sock_address *address)
{
    const char *server = address->server ? ",server=on" : "";

    switch (address->kind) {
    case SOCK_UNIX:
        return g_strdup_printf("unix:%s%s%s", address->path,
                               address->is_abstract ? ",abstract=on" : "", server);
    case SOCK_TCP:
        return g_strdup_printf(strchr(address->host, ':') ? "%s:[%s]:%s%s" : "%s:%s:%s%s",
                               sock_address_protocol(address), address->host, address->port,
                               server);
    default:
        return g_strdup_printf("fd:%d%s", address->fd, server);
    }
}

/* ---- sockets */

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

bool sock_unix_fill(const struct sock_address *a, struct sockaddr_un *sun, socklen_t *length,
                    GError **error)
{
    size_t n = strlen(a->path), most = sizeof(sun->sun_path) - 1;

    *sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n > most) {
        g_set_error(error, CHARDEV_ERROR, ENAMETOOLONG,
                    "UNIX socket path '%s' is too long, it takes at most %zu characters", a->path,
                    most);
        return false;
    }
    memcpy(sun->sun_path + a->is_abstract, a->path, n);
    *length = a->is_abstract && !a->loose ? (socklen_t)(PATH_AT + 1 + n) : sizeof(*sun);
    return true;
}

const char *sock_resolve(const char *host, const char *port, const struct addrinfo *hints,
                         struct addrinfo **found)
{
    bool number = *port && port[strspn(port, "0123456789")] == '\0';
    int code;

    if (number && g_ascii_strtoull(port, NULL, 10) > UINT16_MAX) {
        return "a port is a number up to 65535";
    }
    code = getaddrinfo(*host ? host : NULL, port, hints, found);
    return code ? gai_strerror(code) : NULL;
}

struct addrinfo *sock_address_resolve(const struct sock_address *a, GError **error)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_family = a->family, .ai_flags = a->server ? AI_PASSIVE : 0};
    struct addrinfo *found = NULL;
    const char *why;

    why = sock_resolve(a->host, a->port, &hints, &found);
    if (why) {
        g_set_error(error, CHARDEV_ERROR, 0, "address resolution failed for %s:%s: %s", a->host,
                    a->port, why);
        return NULL;
    }
    return found;
}

static int tcp_connect(const struct sock_address *a, GError **error)
{
    struct addrinfo *found = sock_address_resolve(a, error);
    struct timeval timeout = {.tv_usec = a->reconnect_s ? RECONNECT_LIMIT_US : 0};
    int fd = -1, code = 0, one = 1;

    if (!found) {
        return -1;
    }
    for (struct addrinfo *i = found; i && fd < 0; i = i->ai_next) {
        fd = new_socket(i->ai_family);
        if (timeout.tv_usec) {
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        }
        if (fd < 0 || connect(fd, i->ai_addr, i->ai_addrlen) < 0) {
            code = errno;
            close_fd(&fd);
        }
    }
    freeaddrinfo(found);
    if (fd < 0) {
        g_set_error(error, CHARDEV_ERROR, code, "cannot connect to '%s:%s': %s", a->host, a->port,
                    g_strerror(code));
        return -1;
    }
    if (a->keep_alive) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    if (a->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

bool sock_fd_is_socket(int fd, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        g_set_error(error, CHARDEV_ERROR, EBADF, "file descriptor %d is not a socket", fd);
        return false;
    }
    return true;
}

int sock_connect(const struct sock_address *address, GError **error)
{
    struct sockaddr_un sun;
    socklen_t length;
    int fd;

    if (address->kind == SOCK_FD) {
        return sock_fd_is_socket(address->fd, error) ? address->fd : -1;
    }
    if (address->kind == SOCK_TCP) {
        return tcp_connect(address, error);
    }
    if (!sock_unix_fill(address, &sun, &length, error)) {
        return -1;
    }
    fd = new_socket(AF_UNIX);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sun, length) < 0) {
        g_set_error(error, CHARDEV_ERROR, errno, "cannot connect to '%s': %s", address->path,
                    g_strerror(errno));
        close_fd(&fd);
    }
    return fd;
}

struct numbers {
    char host[NI_MAXHOST], port[NI_MAXSERV];
};

static bool numbers_of(const struct sockaddr *address, socklen_t bytes, struct numbers *n)
{
    return getnameinfo(address, bytes, n->host, sizeof(n->host), n->port, sizeof(n->port),
                       NI_NUMERICHOST | NI_NUMERICSERV) == 0;
}

char *sock_address_text(const struct sockaddr *address, socklen_t bytes)
{
    struct numbers n;

    if (address->sa_family == AF_UNIX || !numbers_of(address, bytes, &n)) {
        return NULL;
    }
    return g_strdup_printf(strchr(n.host, ':') ? "[%s]:%s" : "%s:%s", n.host, n.port);
}

void sock_address_found(struct sock_address *a, int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    struct numbers n;

    if (a->kind == SOCK_TCP && getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
        numbers_of((struct sockaddr *)&address, length, &n)) {
        g_free(a->host);
        g_free(a->port);
        a->host = g_strdup(n.host);
        a->port = g_strdup(n.port);
    }
}

struct socket_address *sock_address_to_qapi(const struct sockaddr *address, socklen_t bytes)
{
    struct socket_address *s = g_new0(struct socket_address, 1);
    struct numbers n = {"", ""};

    if (address->sa_family == AF_UNIX) {
        const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
        size_t length = bytes > PATH_AT ? bytes - PATH_AT : 0;
        bool abstract = length > 1 && !path[0];

        s->type = SOCKET_ADDRESS_TYPE_UNIX;
        s->u.q_unix.path = abstract ? g_strndup(path + 1, length - 1) : g_strndup(path, length);
        s->u.q_unix.has_abstract = s->u.q_unix.abstract = abstract;
        return s;
    }
    numbers_of(address, bytes, &n);
    s->type = SOCKET_ADDRESS_TYPE_INET;
    s->u.inet.host = g_strdup(n.host);
    s->u.inet.port = g_strdup(n.port);
    s->u.inet.has_ipv4 = s->u.inet.ipv4 = address->sa_family == AF_INET;
    s->u.inet.has_ipv6 = s->u.inet.ipv6 = address->sa_family == AF_INET6;
    return s;
}
