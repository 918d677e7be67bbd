/*
 * What a client may do to the graph of block nodes: the input's lines are commands, most of them
 * with options as JSON, over a few small files. Nothing may crash, hang, leak or take memory
 * without bound. Seeds: corpus/block.
 *
 *   +{...}             blockdev-add                 -NAME   blockdev-del
 *   r[...]             blockdev-reopen              s{...}  blockdev-snapshot
 *   cPARENT CHILD NODE x-blockdev-change; - is none
 *   dTEXT              -drive                       DID     drive_del
 *   hNAME              a user that reads and writes it attaches itself, in place of another
 *   iNAME              reads, writes, zeroes and flushes it
 *   zNAME BYTES        block_resize
 *   n                  the machine's guest moves away, and comes back
 *   anything else      queries
 *
 * Lines that could name a file outside the folder of those, or a server, are left out.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() tries the seeds of the folder in its argument,
 * and damaged ones.
 */
#include "block/block-priv.h"
#include "block/create.h"
#include "block/image.h"
#include "block/reopen.h"
#include "block/snapshot.h"
#include "block/throttle.h"
#include "qapi-visit.h"

#include <glib/gstdio.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES 4096u
#define MAX_LINES   24u
#define DISK_BYTES  (256u << 10)
#define IO_BYTES    (20u << 10)
#define MAX_DISK    (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_event(struct event_sink *sink, unsigned event, const char *data)
{
}

struct fuzz {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    struct block_backend *user; /* NULL: none */
    char *home;
    GBytes *image; /* a qcow2 image that is in no use */
};

static GBytes *make_image(struct fuzz *f)
{
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE,
                                    .u.file.filename = (char *)"i.qcow2"};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};
    char *bytes;
    gsize n;

    o.u.qcow2.file = &ref;
    o.u.qcow2.size = DISK_BYTES;
    o.u.qcow2.has_cluster_size = true;
    o.u.qcow2.cluster_size = 512;
    f->graph = block_graph_new(&f->sink, f->main);
    g_assert_true(block_create_file("i.qcow2", 0, PREALLOC_MODE_OFF, NULL));
    g_assert_true(block_create(f->graph, &o, NULL));
    block_graph_free(f->graph);
    g_assert_true(g_file_get_contents("i.qcow2", &bytes, &n, NULL));
    return g_bytes_new_take(bytes, n);
}

static struct fuzz *fuzz_new(void)
{
    struct fuzz *f = g_new0(struct fuzz, 1);

    g_log_set_always_fatal(G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL);
    f->sink.emit = no_event;
    f->main = loop_new(NULL);
    f->home = g_dir_make_tmp("fuzz-block-XXXXXX", NULL);
    g_assert_nonnull(f->home);
    g_assert_cmpint(chdir(f->home), ==, 0);
    f->image = make_image(f);
    return f;
}

static void files_make(struct fuzz *f)
{
    static const char *const raw[] = {"a.raw", "b.raw", "c.raw"};
    static const char *const qcow2[] = {"i.qcow2", "o.qcow2"};
    g_autofree char *zeroes = g_malloc0(DISK_BYTES);
    gsize n;
    const char *image = g_bytes_get_data(f->image, &n);

    for (unsigned i = 0; i < G_N_ELEMENTS(raw); i++) {
        g_assert_true(g_file_set_contents(raw[i], zeroes, DISK_BYTES, NULL));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(qcow2); i++) {
        g_assert_true(g_file_set_contents(qcow2[i], image, (gssize)n, NULL));
    }
}

static void files_remove(void)
{
    GDir *dir = g_dir_open(".", 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_unlink(name);
    }
    g_dir_close(dir);
}

/* ---- commands */

static void drop_user(struct fuzz *f)
{
    block_backend_detach(f->user);
    f->user = NULL;
}

static void hold(struct fuzz *f, const char *name)
{
    const struct block_attach how = {
        .loop = block_graph_loop(f->graph),
        .rerror = BLOCKDEV_ON_ERROR_REPORT,
        .werror = BLOCKDEV_ON_ERROR_REPORT,
    };

    drop_user(f);
    f->user = block_backend_attach(f->graph, name, &how, NULL);
}

struct io {
    struct block_request request; /* first */
    GMutex mutex;
    GCond cond;
    bool done;
};

