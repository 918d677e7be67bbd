/*
 * The block layer without a machine: nodes, permissions and locks, requests, error policy, drained
 * sections.
 */
#include "block/block.h"
#include "block/quorum.h"
#include "qapi-visit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1u << 20)

struct fixture {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    char *path;
    GString *events;
    unsigned stops;
};

static void note_event(struct event_sink *sink, unsigned event, const char *data)
{
    struct fixture *f = (struct fixture *)sink;

    g_string_append_printf(f->events, "%u %s\n", event, data);
}

static void note_failure(void *opaque, const char *whose, bool stop, void (*tell)(void *arg),
                         void *arg)
{
    g_assert_cmpstr(whose, ==, "/test");
    tell(arg);
    ((struct fixture *)opaque)->stops += stop;
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    int fd = g_file_open_tmp("godwit-block-XXXXXX", &f->path, NULL);

    g_assert_cmpint(ftruncate(fd, MIB), ==, 0);
    close(fd);
    f->sink.emit = note_event;
    f->events = g_string_new(NULL);
    f->main = loop_new(NULL);
    f->graph = block_graph_new(&f->sink, f->main);
    block_graph_on_failure(f->graph, note_failure, f);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    block_graph_free(f->graph);
    loop_free(f->main);
    g_string_free(f->events, TRUE);
    g_unlink(f->path);
    g_free(f->path);
}

static bool add(struct fixture *f, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool add(struct fixture *f, GError **error, const char *format, ...)
{
    struct blockdev_options *options;
    g_autofree char *text = NULL;
    va_list args;
    bool ok;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    options = blockdev_options_from_keyval(text, "driver", error);
    ok = options && block_node_add(f->graph, options, error);
    blockdev_options_free(options);
    return ok;
}

static void add_ok(struct fixture *f, const char *text)
{
    g_autoptr(GError) error = NULL;

    if (!add(f, &error, "%s", text)) {
        g_error("%s: %s", text, error->message);
    }
}

static void add_file(struct fixture *f, const char *more)
{
    g_autofree char *text = g_strdup_printf("file,node-name=file,filename=%s%s", f->path, more);

    add_ok(f, text);
}

static void expect_error(GError **error, const char *part)
{
    g_assert_nonnull(*error);
    if (!strstr((*error)->message, part)) {
        g_error("'%s' lacks '%s'", (*error)->message, part);
    }
    g_clear_error(error);
}

static struct block_backend *attach(struct fixture *f, const char *name, GError **error)
{
    const struct block_attach how = {.loop = f->main,
                                     .qdev = "/test",
                                     .rerror = BLOCKDEV_ON_ERROR_AUTO,
                                     .werror = BLOCKDEV_ON_ERROR_AUTO};

    return block_backend_attach(f->graph, name, &how, error);
}

struct io {
    struct block_request request; /* first */
    bool done;
    int result;
};

static void io_done(struct block_request *r, int result)
{
    struct io *io = (struct io *)r;

    g_assert_false(io->done);
    io->result = result;
    io->done = true;
}

static int io_wait(struct fixture *f, struct io *io)
{
    while (!io->done) {
        g_main_context_iteration(f->main->context, TRUE);
    }
    return io->result;
}

static void io_start(struct block_backend *b, struct io *io, enum block_op op, uint64_t offset,
                     uint64_t bytes, struct iovec *iov, int n_iov)
{
    *io = (struct io){.request = {.op = op,
                                  .offset = offset,
                                  .bytes = bytes,
                                  .iov = iov,
                                  .n_iov = n_iov,
                                  .done = io_done}};
    block_backend_submit(b, &io->request);
}

static int rw(struct fixture *f, struct block_backend *b, enum block_op op, uint64_t offset,
              void *buf, uint64_t bytes)
{
    struct iovec iov[2] = {{buf, bytes / 2}, {(char *)buf + bytes / 2, bytes - bytes / 2}};
    struct io io;

    io_start(b, &io, op, offset, bytes, buf ? iov : NULL, buf ? 2 : 0);
    return io_wait(f, &io);
}

static void fill(uint8_t *buf, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        buf[i] = (uint8_t)(i * 7 + i / 251 + seed);
    }
}

/* ---- nodes */

