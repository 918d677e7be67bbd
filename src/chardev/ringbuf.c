/* ringbuf (memory is the same): keeps the last bytes of the output until somebody asks for them. */
#include "chardev/chardev-priv.h"
#include "qapi/params.h"
#include <string.h>

#define DEFAULT_BYTES 65536
#define MAX_BYTES     (64u << 20)

struct ringbuf {
    struct chardev chr; /* first */
    uint8_t *data;
    size_t size;
    uint64_t written, read; /* bytes ever; the difference is at most size */
};

static size_t ringbuf_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct ringbuf *r = (struct ringbuf *)chr;

    for (size_t i = 0; i < length; i++) {
        r->data[r->written++ & (r->size - 1)] = buf[i];
    }
    r->read = MAX(r->read, r->written - MIN(r->written, r->size));
    return length;
}

static void ringbuf_finish(struct chardev *chr)
{
    g_free(((struct ringbuf *)chr)->data);
}

static const struct chardev_ops ringbuf_ops = {.name = "ringbuf",
                                               .size = sizeof(struct ringbuf),
                                               .write = ringbuf_write,
                                               .finish = ringbuf_finish};

bool chardev_is_ringbuf(const struct chardev *chr)
{
    return chr->ops == &ringbuf_ops;
}

GByteArray *chardev_ringbuf_read(struct chardev *chr, uint64_t bytes)
{
    struct ringbuf *r = (struct ringbuf *)chr;
    GByteArray *out = g_byte_array_new();

    for (; bytes && r->read < r->written; bytes--) {
        g_byte_array_append(out, &r->data[r->read++ & (r->size - 1)], 1);
    }
    return out;
}

struct chardev *chardev_ringbuf_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    g_autofree char *text = chardev_option(o, "size");
    uint64_t size = DEFAULT_BYTES;
    struct ringbuf *r;

    if (text && (!parse_size(text, 'B', &size) || size == 0 || size & (size - 1))) {
        g_set_error(error, CHARDEV_ERROR, 0, "size of ringbuf chardev must be power of two");
        return NULL;
    }
    if (size > MAX_BYTES) {
        g_set_error(error, CHARDEV_ERROR, 0, "size of ringbuf chardev must be at most %u",
                    MAX_BYTES);
        return NULL;
    }
    r = (struct ringbuf *)chardev_alloc(&ringbuf_ops, o->id, loop);
    r->size = size;
    r->data = g_malloc0(size);
    g_free(r->chr.filename);
    r->chr.filename = g_strdup(o->type);
    return &r->chr;
}
