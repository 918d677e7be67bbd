/*
 * Address spaces: a list of mappings, flattened into a sorted array on every change.
 *
 * Flattening cuts the space at every start and end of a mapping; in each piece the mapping that
 * comes first by (priority, time of mapping) wins, and neighbouring pieces of one mapping are
 * joined. That is quadratic in the number of mappings, of which a board has some dozens.
 *
 * A handler may change the map while an access is being carried out for it, so nothing here holds
 * on to a range across a call of a handler: multi-piece accesses look each piece up afresh.
 */
#include "memory/address-space.h"

#include "base/threads.h"
#include "memory/dirty.h"
#include <glib.h>
#include <string.h>

struct mapping {
    struct mapping *next; /* in order of precedence */
    struct region *region;
    gpa_t base, last;
    int priority;
};

/* ---- flattening */

static int cut_compare(gconstpointer a, gconstpointer b)
{
    gpa_t x = *(const gpa_t *)a, y = *(const gpa_t *)b;

    return x < y ? -1 : x > y;
}

/* Sorted addresses at which the winner may change: every start, and every address after an end. */
static GArray *mappings_cuts(const struct mapping *mappings)
{
    GArray *cuts = g_array_new(FALSE, FALSE, sizeof(gpa_t));

    for (const struct mapping *m = mappings; m; m = m->next) {
        gpa_t after = m->last + 1;

        g_array_append_val(cuts, m->base);
        if (after != 0) {
            g_array_append_val(cuts, after);
        }
    }
    g_array_sort(cuts, cut_compare);
    return cuts;
}

static const struct mapping *mappings_winner(const struct mapping *mappings, gpa_t addr)
{
    for (const struct mapping *m = mappings; m; m = m->next) {
        if (addr >= m->base && addr <= m->last) {
            return m;
        }
    }
    return NULL;
}

static struct flat_view *flat_view_new(const struct mapping *mappings)
{
    GArray *cuts = mappings_cuts(mappings);
    struct flat_view *view = g_malloc0(sizeof(*view) + cuts->len * sizeof(view->range[0]));
    const struct mapping *previous = NULL;

    for (guint i = 0; i < cuts->len; i++) {
        gpa_t start = g_array_index(cuts, gpa_t, i), last;
        const struct mapping *m;

        if (i + 1 < cuts->len && g_array_index(cuts, gpa_t, i + 1) == start) {
            continue;
        }
        m = mappings_winner(mappings, start);
        if (!m) {
            previous = NULL;
            continue;
        }
        last = i + 1 < cuts->len ? g_array_index(cuts, gpa_t, i + 1) - 1 : m->last;
        if (m == previous) {
            view->range[view->n - 1].last = last;
            continue;
        }
        view->range[view->n++] = (struct flat_range){
            .start = start, .last = last, .region = m->region, .offset = start - m->base};
        previous = m;
    }
    g_array_unref(cuts);
    return view;
}

static bool flat_view_equal(const struct flat_view *a, const struct flat_view *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        const struct flat_range *x = &a->range[i], *y = &b->range[i];

        if (x->start != y->start || x->last != y->last || x->region != y->region ||
            x->offset != y->offset) {
            return false;
        }
    }
    return true;
}

static struct flat_view *space_view(struct address_space *as)
{
    return atomic_load_explicit(&as->view, memory_order_acquire);
}

static void space_park(struct address_space *as)
{
    if (as->guard.park) {
        as->guard.park(as->guard.opaque);
    }
    pthread_rwlock_wrlock(&as->readers);
}

static void space_unpark(struct address_space *as)
{
    pthread_rwlock_unlock(&as->readers);
    if (as->guard.unpark) {
        as->guard.unpark(as->guard.opaque);
    }
}

static void space_update(struct address_space *as)
{
    struct flat_view *old = space_view(as), *view = flat_view_new(as->mappings);

    if (flat_view_equal(old, view)) {
        g_free(view);
        return;
    }
    space_park(as);
    atomic_store_explicit(&as->view, view, memory_order_release);
    atomic_fetch_add(&as->generation, 1);
    for (struct map_listener *l = as->listeners; l; l = l->next) {
        if (l->changed) {
            l->changed(l, view);
        }
    }
    g_free(old);
    space_unpark(as);
}

/* ---- mapping */

struct address_space *address_space_new(const char *name, gpa_t last)
{
    struct address_space *as = g_new0(struct address_space, 1);

    as->name = name;
    as->last = last;
    atomic_init(&as->view, flat_view_new(NULL));
    as->doorbells = g_array_new(FALSE, FALSE, sizeof(struct doorbell));
    pthread_rwlock_init(&as->readers, NULL);
    return as;
}