static void io_done(struct block_request *r, int result)
{
    struct io *io = (struct io *)r;

    g_mutex_lock(&io->mutex);
    io->done = true;
    g_cond_signal(&io->cond);
    g_mutex_unlock(&io->mutex);
}

static void request(struct fuzz *f, enum block_op op, uint64_t offset, uint64_t bytes, void *buf)
{
    struct iovec iov = {buf, bytes};
    struct io io = {.request = {.op = op,
                                .flags = BLOCK_MAY_UNMAP,
                                .offset = offset,
                                .bytes = bytes,
                                .iov = buf ? &iov : NULL,
                                .n_iov = buf ? 1 : 0,
                                .done = io_done}};

    g_mutex_init(&io.mutex);
    g_cond_init(&io.cond);
    block_backend_submit(f->user, &io.request);
    g_mutex_lock(&io.mutex);
    while (!io.done) {
        g_cond_wait(&io.cond, &io.mutex);
    }
    g_mutex_unlock(&io.mutex);
    g_mutex_clear(&io.mutex);
    g_cond_clear(&io.cond);
}

static bool io_some(struct fuzz *f, const char *name)
{
    static const enum block_op ops[] = {BLOCK_WRITE, BLOCK_READ,  BLOCK_WRITE_ZEROES,
                                        BLOCK_FLUSH, BLOCK_WRITE, BLOCK_DISCARD,
                                        BLOCK_READ,  BLOCK_FLUSH};
    g_autofree uint8_t *buf = g_malloc0(IO_BYTES);

    if (*name) {
        hold(f, name);
    }
    for (unsigned i = 0; f->user && i < G_N_ELEMENTS(ops); i++) {
        uint64_t length = block_backend_bytes(f->user), at = (i * 9973ull * 512) % (length | 1);
        uint64_t bytes = MIN(length - MIN(length, at), IO_BYTES - 512 * i) & ~511ull;
        bool data = ops[i] == BLOCK_READ || ops[i] == BLOCK_WRITE, flush = ops[i] == BLOCK_FLUSH;

        at &= ~511ull;
        if (bytes || flush) {
            memset(buf, (int)i, IO_BYTES);
            request(f, ops[i], flush ? 0 : at, flush ? 0 : bytes, data ? buf : NULL);
        }
    }
    return f->user;
}

static void query(struct fuzz *f)
{
    block_device_info_list_free(block_query_nodes(f->graph, false));
    block_info_list_free(block_query_backends(f->graph));
    block_stats_list_free(block_query_stats(f->graph, true));
}

static bool add(struct fuzz *f, struct json_object *json)
{
    struct blockdev_options *o = blockdev_options_from_json(json, NULL);
    bool ok = o && block_node_add(f->graph, o, NULL);

    blockdev_options_free(o);
    return ok;
}

static bool reopen(struct fuzz *f, struct json_object *json)
{
    struct blockdev_options_list *list = blockdev_options_list_from_json(json, NULL);
    bool ok = list && block_reopen(f->graph, list, NULL);

    blockdev_options_list_free(list);
    return ok;
}

static bool snapshot(struct fuzz *f, struct json_object *json)
{
    struct blockdev_snapshot *s = blockdev_snapshot_from_json(json, NULL);
    bool ok = s && block_snapshot(f->graph, s, NULL);

    blockdev_snapshot_free(s);
    return ok;
}

static bool with_json(struct fuzz *f, const char *text,
                      bool (*fn)(struct fuzz *, struct json_object *))
{
    struct json_object *json = json_tokener_parse(text);
    bool ok = json && fn(f, json);

    json_object_put(json);
    return ok;
}

static const char *word(char **words, guint n, guint i)
{
    return i < n && strcmp(words[i], "-") != 0 ? words[i] : NULL;
}

static bool change(struct fuzz *f, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 4);
    guint n = g_strv_length(words);

    return n >= 1 &&
           block_change_children(f->graph, words[0], word(words, n, 1), word(words, n, 2), NULL);
}

static bool resize(struct fuzz *f, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 2);
    int64_t bytes;

    if (g_strv_length(words) != 2) {
        return false;
    }
    bytes = (int64_t)g_ascii_strtoll(words[1], NULL, 0);
    return block_resize(f->graph, NULL, words[0], MIN(bytes, MAX_DISK), NULL);
}

