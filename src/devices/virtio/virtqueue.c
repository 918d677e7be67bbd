/*
 * Virtqueues: split rings (VIRTIO 1.2, 2.7) and packed rings (2.8).
 *
 * The guest may change its memory at any moment: a descriptor is copied once and only the copy is
 * looked at. Everything that comes out of a ring is checked before use; what breaks a rule ends the
 * device's work (virtio_break).
 */
#include "devices/virtio/virtio.h"

#include <string.h>

#define DESC_NEXT          1
#define DESC_WRITE         2
#define DESC_INDIRECT      4
#define DESC_PACKED_AVAIL  0x80
#define DESC_PACKED_USED   0x8000
#define DESC_BYTES         16u

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

#define EVENT_ENABLE       0
#define EVENT_DISABLE      1
#define EVENT_DESC         2

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next; /* next; packed: the buffer's id */
};

/* ---- little-endian memory that the guest shares */

static uint16_t load16(const uint8_t *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static void store16(uint8_t *p, uint16_t value)
{
    __atomic_store_n((uint16_t *)p, GUINT16_TO_LE(value), __ATOMIC_RELEASE);
}

static void store32(uint8_t *p, uint32_t value)
{
    *(uint32_t *)p = GUINT32_TO_LE(value);
}

static struct desc desc_parse(const uint8_t bytes[DESC_BYTES], bool packed)
{
    struct desc d;
    uint64_t addr;
    uint32_t len;
    uint16_t a, b;

    memcpy(&addr, bytes, 8);
    memcpy(&len, bytes + 8, 4);
    memcpy(&a, bytes + 12, 2);
    memcpy(&b, bytes + 14, 2);
    d.addr = GUINT64_FROM_LE(addr);
    d.len = GUINT32_FROM_LE(len);
    d.flags = GUINT16_FROM_LE(packed ? b : a);
    d.next = GUINT16_FROM_LE(packed ? a : b);
    return d;
}

/* ---- where the ring is */

static bool is_packed(const struct virtqueue *vq)
{
    return virtio_has(vq->virtio, VIRTIO_F_RING_PACKED);
}

static bool has_events(const struct virtqueue *vq)
{
    return virtio_has(vq->virtio, VIRTIO_F_EVENT_IDX);
}

static uint64_t driver_bytes(const struct virtqueue *vq)
{
    return is_packed(vq) ? 4 : 4 + 2ull * vq->s->size + (has_events(vq) ? 2 : 0);
}

static uint64_t device_bytes(const struct virtqueue *vq)
{
    return is_packed(vq) ? 4 : 4 + 8ull * vq->s->size + (has_events(vq) ? 2 : 0);
}

/* Host addresses of the ring, looked up again when the memory map has changed. */
static bool ring_map(struct virtqueue *vq)
{
    struct address_space *mem = vq->virtio->mem;
    unsigned view = address_space_generation(mem);
    const struct virtqueue_state *s = vq->s;

    if (vq->view == view && vq->desc) {
        return true;
    }
    vq->desc = address_space_ram_ptr(mem, s->desc, (uint64_t)DESC_BYTES * s->size);
    vq->driver = address_space_ram_ptr(mem, s->driver, driver_bytes(vq));
    vq->device = address_space_ram_ptr(mem, s->device, device_bytes(vq));
    vq->view = view;
    if (!vq->desc || !vq->driver || !vq->device) {
        vq->desc = NULL;
        virtio_break(vq->virtio, "queue %u is not in RAM", vq->index);
        return false;
    }
    /* Alignment is the driver's duty (2.7: 16, 2, 4); the loads above rely on it. */
    if (((uintptr_t)vq->desc & 15) || ((uintptr_t)vq->driver & 1) || ((uintptr_t)vq->device & 3)) {
        vq->desc = NULL;
        virtio_break(vq->virtio, "queue %u is not aligned", vq->index);
        return false;
    }
    return true;
}

static bool can_work(struct virtqueue *vq)
{
    return vq->running && !vq->virtio->paused && virtio_is_running(vq->virtio) &&
           atomic_load_explicit(&vq->virtio->master, memory_order_relaxed) && ring_map(vq);
}

static void ring_written(struct virtqueue *vq, gpa_t addr, uint64_t bytes)
{
    address_space_ram_written(vq->virtio->mem, addr, bytes);
}

/* ---- gathering a chain */

struct chain {
    struct virtqueue *vq;
    unsigned n_out, n_in, n_desc;
    uint64_t out_bytes, in_bytes;
    struct iovec iov[VIRTIO_MAX_PIECES];
    gpa_t addr[VIRTIO_MAX_PIECES];
};

/* Splits a descriptor's buffer where the memory map does. */
static bool chain_add_buffer(struct chain *c, const struct desc *d)
{
    struct virtio *v = c->vq->virtio;
    bool in = d->flags & DESC_WRITE;
    uint64_t left = d->len, addr = d->addr;

    if (d->len == 0) {
        virtio_break(v, "queue %u: a buffer of no bytes", c->vq->index);
        return false;
    }
    if (!in && c->n_in) {
        virtio_break(v, "queue %u: a buffer to read after one to write", c->vq->index);
        return false;
    }
    while (left) {
        uint64_t n;
        void *host = address_space_ram_piece(v->mem, addr, left, &n);

        if (!host || c->n_out + c->n_in == VIRTIO_MAX_PIECES) {
            virtio_break(v, "queue %u: %s at 0x%" G_GINT64_MODIFIER "x", c->vq->index,
                         host ? "too many pieces" : "no RAM", addr);
            return false;
        }
        c->iov[c->n_out + c->n_in] = (struct iovec){.iov_base = host, .iov_len = n};
        c->addr[c->n_out + c->n_in] = addr;
        *(in ? &c->n_in : &c->n_out) += 1;
        *(in ? &c->in_bytes : &c->out_bytes) += n;
        addr += n;
        left -= n;
    }
    return true;
}

static bool chain_count(struct chain *c)
{
    if (++c->n_desc > VIRTIO_QUEUE_MAX_SIZE) {
        virtio_break(c->vq->virtio, "queue %u: a chain without end", c->vq->index);
        return false;
    }
    return true;
}

/* The descriptors of an indirect table: linked (split) or one after the other (packed). */
static bool chain_add_table(struct chain *c, const struct desc *table, bool packed)
{
    struct virtio *v = c->vq->virtio;
    uint32_t n = table->len / DESC_BYTES, i = 0;
    struct desc d;

    if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC) || table->len == 0 || table->len % DESC_BYTES) {
        virtio_break(v, "queue %u: a bad indirect table of %u bytes", c->vq->index, table->len);
        return false;
    }
    do {
        uint8_t bytes[DESC_BYTES];

        if (i >= n || !chain_count(c)) {
            if (i >= n) {
                virtio_break(v, "queue %u: descriptor %u of an indirect table of %u", c->vq->index,
                             i, n);
            }
            return false;
        }
        if (!address_space_read(v->mem, table->addr + (uint64_t)i * DESC_BYTES, bytes,
                                DESC_BYTES)) {
            virtio_break(v, "queue %u: an indirect table outside of RAM", c->vq->index);
            return false;
        }
        d = desc_parse(bytes, packed);
        if (d.flags & DESC_INDIRECT) {
            virtio_break(v, "queue %u: an indirect table in another", c->vq->index);
            return false;
        }
        if (!chain_add_buffer(c, &d)) {
            return false;
        }
        i = packed ? i + 1 : d.next;
    } while (packed ? i < n : d.flags & DESC_NEXT);
    return true;
}