void address_space_free(struct address_space *as)
{
    if (!as) {
        return;
    }
    while (as->mappings) {
        struct mapping *m = as->mappings;

        as->mappings = m->next;
        g_free(m);
    }
    pthread_rwlock_destroy(&as->readers);
    g_array_unref(as->doorbells);
    g_free(space_view(as));
    g_free(as);
}

void address_space_add_listener(struct address_space *as, struct map_listener *listener)
{
    space_park(as);
    listener->next = as->listeners;
    as->listeners = listener;
    if (listener->changed) {
        listener->changed(listener, space_view(as));
    }
    space_unpark(as);
}

void address_space_remove_listener(struct address_space *as, struct map_listener *listener)
{
    space_park(as);
    for (struct map_listener **l = &as->listeners; *l; l = &(*l)->next) {
        if (*l == listener) {
            *l = listener->next;
            break;
        }
    }
    space_unpark(as);
}

void address_space_begin(struct address_space *as)
{
    as->transaction++;
}

void address_space_commit(struct address_space *as)
{
    g_assert(as->transaction > 0);
    if (--as->transaction == 0 && as->dirty) {
        as->dirty = false;
        space_update(as);
    }
}

void address_space_map(struct address_space *as, gpa_t base, struct region *region, int priority)
{
    struct mapping *m, **at = &as->mappings;

    if (region->size == 0 || base > as->last) {
        return; /* nothing of it can be reached */
    }
    m = g_new0(struct mapping, 1);
    m->region = region;
    m->base = base;
    m->priority = priority;
    m->last = region->size - 1 > as->last - base ? as->last : base + region->size - 1;

    address_space_begin(as);
    while (*at && (*at)->priority > priority) {
        at = &(*at)->next;
    }
    m->next = *at;
    *at = m;
    as->dirty = true;
    address_space_commit(as);
}

void address_space_unmap(struct address_space *as, struct region *region)
{
    address_space_begin(as);
    for (struct mapping **at = &as->mappings; *at;) {
        struct mapping *m = *at;

        if (m->region == region) {
            *at = m->next;
            g_free(m);
            as->dirty = true;
        } else {
            at = &m->next;
        }
    }
    address_space_commit(as);
}

static bool index_fits(const struct flat_view *view, unsigned i, gpa_t addr)
{
    return i <= view->n && (i == 0 || view->range[i - 1].last < addr) &&
           (i == view->n || view->range[i].last >= addr);
}

/* Index of the first range that does not end before addr. */
static unsigned view_index(const struct flat_view *view, gpa_t addr, unsigned *near)
{
    unsigned low = 0, high = view->n;

    if (near && index_fits(view, *near, addr)) {
        return *near;
    }
    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (view->range[mid].last < addr) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (near) {
        *near = low;
    }
    return low;
}

/* A range, or a hole between them. */
struct span {
    const struct flat_range *range; /* NULL: nothing is mapped */
    gpa_t last;
};

static struct span span_at(struct address_space *as, gpa_t addr, unsigned *near)
{
    const struct flat_view *view = space_view(as);
    unsigned i = view_index(view, addr, near);
    const struct flat_range *range = i < view->n ? &view->range[i] : NULL;

    if (!range) {
        return (struct span){NULL, UINT64_MAX};
    }
    return range->start <= addr ? (struct span){range, range->last}
                                : (struct span){NULL, range->start - 1};
}

/* Bytes from addr to the end of the span, at most length. */
static uint64_t span_bytes(const struct span *span, gpa_t addr, uint64_t length)
{
    return length - 1 > span->last - addr ? span->last - addr + 1 : length;
}

const struct flat_range *address_space_find(struct address_space *as, gpa_t addr)
{
    return span_at(as, addr, NULL).range;
}

void address_space_reader_begin(struct address_space *as)
{
    pthread_rwlock_rdlock(&as->readers);
}

void address_space_reader_end(struct address_space *as)
{
    pthread_rwlock_unlock(&as->readers);
}

bool address_space_write_unlocked(struct address_space *as, gpa_t addr, uint64_t value,
                                  unsigned size, unsigned *near)
{
    struct span span = span_at(as, addr, near);
    const struct region *region = span.range ? span.range->region : NULL;

    if (span.last - addr < size - 1) {
        return false;
    }
    return !region ||
           (region->kind == REGION_IO && region->ops->write_unlocked &&
            region->ops->write_unlocked(
                region->opaque, span.range->offset + (addr - span.range->start), value, size));
}

bool address_space_is_hole(struct address_space *as, gpa_t addr, unsigned size, unsigned *near)
{
    struct span span = span_at(as, addr, near);

    return !span.range && span.last - addr >= size - 1;
}

/* ---- doorbells */

static void doorbells_tell(struct address_space *as)
{
    for (struct map_listener *l = as->listeners; l; l = l->next) {
        if (l->doorbells_changed) {
            l->doorbells_changed(l);
        }
    }
}

