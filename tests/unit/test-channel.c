/* Channels over Unix sockets, whose bytes go through memory that both ends have: nothing is lost,
 * also when one end goes, and nothing that the other end does is worse than an error. */
#include "migration/channel-ring.h"
#include "migration/channel.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STREAM_BYTES (24u << 20)
#define PIECE_BYTES  (300u << 10)

static struct channel *channel_of(int fd, bool out)
{
    struct channel_uri uri = {.kind = CHANNEL_FD};
    struct channel *c = out ? channel_new_out(&uri, fd, NULL) : channel_new_in(&uri, fd, NULL);

    g_assert_nonnull(c);
    return c;
}

struct ends {
    int fd[2];
    struct channel *out, *in;
};

static void ends_open(struct ends *e)
{
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->fd), ==, 0);
}

static void ends_make(struct ends *e)
{
    ends_open(e);
    e->out = channel_of(e->fd[0], true);
    e->in = channel_of(e->fd[1], false);
}

static void ends_free(struct ends *e)
{
    channel_free(e->out);
    channel_free(e->in);
}

/* How many times such memory is mapped here. */
static unsigned rings(void)
{
    g_autofree char *maps = NULL;
    unsigned n = 0;

    g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    for (const char *at = maps; (at = strstr(at, "memfd:godwit-channel")); at++) {
        n++;
    }
    return n;
}

static void fill(uint8_t *data, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)((from + i) * 0x9e3779b1u >> 24);
    }
}

/* From one to that many, and not more than there are. */
static size_t some(size_t most, size_t bytes)
{
    size_t n = (size_t)g_random_int_range(1, (gint32)most);

    return MIN(n, bytes);
}

/* In pieces of any size, several at once. */
static bool put(struct channel *c, size_t from, size_t bytes, GError **error)
{
    g_autofree uint8_t *data = g_malloc(3 * PIECE_BYTES);

    while (bytes) {
        size_t n = some(3 * PIECE_BYTES, bytes), cut = n / 3;

        fill(data, from, n);
        if (!channel_write_pieces(
                c, (struct iovec[]){{data, cut}, {data, 0}, {data + cut, n - cut}}, 3, error)) {
            return false;
        }
        from += n;
        bytes -= n;
    }
    return true;
}

static void expect(struct channel *c, size_t from, size_t bytes)
{
    g_autofree uint8_t *data = g_malloc(PIECE_BYTES), *due = g_malloc(PIECE_BYTES);
    g_autoptr(GError) error = NULL;

    while (bytes) {
        size_t n = some(PIECE_BYTES, bytes);

        channel_read(c, data, n, &error);
        g_assert_no_error(error);
        fill(due, from, n);
        g_assert_cmpmem(data, n, due, n);
        from += n;
        bytes -= n;
    }
}

static void expect_end(struct channel *c)
{
    g_autoptr(GError) error = NULL;
    uint8_t byte;

    g_assert_false(channel_read(c, &byte, 1, &error));
    g_assert_cmpstr(error->message, ==, "the other side closed the channel");
}

static gpointer write_stream(gpointer out)
{
    g_autoptr(GError) error = NULL;

    put(out, 0, STREAM_BYTES, &error);
    g_assert_no_error(error);
    return NULL;
}

/* Both ends have the ring when the first bytes have been read. */
static void ends_begin(struct ends *e)
{
    ends_make(e);
    g_assert_true(put(e->out, 0, 100, NULL));
    g_assert_cmpuint(rings(), ==, 1);
    expect(e->in, 0, 100);
    g_assert_cmpuint(rings(), ==, 2);
}

static void test_stream(void)
{
    bool unknown;
    struct ends e;
    GThread *writer;

    ends_make(&e);
    writer = g_thread_new("writer", write_stream, e.out);
    expect(e.in, 0, STREAM_BYTES - 1);
    g_assert_cmpuint(rings(), ==, 2);
    g_thread_join(writer);
    expect(e.in, STREAM_BYTES - 1, 1);
    g_assert_true(channel_finish(e.out, &unknown, NULL));
    /* The other way is the socket's. */
    g_assert_true(put(e.in, 7, 1000, NULL));
    expect(e.out, 7, 1000);
    channel_close(e.out);
    expect_end(e.in);
    ends_free(&e);
    g_assert_cmpuint(rings(), ==, 0);
}

