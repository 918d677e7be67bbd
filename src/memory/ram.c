/*
 * Guest RAM: anonymous memory that the host fills with zero pages when they are touched, or a file.
 *
 * A guard page follows, so that an access that runs over the end of guest RAM faults in Godwit
 * rather than reading something else.
 */
#include "memory/ram.h"

#include "base/host-fault.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Large pages of the host spare it page walks, and faults; but firmware and small guests scatter a
 * few bytes over low memory, and shall not cost that much. */
#define HUGE_PAGE_SIZE     (2u << 20)
#define HUGE_PAGE_FROM     (16u << 20) /* offset in the block */

#define PREALLOC_UNIT      (64ull << 20) /* a thread's piece consists of these */
#define DIV_ROUND_UP(a, b) (((a) + (b)-1) / (b))

static GQuark ram_error_quark(void)
{
    return g_quark_from_static_string("godwit-memory");
}

/* Bytes of memory and swap that the host has; what is more could never be filled. */
static uint64_t host_memory_bytes(void)
{
    struct sysinfo info;

    if (sysinfo(&info) != 0) {
        return UINT64_MAX;
    }
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

static bool fail(const char *name, uint64_t size, const char *what, int err, GError **error)
{
    g_set_error(error, ram_error_quark(), err,
                "memory '%s': cannot set up %" G_GUINT64_FORMAT " bytes: %s%s", name, size, what,
                g_strerror(err));
    return false;
}

/* Address space for it with the guard page, and nothing in it yet; MAP_FAILED with errno. It starts
 * at a multiple of align. */
static void *reserve(uint64_t size, uint64_t align)
{
    uint64_t slack = align > GUEST_PAGE_SIZE ? align : 0, kept = size + GUEST_PAGE_SIZE;

    errno = ENOMEM;
    if (size > SIZE_MAX - GUEST_PAGE_SIZE - slack) {
        return MAP_FAILED;
    }
    uint8_t *p =
        mmap(NULL, kept + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || slack == 0) {
        return p;
    }
    uint64_t before = -(uintptr_t)p & (align - 1);
    if (before > 0) {
        munmap(p, before);
    }
    if (before < slack) {
        munmap(p + before + kept, slack - before);
    }
    return p + before;
}

/* -1 with errno. The size of a page is part of the flags (linux/memfd.h). */
static int memfd_open(const char *name, const struct ram_backing *backing)
{
    unsigned flags = MFD_CLOEXEC | (backing->hugetlb ? MFD_HUGETLB : 0) |
                     (backing->seal ? MFD_ALLOW_SEALING : 0);
    uint64_t bytes = backing->hugetlb ? backing->hugetlb_bytes : 0;

    if (bytes & (bytes - 1)) {
        errno = EINVAL;
        return -1;
    }
    return memfd_create(name,
                        flags | (bytes ? (unsigned)__builtin_ctzll(bytes) << MFD_HUGE_SHIFT : 0));
}

static int path_open(const char *path)
{
    g_autofree char *in_folder = NULL;
    int fd;

    if (!g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    in_folder = g_build_filename(path, "godwit-memory.XXXXXX", NULL);
    fd = g_mkstemp_full(in_folder, O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        unlink(in_folder);
    }
    return fd;
}

/* The file, as large as the memory: an empty one is made so, a smaller one is an error. */
static int file_open(const char *name, uint64_t size, const struct ram_backing *backing,
                     GError **error)
{
    int fd = backing->memfd ? memfd_open(name, backing) : path_open(backing->path);
    g_autofree char *place = g_strdup_printf("'%s': ", backing->memfd ? "memfd" : backing->path);
    struct stat st;

    if (fd < 0) {
        fail(name, size, place, errno, error);
        return -1;
    }
    if (fstat(fd, &st) < 0 || (st.st_size == 0 && ftruncate(fd, (off_t)size) < 0)) {
        fail(name, size, place, errno, error);
    } else if (!S_ISREG(st.st_mode)) {
        fail(name, size, place, EINVAL, error);
    } else if (st.st_size != 0 && (uint64_t)st.st_size < size) {
        g_set_error(error, ram_error_quark(), EINVAL,
                    "memory '%s': '%s' has %lld bytes, %" G_GUINT64_FORMAT
                    " are wanted (an empty or absent file is made as large)",
                    name, backing->path, (long long)st.st_size, size);
    } else if (backing->memfd && backing->seal &&
               fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        fail(name, size, "seal: ", errno, error);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

static bool populate(void *host, const char *name, uint64_t size, GError **error)
{
    if (madvise(host, size, MADV_POPULATE_WRITE) == 0) {
        return true;
    }
    /* Where a guest would get SIGBUS: the file system has no more room. */
    return fail(name, size, "prealloc: ", errno == EFAULT ? ENOSPC : errno, error);
}

struct share {
    uint8_t *host;
    uint64_t bytes;
    const char *name;
    GError *error;
    GThread *thread;
};

static gpointer populate_share(gpointer data)
{
    struct share *share = data;

    populate(share->host, share->name, share->bytes, &share->error);
    return NULL;
}

/* By several threads, a piece each: the host clears pages on as many processors. */
static bool populate_all(uint8_t *host, const char *name, uint64_t size, uint64_t threads,
                         GError **error)
{
    uint64_t units = DIV_ROUND_UP(size, PREALLOC_UNIT), n = CLAMP(threads, 1, MIN(units, 1024));
    g_autofree struct share *shares = g_new0(struct share, n);
    GError *first = NULL;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t from = MIN(units * i / n * PREALLOC_UNIT, size);
        uint64_t to = MIN(units * (i + 1) / n * PREALLOC_UNIT, size);

        shares[i] = (struct share){.host = host + from, .bytes = to - from, .name = name};
        if (i + 1 < n) {
            shares[i].thread = g_thread_try_new("prealloc", populate_share, &shares[i], NULL);
        }
        if (!shares[i].thread) {
            populate_share(&shares[i]);
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        if (shares[i].thread) {
            g_thread_join(shares[i].thread);
        }
        if (first) {
            g_clear_error(&shares[i].error);
        } else {
            first = shares[i].error;
        }
    }
    if (first) {
        g_propagate_error(error, first);
    }
    return !first;
}

/* mbind(2); the C library has none. Pages that are there already move. */
static bool bind_memory(void *host, uint64_t length, const struct ram_place *place, GError **error)
{
    G_STATIC_ASSERT(sizeof(unsigned long) == sizeof(place->nodes[0]));

    if (place->mode == MPOL_DEFAULT) {
        return true;
    }
    /* The kernel takes one bit less than it is told. */
    if (syscall(SYS_mbind, host, length, place->mode, place->nodes, RAM_HOST_NODES + 1ul,
                MPOL_MF_STRICT | MPOL_MF_MOVE) == 0) {
        return true;
    }
    g_set_error(error, ram_error_quark(), errno, "cannot bind memory to host NUMA nodes: %s",
                g_strerror(errno));
    return false;
}

/* What the host is to know of it. Commands that are started need none of it: a fork that copies its
 * page tables takes long, and then the guest faults on every page that it writes. */
static bool advise(void *host, const char *name, uint64_t size, const struct ram_backing *backing,
                   GError **error)
{
    madvise(host, size, MADV_DONTFORK);
    if (backing && backing->no_dump) {
        madvise(host, size, MADV_DONTDUMP);
    }
    if (backing && !backing->no_merge && !backing->share) {
        madvise(host, size, MADV_MERGEABLE); /* where the host can */
    }
    if (size > HUGE_PAGE_FROM) {
        madvise((uint8_t *)host + HUGE_PAGE_FROM, size - HUGE_PAGE_FROM, MADV_HUGEPAGE);
    }
    return !backing || (bind_memory(host, size, &backing->place, error) &&
                        (!backing->prealloc ||
                         populate_all(host, name, size, backing->prealloc_threads, error)));
}

/* Fills the reserved space; fd -1: with anonymous memory. */
static bool map(void *host, int fd, const char *name, uint64_t size,
                const struct ram_backing *backing, GError **error)
{
    int flags = MAP_FIXED | (backing && backing->share ? MAP_SHARED : MAP_PRIVATE) |
                (backing && backing->no_reserve ? MAP_NORESERVE : 0);

    if (mmap(host, size, PROT_READ | PROT_WRITE, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0) ==
        MAP_FAILED) {
        return fail(name, size, "", errno, error);
    }
    return advise(host, name, size, backing, error);
}

/* The memory in its place, from the file if there is one; NULL and *error. *page_bytes: of the
 * host's pages that it consists of. */
static void *map_new(int fd, const char *name, uint64_t size, const struct ram_backing *backing,
                     uint64_t *page_bytes, GError **error)
{
    struct statfs fs;
    uint64_t align = size > HUGE_PAGE_FROM ? HUGE_PAGE_SIZE : GUEST_PAGE_SIZE;
    bool huge = fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    void *host;

    *page_bytes = huge ? (uint64_t)fs.f_bsize : GUEST_PAGE_SIZE;
    align = huge ? *page_bytes : align;
    align = backing ? MAX(align, backing->align) : align;
    if (huge && size % (uint64_t)fs.f_bsize != 0) {
        g_set_error(error, ram_error_quark(), EINVAL,
                    "memory '%s': size %" G_GUINT64_FORMAT
                    " is not a multiple of its large pages' %" G_GUINT64_FORMAT,
                    name, size, (uint64_t)fs.f_bsize);
        return NULL;
    }
    host = reserve(size, align);
    if (host == MAP_FAILED) {
        fail(name, size, "", errno, error);
        return NULL;
    }
    if (!map(host, fd, name, size, backing, error)) {
        munmap(host, size + GUEST_PAGE_SIZE);
        return NULL;
    }
    return host;
}

struct ram_block *ram_block_new_backed(const char *name, uint64_t size,
                                       const struct ram_backing *backing, GError **error)
{
    bool in_file = backing && (backing->path || backing->memfd);
    uint64_t page_bytes;
    struct ram_block *block;
    int fd = -1;
    void *host;

    if (size == 0 || size % GUEST_PAGE_SIZE != 0) {
        g_set_error(error, ram_error_quark(), EINVAL,
                    "memory '%s': size %" G_GUINT64_FORMAT " is not a positive multiple of 4096",
                    name, size);
        return NULL;
    }
    if (!in_file && size > host_memory_bytes()) {
        fail(name, size, "", ENOMEM, error);
        return NULL;
    }
    if (in_file && (fd = file_open(name, size, backing, error)) < 0) {
        return NULL;
    }
    host = map_new(fd, name, size, backing, &page_bytes, error);
    if (fd >= 0) {
        close(fd);
    }
    if (!host) {
        return NULL;
    }
    block = g_new0(struct ram_block, 1);
    block->name = g_strdup(name);
    block->host = host;
    block->size = size;
    block->shared = backing && backing->share;
    block->discard_data = backing && backing->discard_data;
    block->anonymous = !backing || (!backing->path && !backing->memfd && !backing->share);
    block->align = in_file ? MAX(page_bytes, backing->align) : HUGE_PAGE_SIZE;
    block->forgets = page_bytes == GUEST_PAGE_SIZE &&
                     (!backing || (backing->memfd ? backing->share : !backing->path));
    g_rw_lock_init(&block->logs_lock);
    host_fault_register(host, size);
    return block;
}

struct ram_block *ram_block_new(const char *name, uint64_t size, GError **error)
{
    return ram_block_new_backed(name, size, NULL, error);
}

void ram_block_free(struct ram_block *block)
{
    if (!block) {
        return;
    }
    block->unwanted = block->n_logs > 0;
    if (block->unwanted) {
        return;
    }
    host_fault_unregister(block->host);
    free(block->accel_pages);
    g_rw_lock_clear(&block->logs_lock);
    if (block->discard_data) {
        madvise(block->host, block->size, MADV_REMOVE);
    }
    munmap(block->host, block->size + GUEST_PAGE_SIZE);
    g_free(block->name);
    g_free(block);
}

bool ram_block_map_file(struct ram_block *block, int fd, uint64_t offset, GError **error)
{
    if (block->shared) {
        g_set_error(error, ram_error_quark(), EINVAL,
                    "memory '%s' is shared: it cannot be a private copy of a file's", block->name);
        return false;
    }
    if (mmap(block->host, block->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
             (off_t)offset) == MAP_FAILED) {
        return fail(block->name, block->size, "", errno, error);
    }
    madvise(block->host, block->size, MADV_DONTFORK);
    block->anonymous = false;
    return true;
}

/* Linux, Documentation/admin-guide/mm/pagemap.rst: 64 bits a page. */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_BATCH   4096u

static bool read_pagemap(int fd, const uint8_t *host, uint64_t pages, uint64_t *entries)
{
    size_t bytes = pages * sizeof(uint64_t);

    return pread(fd, entries, bytes,
                 (off_t)((uintptr_t)host / GUEST_PAGE_SIZE * sizeof(uint64_t))) == (ssize_t)bytes;
}

void ram_block_touched(const struct ram_block *block, uint64_t offset, uint64_t pages,
                       uint64_t *bitmap)
{
    int fd = block->anonymous && sysconf(_SC_PAGESIZE) == GUEST_PAGE_SIZE
                 ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
                 : -1;
    g_autofree uint64_t *entries = g_new(uint64_t, PAGEMAP_BATCH);

    memset(bitmap, 0, (pages + 63) / 64 * sizeof(uint64_t));
    for (uint64_t at = 0; at < pages; at += PAGEMAP_BATCH) {
        uint64_t n = MIN(PAGEMAP_BATCH, pages - at);
        bool known =
            fd >= 0 && read_pagemap(fd, block->host + offset + at * GUEST_PAGE_SIZE, n, entries);

        for (uint64_t i = 0; i < n; i++) {
            if (!known || entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) {
                bitmap[(at + i) / 64] |= 1ull << ((at + i) % 64);
            }
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

bool ram_block_bind(struct ram_block *block, uint64_t offset, uint64_t length,
                    const struct ram_place *place, GError **error)
{
    return bind_memory(block->host + offset, length, place, error);
}

bool ram_block_populate(struct ram_block *block, uint64_t offset, uint64_t length, GError **error)
{
    return populate(block->host + offset, block->name, length, error);
}

void ram_block_discard(struct ram_block *block, uint64_t offset, uint64_t length)
{
    g_assert(offset % GUEST_PAGE_SIZE == 0 && length % GUEST_PAGE_SIZE == 0);
    g_assert(offset <= block->size && length <= block->size - offset);
    /* The first is for shared memory, which the second would leave to the other users. */
    if (madvise(block->host + offset, length, MADV_REMOVE) != 0) {
        madvise(block->host + offset, length, MADV_DONTNEED);
    }
}