void address_space_add_doorbell(struct address_space *as, const struct doorbell *doorbell)
{
    g_array_append_vals(as->doorbells, doorbell, 1);
    doorbells_tell(as);
}

void address_space_remove_doorbell(struct address_space *as, const struct region *region, int fd)
{
    for (guint i = as->doorbells->len; i-- > 0;) {
        const struct doorbell *d = &g_array_index(as->doorbells, struct doorbell, i);

        if (d->region == region && d->fd == fd) {
            g_array_remove_index(as->doorbells, i);
            doorbells_tell(as);
        }
    }
}

/* ---- accesses of device size */

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

/* The largest power of two that is at most n (n >= 1). */
static unsigned power_of_two(uint64_t n)
{
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

static unsigned ops_min(const struct region_ops *ops)
{
    return ops->min_size ? ops->min_size : 1;
}

static unsigned ops_max(const struct region_ops *ops)
{
    return ops->max_size ? ops->max_size : 8;
}

/* One call of a handler: how the bytes [offset, offset + n) are got from it. */
struct io_piece {
    uint64_t offset; /* of the handler's access */
    unsigned size;   /* of the handler's access */
    unsigned shift;  /* bits from its value to the first wanted byte */
    unsigned n;      /* wanted bytes that it serves */
};

static struct io_piece io_piece_of(const struct region_ops *ops, uint64_t offset, unsigned wanted)
{
    unsigned min = ops_min(ops);
    struct io_piece p = {.offset = offset, .size = power_of_two(MIN(wanted, ops_max(ops)))};

    if (p.size < min) {
        p.offset = offset & ~(uint64_t)(min - 1);
        p.size = min;
        p.shift = 8 * (unsigned)(offset - p.offset);
        p.n = MIN(wanted, min - (unsigned)(offset - p.offset));
    } else {
        p.n = p.size;
    }
    return p;
}

static uint64_t ram_load(const uint8_t *host, unsigned size)
{
    uint64_t value = 0;

    /* Constant sizes become single loads, so that an aligned access is not torn. */
    switch (size) {
    case 1:
        return *host;
    case 2:
        memcpy(&value, host, 2);
        return value;
    case 4:
        memcpy(&value, host, 4);
        return value;
    case 8:
        memcpy(&value, host, 8);
        return value;
    default:
        memcpy(&value, host, size);
        return value;
    }
}

static void ram_store(uint8_t *host, uint64_t value, unsigned size)
{
    switch (size) {
    case 1:
        *host = (uint8_t)value;
        break;
    case 2:
        memcpy(host, &value, 2);
        break;
    case 4:
        memcpy(host, &value, 4);
        break;
    case 8:
        memcpy(host, &value, 8);
        break;
    default:
        memcpy(host, &value, size);
        break;
    }
}

uint64_t address_space_io_read(struct address_space *as, gpa_t addr, unsigned size)
{
    unsigned near = 0;

    return address_space_io_read_near(as, addr, size, &near);
}

void address_space_io_write(struct address_space *as, gpa_t addr, uint64_t value, unsigned size)
{
    unsigned near = 0;

    address_space_io_write_near(as, addr, value, size, &near);
}

uint64_t address_space_io_read_near(struct address_space *as, gpa_t addr, unsigned size,
                                    unsigned *near)
{
    uint64_t value = 0;
    unsigned done = 0;

    while (done < size) {
        gpa_t at = addr + done;
        struct span span = span_at(as, at, near);
        const struct flat_range *range = span.range;
        unsigned n = (unsigned)span_bytes(&span, at, size - done);
        uint64_t part = UINT64_MAX, offset;

        if (range) {
            struct region *region = range->region;

            offset = range->offset + (at - range->start);
            if (region->kind != REGION_IO) {
                part = ram_load(region->ram->host + region->ram_offset + offset, n);
            } else if (region->ops->read) {
                struct io_piece p = io_piece_of(region->ops, offset, n);
                struct thread_doing outer;

                thread_doing_begin(&outer, "device read", region->name);
                part = region->ops->read(region->opaque, p.offset, p.size) >> p.shift;
                thread_doing_end(&outer);
                n = p.n;
            }
        }
        value |= (part & size_mask(n)) << (8 * done);
        done += n;
    }
    return value;
}

void address_space_block_written(struct address_space *as, struct ram_block *block, uint64_t offset,
                                 uint64_t length)
{
    dirty_mark(block, offset, length);
    for (struct map_listener *l = as->listeners; l; l = l->next) {
        if (l->ram_written) {
            l->ram_written(l, block, offset, length);
        }
    }
}

static void notify_ram_written(struct address_space *as, struct region *region, uint64_t offset,
                               uint64_t length)
{
    address_space_block_written(as, region->ram, region->ram_offset + offset, length);
}

void address_space_io_write_near(struct address_space *as, gpa_t addr, uint64_t value,
                                 unsigned size, unsigned *near)
{
    unsigned done = 0;

    while (done < size) {
        gpa_t at = addr + done;
        struct span span = span_at(as, at, near);
        const struct flat_range *range = span.range;
        unsigned n = (unsigned)span_bytes(&span, at, size - done);
        uint64_t part = value >> (8 * done), offset;

        if (range) {
            struct region *region = range->region;

            offset = range->offset + (at - range->start);
            if (region->kind == REGION_RAM) {
                ram_store(region->ram->host + region->ram_offset + offset, part, n);
                notify_ram_written(as, region, offset, n);
            } else if (region->ops && region->ops->write) {
                struct io_piece p = io_piece_of(region->ops, offset, n);
                struct thread_doing outer;

                thread_doing_begin(&outer, "device write", region->name);
                region->ops->write(region->opaque, p.offset, (part & size_mask(p.n)) << p.shift,
                                   p.size);
                thread_doing_end(&outer);
                n = p.n;
            }
        }
        done += n;
    }
}

/* ---- DMA and loaders */

bool address_space_read(struct address_space *as, gpa_t addr, void *buf, uint64_t length)
{
    uint8_t *out = buf;
    bool ok = true;

    while (length) {
        struct span span = span_at(as, addr, NULL);
        const struct flat_range *range = span.range;
        uint64_t n = span_bytes(&span, addr, length);

        if (range && range->region->kind != REGION_IO) {
            uint64_t offset = range->offset + (addr - range->start);

            memcpy(out, range->region->ram->host + range->region->ram_offset + offset, n);
        } else {
            memset(out, 0xff, n);
            ok = false;
        }
        out += n;
        addr += n;
        length -= n;
    }
    return ok;
}

static bool space_write(struct address_space *as, gpa_t addr, const void *buf, uint64_t length,
                        bool force)
{
    const uint8_t *in = buf;
    bool ok = true;

    while (length) {
        struct span span = span_at(as, addr, NULL);
        const struct flat_range *range = span.range;
        uint64_t n = span_bytes(&span, addr, length);

        if (range &&
            (range->region->kind == REGION_RAM || (force && range->region->kind == REGION_ROM))) {
            uint64_t offset = range->offset + (addr - range->start);

            memcpy(range->region->ram->host + range->region->ram_offset + offset, in, n);
            notify_ram_written(as, range->region, offset, n);
        } else {
            ok = false;
        }
        in += n;
        addr += n;
        length -= n;
    }
    return ok;
}

bool address_space_write(struct address_space *as, gpa_t addr, const void *buf, uint64_t length)
{
    return space_write(as, addr, buf, length, false);
}

bool address_space_write_rom(struct address_space *as, gpa_t addr, const void *buf, uint64_t length)
{
    return space_write(as, addr, buf, length, true);
}

void address_space_discard(struct address_space *as, gpa_t addr, uint64_t length)
{
    while (length) {
        struct span span = span_at(as, addr, NULL);
        const struct flat_range *range = span.range;
        uint64_t n = span_bytes(&span, addr, length);

        if (range && range->region->kind == REGION_RAM) {
            struct region *region = range->region;
            uint64_t offset = range->offset + (addr - range->start);
            uint64_t start = (region->ram_offset + offset + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;
            uint64_t end = (region->ram_offset + offset + n) & GUEST_PAGE_MASK;

            if (start < end) {
                ram_block_discard(region->ram, start, end - start);
                notify_ram_written(as, region, start - region->ram_offset, end - start);
            }
        }
        addr += n;
        length -= n;
    }
}

void *address_space_ram_ptr(struct address_space *as, gpa_t addr, uint64_t length)
{
    const struct flat_range *range = address_space_find(as, addr);

    if (!range || range->region->kind != REGION_RAM || length == 0 ||
        length - 1 > range->last - addr) {
        return NULL;
    }
    return range->region->ram->host + range->region->ram_offset + range->offset +
           (addr - range->start);
}

void *address_space_ram_piece(struct address_space *as, gpa_t addr, uint64_t length, uint64_t *n)
{
    const struct flat_range *range = address_space_find(as, addr);

    if (!range || range->region->kind != REGION_RAM || length == 0) {
        return NULL;
    }
    *n = length - 1 > range->last - addr ? range->last - addr + 1 : length;
    return range->region->ram->host + range->region->ram_offset + range->offset +
           (addr - range->start);
}

void address_space_ram_written(struct address_space *as, gpa_t addr, uint64_t length)
{
    while (length) {
        struct span span = span_at(as, addr, NULL);
        const struct flat_range *range = span.range;
        uint64_t n = span_bytes(&span, addr, length);

        if (range && range->region->kind == REGION_RAM) {
            notify_ram_written(as, range->region, range->offset + (addr - range->start), n);
        }
        addr += n;
        length -= n;
    }
}