static void test_names(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;

    add_ok(f, "null-co,node-name=n0,size=4096");
    g_assert_false(add(f, &error, "null-co,node-name=n0"));
    expect_error(&error, "Duplicate nodes with node-name='n0'");
    g_assert_false(add(f, &error, "null-co"));
    expect_error(&error, "'node-name' must be specified for the root node");
    g_assert_false(add(f, &error, "null-co,node-name=0bad"));
    expect_error(&error, "Invalid node-name: '0bad'");
    g_assert_false(add(f, &error, "null-co,node-name=n1,size=-5"));
    expect_error(&error, "size is invalid");
    g_assert_false(add(f, &error, "raw,node-name=r,file=nope"));
    expect_error(&error, "Cannot find device='nope' nor node-name='nope'");
    g_assert_false(add(f, &error, "file,node-name=r,filename=/does/not/exist"));
    expect_error(&error, "Could not open '/does/not/exist': No such file or directory");
    g_assert_false(add(f, &error, "file,node-name=r,filename=/tmp"));
    g_clear_error(&error);
    g_assert_false(add(f, &error, "file,node-name=r,filename=/dev/null"));
    expect_error(&error, "to be a regular file");
    g_assert_false(add(f, &error, "file,node-name=r,filename=%s,aio=native", f->path));
    expect_error(&error, "requires cache.direct=on");

    add_ok(f, "raw,node-name=r0,file=n0");
    g_assert_cmpuint(block_node_bytes(block_node_find(f->graph, "r0")), ==, 4096);
    g_assert_false(block_node_delete(f->graph, "n0", &error));
    expect_error(&error, "Block device n0 is in use");
    g_assert_true(block_node_delete(f->graph, "r0", &error));
    g_assert_true(block_node_delete(f->graph, "n0", &error));
    g_assert_false(block_node_delete(f->graph, "n0", &error));
    expect_error(&error, "Failed to find node with node-name='n0'");
    add_ok(f, "raw,node-name=r0,file.driver=null-co,file.node-name=inner");
    g_assert_false(block_node_delete(f->graph, "inner", &error));
    expect_error(&error, "not owned by the monitor");
    g_assert_true(block_node_delete(f->graph, "r0", &error));
    g_assert_null(block_node_find(f->graph, "inner")); /* went with its user */
}

static void test_rw(struct fixture *f, gconstpointer options)
{
    uint8_t out[5000], in[5000], plain[5000];
    struct block_backend *b;
    int fd;

    add_file(f, options);
    b = attach(f, "file", NULL);
    g_assert_nonnull(b);
    fill(out, sizeof(out), 3);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 1536, out, sizeof(out)), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 1536, in, sizeof(in)), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    fd = open(f->path, O_RDONLY);
    g_assert_cmpint(pread(fd, plain, sizeof(plain), 1536), ==, sizeof(plain));
    g_assert_cmpmem(plain, sizeof(plain), out, sizeof(out));

    g_assert_cmpint(rw(f, b, BLOCK_WRITE_ZEROES, 2048, NULL, 1024), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_DISCARD, 3072, NULL, 512), ==, 0);
    memset(out + 512, 0, 1024);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 1536, in, 1536), ==, 0);
    g_assert_cmpmem(in, 1536, out, 1536);

    g_assert_cmpint(rw(f, b, BLOCK_READ, MIB - 512, in, 1024), ==, -EINVAL);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, UINT64_MAX - 511, in, 512), ==, -EINVAL);
    block_backend_detach(b);
    close(fd);
}

/* A file of 700 bytes is two sectors; what lacks reads as zeroes. */
static void test_tail(struct fixture *f, gconstpointer unused)
{
    uint8_t in[1024], want[1024] = {0};
    struct block_backend *b;
    int fd = open(f->path, O_RDWR | O_TRUNC);

    memset(want, 0x55, 700);
    g_assert_cmpint(write(fd, want, 700), ==, 700);
    close(fd);
    add_file(f, "");
    b = attach(f, "file", NULL);
    g_assert_cmpuint(block_backend_bytes(b), ==, 1024);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 0, in, 1024), ==, 0);
    g_assert_cmpmem(in, 1024, want, 1024);
    block_backend_detach(b);
}

static void test_window(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    uint8_t out[512], in[512];
    struct block_backend *b;
    int fd;

    add_file(f, "");
    g_assert_false(add(f, &error, "raw,node-name=w,file=file,offset=2097152"));
    expect_error(&error, "cannot be greater than size");
    g_assert_false(add(f, &error, "raw,node-name=w,file=file,offset=4096,size=1048576"));
    expect_error(&error, "has to be smaller or equal");
    g_assert_false(add(f, &error, "raw,node-name=w,file=file,size=1000"));
    expect_error(&error, "not multiple of 512");
    add_ok(f, "raw,node-name=w,file=file,offset=4096,size=8192");
    b = attach(f, "w", NULL);
    g_assert_cmpuint(block_backend_bytes(b), ==, 8192);
    fill(out, 512, 9);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 1024, out, 512), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 8192 - 256, in, 512), ==, -EINVAL);
    fd = open(f->path, O_RDONLY);
    g_assert_cmpint(pread(fd, in, 512, 4096 + 1024), ==, 512);
    g_assert_cmpmem(in, 512, out, 512);
    close(fd);
    block_backend_detach(b);
}