/* One descriptor of the ring itself; an indirect one must be the chain's last. */
static bool chain_add(struct chain *c, const struct desc *d, bool packed)
{
    if (!chain_count(c)) {
        return false;
    }
    if (!(d->flags & DESC_INDIRECT)) {
        return chain_add_buffer(c, d);
    }
    if (d->flags & DESC_NEXT) {
        virtio_break(c->vq->virtio, "queue %u: an indirect table with a successor", c->vq->index);
        return false;
    }
    return chain_add_table(c, d, packed);
}

static struct virtqueue_element *chain_element(const struct chain *c)
{
    unsigned n = c->n_out + c->n_in;
    size_t head = (sizeof(struct virtqueue_element) + 15) & ~15ul;
    struct virtqueue_element *e = g_malloc(head + n * (sizeof(struct iovec) + sizeof(gpa_t)));

    *e = (struct virtqueue_element){
        .generation = c->vq->generation,
        .n_out = c->n_out,
        .n_in = c->n_in,
        .out_bytes = c->out_bytes,
        .in_bytes = c->in_bytes,
    };
    e->out = (struct iovec *)((uint8_t *)e + head);
    e->in = e->out + c->n_out;
    e->out_addr = (gpa_t *)(e->out + n);
    e->in_addr = e->out_addr + c->n_out;
    memcpy(e->out, c->iov, n * sizeof(struct iovec));
    memcpy(e->out_addr, c->addr, n * sizeof(gpa_t));
    return e;
}

