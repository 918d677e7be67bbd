/* See dump-compress.h. zlib at its fastest level, LZO1X-1, snappy. */
#include "migration/dump-compress.h"

#include "base/bytes.h"
#include "base/library.h"
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#ifdef HAVE_LZO
#include <lzo/lzo1x.h>
#endif
#ifdef HAVE_SNAPPY
#include <snappy-c.h>
#endif

#define FLAG_ZLIB   1
#define FLAG_LZO    2
#define FLAG_SNAPPY 4

#define THREADS_MAX 8
/* The worst that any of the three makes of a page. */
#define PAGE_BOUND  (DUMP_PAGE_BYTES + DUMP_PAGE_BYTES / 4 + 64)

#ifdef HAVE_SNAPPY
static const char *const snappy_names[] = {"snappy_compress"};
static const struct library dump_snappy = {"libsnappy.so.1", snappy_names, 1};
#endif

struct dump_compressor {
    enum dump_guest_memory_format format;
    GThreadPool *pool;
    GMutex mutex; /* guards busy of the slices */
    GCond done;
    unsigned n;
    struct dump_slice *slice;
#ifdef HAVE_SNAPPY
    __typeof__(snappy_compress) *const *snappy; /* of its format only */
#endif
};

/* What a thread needs for a slice. */
struct scratch {
    z_stream z;
    uint8_t out[PAGE_BOUND];
#ifdef HAVE_LZO
    uint8_t lzo[LZO1X_1_MEM_COMPRESS] __attribute__((aligned(16)));
#endif
#ifdef HAVE_SNAPPY
    __typeof__(snappy_compress) *const *snappy;
#endif
};

uint32_t dump_compress_flag(enum dump_guest_memory_format format)
{
    switch (format) {
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB:
        return FLAG_ZLIB;
#ifdef HAVE_LZO
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO:
        return FLAG_LZO;
#endif
#ifdef HAVE_SNAPPY
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY:
        return library_load(&dump_snappy, NULL) ? FLAG_SNAPPY : 0;
#endif
    default:
        return 0;
    }
}

static size_t deflate_page(struct scratch *s, const uint8_t *page)
{
    deflateReset(&s->z);
    s->z.next_in = (Bytef *)page;
    s->z.avail_in = DUMP_PAGE_BYTES;
    s->z.next_out = s->out;
    s->z.avail_out = sizeof(s->out);
    return deflate(&s->z, Z_FINISH) == Z_STREAM_END ? sizeof(s->out) - s->z.avail_out
                                                    : DUMP_PAGE_BYTES;
}

/* Bytes of s->out; DUMP_PAGE_BYTES and more: not worth it. */
static size_t compress_page(enum dump_guest_memory_format format, struct scratch *s,
                            const uint8_t *page)
{
    switch (format) {
#ifdef HAVE_LZO
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO: {
        lzo_uint n = sizeof(s->out);

        return lzo1x_1_compress(page, DUMP_PAGE_BYTES, s->out, &n, s->lzo) == LZO_E_OK
                   ? n
                   : DUMP_PAGE_BYTES;
    }
#endif
#ifdef HAVE_SNAPPY
    case DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY: {
        size_t n = sizeof(s->out);

        return (*s->snappy)((const char *)page, DUMP_PAGE_BYTES, (char *)s->out, &n) == SNAPPY_OK
                   ? n
                   : DUMP_PAGE_BYTES;
    }
#endif
    default:
        return deflate_page(s, page);
    }
}

static void compress_slice(struct dump_compressor *c, struct scratch *s, struct dump_slice *slice)
{
    slice->used = 0;
    for (unsigned i = 0; i < slice->n; i++) {
        const uint8_t *page = slice->page[i], *data = s->out;
        size_t size;

        slice->size[i] = 0;
        if (bytes_are_zero(page, DUMP_PAGE_BYTES)) {
            continue;
        }
        size = compress_page(c->format, s, page);
        if (size >= DUMP_PAGE_BYTES) {
            size = DUMP_PAGE_BYTES;
            data = page;
        }
        memcpy(slice->data + slice->used, data, size);
        slice->used += size;
        slice->size[i] = (uint32_t)size;
    }
}

static void work(gpointer task, gpointer compressor)
{
    struct dump_compressor *c = compressor;
    struct dump_slice *slice = task;
    struct scratch *s = g_new0(struct scratch, 1);

    deflateInit(&s->z, Z_BEST_SPEED);
#ifdef HAVE_SNAPPY
    s->snappy = c->snappy;
#endif
    compress_slice(c, s, slice);
    deflateEnd(&s->z);
    g_free(s);
    g_mutex_lock(&c->mutex);
    slice->busy = false;
    g_cond_broadcast(&c->done);
    g_mutex_unlock(&c->mutex);
}

struct dump_compressor *dump_compressor_new(enum dump_guest_memory_format format)
{
    struct dump_compressor *c = g_new0(struct dump_compressor, 1);
    unsigned threads = MIN(THREADS_MAX, g_get_num_processors());

    c->format = format;
#ifdef HAVE_SNAPPY
    if (format == DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY) {
        c->snappy = library_load(&dump_snappy, NULL); /* loaded already: the format is available */
    }
#endif
    c->n = 2 * threads + 1;
    c->slice = g_new0(struct dump_slice, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        c->slice[i].data = g_malloc(DUMP_SLICE_PAGES * DUMP_PAGE_BYTES);
    }
    g_mutex_init(&c->mutex);
    g_cond_init(&c->done);
    c->pool = g_thread_pool_new(work, c, (gint)threads, FALSE, NULL);
    return c;
}

void dump_compressor_free(struct dump_compressor *c)
{
    g_thread_pool_free(c->pool, FALSE, TRUE);
    for (unsigned i = 0; i < c->n; i++) {
        g_free(c->slice[i].data);
    }
    g_free(c->slice);
    g_mutex_clear(&c->mutex);
    g_cond_clear(&c->done);
    g_free(c);
}

unsigned dump_compressor_slices(const struct dump_compressor *c)
{
    return c->n;
}

struct dump_slice *dump_compressor_slice(struct dump_compressor *c, unsigned i)
{
    return &c->slice[i];
}

void dump_compressor_start(struct dump_compressor *c, struct dump_slice *slice)
{
    slice->busy = true; /* the pool's queue orders this before the work */
    g_thread_pool_push(c->pool, slice, NULL);
}

void dump_compressor_wait(struct dump_compressor *c, struct dump_slice *slice)
{
    g_mutex_lock(&c->mutex);
    while (slice->busy) {
        g_cond_wait(&c->done, &c->mutex);
    }
    g_mutex_unlock(&c->mutex);
}