/* ---- who may do what */

static void test_permissions(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    struct block_backend *b;
    uint8_t buf[512] = {0};

    add_file(f, "");
    add_ok(f, "raw,node-name=a,file=file");
    add_ok(f, "raw,node-name=b,file=file,read-only=on");
    b = attach(f, "a", &error);
    g_assert_nonnull(b);
    g_assert_null(attach(f, "b", &error)); /* a reader does not see others write */
    expect_error(
        &error, "required by node 'a' (uses node 'file' as 'file' child) and unshared by node 'b'");
    g_assert_null(attach(f, "a", &error));
    expect_error(&error, "permissions 'write' are both required by");
    g_assert_false(block_node_delete(f->graph, "a", &error));
    expect_error(&error, "Node a is in use");
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 0, buf, 512), ==, 0); /* unharmed by all that */
    block_backend_detach(b);
    b = attach(f, "b", &error);
    g_assert_nonnull(b);
    g_assert_true(block_backend_read_only(b));
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 0, buf, 512), ==, -EROFS);
    block_backend_detach(b);
}

static bool byte_is_free(int fd, off_t at)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

    g_assert_cmpint(fcntl(fd, F_OFD_GETLK, &lock), ==, 0);
    return lock.l_type == F_UNLCK;
}

static void test_locks(struct fixture *f, gconstpointer unused)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    int fd = open(f->path, O_RDWR);
    g_autoptr(GError) error = NULL;
    struct block_backend *b;

    add_file(f, "");
    g_assert_true(byte_is_free(fd, 101)); /* nobody uses it yet */
    b = attach(f, "file", &error);
    g_assert_false(byte_is_free(fd, 100)); /* it reads */
    g_assert_false(byte_is_free(fd, 101)); /* it writes */
    g_assert_false(byte_is_free(fd, 201)); /* nobody else may */
    g_assert_true(byte_is_free(fd, 103));
    g_assert_true(byte_is_free(fd, 200));
    block_backend_detach(b);
    g_assert_true(byte_is_free(fd, 101));

    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0); /* somebody forbids writing */
    g_assert_null(attach(f, "file", &error));
    expect_error(&error, "Failed to get \"write\" lock");
    g_assert_true(block_node_delete(f->graph, "file", NULL));
    add_file(f, ",locking=off");
    b = attach(f, "file", &error);
    g_assert_nonnull(b);
    block_backend_detach(b);
    close(fd);
}

/* ---- errors */

static void limit_file_size(rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};

    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
}

static void wait_for(struct fixture *f, const char *text)
{
    while (!strstr(f->events->str, text)) {
        g_main_context_iteration(f->main->context, TRUE);
    }
}

static struct block_backend *attach_policy(struct fixture *f, const char *name,
                                           enum blockdev_on_error werror)
{
    const struct block_attach how = {
        .loop = f->main, .qdev = "/test", .rerror = BLOCKDEV_ON_ERROR_REPORT, .werror = werror};

    return block_backend_attach(f->graph, name, &how, NULL);
}