/* ---- split rings */

static struct virtqueue_element *split_pop(struct virtqueue *vq)
{
    struct virtqueue_state *s = vq->s;
    uint16_t available = (uint16_t)(load16(vq->driver + 2) - s->last_avail), head, i;
    struct chain c;
    struct virtqueue_element *e;
    struct desc d;

    if (available == 0) {
        return NULL;
    }
    if (available > s->size) {
        virtio_break(vq->virtio, "queue %u: available index jumped by %u", vq->index, available);
        return NULL;
    }
    head = load16(vq->driver + 4 + 2 * (s->last_avail & (s->size - 1)));
    c.vq = vq;
    c.n_out = c.n_in = c.n_desc = 0;
    c.out_bytes = c.in_bytes = 0;
    i = head;
    do {
        uint8_t bytes[DESC_BYTES];

        if (i >= s->size) {
            virtio_break(vq->virtio, "queue %u: descriptor %u of %u", vq->index, i, s->size);
            return NULL;
        }
        memcpy(bytes, vq->desc + (size_t)i * DESC_BYTES, DESC_BYTES);
        d = desc_parse(bytes, false);
        if (!chain_add(&c, &d, false)) {
            return NULL;
        }
        i = d.next;
    } while (d.flags & DESC_NEXT);
    e = chain_element(&c);
    e->head = head;
    e->n_descriptors = 1;
    s->last_avail++;
    return e;
}

static void split_push(struct virtqueue *vq, struct virtqueue_element *const *elements,
                       const uint64_t *written, unsigned n)
{
    struct virtqueue_state *s = vq->s;

    for (unsigned i = 0; i < n; i++) {
        uint32_t at = 4 + 8 * (uint32_t)(s->used & (s->size - 1));

        store32(vq->device + at, elements[i]->head);
        store32(vq->device + at + 4, (uint32_t)written[i]);
        ring_written(vq, s->device + at, 8);
        s->used++;
        if (s->signalled_valid && (uint16_t)(s->used - s->signalled) == 0) {
            s->signalled_valid = false; /* went once around: the comparison would lie */
        }
    }
    store16(vq->device + 2, s->used);
    ring_written(vq, s->device + 2, 2);
}

static bool split_wants_interrupt(struct virtqueue *vq)
{
    struct virtqueue_state *s = vq->s;
    uint16_t old = s->signalled, event;
    bool valid = s->signalled_valid;

    if (virtio_has(vq->virtio, VIRTIO_F_NOTIFY_ON_EMPTY) &&
        load16(vq->driver + 2) == s->last_avail && s->used == s->last_avail) {
        return true;
    }
    if (!has_events(vq)) {
        return !(load16(vq->driver) & AVAIL_NO_INTERRUPT);
    }
    event = load16(vq->driver + 4 + 2 * s->size);
    s->signalled = s->used;
    s->signalled_valid = true;
    return !valid || (uint16_t)(s->used - event - 1) < (uint16_t)(s->used - old);
}

static void split_set_doorbell(struct virtqueue *vq, bool wanted)
{
    const struct virtqueue_state *s = vq->s;
    uint32_t event_at = 4 + 8 * (uint32_t)s->size;

    if (has_events(vq)) {
        if (wanted) {
            store16(vq->device + event_at, s->last_avail);
            ring_written(vq, s->device + event_at, 2);
        }
    } else {
        store16(vq->device, wanted ? 0 : USED_NO_NOTIFY);
        ring_written(vq, s->device, 2);
    }
}

/* ---- packed rings */

