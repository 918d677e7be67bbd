/*
 * CRC-32C, with the processor's instruction where it has one (SSE4.2), else bit by bit through a
 * table that is made on the stack of a call: small inputs pay nothing for it that matters.
 *
 * The instruction has a latency of three cycles and can begin one each cycle, so long inputs are
 * taken as three lanes whose sums are joined by a multiplication with x^(8 * length), mod P.
 *
 * Where there are carry-less multiplications of four 128-bit lanes at once (VPCLMULQDQ with
 * AVX-512), long inputs are folded: a lane that is D bits before another is congruent, mod P, to
 * its two halves times x^(D + 64) and x^D, which are added to the other. Sixteen lanes go forward
 * together, what is left is one block of 64 bytes, and the instruction sums that up. After V. Gopal
 * and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel,
 * 2009.
 */
#include "migration/crc32c.h"

#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define POLY 0x82f63b78u /* bits reversed */

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t bytes)
{
    uint32_t nibble[16];

    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;

        for (unsigned bit = 0; bit < 4; bit++) {
            c = c >> 1 ^ (c & 1 ? POLY : 0);
        }
        nibble[i] = c;
    }
    while (bytes--) {
        crc ^= *p++;
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__

#define LANE  8192u       /* bytes */
#define X_ONE 0x28461564u /* x^(8 * LANE) modulo P, bits reversed */
#define X_TWO 0xbf455269u /* x^(16 * LANE) */

/* a * b modulo P, both bits reversed. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;

    for (; b; b <<= 1) {
        if (b & 0x80000000u) {
            sum ^= a;
        }
        a = a >> 1 ^ (a & 1 ? POLY : 0);
    }
    return sum;
}

__attribute__((target("sse4.2"))) static uint64_t step(uint64_t crc, const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
    return __builtin_ia32_crc32di(crc, word);
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p,
                                                                 size_t bytes)
{
    uint64_t a = crc;

    for (; bytes >= 3 * LANE; bytes -= 3 * LANE, p += 3 * LANE) {
        uint64_t b = 0, c = 0;

        for (unsigned i = 0; i < LANE; i += 8) {
            a = step(a, p + i);
            b = step(b, p + LANE + i);
            c = step(c, p + 2 * LANE + i);
        }
        a = multiply((uint32_t)a, X_TWO) ^ multiply((uint32_t)b, X_ONE) ^ (uint32_t)c;
    }
    for (; bytes >= 8; bytes -= 8, p += 8) {
        a = step(a, p);
    }
    crc = (uint32_t)a;
    while (bytes--) {
        crc = __builtin_ia32_crc32qi(crc, *p++);
    }
    return crc;
}

#define FOLD_BYTES 256u /* of a round */
#define WIDE       __attribute__((target("avx512f,vpclmulqdq,sse4.2")))

/* Distances as a pair of factors for reflected bits: x^(D + 32) and x^(D - 32) modulo P, reversed
 * and shifted by one, which the missing 33rd bit of a factor makes up for. */
#define FAR_LOW    0xdcb17aa4u /* D = 2048: a round */
#define FAR_HIGH   0xb9e02b86u
#define NEAR_LOW   0x740eef02u /* D = 512: a register */
#define NEAR_HIGH  0x9e4addf8u

WIDE static inline __m512i fold(__m512i lanes, __m512i factors, __m512i next)
{
    __m512i low = _mm512_clmulepi64_epi128(lanes, factors, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(lanes, factors, 0x11);

    return _mm512_xor_si512(_mm512_xor_si512(low, high), next);
}

WIDE static inline __m512i factors(uint64_t low, uint64_t high)
{
    return _mm512_set_epi64((int64_t)high, (int64_t)low, (int64_t)high, (int64_t)low, (int64_t)high,
                            (int64_t)low, (int64_t)high, (int64_t)low);
}

/* At least one round. */
WIDE static uint32_t by_folding(uint32_t crc, const uint8_t *p, size_t bytes)
{
    const __m512i far = factors(FAR_LOW, FAR_HIGH), near = factors(NEAR_LOW, NEAR_HIGH);
    __m512i sum[4];
    uint8_t block[64];

    for (unsigned i = 0; i < 4; i++) {
        sum[i] = _mm512_loadu_si512(p + 64 * i);
    }
    sum[0] = _mm512_xor_si512(sum[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    for (p += FOLD_BYTES, bytes -= FOLD_BYTES; bytes >= FOLD_BYTES;
         p += FOLD_BYTES, bytes -= FOLD_BYTES) {
        for (unsigned i = 0; i < 4; i++) {
            sum[i] = fold(sum[i], far, _mm512_loadu_si512(p + 64 * i));
        }
    }
    for (unsigned i = 1; i < 4; i++) {
        sum[i] = fold(sum[i - 1], near, sum[i]);
    }
    _mm512_storeu_si512(block, sum[3]);
    return by_instruction(by_instruction(0, block, sizeof(block)), p, bytes);
}

static bool folds(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") &&
           __builtin_cpu_supports("sse4.2");
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    if (bytes >= 4 * FOLD_BYTES && folds()) {
        return ~by_folding(~crc, data, bytes);
    }
    return ~(__builtin_cpu_supports("sse4.2") ? by_instruction(~crc, data, bytes)
                                              : by_table(~crc, data, bytes));
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~by_table(~crc, data, bytes);
}

#endif