static bool move(struct fuzz *f)
{
    if (!block_inactivate(f->graph, NULL)) {
        return false;
    }
    query(f);
    return block_activate(f->graph, NULL);
}

/* Whether it was carried out. */
static bool command(struct fuzz *f, const char *line)
{
    static const struct drive_rules rules = {.interface = DRIVE_IDE, .ide_units = 2};

    switch (line[0]) {
    case '+':
        return with_json(f, line + 1, add);
    case '-':
        return block_node_delete(f->graph, line + 1, NULL);
    case 'r':
        return with_json(f, line + 1, reopen);
    case 's':
        return with_json(f, line + 1, snapshot);
    case 'c':
        return change(f, line + 1);
    case 'd':
        return block_drive_add(f->graph, line + 1, &rules, NULL);
    case 'D':
        drop_user(f); /* the device lets go of it first */
        return block_drive_delete(f->graph, line + 1, NULL);
    case 'h':
        hold(f, line + 1);
        return f->user || !line[1];
    case 'i':
        return io_some(f, line + 1);
    case 'z':
        return resize(f, line + 1);
    case 'n':
        return move(f);
    default:
        query(f);
        return true;
    }
}

/* It could reach what is not ours, or waits for a time that it says. */
static bool leads_away(const char *line)
{
    static const char *const parts[] = {"/", "\\", "..", "nbd", "latency", "fdset", NULL};

    for (unsigned i = 0; parts[i]; i++) {
        if (strstr(line, parts[i])) {
            return true;
        }
    }
    return !g_utf8_validate(line, -1, NULL);
}

/* How many of the commands were refused. */
static unsigned try_input(const uint8_t *data, size_t size)
{
    static struct fuzz *f;
    const struct throttle_group_properties none = {0};
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", MAX_LINES + 1);
    struct throttle_group *group;
    unsigned refused = 0;

    if (!f) {
        f = fuzz_new();
    }
    files_make(f);
    f->graph = block_graph_new(&f->sink, f->main);
    group = throttle_group_new(f->graph, &none, "g", NULL);
    for (unsigned i = 0; lines[i] && i < MAX_LINES; i++) {
        if (!leads_away(lines[i])) {
            refused += !command(f, lines[i]);
            g_main_context_iteration(f->main->context, FALSE);
        }
    }
    drop_user(f);
    while (g_main_context_iteration(f->main->context, FALSE)) {
    }
    throttle_group_release(group);
    block_graph_free(f->graph);
    files_remove();
    return refused;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= INPUT_BYTES) {
        try_input(data, size);
    }
    return 0;
}

#ifndef FUZZ
static void damage(GByteArray *input, GRand *rand)
{
    for (int i = g_rand_int_range(rand, 1, 6); i > 0; i--) {
        guint at = (guint)g_rand_int_range(rand, 0, (gint32)input->len);
        guint n = MIN((guint)g_rand_int_range(rand, 1, 40), input->len - at);

        switch (g_rand_int_range(rand, 0, 3)) {
        case 0:
            input->data[at] = (uint8_t)g_rand_int_range(rand, 32, 127);
            break;
        case 1:
            g_byte_array_remove_range(input, at, MIN(n, input->len - 1));
            break;
        default: { /* a piece of it once more */
            g_autofree uint8_t *piece = g_memdup2(input->data + at, n);

            g_byte_array_append(input, piece, n);
            break;
        }
        }
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_autofree char *folder = g_canonicalize_filename(argc > 1 ? argv[1] : ".", NULL);
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;
    unsigned seeds = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL), *text = NULL;
        gsize n;

        g_assert_true(g_file_get_contents(path, &text, &n, NULL));
        seeds++;
        g_assert_cmpuint(try_input((const uint8_t *)text, n), <=, 4); /* those are meant */
        for (unsigned i = 0; i < 25; i++) {
            g_autoptr(GByteArray) input = g_byte_array_new();

            g_byte_array_append(input, (const guint8 *)text, (guint)n);
            damage(input, rand);
            LLVMFuzzerTestOneInput(input->data, input->len);
        }
    }
    g_assert_cmpuint(seeds, >, 0);
    g_dir_close(dir);
    return 0;
}
#endif