static bool packed_is_available(const struct virtqueue *vq)
{
    const struct virtqueue_state *s = vq->s;
    uint16_t flags = load16(vq->desc + (size_t)s->last_avail * DESC_BYTES + 14);

    return !!(flags & DESC_PACKED_AVAIL) == s->avail_wrap &&
           !!(flags & DESC_PACKED_USED) != s->avail_wrap;
}

static struct virtqueue_element *packed_pop(struct virtqueue *vq)
{
    struct virtqueue_state *s = vq->s;
    struct virtqueue_element *e;
    unsigned n = 0, at = s->last_avail;
    struct chain c;
    struct desc d;

    if (!packed_is_available(vq)) {
        return NULL;
    }
    c.vq = vq;
    c.n_out = c.n_in = c.n_desc = 0;
    c.out_bytes = c.in_bytes = 0;
    do {
        uint8_t bytes[DESC_BYTES];

        if (n == s->size) {
            virtio_break(vq->virtio, "queue %u: a chain without end", vq->index);
            return NULL;
        }
        memcpy(bytes, vq->desc + (size_t)at * DESC_BYTES, DESC_BYTES);
        d = desc_parse(bytes, true);
        if (!chain_add(&c, &d, true)) {
            return NULL;
        }
        n++;
        at = at + 1 == s->size ? 0 : at + 1;
    } while (d.flags & DESC_NEXT);
    e = chain_element(&c);
    e->head = d.next;
    e->n_descriptors = (uint16_t)n;
    s->last_avail = (uint16_t)(s->last_avail + n);
    if (s->last_avail >= s->size) {
        s->last_avail = (uint16_t)(s->last_avail - s->size);
        s->avail_wrap = !s->avail_wrap;
    }
    return e;
}

static uint16_t packed_used_flags(const struct virtqueue *vq, const struct virtqueue_element *e)
{
    uint16_t flags = vq->s->used_wrap ? DESC_PACKED_AVAIL | DESC_PACKED_USED : 0;

    return e->n_in ? flags | DESC_WRITE : flags;
}

/* The first one's flags come last: what is behind it the driver does not look at before. */
static void packed_push(struct virtqueue *vq, struct virtqueue_element *const *elements,
                        const uint64_t *written, unsigned n)
{
    struct virtqueue_state *s = vq->s;
    uint8_t *first = vq->desc + (size_t)s->used * DESC_BYTES;
    uint16_t first_flags = packed_used_flags(vq, elements[0]);
    uint64_t first_at = s->desc + (uint64_t)s->used * DESC_BYTES;

    for (unsigned i = 0; i < n; i++) {
        uint8_t *desc = vq->desc + (size_t)s->used * DESC_BYTES;

        store32(desc + 8, (uint32_t)written[i]);
        *(uint16_t *)(desc + 12) = GUINT16_TO_LE(elements[i]->head);
        if (i) {
            store16(desc + 14, packed_used_flags(vq, elements[i]));
            ring_written(vq, s->desc + (uint64_t)s->used * DESC_BYTES, DESC_BYTES);
        }
        s->used = (uint16_t)(s->used + elements[i]->n_descriptors);
        if (s->used >= s->size) {
            s->used = (uint16_t)(s->used - s->size);
            s->used_wrap = !s->used_wrap;
        }
    }
    store16(first + 14, first_flags);
    ring_written(vq, first_at, DESC_BYTES);
}

/* 2.8.10: an event offset and wrap bit, compared as in a ring of twice the size. */
static bool packed_wants_interrupt(struct virtqueue *vq)
{
    struct virtqueue_state *s = vq->s;
    uint16_t flags = load16(vq->driver + 2) & 3, at = load16(vq->driver);
    uint16_t used = s->used, old = s->signalled, event = at & 0x7fff;
    bool valid = s->signalled_valid;

    s->signalled = used;
    s->signalled_valid = true;
    if (flags != EVENT_DESC || !has_events(vq)) {
        return flags != EVENT_DISABLE;
    }
    if (!valid) {
        return true;
    }
    if (!!(at >> 15) != s->used_wrap) {
        event = (uint16_t)(event - s->size);
    }
    if (used < old) { /* wrapped since */
        old = (uint16_t)(old - s->size);
    }
    return (uint16_t)(used - event - 1) < (uint16_t)(used - old);
}

