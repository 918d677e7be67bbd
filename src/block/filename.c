/*
 * Names of files where a user gives one for a whole image: a path, or PROTOCOL:REST.
 *
 * Known are file:PATH, null-co://, json:{...} (filename-json.c), and disks on NBD servers: the URIs
 * of the NBD project's doc/uri.md (nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH) and
 * the older nbd:HOST:PORT[:exportname=EXPORT] and nbd:unix:PATH[:exportname=EXPORT].
 */
#include "block/block-priv.h"
#include "block/image.h"

#include "base/fdset.h"
#include "qapi-visit.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define NULL_URI    "null-co://"
#define NBD_PORT    "10809"
#define EXPORT_NAME ":exportname="

#define REFUSE(...)                                                                                \
    do {                                                                                           \
        g_set_error(error, BLOCK_ERROR, 0, __VA_ARGS__);                                           \
        return false;                                                                              \
    } while (0)

static size_t protocol_bytes(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

    return n && name[n] == ':' ? n : 0;
}

bool block_filename_is_path(const char *name)
{
    return protocol_bytes(name) == 0;
}

static void add(GPtrArray *pairs, const char *key, const char *value)
{
    g_ptr_array_add(pairs, g_strdup(key));
    g_ptr_array_add(pairs, g_strdup(value));
}

/* ---- nbd */

static void add_unix(GPtrArray *pairs, const char *path)
{
    add(pairs, "server.type", "unix");
    add(pairs, "server.path", path);
}

static void add_inet(GPtrArray *pairs, const char *host, const char *port)
{
    add(pairs, "server.type", "inet");
    add(pairs, "server.host", host);
    add(pairs, "server.port", port);
}

static bool add_uri(GPtrArray *pairs, const char *text, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_PARSE_RELAXED, &why);
    g_autoptr(GHashTable) query = NULL;
    const char *scheme, *path, *socket;

    if (!uri) {
        REFUSE("'%s' is no NBD URI: %s", text, why->message);
    }
    if (g_uri_get_query(uri)) {
        query = g_uri_parse_params(g_uri_get_query(uri), -1, "&", G_URI_PARAMS_NONE, NULL);
    }
    scheme = g_uri_get_scheme(uri);
    path = g_uri_get_path(uri);
    socket = query ? g_hash_table_lookup(query, "socket") : NULL;
    if (query && g_hash_table_size(query) > (socket ? 1 : 0)) {
        REFUSE("'%s': an NBD URI has one parameter, socket", text);
    }
    if (strcmp(scheme, "nbd+unix") == 0) {
        if (!socket || *g_uri_get_host(uri)) {
            REFUSE("'%s': nbd+unix:///EXPORT?socket=PATH is wanted", text);
        }
        add_unix(pairs, socket);
    } else if (strcmp(scheme, "nbd") == 0 || strcmp(scheme, "nbd+tcp") == 0) {
        g_autofree char *port = g_uri_get_port(uri) > 0 ? g_strdup_printf("%d", g_uri_get_port(uri))
                                                        : g_strdup(NBD_PORT);

        if (socket || !g_uri_get_host(uri) || !*g_uri_get_host(uri)) {
            REFUSE("'%s': nbd://HOST[:PORT]/EXPORT is wanted", text);
        }
        add_inet(pairs, g_uri_get_host(uri), port);
    } else {
        REFUSE("'%s': NBD without TLS over tcp or unix is supported", text);
    }
    path += strspn(path, "/");
    if (*path) {
        add(pairs, "export", path);
    }
    return true;
}

/* HOST:PORT or unix:PATH, in which an export's name has been cut off. */
static bool add_legacy(GPtrArray *pairs, const char *text, GError **error)
{
    const char *end = strstr(text, EXPORT_NAME), *colon;
    g_autofree char *where = end ? g_strndup(text, (gsize)(end - text)) : g_strdup(text);
    g_autofree char *host = NULL;

    if (g_str_has_prefix(where, "unix:") && where[5]) {
        add_unix(pairs, where + 5);
    } else {
        colon = strrchr(where, ':');
        if (!colon || colon == where || !colon[1]) {
            REFUSE("'nbd:%s': nbd:HOST:PORT or nbd:unix:PATH is wanted", text);
        }
        host = *where == '[' && colon[-1] == ']' ? g_strndup(where + 1, (gsize)(colon - where) - 2)
                                                 : g_strndup(where, (gsize)(colon - where));
        add_inet(pairs, host, colon + 1);
    }
    if (end && end[strlen(EXPORT_NAME)]) {
        add(pairs, "export", end + strlen(EXPORT_NAME));
    }
    return true;
}

