/* Addresses of QMP servers: see address.h. An IPv6 host is written in brackets: tcp:[::1]:4444. */
#include "address.h"

#include "client.h"
#include "waiting.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 20 /* between attempts while the server's backlog is full */

/* What connect(2) began: waits for its end. Returns an errno, 0 when connected. */
static int connect_finish(int fd, int64_t deadline_us)
{
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        switch (wait_ready(&ready, 1, deadline_us)) {
        case WAIT_READY: {
            int status = 0;
            socklen_t size = sizeof(status);
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &size) < 0 ? errno : status;
        }
        case WAIT_TIMEOUT:
            return ETIMEDOUT;
        case WAIT_FAILED:
            return errno;
        case WAIT_SIGNAL:
            if (signals_pending() & (SIGNAL_INTERRUPT | SIGNAL_END)) {
                return EINTR;
            }
        }
    }
}

/* Connects fd. Returns an errno, 0 when connected. */
static int connect_within(int fd, const struct sockaddr *to, socklen_t size, int64_t deadline_us)
{
    for (;;) {
        if (connect(fd, to, size) == 0 || errno == EISCONN) {
            return 0;
        }
        if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY) {
            return connect_finish(fd, deadline_us);
        }
        if (errno != EAGAIN) {
            return errno;
        }
        if (deadline_passed(deadline_us)) { /* a Unix socket with a full backlog */
            return ETIMEDOUT;
        }
        if (wait_ready(NULL, 0, deadline_min(deadline_us, deadline_after(RETRY_MS))) ==
                WAIT_SIGNAL &&
            signals_pending() & (SIGNAL_INTERRUPT | SIGNAL_END)) {
            return EINTR;
        }
    }
}

static void set_connect_error(GError **error, const char *address, int status)
{
    enum client_error code = CLIENT_ERROR_GONE;
    if (status == ETIMEDOUT) {
        code = CLIENT_ERROR_TIMEOUT;
    } else if (status == EINTR) {
        code = CLIENT_ERROR_INTERRUPTED;
    }
    g_set_error(error, CLIENT_ERROR, code, "cannot connect to %s: %s", address, g_strerror(status));
}

static int connect_unix(const char *address, const char *path, int64_t deadline_us, GError **error)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (*path == '\0' || strlen(path) >= sizeof(to.sun_path)) {
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_ADDRESS,
                    "socket path '%s' must have 1 to %zu bytes", path, sizeof(to.sun_path) - 1);
        return -1;
    }
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int status =
        fd < 0 ? errno : connect_within(fd, (struct sockaddr *)&to, sizeof(to), deadline_us);
    if (status != 0) {
        set_connect_error(error, address, status);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* Splits HOST:PORT at its last colon; brackets around the host are taken off. */
static bool split_host_port(const char *text, char **host, char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || colon[1] == '\0') {
        return false;
    }
    *port = g_strdup(colon + 1);
    if (text[0] == '[' && colon[-1] == ']') {
        *host = g_strndup(text + 1, (gsize)(colon - text) - 2);
    } else {
        *host = g_strndup(text, (gsize)(colon - text));
    }
    return true;
}

static int connect_tcp(const char *address, const char *host_port, int64_t deadline_us,
                       GError **error)
{
    g_autofree char *host = NULL, *port = NULL;
    if (!split_host_port(host_port, &host, &port)) {
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_ADDRESS,
                    "address '%s' must have the form tcp:HOST:PORT", address);
        return -1;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int status = getaddrinfo(host, port, &hints, &found);
    if (status != 0) {
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_ADDRESS, "cannot look up %s: %s", address,
                    gai_strerror(status));
        return -1;
    }
    int fd = -1;
    status = ECONNREFUSED;
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    one->ai_protocol);
        status = fd < 0 ? errno : connect_within(fd, one->ai_addr, one->ai_addrlen, deadline_us);
        if (status == 0) {
            break;
        }
        if (fd >= 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0) {
        set_connect_error(error, address, status);
        return -1;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int address_connect(const char *address, int64_t deadline_us, GError **error)
{
    if (g_str_has_prefix(address, "tcp:")) {
        return connect_tcp(address, address + strlen("tcp:"), deadline_us, error);
    }
    const char *path = g_str_has_prefix(address, "unix:") ? address + strlen("unix:") : address;
    return connect_unix(address, path, deadline_us, error);
}