static void packed_set_doorbell(struct virtqueue *vq, bool wanted)
{
    const struct virtqueue_state *s = vq->s;

    if (wanted && has_events(vq)) {
        store16(vq->device, (uint16_t)(s->last_avail | s->avail_wrap << 15));
        store16(vq->device + 2, EVENT_DESC);
    } else {
        store16(vq->device + 2, wanted ? EVENT_ENABLE : EVENT_DISABLE);
    }
    ring_written(vq, s->device, 4);
}

/* ---- both */

struct virtqueue_element *virtqueue_pop(struct virtqueue *vq)
{
    if (!can_work(vq)) {
        return NULL;
    }
    return is_packed(vq) ? packed_pop(vq) : split_pop(vq);
}

void virtqueue_drop(struct virtqueue_element *element)
{
    g_free(element);
}

void virtqueue_unpop(struct virtqueue *vq, struct virtqueue_element *element)
{
    struct virtqueue_state *s = vq->s;

    if (element->generation == vq->generation) {
        if (!is_packed(vq)) {
            s->last_avail--;
        } else if (s->last_avail >= element->n_descriptors) {
            s->last_avail = (uint16_t)(s->last_avail - element->n_descriptors);
        } else {
            s->last_avail = (uint16_t)(s->last_avail + s->size - element->n_descriptors);
            s->avail_wrap = !s->avail_wrap;
        }
    }
    g_free(element);
}

static void note_written(struct virtqueue *vq, const struct virtqueue_element *e, uint64_t written)
{
    for (unsigned i = 0; i < e->n_in && written; i++) {
        uint64_t n = MIN(written, e->in[i].iov_len);

        ring_written(vq, e->in_addr[i], n);
        written -= n;
    }
}

/* A paused device's last requests end here too: only new ones are not taken. */
void virtqueue_push_all(struct virtqueue *vq, struct virtqueue_element *const *elements,
                        const uint64_t *written, unsigned n)
{
    if (n && elements[0]->generation == vq->generation && vq->running &&
        virtio_is_running(vq->virtio) && ring_map(vq)) {
        for (unsigned i = 0; i < n; i++) {
            note_written(vq, elements[i], written[i]);
        }
        if (is_packed(vq)) {
            packed_push(vq, elements, written, n);
        } else {
            split_push(vq, elements, written, n);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        g_free(elements[i]);
    }
}

void virtqueue_push(struct virtqueue *vq, struct virtqueue_element *element, uint64_t written)
{
    virtqueue_push_all(vq, &element, &written, 1);
}

void virtqueue_notify(struct virtqueue *vq)
{
    if (!vq->running || !virtio_is_running(vq->virtio) || !ring_map(vq)) {
        return;
    }
    atomic_thread_fence(memory_order_seq_cst); /* the index before the guest's wish */
    if (is_packed(vq) ? packed_wants_interrupt(vq) : split_wants_interrupt(vq)) {
        vq->virtio->interrupt(vq->virtio, vq->s->vector, false);
    }
}

void virtqueue_set_doorbell(struct virtqueue *vq, bool wanted)
{
    if (!can_work(vq)) {
        return;
    }
    if (is_packed(vq)) {
        packed_set_doorbell(vq, wanted);
    } else {
        split_set_doorbell(vq, wanted);
    }
    atomic_thread_fence(memory_order_seq_cst); /* before the caller looks again */
}

bool virtqueue_has_more(struct virtqueue *vq)
{
    if (!can_work(vq)) {
        return false;
    }
    return is_packed(vq) ? packed_is_available(vq) : load16(vq->driver + 2) != vq->s->last_avail;
}

/* ---- bytes of requests */

static size_t iov_copy(const struct iovec *iov, unsigned n, size_t offset, uint8_t *buf,
                       size_t bytes, bool to_buf)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && done < bytes; i++) {
        size_t part;
        uint8_t *p;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        part = MIN(bytes - done, iov[i].iov_len - offset);
        p = (uint8_t *)iov[i].iov_base + offset;
        memcpy(to_buf ? buf + done : p, to_buf ? p : buf + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t iov_read(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t bytes)
{
    return iov_copy(iov, n, offset, buf, bytes, true);
}

size_t iov_write(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t bytes)
{
    return iov_copy(iov, n, offset, (uint8_t *)buf, bytes, false);
}

/* ---- requests in streams */

struct element_state {
    uint16_t queue, head, descriptors, n_out, n_in;
    uint8_t pad[6];
};

static const struct state_field element_fields[] = {
    STATE_MAX(struct element_state, queue, VIRTIO_MAX_QUEUES - 1),
    STATE(struct element_state, head),
    STATE_MAX(struct element_state, descriptors, VIRTIO_QUEUE_MAX_SIZE),
    STATE_MAX(struct element_state, n_out, VIRTIO_MAX_PIECES),
    STATE_MAX(struct element_state, n_in, VIRTIO_MAX_PIECES),
    STATE_PAD(struct element_state, pad),
    {0},
};

static const struct state_desc element_desc = {
    .name = "virtqueue-request",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct element_state),
    .fields = element_fields,
};

struct piece_state {
    uint64_t addr;
    uint32_t bytes;
    uint8_t pad[4];
};

static const struct state_field piece_fields[] = {
    STATE(struct piece_state, addr),
    STATE(struct piece_state, bytes),
    STATE_PAD(struct piece_state, pad),
    {0},
};

static const struct state_desc piece_desc = {
    .name = "piece",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct piece_state),
    .fields = piece_fields,
};