/* ---- all */

static bool add_all(GPtrArray *pairs, const char *name, GError **error)
{
    size_t n = protocol_bytes(name);

    if (n == 4 && strncmp(name, "file", 4) == 0) {
        name += 5;
        n = 0;
    }
    if (n == 0) {
        add(pairs, "driver", blockdev_driver_str(block_driver_for_path(name)));
        add(pairs, "filename", name);
        return true;
    }
    if (strcmp(name, NULL_URI) == 0) {
        add(pairs, "driver", "null-co");
        return true;
    }
    if (strncmp(name, "nbd", 3) == 0 && (n == 3 || name[3] == '+')) {
        add(pairs, "driver", "nbd");
        return n == 3 && !g_str_has_prefix(name, "nbd://") ? add_legacy(pairs, name + 4, error)
                                                           : add_uri(pairs, name, error);
    }
    if (block_filename_is_json(name)) {
        REFUSE("a name json:{...} is for a whole image, not for what it is in");
    }
    REFUSE("Unknown protocol '%.*s' (there are file, nbd, json and " NULL_URI ")", (int)n, name);
}

GPtrArray *block_filename_options(const char *name, GError **error)
{
    GPtrArray *pairs = g_ptr_array_new_with_free_func(g_free);

    if (!add_all(pairs, name, error)) {
        g_ptr_array_unref(pairs);
        return NULL;
    }
    return pairs;
}

void block_option_add(GString *text, const char *key, const char *value)
{
    g_string_append_printf(text, "%s%s=", text->len ? "," : "", key);
    for (const char *c = value; *c; c++) {
        g_string_append_len(text, ",,", *c == ',' ? 2 : 0);
        if (*c != ',') {
            g_string_append_c(text, *c);
        }
    }
}

struct blockdev_options *block_options_of_filename(const char *name, GError **error)
{
    g_autoptr(GPtrArray) pairs = block_filename_options(name, error);
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; pairs && i < pairs->len; i += 2) {
        block_option_add(text, pairs->pdata[i], pairs->pdata[i + 1]);
    }
    return pairs ? blockdev_options_from_keyval(text->str, "driver", error) : NULL;
}

/* ---- what a file begins with */

static void read_local(const char *path, uint8_t *head, size_t n)
{
    int fd = fdset_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

    if (fd < 0 && errno == EACCES) { /* a set may have it for writing alone */
        fd = fdset_open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK, 0);
    }
    if (fd >= 0) {
        if (pread(fd, head, n, 0) < 0) {
            head[0] = 0;
        }
        close(fd);
    }
}

static void read_remote(struct block_graph *graph, const char *name, uint8_t *head, size_t n)
{
    struct blockdev_options *options = block_filename_is_json(name)
                                           ? block_json_file_options(name, NULL)
                                           : block_options_of_filename(name, NULL);
    struct block_node *node = NULL;

    if (options) {
        options->has_read_only = options->read_only = true;
        node = block_node_open(graph, options, NULL, NULL);
        blockdev_options_free(options);
    }
    if (node && (block_node_bytes(node) < n || block_node_pread(node, 0, head, n) < 0)) {
        head[0] = 0;
    }
    if (node) {
        block_node_unref(node);
    }
}

const char *block_guess_format(struct block_graph *graph, const char *name)
{
    uint8_t head[8] = {0}; /* magic, version */

    if (block_filename_is_path(name) || g_str_has_prefix(name, "file:")) {
        read_local(name + (block_filename_is_path(name) ? 0 : 5), head, sizeof(head));
    } else {
        read_remote(graph, name, head, sizeof(head));
    }
    /* Version 1 is another format. */
    return memcmp(head, "QFI\xfb", 4) == 0 && memcmp(head + 4, "\0\0\0\1", 4) > 0 ? "qcow2" : "raw";
}