/* The host refuses to write beyond 64 KiB. */
static void test_policy(struct fixture *f, gconstpointer unused)
{
    uint8_t out[512], in[512];
    struct iovec iov = {out, 512};
    struct block_backend *b;
    struct io io;

    signal(SIGXFSZ, SIG_IGN);
    fill(out, 512, 1);
    add_file(f, "");

    limit_file_size(65536);
    b = attach_policy(f, "file", BLOCKDEV_ON_ERROR_ENOSPC);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 131072, out, 512), ==, -EFBIG);
    wait_for(f, "\"action\": \"report\", \"nospace\": false, \"reason\": \"File too large\"");
    g_assert_cmpuint(f->stops, ==, 0);
    block_backend_detach(b);

    b = attach_policy(f, "file", BLOCKDEV_ON_ERROR_IGNORE);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 131072, out, 512), ==, 0);
    wait_for(f, "\"action\": \"ignore\", \"reason\"");
    block_backend_detach(b);

    b = attach_policy(f, "file", BLOCKDEV_ON_ERROR_STOP);
    io_start(b, &io, BLOCK_WRITE, 131072, 512, &iov, 1);
    wait_for(f, "\"operation\": \"write\", \"action\": \"stop\"");
    g_assert_cmpuint(f->stops, ==, 1);
    g_assert_false(io.done);
    block_resume_all(f->graph); /* fails again */
    while (f->stops < 2) {
        g_main_context_iteration(f->main->context, TRUE);
    }
    g_assert_false(io.done);
    limit_file_size(RLIM_INFINITY);
    block_resume_all(f->graph);
    g_assert_cmpint(io_wait(f, &io), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 131072, in, 512), ==, 0);
    g_assert_cmpmem(in, 512, out, 512);

    limit_file_size(65536); /* held, and the device goes away */
    io_start(b, &io, BLOCK_WRITE, 131072, 512, &iov, 1);
    while (f->stops < 3) {
        g_main_context_iteration(f->main->context, TRUE);
    }
    block_backend_cancel(b);
    g_assert_cmpint(io_wait(f, &io), ==, -ECANCELED);
    limit_file_size(RLIM_INFINITY);
    block_backend_detach(b);
}

static void test_drain(struct fixture *f, gconstpointer unused)
{
    uint8_t buf[512] = {0};
    struct iovec iov = {buf, 512};
    struct block_backend *b;
    struct io slow, late;

    add_ok(f, "null-co,node-name=n,latency-ns=20000000");
    b = attach(f, "n", NULL);
    io_start(b, &slow, BLOCK_WRITE, 0, 512, &iov, 1);
    block_drain_begin(f->graph);
    io_start(b, &late, BLOCK_READ, 0, 512, &iov, 1);
    while (g_main_context_iteration(f->main->context, FALSE)) {
    }
    g_assert_true(slow.done); /* it was waited for */
    g_assert_false(late.done);
    block_drain_begin(f->graph);
    block_drain_end(f->graph);
    g_assert_false(late.done);
    block_drain_end(f->graph);
    g_assert_cmpint(io_wait(f, &late), ==, 0);
    block_backend_detach(b);
}

/* ---- -drive */

static const struct drive_rules rules = {.interface = DRIVE_IDE, .ide_units = 2};

static void drive_fails(struct fixture *f, const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(block_drive_add(f->graph, text, &rules, &error));
    expect_error(&error, part);
}

/* What is written is seen, and is not in the image. */
static void test_snapshot(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text =
        g_strdup_printf("file=%s,if=none,id=d0,format=raw,snapshot=on", f->path);
    uint8_t out[1024], in[1024];
    g_autoptr(GError) error = NULL;
    g_autofree char *image = NULL;
    struct block_backend *b;
    gsize n;

    memset(out, 0x5a, sizeof(out));
    g_assert_true(block_drive_add(f->graph, text, &rules, &error));
    g_assert_no_error(error);
    b = attach(f, "d0", NULL);
    g_assert_false(block_backend_read_only(b));
    g_assert_cmpuint(block_backend_bytes(b), ==, MIB);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 70000 / 512 * 512, out, sizeof(out)), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_READ, 70000 / 512 * 512, in, sizeof(in)), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    block_backend_detach(b);
    g_assert_true(g_file_get_contents(f->path, &image, &n, NULL));
    g_assert_cmpuint(n, ==, MIB);
    g_assert_true(image[0] == 0 && memcmp(image, image + 1, MIB - 1) == 0);
}

