/*
 * Tables of memory and logs of writes for the host's kernel: see vhost-memory.h.
 */
#include "devices/virtio/vhost-memory.h"

#include <string.h>

static bool is_devices_own(const struct device_env *env, const struct ram_block *ram)
{
    for (guint i = 0; env->ram && i < env->ram->len; i++) {
        if (((const struct device_ram *)env->ram->pdata[i])->block == ram) {
            return true;
        }
    }
    return false;
}

/* The whole pages of a range of the map; false: none that the kernel may use. */
static bool usable(const struct device_env *env, const struct flat_range *from,
                   struct vhost_range *to)
{
    const struct region *region = from->region;
    gpa_t start = (from->start + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;
    gpa_t end = (from->last + 1) & GUEST_PAGE_MASK;

    if (region->kind != REGION_RAM || start < from->start || end <= start ||
        is_devices_own(env, region->ram)) {
        return false;
    }
    *to = (struct vhost_range){.start = start,
                               .bytes = end - start,
                               .ram = region->ram,
                               .offset = region->ram_offset + from->offset + (start - from->start)};
    return to->offset % GUEST_PAGE_SIZE == 0;
}

struct vhost_table *vhost_table_new(const struct device_env *env, const struct flat_view *view)
{
    struct vhost_table *t = g_malloc(sizeof(*t) + view->n * sizeof(t->range[0]));

    t->n = 0;
    for (unsigned i = 0; i < view->n; i++) {
        struct vhost_range *last = t->n ? &t->range[t->n - 1] : NULL, range;

        if (!usable(env, &view->range[i], &range)) {
            continue;
        }
        if (last && last->ram == range.ram && last->start + last->bytes == range.start &&
            last->offset + last->bytes == range.offset) {
            last->bytes += range.bytes;
        } else {
            t->range[t->n++] = range;
        }
    }
    return t;
}

bool vhost_table_equal(const struct vhost_table *a, const struct vhost_table *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        const struct vhost_range *x = &a->range[i], *y = &b->range[i];

        if (x->start != y->start || x->bytes != y->bytes || x->ram != y->ram ||
            x->offset != y->offset) {
            return false;
        }
    }
    return true;
}

void *vhost_table_host(const struct vhost_table *table, gpa_t addr, uint64_t bytes)
{
    for (unsigned i = 0; i < table->n; i++) {
        const struct vhost_range *r = &table->range[i];

        if (addr >= r->start && addr - r->start < r->bytes) {
            return bytes <= r->bytes - (addr - r->start)
                       ? r->ram->host + r->offset + (addr - r->start)
                       : NULL;
        }
    }
    return NULL;
}

gpa_t vhost_table_end(const struct vhost_table *table)
{
    return table->n ? table->range[table->n - 1].start + table->range[table->n - 1].bytes : 0;
}

/* ---- logs */

struct vhost_log *vhost_log_new(const struct vhost_table *table)
{
    struct vhost_log *log = g_new(struct vhost_log, 1);

    log->pages = (vhost_table_end(table) / GUEST_PAGE_SIZE + 63) / 64 * 64;
    log->bits = g_try_malloc0_n(MAX(log->pages / 64, 1), sizeof(*log->bits));
    if (!log->bits) {
        g_free(log);
        return NULL;
    }
    return log;
}

void vhost_log_free(struct vhost_log *log)
{
    if (log) {
        g_free((void *)log->bits);
        g_free(log);
    }
}

/* The bits of a range within one word. */
static uint64_t word_mask(uint64_t word, uint64_t first, uint64_t last)
{
    uint64_t mask = UINT64_MAX;

    if (word == first / 64) {
        mask &= UINT64_MAX << (first % 64);
    }
    if (word == last / 64) {
        mask &= UINT64_MAX >> (63 - last % 64);
    }
    return mask;
}

static void tell_range(struct vhost_log *log, const struct vhost_range *r, struct address_space *as,
                       bool take)
{
    uint64_t first = r->start / GUEST_PAGE_SIZE, last = first + r->bytes / GUEST_PAGE_SIZE - 1;

    if (first >= log->pages) {
        return;
    }
    last = MIN(last, log->pages - 1);
    for (uint64_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = word_mask(word, first, last), bits;

        if (!(atomic_load_explicit(&log->bits[word], memory_order_relaxed) & mask)) {
            continue;
        }
        bits = mask &
               (take ? atomic_fetch_and(&log->bits[word], ~mask) : atomic_load(&log->bits[word]));
        for (; bits; bits &= bits - 1) {
            uint64_t page = word * 64 + (unsigned)__builtin_ctzll(bits) - first;

            address_space_block_written(as, r->ram, r->offset + page * GUEST_PAGE_SIZE,
                                        GUEST_PAGE_SIZE);
        }
    }
}

void vhost_log_tell(struct vhost_log *log, const struct vhost_table *table,
                    struct address_space *as, const struct ram_block *ram, bool take)
{
    for (unsigned i = 0; i < table->n; i++) {
        if (!ram || table->range[i].ram == ram) {
            tell_range(log, &table->range[i], as, take);
        }
    }
}
