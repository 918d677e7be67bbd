#include "migration/page-compress.h"

#include "memory/types.h"
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define GROUP_BYTES 64u
#define GROUP_WORDS 16u
#define GROUPS      (GUEST_PAGE_SIZE / GROUP_BYTES)
#define MASK_BYTES  2u
#define MASKS_BYTES (GROUPS * MASK_BYTES)
#define WORD_BYTES  4u

/* Of a page that is not worth it that is seen after so many groups, mostly. */
#define TRY_GROUPS  16u
#define TRY_BYTES   (MASKS_BYTES + TRY_GROUPS * GROUP_BYTES * 7 / 8)

G_STATIC_ASSERT(PAGE_COMPRESS_ROOM >= MASKS_BYTES + GUEST_PAGE_SIZE + GROUP_BYTES);

static void put_mask(uint8_t *out, unsigned group, unsigned mask)
{
    out[group * MASK_BYTES] = (uint8_t)mask;
    out[group * MASK_BYTES + 1] = (uint8_t)(mask >> 8);
}

static unsigned get_mask(const uint8_t *in, unsigned group)
{
    return in[group * MASK_BYTES] | (unsigned)in[group * MASK_BYTES + 1] << 8;
}

/* Masks and words; 0: there are less than left bytes of them. */
static size_t compressed_bytes(const uint8_t *in, size_t left)
{
    size_t bytes = MASKS_BYTES;

    if (left < MASKS_BYTES) {
        return 0;
    }
    for (unsigned i = 0; i < MASKS_BYTES; i += 8) {
        uint64_t masks;

        memcpy(&masks, in + i, 8);
        bytes += (size_t)__builtin_popcountll(masks) * WORD_BYTES;
    }
    return bytes <= left ? bytes : 0;
}

/* ---- word by word */

static unsigned compress_group(const uint8_t *from, uint32_t *before, uint8_t **out)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < GROUP_WORDS; i++) {
        uint32_t word = ((const volatile uint32_t *)from)[i];
        unsigned differs = word != before[i];

        memcpy(*out, &word, WORD_BYTES); /* to be overwritten if it does not */
        *out += differs * WORD_BYTES;
        mask |= differs << i;
        before[i] = word;
    }
    return mask;
}

size_t page_compress_plain(const uint8_t *page, uint8_t *out)
{
    uint32_t before[GROUP_WORDS] = {0};
    uint8_t *at = out + MASKS_BYTES;

    for (unsigned g = 0; g < GROUPS; g++) {
        put_mask(out, g, compress_group(page + g * GROUP_BYTES, before, &at));
        if (g + 1 == TRY_GROUPS && at - out > TRY_BYTES) {
            return 0;
        }
    }
    return at - out <= PAGE_COMPRESS_MAX ? (size_t)(at - out) : 0;
}

size_t page_expand_plain(const uint8_t *in, size_t left, uint8_t *page)
{
    size_t bytes = compressed_bytes(in, left);
    const uint8_t *at = in + MASKS_BYTES;
    uint32_t words[GROUP_WORDS] = {0};

    for (unsigned g = 0; bytes && g < GROUPS; g++) {
        for (unsigned mask = get_mask(in, g); mask; mask &= mask - 1) {
            memcpy(&words[__builtin_ctz(mask)], at, WORD_BYTES);
            at += WORD_BYTES;
        }
        memcpy(page + g * GROUP_BYTES, words, GROUP_BYTES);
    }
    return bytes;
}

/* ---- 64 bytes at a time */

#ifdef __x86_64__

#define WIDE __attribute__((target("avx512f,popcnt")))

WIDE static size_t compress_wide(const uint8_t *page, uint8_t *out)
{
    __m512i before = _mm512_setzero_si512();
    uint8_t *at = out + MASKS_BYTES;

    for (unsigned g = 0; g < GROUPS; g++) {
        __m512i words = _mm512_loadu_si512(page + g * GROUP_BYTES);
        __mmask16 mask;

        __asm__("" : "+v"(words)); /* loaded once: it may change */
        mask = _mm512_cmpneq_epi32_mask(words, before);
        _mm512_storeu_si512(at, _mm512_maskz_compress_epi32(mask, words));
        put_mask(out, g, mask);
        at += (size_t)__builtin_popcount(mask) * WORD_BYTES;
        before = words;
        if (g + 1 == TRY_GROUPS && at - out > TRY_BYTES) {
            return 0;
        }
    }
    return at - out <= PAGE_COMPRESS_MAX ? (size_t)(at - out) : 0;
}

WIDE static size_t expand_wide(const uint8_t *in, size_t left, uint8_t *page)
{
    size_t bytes = compressed_bytes(in, left);
    const uint8_t *at = in + MASKS_BYTES;
    __m512i words = _mm512_setzero_si512();

    for (unsigned g = 0; bytes && g < GROUPS; g++) {
        unsigned mask = get_mask(in, g);

        words = _mm512_mask_expandloadu_epi32(words, (__mmask16)mask, at);
        _mm512_storeu_si512(page + g * GROUP_BYTES, words);
        at += (size_t)__builtin_popcount(mask) * WORD_BYTES;
    }
    return bytes;
}

static bool is_wide(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt");
}

size_t page_compress(const uint8_t *page, uint8_t *out)
{
    return is_wide() ? compress_wide(page, out) : page_compress_plain(page, out);
}

size_t page_expand(const uint8_t *in, size_t left, uint8_t *page)
{
    return is_wide() ? expand_wide(in, left, page) : page_expand_plain(in, left, page);
}

#else

size_t page_compress(const uint8_t *page, uint8_t *out)
{
    return page_compress_plain(page, out);
}

size_t page_expand(const uint8_t *in, size_t left, uint8_t *page)
{
    return page_expand_plain(in, left, page);
}

#endif