static void test_drive(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text =
        g_strdup_printf("file=%s,if=none,id=d0,format=raw,cache=none,werror=stop", f->path);
    g_autoptr(GError) error = NULL;
    struct block_backend *b;

    g_assert_true(block_drive_add(f->graph, text, &rules, &error));
    drive_fails(f, text, "'d0' already exists");
    drive_fails(f, "file=/x,if=scsi", "unsupported bus type 'scsi'");
    drive_fails(f, "file=/x,snapshot=maybe,format=raw", "snapshot");
    drive_fails(f, "file=/x,cache=best", "invalid cache option 'best'");
    drive_fails(f, "file=/x,format=raw,colour=red", "colour");
    drive_fails(f, "file=/x,copy-on-read=on", "'copy-on-read' is not supported");
    drive_fails(f, "file=/x,iops=5,iops_rd=5", "cannot be used at the same time");
    drive_fails(f, "file=/x,iops=5,throttling.iops-total=5", "its alias 'iops' can't be used");
    drive_fails(f, "file=http://host/x,if=none", "Unknown protocol 'http'");
    drive_fails(f, "if=ide,index=1,bus=0", "index cannot be used");
    drive_fails(f, "if=ide,unit=2", "unit 2 too big");
    drive_fails(f, "file=/does/not/exist,format=raw", "Could not open '/does/not/exist'");
    drive_fails(f, "/x", "expected key=value");
    g_assert_true(block_drive_add(f->graph, "media=cdrom", &rules, &error));
    g_assert_true(block_drive_add(f->graph, "if=ide", &rules, &error));
    g_assert_true(block_drive_add(f->graph, "if=ide", &rules, &error));
    g_assert_cmpstr(block_drive_at(f->graph, DRIVE_IDE, 0, 0)->id, ==, "ide0-cd0");
    g_assert_cmpstr(block_drive_at(f->graph, DRIVE_IDE, 0, 1)->id, ==, "ide0-hd1");
    g_assert_cmpstr(block_drive_at(f->graph, DRIVE_IDE, 1, 0)->id, ==, "ide1-hd0");
    drive_fails(f, "if=ide,index=2", "drive with bus=1, unit=0 exists");

    b = attach(f, "d0", &error);
    g_assert_nonnull(b);
    g_assert_cmpstr(block_backend_name(b), ==, "d0");
    g_assert_cmpuint(block_backend_bytes(b), ==, MIB);
    g_assert_null(attach(f, "d0", &error));
    expect_error(&error, "already in use");
    block_backend_detach(b);
    b = attach(f, "d0", &error);
    g_assert_nonnull(b);
    block_backend_detach(b);
}

/* Without format= a guest can't make its raw disk look like another format. */
static void test_guessed(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text = g_strdup_printf("file=%s,if=none,id=d0", f->path);
    uint8_t magic[512] = "QFI\xfb", other[512] = "hello";
    struct block_backend *b;

    g_assert_true(block_drive_add(f->graph, text, &rules, NULL));
    b = attach(f, "d0", NULL);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 0, magic, 512), ==, -EPERM);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 0, other, 512), ==, 0);
    g_assert_cmpint(rw(f, b, BLOCK_WRITE, 512, magic, 512), ==, 0);
    block_backend_detach(b);
}

/* ---- decisions of the quorum */

static void test_votes(struct fixture *f, gconstpointer unused)
{
    static const struct {
        int version[5];
        unsigned n, threshold;
        int winner;
    } cases[] = {
        {{0, 0, 0}, 3, 2, 0},        {{0, 1, 1}, 3, 2, 1},     {{0, 1, 2}, 3, 2, -1},
        {{0, 1, 2}, 3, 1, -1},       {{-1, 1, 1}, 3, 2, 1},    {{-1, -1, 2}, 3, 1, 2},
        {{-1, -1, -1}, 3, 1, -1},    {{0, 0, 2, 2}, 4, 2, -1}, {{0, 0, 2, 2, 2}, 5, 3, 2},
        {{0, 0, 2, 2, 2}, 5, 4, -1}, {{0}, 1, 1, 0},
    };
    static const int errors[] = {-EPIPE, 0, -EIO, -EIO, 0}, none[] = {0, 0};

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(quorum_vote(cases[i].version, cases[i].n, cases[i].threshold), ==,
                        cases[i].winner);
    }
    g_assert_cmpint(quorum_error(errors, 5), ==, -EIO);
    g_assert_cmpint(quorum_error(errors, 3), ==, -EPIPE);
    g_assert_cmpint(quorum_error(none, 2), ==, 0);
}

int main(int argc, char **argv)
{
#define ADD(path, data, fn) g_test_add(path, struct fixture, data, set_up, fn, tear_down)
    g_test_init(&argc, &argv, NULL);
    ADD("/block/names", NULL, test_names);
    ADD("/block/rw", "", test_rw);
    ADD("/block/rw-threads", ",aio=threads", test_rw);
    ADD("/block/rw-direct", ",cache.direct=on", test_rw);
    ADD("/block/rw-unmap", ",discard=unmap", test_rw);
    ADD("/block/tail", NULL, test_tail);
    ADD("/block/window", NULL, test_window);
    ADD("/block/permissions", NULL, test_permissions);
    ADD("/block/locks", NULL, test_locks);
    ADD("/block/policy", NULL, test_policy);
    ADD("/block/drain", NULL, test_drain);
    ADD("/block/drive", NULL, test_drive);
    ADD("/block/snapshot", NULL, test_snapshot);
    ADD("/block/guessed", NULL, test_guessed);
    ADD("/block/votes", NULL, test_votes);
    return g_test_run();
}
