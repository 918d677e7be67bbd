/*
 * Guest RAM: a private anonymous mapping that the host fills with zero pages when they are touched.
 *
 * A guard page follows, so that an access that runs over the end of guest RAM faults in Godwit
 * rather than reading something else.
 */
#include "memory/ram.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

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

struct ram_block *ram_block_new(const char *name, uint64_t size, GError **error)
{
    struct ram_block *block;
    void *host = MAP_FAILED;

    if (size == 0 || size % GUEST_PAGE_SIZE != 0) {
        g_set_error(error, ram_error_quark(), EINVAL,
                    "memory '%s': size %" G_GUINT64_FORMAT " is not a positive multiple of 4096",
                    name, size);
        return NULL;
    }
    errno = ENOMEM;
    if (size <= host_memory_bytes() && size <= SIZE_MAX - GUEST_PAGE_SIZE) {
        host = mmap(NULL, size + GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (host == MAP_FAILED) {
        g_set_error(error, ram_error_quark(), errno,
                    "memory '%s': cannot set up %" G_GUINT64_FORMAT " bytes: %s", name, size,
                    g_strerror(errno));
        return NULL;
    }
    mprotect((uint8_t *)host + size, GUEST_PAGE_SIZE, PROT_NONE);

    block = g_new0(struct ram_block, 1);
    block->name = g_strdup(name);
    block->host = host;
    block->size = size;
    return block;
}

void ram_block_free(struct ram_block *block)
{
    if (!block) {
        return;
    }
    free(block->accel_pages);
    munmap(block->host, block->size + GUEST_PAGE_SIZE);
    g_free(block->name);
    g_free(block);
}
