/*
 * The file of a dump. A pipe or socket whose reader does not read must not keep the process from
 * ending, so writing to those never blocks for longer than a moment.
 */
#include "migration/dump-priv.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define POLL_MS     100
/* Zeros are looked for in pieces of this size. */
#define HOLE_BYTES  65536u
#define CHUNK_BYTES (1u << 20)

bool dump_fail(GError **error, const char *what)
{
    g_set_error(error, DUMP_ERROR, errno, "dump: failed to %s: %s", what, g_strerror(errno));
    return false;
}

/* A pipe's end of our own, which does not block, whatever others do with theirs. */
static void open_own(struct dump_output *out)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", out->fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    if (own >= 0) {
        close(out->fd);
        out->fd = own;
        out->may_block = false;
    }
}

void output_init(struct dump_output *out, int fd, const _Atomic bool *cancel)
{
    struct stat st;

    *out = (struct dump_output){.fd = fd, .cancel = cancel, .may_block = true};
    if (fd < 0 || fstat(fd, &st) < 0) {
        return; /* the first write tells */
    }
    out->is_socket = S_ISSOCK(st.st_mode);
    out->sparse = S_ISREG(st.st_mode) && st.st_size == 0 && lseek(fd, 0, SEEK_CUR) == 0 &&
                  !(fcntl(fd, F_GETFL) & O_APPEND);
    if (S_ISFIFO(st.st_mode)) {
        open_own(out);
    }
}

static bool cancelled(const struct dump_output *out)
{
    return out->cancel && atomic_load_explicit(out->cancel, memory_order_relaxed);
}

static ssize_t write_some(struct dump_output *out, const uint8_t *data, size_t length)
{
    struct pollfd pfd = {.fd = out->fd, .events = POLLOUT};
    ssize_t n;

    if (out->is_socket) {
        n = send(out->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        n = write(out->fd, data, length);
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        poll(&pfd, 1, POLL_MS);
        return 0;
    }
    return n < 0 && errno == EINTR ? 0 : n;
}

static bool write_all(struct dump_output *out, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t n;

        if (cancelled(out)) {
            errno = ECANCELED;
            return false;
        }
        n = write_some(out, data, MIN(length, CHUNK_BYTES));
        if (n < 0) {
            return false;
        }
        data += n;
        length -= (size_t)n;
    }
    return true;
}

/* How many of the bytes at data are a hole (whole pieces), or are none. */
static size_t run_length(const uint8_t *data, size_t length, bool *hole)
{
    size_t n = 0;

    *hole = length >= HOLE_BYTES && bytes_are_zero(data, HOLE_BYTES);
    do {
        n += MIN(HOLE_BYTES, length - n);
    } while (n < length &&
             (length - n >= HOLE_BYTES && bytes_are_zero(data + n, HOLE_BYTES)) == *hole);
    return n;
}

static bool write_sparse(struct dump_output *out, const uint8_t *data, size_t length)
{
    while (length > 0) {
        bool hole;
        size_t n = run_length(data, length, &hole);

        if (cancelled(out)) {
            errno = ECANCELED;
            return false;
        }
        if (hole) {
            out->hole += n;
        } else {
            if (out->hole && lseek(out->fd, (off_t)out->hole, SEEK_CUR) < 0) {
                return false;
            }
            out->hole = 0;
            if (!write_all(out, data, n)) {
                return false;
            }
        }
        data += n;
        length -= n;
    }
    return true;
}

bool output_write(struct dump_output *out, const void *data, size_t length)
{
    out->at += length;
    if (out->sum) {
        out->crc = (uint32_t)crc32_z(out->crc, data, length);
    }
    return out->sparse ? write_sparse(out, data, length) : write_all(out, data, length);
}

bool output_write_zeros(struct dump_output *out, uint64_t length)
{
    static const uint8_t zeros[HOLE_BYTES];

    if (out->sparse && !out->sum) {
        out->at += length;
        out->hole += length;
        return true;
    }
    for (uint64_t n; length > 0; length -= n) {
        n = MIN(length, sizeof(zeros));
        if (!output_write(out, zeros, n)) {
            return false;
        }
    }
    return true;
}

bool output_end(struct dump_output *out)
{
    if (out->hole && ftruncate(out->fd, (off_t)out->at) < 0) {
        return false;
    }
    out->hole = 0;
    return true;
}

void output_close(struct dump_output *out)
{
    if (out->fd >= 0) {
        close(out->fd);
        out->fd = -1;
    }
}

static bool read_back(int fd, uint64_t *length, uint32_t *crc)
{
    g_autofree uint8_t *buffer = g_malloc(CHUNK_BYTES);
    ssize_t n;

    *length = 0;
    *crc = 0;
    while ((n = read(fd, buffer, CHUNK_BYTES)) != 0) {
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            *length += (uint64_t)n;
            *crc = (uint32_t)crc32_z(*crc, buffer, (size_t)n);
        }
    }
    return true;
}

bool output_verify(const struct dump_output *out, const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t length;
    uint32_t crc;
    bool ok;

    if (fd < 0) {
        return dump_fail(error, "read it back");
    }
    /* From the disk, not from memory, as far as the host goes along with it. */
    ok = fsync(fd) == 0;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ok = ok && read_back(fd, &length, &crc);
    if (!ok) {
        dump_fail(error, "read it back");
    } else if (length != out->at || crc != out->crc) {
        g_set_error(error, DUMP_ERROR, EIO,
                    "dump: '%s' reads back as %" G_GUINT64_FORMAT
                    " bytes with checksum %08x, written were %" G_GUINT64_FORMAT " with %08x",
                    path, length, crc, out->at, out->crc);
        ok = false;
    }
    close(fd);
    return ok;
}