unsigned virtqueue_element_save(const struct virtqueue *vq, const struct virtqueue_element *e,
                                GByteArray *out)
{
    const struct element_state state = {.queue = vq->index,
                                        .head = e->head,
                                        .descriptors = e->n_descriptors,
                                        .n_out = (uint16_t)e->n_out,
                                        .n_in = (uint16_t)e->n_in};

    state_save(&element_desc, &state, out);
    for (unsigned i = 0; i < e->n_out + e->n_in; i++) {
        const struct piece_state piece = {.addr = e->out_addr[i],
                                          .bytes = (uint32_t)e->out[i].iov_len};

        state_save(&piece_desc, &piece, out);
    }
    return 1 + e->n_out + e->n_in;
}

static bool load_piece(struct chain *c, struct state_input *in, bool write, GError **error)
{
    struct piece_state piece = {0};
    uint64_t n = 0;
    void *host;

    if (!state_load(&piece_desc, &piece, in, "request", error)) {
        return false;
    }
    host = piece.bytes ? address_space_ram_piece(c->vq->virtio->mem, piece.addr, piece.bytes, &n)
                       : NULL;
    if (!host || n != piece.bytes) {
        g_set_error(error, STATE_ERROR, 0,
                    "request: %u bytes at 0x%" G_GINT64_MODIFIER "x are not in RAM", piece.bytes,
                    piece.addr);
        return false;
    }
    c->iov[c->n_out + c->n_in] = (struct iovec){.iov_base = host, .iov_len = n};
    c->addr[c->n_out + c->n_in] = piece.addr;
    *(write ? &c->n_in : &c->n_out) += 1;
    *(write ? &c->in_bytes : &c->out_bytes) += n;
    return true;
}

struct virtqueue_element *virtqueue_element_load(struct virtio *v, struct virtqueue **vq,
                                                 struct state_input *in, unsigned *n,
                                                 GError **error)
{
    struct element_state state = {0};
    struct virtqueue_element *e;
    struct chain c = {0};
    unsigned pieces;

    if (!state_load(&element_desc, &state, in, "request", error)) {
        return NULL;
    }
    pieces = state.n_out + state.n_in;
    if (state.queue >= v->n_queues || pieces > VIRTIO_MAX_PIECES || pieces + 1 > *n ||
        !v->queue[state.queue].s->enabled) {
        g_set_error(error, STATE_ERROR, 0, "request: of %u pieces, to queue %u: there is none such",
                    pieces, state.queue);
        return NULL;
    }
    *n -= 1 + pieces;
    *vq = &v->queue[state.queue];
    c.vq = *vq;
    for (unsigned i = 0; i < pieces; i++) {
        if (!load_piece(&c, in, i >= state.n_out, error)) {
            return NULL;
        }
    }
    e = chain_element(&c);
    e->head = state.head;
    e->n_descriptors = state.descriptors;
    return e;
}
