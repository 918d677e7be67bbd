/*
 * What a migration's URI says: see channel.h.
 *
 *   tcp:[HOST]:PORT[,to=PORT][,ipv4[=on|off]][,ipv6[=on|off]][,keep-alive[=on|off]]
 *   unix:PATH   fd:NAME   exec:COMMAND   file:PATH
 *
 * HOST in brackets may have colons. Any other option of tcp is refused.
 */
#include "chardev/sock.h"
#include "migration/channel.h"
#include "migration/record.h"
#include <string.h>

/* -1: not said. */
struct tcp_flags {
    int ipv4, ipv6, keep_alive;
};

static bool parse_flag(const char *name, const char *value, int *flag, GError **error)
{
    if (!*value || strcmp(value, "=on") == 0) {
        *flag = true;
    } else if (strcmp(value, "=off") == 0) {
        *flag = false;
    } else {
        return migration_refuse(error, "error parsing '%s' flag '%s'", name, value);
    }
    return true;
}

static bool parse_to(const char *value, struct channel_uri *uri, GError **error)
{
    guint64 to;

    if (*value != '=' || !g_ascii_string_to_unsigned(value + 1, 10, 1, UINT16_MAX, &to, NULL)) {
        return migration_refuse(error, "error parsing to= argument '%s'",
                                *value == '=' ? value + 1 : value);
    }
    uri->to = (unsigned)to;
    return true;
}

static bool parse_tcp_option(const char *text, struct channel_uri *uri, struct tcp_flags *flags,
                             GError **error)
{
    size_t n = strcspn(text, "=");
    const struct {
        const char *name;
        int *flag; /* NULL: a port */
    } known[] = {{"to", NULL},
                 {"ipv4", &flags->ipv4},
                 {"ipv6", &flags->ipv6},
                 {"keep-alive", &flags->keep_alive}};

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strlen(known[i].name) == n && strncmp(known[i].name, text, n) == 0) {
            return known[i].flag ? parse_flag(known[i].name, text + n, known[i].flag, error)
                                 : parse_to(text + n, uri, error);
        }
    }
    return migration_refuse(error, "tcp: '%s' is none of to=, ipv4, ipv6 and keep-alive", text);
}

static bool parse_tcp_options(char **options, struct channel_uri *uri, GError **error)
{
    struct tcp_flags flags = {-1, -1, -1};

    for (; *options; options++) {
        if (!parse_tcp_option(*options, uri, &flags, error)) {
            return false;
        }
    }
    uri->keep_alive = flags.keep_alive == 1;
    return sock_choose_family(flags.ipv4, flags.ipv6, &uri->family, error);
}

static bool parse_tcp(const char *text, struct channel_uri *uri, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    const char *first = parts[0] ? parts[0] : "";
    const char *end = *first == '[' ? strchr(first, ']') : NULL;
    const char *colon = *first == '[' ? (end ? end + 1 : NULL) : strrchr(first, ':');

    if (*first == '[' && (!colon || *colon != ':' || !colon[1])) {
        return migration_refuse(error, "error parsing IPv6 address '%s'", text);
    }
    if (!colon || !colon[1]) {
        return migration_refuse(error, "error parsing %s '%s'",
                                *first == ':' ? "port in address" : "address", text);
    }
    uri->host = end ? g_strndup(first + 1, (size_t)(end - first - 1))
                    : g_strndup(first, (size_t)(colon - first));
    uri->port = g_strdup(colon + 1);
    return parse_tcp_options(parts + 1, uri, error);
}

static const struct {
    const char *prefix;
    int kind;
} kinds[] = {{"tcp:", CHANNEL_TCP},
             {"unix:", CHANNEL_UNIX},
             {"fd:", CHANNEL_FD},
             {"exec:", CHANNEL_EXEC},
             {"file:", CHANNEL_FILE}};

bool channel_uri_is_known(const char *text)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_has_prefix(text, kinds[i].prefix)) {
            return true;
        }
    }
    return false;
}

bool channel_uri_parse(const char *text, struct channel_uri *uri, GError **error)
{
    *uri = (struct channel_uri){0};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!g_str_has_prefix(text, kinds[i].prefix)) {
            continue;
        }
        text += strlen(kinds[i].prefix);
        uri->kind = kinds[i].kind;
        if (uri->kind == CHANNEL_TCP) {
            return parse_tcp(text, uri, error);
        }
        uri->path = g_strdup(text);
        if (uri->kind == CHANNEL_UNIX && !*text) {
            return migration_refuse(error, "invalid Unix socket address");
        }
        return *text || uri->kind != CHANNEL_FILE || migration_refuse(error, "file: lacks a path");
    }
    return migration_refuse(error, "Parameter 'uri' expects a valid migration protocol");
}

void channel_uri_clear(struct channel_uri *uri)
{
    g_clear_pointer(&uri->path, g_free);
    g_clear_pointer(&uri->host, g_free);
    g_clear_pointer(&uri->port, g_free);
}
