/*
 * The log of a guest's kernel: the ring of printk since Linux 5.10, whose layout the vmcoreinfo
 * note tells (Linux, kernel/printk/printk_ringbuffer.h describes it).
 *
 * A ring of descriptors, numbered by an id that counts up, tells where each record's text lies in a
 * ring of bytes; a third array has its length and time. Descriptor `id` stands at index id modulo
 * their number; the word state_var has the id that it holds now, and in the top two bits its state.
 * Positions of text count up too; a block that would not fit before the ring's end begins at its
 * start. Each block opens with a word of its own.
 *
 * Read from the newest record backwards, and only as far as what is asked for.
 */
#include "machine/guest-kernel.h"

#include "base/bytes.h"
#include <inttypes.h>
#include <string.h>

#define STRUCT_MAX_BYTES 1024u /* of those that are read whole */
#define COUNT_BITS_MAX   24
#define SIZE_BITS_MAX    30
#define RECORDS_MAX      4096
#define TEXT_MAX_BYTES   2048u /* of one record; the kernel's own bound is below it */
#define WORD_BYTES       8u

#define STATE_SHIFT      62
#define STATE_COMMITTED  1u
#define STATE_FINALIZED  2u
#define ID_MASK          ((1ull << STATE_SHIFT) - 1)

/* One struct of the kernel's, and where in it the wanted words are. */
struct layout {
    uint64_t size;
    uint64_t offset[6];
};

struct ring {
    const struct guest_kernel *k;
    struct layout desc, lpos, info;
    uint64_t descs, infos, data; /* addresses */
    uint64_t count, bytes;       /* powers of two */
    uint64_t head, tail;         /* ids */
};

struct record {
    uint64_t text; /* address */
    uint32_t length;
    uint64_t time_ns;
};

/* "name member member...": the size and offsets of a struct, each member with room for a word. */
static bool layout_find(const struct guest_kernel *k, const char *names, struct layout *layout)
{
    g_auto(GStrv) name = g_strsplit(names, " ", -1);
    g_autofree char *size_key = g_strdup_printf("SIZE(%s)", name[0]);

    if (!guest_kernel_value(k, size_key, 10, &layout->size) || layout->size > STRUCT_MAX_BYTES ||
        layout->size < WORD_BYTES) {
        return false;
    }
    for (unsigned i = 1; name[i]; i++) {
        g_autofree char *key = g_strdup_printf("OFFSET(%s.%s)", name[0], name[i]);

        if (!guest_kernel_value(k, key, 10, &layout->offset[i - 1]) ||
            layout->offset[i - 1] > layout->size - MIN(layout->size, WORD_BYTES)) {
            return false;
        }
    }
    return true;
}

static bool layouts_find(struct ring *ring, struct layout *rb, struct layout *desc_ring,
                         struct layout *data_ring)
{
    const struct guest_kernel *k = ring->k;

    return layout_find(k, "printk_ringbuffer desc_ring text_data_ring", rb) &&
           layout_find(k, "prb_desc_ring count_bits descs infos head_id tail_id", desc_ring) &&
           layout_find(k, "prb_data_ring size_bits data", data_ring) &&
           layout_find(k, "prb_desc state_var text_blk_lpos", &ring->desc) &&
           layout_find(k, "prb_data_blk_lpos begin next", &ring->lpos) &&
           layout_find(k, "printk_info ts_nsec text_len", &ring->info) &&
           rb->offset[0] + desc_ring->size <= rb->size &&
           rb->offset[1] + data_ring->size <= rb->size &&
           ring->desc.offset[1] + ring->lpos.size <= ring->desc.size;
}

static bool ring_find(struct ring *ring, GError **error)
{
    struct layout rb = {0}, desc_ring = {0}, data_ring = {0};
    uint8_t bytes[STRUCT_MAX_BYTES];
    const uint8_t *desc, *data;
    uint64_t at, count_bits, size_bits;

    if (!layouts_find(ring, &rb, &desc_ring, &data_ring) ||
        !guest_kernel_value(ring->k, "SYMBOL(prb)", 16, &at)) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0,
                    "vmcoreinfo: it tells of no log that is known here (that of Linux 5.10 is)");
        return false;
    }
    if (!guest_kernel_read(ring->k, at, bytes, WORD_BYTES) ||
        !guest_kernel_read(ring->k, bytes_get_le(bytes, WORD_BYTES), bytes, rb.size)) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "the kernel's log is not in memory");
        return false;
    }
    desc = bytes + rb.offset[0];
    data = bytes + rb.offset[1];
    count_bits = bytes_get_le(desc + desc_ring.offset[0], 4);
    size_bits = bytes_get_le(data + data_ring.offset[0], 4);
    if (count_bits == 0 || count_bits > COUNT_BITS_MAX || size_bits < 4 ||
        size_bits > SIZE_BITS_MAX) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "the kernel's log has sizes that make no sense");
        return false;
    }
    ring->count = 1ull << count_bits;
    ring->bytes = 1ull << size_bits;
    ring->descs = bytes_get_le(desc + desc_ring.offset[1], WORD_BYTES);
    ring->infos = bytes_get_le(desc + desc_ring.offset[2], WORD_BYTES);
    ring->head = bytes_get_le(desc + desc_ring.offset[3], WORD_BYTES) & ID_MASK;
    ring->tail = bytes_get_le(desc + desc_ring.offset[4], WORD_BYTES) & ID_MASK;
    ring->data = bytes_get_le(data + data_ring.offset[1], WORD_BYTES);
    return true;
}