/* Somebody in between passes on what he reads, and closes when there is no more. */
static gpointer pass_on(gpointer arg)
{
    const int *fd = arg;
    uint8_t data[5000];
    ssize_t n;

    while ((n = read(fd[0], data, sizeof(data))) > 0) {
        for (ssize_t at = 0, done; at < n; at += done) {
            done = write(fd[1], data + at, (size_t)(n - at));
            g_assert_cmpint(done, >, 0);
        }
    }
    close(fd[0]);
    close(fd[1]);
    return NULL;
}

static void test_between(void)
{
    struct ends a, b;
    int fd[2];
    GThread *writer, *between;

    ends_open(&a);
    ends_open(&b);
    a.out = channel_of(a.fd[0], true);
    a.in = channel_of(b.fd[1], false);
    fd[0] = a.fd[1];
    fd[1] = b.fd[0];
    between = g_thread_new("between", pass_on, fd);
    writer = g_thread_new("writer", write_stream, a.out);
    expect(a.in, 0, STREAM_BYTES);
    g_assert_cmpuint(rings(), ==, 1);
    g_thread_join(writer);
    channel_close(a.out);
    expect_end(a.in);
    g_thread_join(between);
    ends_free(&a);
}

/* Who writes is killed: all that he has written is there nevertheless. */
static void test_writer_dies(void)
{
    struct ends e;
    pid_t child;
    int status;

    ends_open(&e);
    child = fork();
    if (child == 0) {
        close(e.fd[1]);
        e.out = channel_of(e.fd[0], true);
        put(e.out, 0, 100, NULL);
        while (g_usleep(1000), !channel_has_input(e.out)) {
        }
        put(e.out, 100, 1u << 20, NULL);
        kill(getpid(), SIGKILL);
    }
    g_assert_cmpint(child, >, 0);
    close(e.fd[0]);
    e.in = channel_of(e.fd[1], false);
    expect(e.in, 0, 100);
    g_assert_true(put(e.in, 0, 1, NULL));
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    expect(e.in, 100, 1u << 20);
    expect_end(e.in);
    channel_free(e.in);
}

static void test_reader_goes(void)
{
    g_autoptr(GError) error = NULL, left = NULL;
    bool unknown;
    struct ends e;

    ends_begin(&e);
    g_assert_true(put(e.out, 100, 1000, NULL));
    channel_close(e.in);
    g_assert_false(channel_finish(e.out, &unknown, &left));
    g_assert_cmpstr(left->message, ==, "the other side has gone before it had read all");
    g_assert_false(put(e.out, 1100, STREAM_BYTES, &error));
    g_assert_cmpstr(error->message, ==, "Unable to write to socket: Broken pipe");
    ends_free(&e);
}

static gpointer break_soon(gpointer c)
{
    g_usleep(30000);
    channel_break(c);
    return NULL;
}

static void test_break(void)
{
    g_autoptr(GError) full = NULL, empty = NULL;
    struct ends e;
    GThread *thread;
    uint8_t byte;

    ends_begin(&e);
    thread = g_thread_new("break", break_soon, e.in);
    g_assert_true(put(e.out, 100, 1, NULL)); /* the first one that is in the ring */
    expect(e.in, 100, 1);
    g_assert_false(channel_read(e.in, &byte, 1, &empty));
    g_assert_cmpstr(empty->message, ==, "the migration was broken off");
    g_thread_join(thread);
    thread = g_thread_new("break", break_soon, e.out);
    g_assert_false(put(e.out, 101, STREAM_BYTES, &full));
    g_assert_cmpstr(full->message, ==, "the migration was broken off");
    g_thread_join(thread);
    ends_free(&e);
}

