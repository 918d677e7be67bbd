/*
 * Records of memory in small: see multi-small.h.
 */
#include "migration/multi-small.h"

#include "migration/multi.h"
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* ---- out */

struct packer {
    ZSTD_CCtx *zstd; /* NULL: it is zlib */
    z_stream zlib;
    int level;
    uint8_t *raw, *small;
    size_t small_bytes;
};

struct packer *packer_new(const struct multi_settings *settings, GError **error)
{
    struct packer *p;
    bool ok;

    if (settings->compression == MULTI_FD_COMPRESSION_NONE) {
        return NULL;
    }
    p = g_new0(struct packer, 1);
    p->raw = g_malloc(MULTI_RAW_BYTES);
    if (settings->compression == MULTI_FD_COMPRESSION_ZSTD) {
        p->level = (int)settings->zstd_level;
        p->zstd = ZSTD_createCCtx();
        p->small_bytes = ZSTD_compressBound(MULTI_RAW_BYTES);
        ok = p->zstd != NULL;
    } else {
        ok = deflateInit(&p->zlib, (int)settings->zlib_level) == Z_OK;
        p->small_bytes = ok ? deflateBound(&p->zlib, MULTI_RAW_BYTES) : 0;
    }
    p->small = g_malloc(p->small_bytes);
    if (!ok) {
        migration_refuse(error, "no memory to make the stream smaller");
        g_clear_pointer(&p, packer_free);
    }
    return p;
}

void packer_free(struct packer *p)
{
    if (p) {
        ZSTD_freeCCtx(p->zstd);
        deflateEnd(&p->zlib);
        g_free(p->raw);
        g_free(p->small);
        g_free(p);
    }
}

static bool pack_zstd(struct packer *p, size_t raw, size_t *bytes, GError **error)
{
    *bytes = ZSTD_compressCCtx(p->zstd, p->small, p->small_bytes, p->raw, raw, p->level);
    return !ZSTD_isError(*bytes) || migration_refuse(error, "zstd: %s", ZSTD_getErrorName(*bytes));
}

static bool pack_zlib(struct packer *p, size_t raw, size_t *bytes, GError **error)
{
    int what;

    deflateReset(&p->zlib);
    p->zlib.next_in = p->raw;
    p->zlib.avail_in = (uInt)raw;
    p->zlib.next_out = p->small;
    p->zlib.avail_out = (uInt)p->small_bytes;
    what = deflate(&p->zlib, Z_FINISH);
    *bytes = p->small_bytes - p->zlib.avail_out;
    return what == Z_STREAM_END || migration_refuse(error, "zlib: %s", zError(what));
}

bool packer_send(struct packer *p, struct stream_out *stream, const GByteArray *head,
                 const uint8_t *pages, size_t bytes, GError **error)
{
    g_autoptr(GByteArray) first = g_byte_array_new();
    size_t raw = head->len + bytes, n;

    g_assert(raw <= MULTI_RAW_BYTES);
    memcpy(p->raw, head->data, head->len); /* and pages change no more while they are packed */
    memcpy(p->raw + head->len, pages, bytes);
    if (!(p->zstd ? pack_zstd(p, raw, &n, error) : pack_zlib(p, raw, &n, error))) {
        return false;
    }
    state_put_number(first, raw, 4);
    return stream_out_record(stream, p->zstd ? "ramz" : "ramd", 1, first, p->small, n, error);
}

/* ---- in */

struct unpacker {
    ZSTD_DCtx *zstd; /* NULL before the first */
    z_stream zlib;
    bool zlib_begun;
    uint8_t *raw;
};

struct unpacker *unpacker_new(void)
{
    return g_new0(struct unpacker, 1);
}

void unpacker_free(struct unpacker *u)
{
    if (u) {
        ZSTD_freeDCtx(u->zstd);
        inflateEnd(&u->zlib);
        g_free(u->raw);
        g_free(u);
    }
}

bool unpacker_knows(const struct record *record)
{
    return record_is(record, "ramz") || record_is(record, "ramd");
}

/* Both: why not, or NULL. */

static const char *unpack_zstd(struct unpacker *u, const struct state_input *in, size_t bytes)
{
    size_t n;

    u->zstd = u->zstd ? u->zstd : ZSTD_createDCtx();
    if (!u->zstd) {
        return "there is no memory for it";
    }
    n = ZSTD_decompressDCtx(u->zstd, u->raw, bytes, in->data, in->left);
    return ZSTD_isError(n) ? ZSTD_getErrorName(n) : n == bytes ? NULL : "it is too short";
}

static const char *unpack_zlib(struct unpacker *u, const struct state_input *in, size_t bytes)
{
    int what = u->zlib_begun ? inflateReset(&u->zlib) : inflateInit(&u->zlib);

    if (what != Z_OK) {
        return zError(what);
    }
    u->zlib_begun = true;
    u->zlib.next_in = (uint8_t *)in->data; /* it is only read */
    u->zlib.avail_in = (uInt)in->left;
    u->zlib.next_out = u->raw;
    u->zlib.avail_out = (uInt)bytes;
    what = inflate(&u->zlib, Z_FINISH);
    if (what != Z_STREAM_END) {
        return what == Z_OK || what == Z_BUF_ERROR ? "it is of another length" : zError(what);
    }
    return u->zlib.avail_out || u->zlib.avail_in ? "it is of another length" : NULL;
}

bool unpacker_expand(struct unpacker *u, struct record *record, GError **error)
{
    struct state_input in = {record->payload, record->bytes};
    const char *why;
    uint64_t bytes;

    if (!record_version(record, 1, error)) {
        return false;
    }
    if (!state_take_number(&in, 4, &bytes) || bytes > MULTI_RAW_BYTES) {
        return migration_refuse(error, "stream: a record that expands to more than %u bytes",
                                MULTI_RAW_BYTES);
    }
    u->raw = u->raw ? u->raw : g_malloc(MULTI_RAW_BYTES);
    why = record_is(record, "ramz") ? unpack_zstd(u, &in, bytes) : unpack_zlib(u, &in, bytes);
    if (why) {
        return migration_refuse(error, "stream: a record that does not expand: %s", why);
    }
    record->payload = u->raw;
    record->bytes = (uint32_t)bytes;
    return true;
}
