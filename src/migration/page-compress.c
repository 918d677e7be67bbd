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

static size_t compress_words(const uint8_t *page, uint8_t *out)
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

static size_t expand_words(const uint8_t *in, size_t left, uint8_t *page)
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

#ifdef __x86_64__

/* ---- 32 bytes at a time */

#define AVX2 __attribute__((target("avx2,popcnt")))

/* For each mask: which words are there, one after the other; and for each word how many are there
 * before it. */
static uint8_t present[256][8], ranks[256][8];

static gpointer make_tables(gpointer unused)
{
    for (unsigned mask = 0; mask < 256; mask++) {
        uint8_t n = 0;

        for (uint8_t i = 0; i < 8; i++) {
            ranks[mask][i] = n;
            if (mask >> i & 1) {
                present[mask][n++] = i;
            }
        }
    }
    return NULL;
}

static void need_tables(void)
{
    static GOnce once = G_ONCE_INIT;

    g_once(&once, make_tables, NULL);
}

AVX2 static inline __m256i lanes(const uint8_t lane[8])
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)lane));
}

AVX2 static inline unsigned compress_half(const uint8_t *from, __m256i *before, uint8_t **out)
{
    __m256i words = _mm256_loadu_si256((const __m256i *)from);
    unsigned mask;

    __asm__("" : "+x"(words)); /* loaded once: it may change */
    mask = ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(words, *before))) &
           0xff;
    _mm256_storeu_si256((__m256i *)*out, _mm256_permutevar8x32_epi32(words, lanes(present[mask])));
    *out += (size_t)__builtin_popcount(mask) * WORD_BYTES;
    *before = words;
    return mask;
}

AVX2 static size_t compress_avx2(const uint8_t *page, uint8_t *out)
{
    __m256i low = _mm256_setzero_si256(), high = low;
    uint8_t *at = out + MASKS_BYTES;

    need_tables();
    for (unsigned g = 0; g < GROUPS; g++) {
        const uint8_t *from = page + g * GROUP_BYTES;
        unsigned mask = compress_half(from, &low, &at);

        put_mask(out, g, mask | compress_half(from + GROUP_BYTES / 2, &high, &at) << 8);
        if (g + 1 == TRY_GROUPS && at - out > TRY_BYTES) {
            return 0;
        }
    }
    return at - out <= PAGE_COMPRESS_MAX ? (size_t)(at - out) : 0;
}

AVX2 static inline void expand_half(unsigned mask, const uint8_t **in, __m256i *words, uint8_t *to)
{
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    int n = __builtin_popcount(mask);
    __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), numbers);
    __m256i packed = _mm256_maskload_epi32((const int *)*in, there); /* and no byte beyond */
    __m256i wanted = _mm256_and_si256(_mm256_set1_epi32((int)mask), bits);

    packed = _mm256_permutevar8x32_epi32(packed, lanes(ranks[mask]));
    *words = _mm256_blendv_epi8(*words, packed, _mm256_cmpeq_epi32(wanted, bits));
    _mm256_storeu_si256((__m256i *)to, *words);
    *in += (size_t)n * WORD_BYTES;
}

AVX2 static size_t expand_avx2(const uint8_t *in, size_t left, uint8_t *page)
{
    __m256i low = _mm256_setzero_si256(), high = low;
    size_t bytes = compressed_bytes(in, left);
    const uint8_t *at = in + MASKS_BYTES;

    need_tables();
    for (unsigned g = 0; bytes && g < GROUPS; g++) {
        uint8_t *to = page + g * GROUP_BYTES;
        unsigned mask = get_mask(in, g);

        expand_half(mask & 0xff, &at, &low, to);
        expand_half(mask >> 8, &at, &high, to + GROUP_BYTES / 2);
    }
    return bytes;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
}

#endif

/* ---- what there is */

static bool has_words(void)
{
    return true;
}

static const struct {
    bool (*has)(void);
    struct page_compressor way;
} all[] = {
#ifdef __x86_64__
    {has_avx2, {"avx2", compress_avx2, expand_avx2}},
#endif
    {has_words, {"words", compress_words, expand_words}},
};

const struct page_compressor *page_compressor(unsigned n)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].has() && n-- == 0) {
            return &all[i].way;
        }
    }
    return NULL;
}

size_t page_compress(const uint8_t *page, uint8_t *out)
{
    return page_compressor(0)->compress(page, out);
}

size_t page_expand(const uint8_t *in, size_t left, uint8_t *page)
{
    return page_compressor(0)->expand(in, left, page);
}