/* Where the text between two positions lies, and its room; 0: it has none. */
static uint64_t block_find(const struct ring *ring, uint64_t begin, uint64_t next, uint64_t *at)
{
    uint64_t mask = ring->bytes - 1, room;

    if ((begin & 1) || (next & 1)) {
        return 0; /* a record without text */
    }
    if ((begin & ~mask) == (next & ~mask) && begin < next) {
        *at = begin & mask;
        room = next - begin;
    } else if (((begin + ring->bytes) & ~mask) == (next & ~mask)) {
        *at = 0;
        room = next & mask;
    } else {
        return 0;
    }
    if (room <= WORD_BYTES) {
        return 0;
    }
    *at += WORD_BYTES;
    return room - WORD_BYTES;
}

/* false: the record is not complete, was reused, or cannot be read. */
static bool record_find(const struct ring *ring, uint64_t id, struct record *record)
{
    uint64_t index = id & (ring->count - 1), state, room, at = 0;
    uint8_t desc[STRUCT_MAX_BYTES], info[STRUCT_MAX_BYTES];
    const uint8_t *lpos = desc + ring->desc.offset[1];

    if (!guest_kernel_read(ring->k, ring->descs + index * ring->desc.size, desc, ring->desc.size) ||
        !guest_kernel_read(ring->k, ring->infos + index * ring->info.size, info, ring->info.size)) {
        return false;
    }
    state = bytes_get_le(desc + ring->desc.offset[0], WORD_BYTES);
    if ((state & ID_MASK) != id ||
        (state >> STATE_SHIFT != STATE_COMMITTED && state >> STATE_SHIFT != STATE_FINALIZED)) {
        return false;
    }
    room = block_find(ring, bytes_get_le(lpos + ring->lpos.offset[0], WORD_BYTES),
                      bytes_get_le(lpos + ring->lpos.offset[1], WORD_BYTES), &at);
    record->time_ns = bytes_get_le(info + ring->info.offset[0], WORD_BYTES);
    record->length = (uint32_t)MIN(bytes_get_le(info + ring->info.offset[1], 2), room);
    record->length = MIN(record->length, TEXT_MAX_BYTES);
    record->text = ring->data + at;
    return true;
}

static void append_time(GString *out, uint64_t time_ns)
{
    g_string_append_printf(out, "[%5" PRIu64 ".%06" PRIu64 "] ", time_ns / 1000000000,
                           time_ns % 1000000000 / 1000);
}

static char *record_print(const struct ring *ring, const struct record *record)
{
    GString *out = g_string_new(NULL);
    uint8_t text[TEXT_MAX_BYTES];

    if (!guest_kernel_read(ring->k, record->text, text, record->length)) {
        return g_string_free(out, FALSE);
    }
    append_time(out, record->time_ns);
    for (uint32_t i = 0; i < record->length; i++) {
        if (text[i] == '\n') {
            g_string_append_c(out, '\n');
            append_time(out, record->time_ns);
        } else if (text[i] == '\t' || g_ascii_isprint((char)text[i])) {
            g_string_append_c(out, (char)text[i]);
        } else {
            g_string_append_printf(out, "\\x%02x", text[i]);
        }
    }
    g_string_append_c(out, '\n');
    return g_string_free(out, FALSE);
}

char *guest_kernel_log_tail(const struct guest_kernel *k, size_t max_bytes, GError **error)
{
    struct ring ring = {.k = k};
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free); /* the newest first */
    GString *out;
    size_t bytes = 0;

    if (!ring_find(&ring, error)) {
        return NULL;
    }
    for (uint64_t i = 0; i < MIN(ring.count, RECORDS_MAX); i++) {
        uint64_t id = (ring.head - i) & ID_MASK;
        struct record record;

        if (record_find(&ring, id, &record)) {
            char *text = record_print(&ring, &record);

            bytes += strlen(text);
            if (bytes > max_bytes) {
                g_free(text);
                break;
            }
            g_ptr_array_add(lines, text);
        }
        if (id == ring.tail) {
            break;
        }
    }
    out = g_string_sized_new(bytes);
    for (guint i = lines->len; i > 0; i--) {
        g_string_append(out, lines->pdata[i - 1]);
    }
    return g_string_free(out, FALSE);
}