static int memory_file(size_t bytes, int seals, uint64_t magic)
{
    int fd = memfd_create("none", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
    g_assert_cmpint(pwrite(fd, &magic, sizeof(magic), 0), ==, sizeof(magic));
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

/* Sends one byte, and that descriptor with it. */
static void pass(int socket, int fd)
{
    uint8_t byte = 1;
    struct iovec iov = {&byte, 1};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    g_assert_cmpint(sendmsg(socket, &msg, 0), ==, 1);
}

/* What is no ring is let alone, and the stream goes on in the socket. */
static void test_no_ring(void)
{
    struct channel_ring *ring = channel_ring_new();
    struct stat st;
    uint64_t magic;
    int fds[2], passed[6];

    g_assert_cmpint(fstat(channel_ring_fd(ring), &st), ==, 0);
    g_assert_cmpint(pread(channel_ring_fd(ring), &magic, sizeof(magic), 0), ==, sizeof(magic));
    g_assert_cmpint(pipe(fds), ==, 0);
    passed[0] = memory_file((size_t)st.st_size, 0, magic); /* can shrink */
    passed[1] = memory_file((size_t)st.st_size - 4096, F_SEAL_SHRINK, magic);
    passed[2] = memory_file((size_t)st.st_size, F_SEAL_SHRINK, magic + 1);
    passed[3] = memory_file((size_t)st.st_size, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, magic);
    passed[4] = fds[0];
    passed[5] = fds[1];
    channel_ring_free(ring);
    for (unsigned i = 0; i < G_N_ELEMENTS(passed); i++) {
        struct ends e;
        uint8_t data[2];

        ends_open(&e);
        e.in = channel_of(e.fd[1], false);
        pass(e.fd[0], passed[i]);
        close(passed[i]);
        g_assert_cmpint(write(e.fd[0], "\2", 1), ==, 1);
        g_assert_true(channel_read(e.in, data, 2, NULL));
        g_assert_cmpmem(data, 2, "\1\2", 2);
        g_assert_cmpuint(rings(), ==, 0);
        close(e.fd[0]);
        expect_end(e.in);
        channel_free(e.in);
    }
}

/* Any value at any place of what is shared besides the data. */
static void scribble(uint32_t *shared, size_t words)
{
    shared[g_random_int_range(0, (gint32)words)] = g_random_boolean() ? g_random_int() : UINT32_MAX;
}

/* With somebody who writes what he likes to the ring there is an end: data or an error. */
static void test_hostile_writer(void)
{
    uint8_t data[5000];

    for (unsigned round = 0; round < 300; round++) {
        g_autoptr(GError) error = NULL;
        struct channel_ring *ring = channel_ring_new();
        uint32_t *shared =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, channel_ring_fd(ring), 0);
        struct ends e;

        ends_open(&e);
        e.in = channel_of(e.fd[1], false);
        pass(e.fd[0], channel_ring_fd(ring));
        g_assert_true(channel_read(e.in, data, 1, NULL));
        g_assert_true(channel_ring_is_taken(ring));
        channel_ring_switch(ring, 1);
        channel_ring_write(ring, &(struct iovec){data, sizeof(data)}, 1);
        if (round % 2) {
            g_assert_true(channel_read(e.in, data, 1, &error));
        }
        for (unsigned i = 0; i < 8; i++) {
            scribble(shared, 64);
        }
        close(e.fd[0]);
        for (unsigned i = 0; i < 1000 && channel_read(e.in, data, sizeof(data), &error); i++) {
            scribble(shared, 64);
        }
        channel_free(e.in);
        channel_ring_free(ring);
        munmap(shared, 4096);
    }
}

/* The descriptor that comes with the first byte. */
static int receive_fd(int socket)
{
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    int fd;

    g_assert_cmpint(recvmsg(socket, &msg, 0), ==, 1);
    g_assert_nonnull(CMSG_FIRSTHDR(&msg));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    return fd;
}

struct hostile {
    int socket;
    uint32_t *shared;
};

static gpointer scribble_and_go(gpointer arg)
{
    const struct hostile *h = arg;

    for (unsigned i = 0; i < 100; i++) {
        scribble(h->shared, 64);
        g_usleep(50);
    }
    close(h->socket);
    return NULL;
}

/* With one who reads it is the same: when he goes, at the latest. */
static void test_hostile_reader(void)
{
    for (unsigned round = 0; round < 100; round++) {
        g_autoptr(GError) error = NULL;
        struct channel_ring *ring;
        struct hostile hostile;
        struct ends e;
        GThread *thread;
        int fd;

        ends_open(&e);
        e.out = channel_of(e.fd[0], true);
        g_assert_true(put(e.out, 0, 1, NULL));
        fd = receive_fd(e.fd[1]);
        hostile.socket = e.fd[1];
        hostile.shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ring = channel_ring_take(fd);
        g_assert_nonnull(ring);
        thread = g_thread_new("hostile", scribble_and_go, &hostile);
        g_assert_false(put(e.out, 1, STREAM_BYTES, &error));
        g_thread_join(thread);
        channel_free(e.out);
        channel_ring_free(ring);
        munmap(hostile.shared, 4096);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel/stream", test_stream);
    g_test_add_func("/channel/between", test_between);
    g_test_add_func("/channel/writer-dies", test_writer_dies);
    g_test_add_func("/channel/reader-goes", test_reader_goes);
    g_test_add_func("/channel/break", test_break);
    g_test_add_func("/channel/no-ring", test_no_ring);
    g_test_add_func("/channel/hostile-writer", test_hostile_writer);
    g_test_add_func("/channel/hostile-reader", test_hostile_reader);
    return g_test_run();
}
