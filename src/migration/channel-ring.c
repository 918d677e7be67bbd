/*
 * Rings in shared memory: see channel-ring.h. Indices count bytes modulo 2^32; each is written by
 * one side. Who finds the ring full or empty waits for the other's index (futex(2)), which is told
 * only when it is worth it: half of the ring, or all that somebody wants to write.
 */
#include "migration/channel-ring.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES  (2u << 20)         /* a power of 2 */
#define CHUNK_BYTES (64u << 10)        /* the other side can begin when so much is there */
#define RING_MAGIC  0x31676e7272776467 /* "gdwrrng1" */
#define PAGE_BYTES  4096u

struct side {
    _Atomic uint32_t index;
    _Atomic uint32_t waits; /* for the other's index */
} __attribute__((aligned(64)));

struct shared {
    uint64_t magic;
    _Atomic uint32_t taken, switched;
    _Atomic uint64_t switched_at;
    struct side writer, reader;
    uint8_t data[RING_BYTES] __attribute__((aligned(PAGE_BYTES)));
};

struct channel_ring {
    struct shared *shared;
    int fd;
    uint32_t index; /* this side's: what is written to the shared one is not read back */
};

/* ---- making */

static struct channel_ring *ring_map(int fd)
{
    void *at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct channel_ring *r;

    if (at == MAP_FAILED) {
        return NULL;
    }
    r = g_new0(struct channel_ring, 1);
    r->shared = at;
    r->fd = fd;
    return r;
}

struct channel_ring *channel_ring_new(void)
{
    int fd = memfd_create("godwit-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct channel_ring *r = NULL;

    if (fd < 0) {
        return NULL;
    }
    if (ftruncate(fd, sizeof(struct shared)) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        r = ring_map(fd);
    }
    if (!r) {
        close(fd);
        return NULL;
    }
    r->shared->magic = RING_MAGIC;
    return r;
}

int channel_ring_fd(const struct channel_ring *r)
{
    return r->fd;
}

void channel_ring_passed(struct channel_ring *r)
{
    if (r->fd >= 0) {
        close(r->fd);
    }
    r->fd = -1;
}

/* That reading it can't fail: it is of memory, in small pages, and stays as large as it is. */
static bool is_ring(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    return seals >= 0 && seals & F_SEAL_SHRINK && fstat(fd, &st) == 0 &&
           st.st_size == sizeof(struct shared) && st.st_blksize == PAGE_BYTES;
}

struct channel_ring *channel_ring_take(int fd)
{
    struct channel_ring *r = is_ring(fd) ? ring_map(fd) : NULL;

    if (!r) {
        close(fd);
        return NULL;
    }
    channel_ring_passed(r);
    if (r->shared->magic != RING_MAGIC) {
        channel_ring_free(r);
        return NULL;
    }
    atomic_store(&r->shared->taken, 1);
    return r;
}

bool channel_ring_is_taken(const struct channel_ring *r)
{
    return atomic_load(&r->shared->taken);
}

void channel_ring_switch(struct channel_ring *r, uint64_t bytes)
{
    atomic_store(&r->shared->switched_at, bytes);
    atomic_store(&r->shared->switched, 1);
}

bool channel_ring_is_switched(const struct channel_ring *r, uint64_t bytes)
{
    return atomic_load(&r->shared->switched) && atomic_load(&r->shared->switched_at) == bytes;
}

void channel_ring_free(struct channel_ring *r)
{
    if (r) {
        munmap(r->shared, sizeof(struct shared));
        channel_ring_passed(r);
        g_free(r);
    }
}

/* ---- waiting */

static void wait_for_index(struct side *mine, struct side *other, uint32_t seen, int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};

    atomic_store(&mine->waits, 1);
    if (atomic_load(&other->index) == seen) {
        syscall(SYS_futex, &other->index, FUTEX_WAIT, seen, &t, NULL, 0);
    }
    atomic_store(&mine->waits, 0);
}

static void tell(const struct side *other, struct side *mine)
{
    if (atomic_load(&other->waits)) {
        syscall(SYS_futex, &mine->index, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

void channel_ring_wait_room(struct channel_ring *r, int64_t ns)
{
    wait_for_index(&r->shared->writer, &r->shared->reader, r->index - RING_BYTES, ns);
}

void channel_ring_wait_data(struct channel_ring *r, int64_t ns)
{
    wait_for_index(&r->shared->reader, &r->shared->writer, r->index, ns);
}

/* ---- bytes */

/* Copies to the ring or from it, from that index on. */
static void copy(struct shared *s, uint32_t index, void *data, size_t bytes, bool to_ring)
{
    uint32_t at = index % RING_BYTES;
    size_t first = MIN(bytes, RING_BYTES - at);

    for (unsigned i = 0; i < 2; i++) {
        uint8_t *in_ring = i ? s->data : s->data + at, *outside = (uint8_t *)data + (i ? first : 0);
        size_t n = i ? bytes - first : first;

        memcpy(to_ring ? in_ring : outside, to_ring ? outside : in_ring, n);
    }
}

/* Moves what there is room for, or what is there, and shows it to the other side piece by piece. */
static ssize_t move(struct channel_ring *r, const struct iovec *iov, int n, bool to_ring)
{
    struct side *mine = to_ring ? &r->shared->writer : &r->shared->reader;
    struct side *other = to_ring ? &r->shared->reader : &r->shared->writer;
    size_t done = 0, at = 0;

    while (n) {
        uint32_t apart = atomic_load(&other->index) - r->index; /* mine: behind, or ahead */
        uint32_t used = to_ring ? -apart : apart;
        size_t bytes = MIN(iov->iov_len - at, CHUNK_BYTES);

        if (used > RING_BYTES) {
            errno = EPROTO;
            return -1;
        }
        bytes = MIN(bytes, to_ring ? RING_BYTES - used : used);
        if (bytes) {
            copy(r->shared, r->index, (uint8_t *)iov->iov_base + at, bytes, to_ring);
            r->index += (uint32_t)bytes;
            atomic_store(&mine->index, r->index);
            done += bytes;
            at += bytes;
        } else if (at < iov->iov_len) {
            break;
        }
        if (at == iov->iov_len) {
            iov++;
            n--;
            at = 0;
        }
    }
    if (!done && n) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)done;
}

ssize_t channel_ring_write(struct channel_ring *r, const struct iovec *iov, int n)
{
    ssize_t done = move(r, iov, n, true);

    if (done > 0) {
        tell(&r->shared->reader, &r->shared->writer);
    }
    return done;
}

ssize_t channel_ring_read(struct channel_ring *r, const struct iovec *iov, int n)
{
    ssize_t done = move(r, iov, n, false);

    if (done > 0 && channel_ring_unread(r) <= RING_BYTES / 2) {
        tell(&r->shared->writer, &r->shared->reader);
    }
    return done;
}

size_t channel_ring_unread(const struct channel_ring *r)
{
    uint32_t written = atomic_load(&r->shared->writer.index);
    uint32_t unread = written - atomic_load(&r->shared->reader.index);

    return MIN(unread, RING_BYTES);
}
