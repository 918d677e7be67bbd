/*
 * A page of memory with less bytes: words (32 bits, little-endian) that are like the word 64 bytes
 * before them in the page are left out. Zeroes, and what repeats from element to element of tables
 * and structures, are so at hardly more cost than copying the page has.
 *
 *   64 masks of 16 bits, one for each 64 bytes of the page: bit i set: word i is there;
 *   these words, in the order of the page.
 *
 * Before the first 64 bytes are zeroes.
 */
#ifndef MIGRATION_PAGE_COMPRESS_H
#define MIGRATION_PAGE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

/* A page that has not become this small is not worth it. */
#define PAGE_COMPRESS_MAX  3072u
/* What must be writable at out, more than comes of it. */
#define PAGE_COMPRESS_ROOM 4352u

/* How many bytes it has then, 0: more than PAGE_COMPRESS_MAX. Each word of the page is read once:
 * somebody may write to it meanwhile. */
size_t page_compress(const uint8_t *page, uint8_t *out);
/* The other way, of the left bytes that there are: how many the page took, 0: it would take more.
 */
size_t page_expand(const uint8_t *in, size_t left, uint8_t *page);

/* Ways to do so, which all make the same of a page. */
struct page_compressor {
    const char *name;
    size_t (*compress)(const uint8_t *page, uint8_t *out);
    size_t (*expand)(const uint8_t *in, size_t left, uint8_t *page);
};
/* The nth that this processor can, the fastest first; NULL: there are no more. */
const struct page_compressor *page_compressor(unsigned n);

#endif
