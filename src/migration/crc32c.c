/*
 * CRC-32C, with the processor's instruction where it has one (SSE4.2), else bit by bit through a
 * table that is made on the stack of a call: small inputs pay nothing for it that matters.
 *
 * The instruction has a latency of three cycles and can begin one each cycle, so long inputs are
 * taken as three lanes whose sums are joined by a multiplication with x^(8 * length), mod P.
 */
#include "migration/crc32c.h"

#include <stdbool.h>
#include <string.h>

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

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~(__builtin_cpu_supports("sse4.2") ? by_instruction(~crc, data, bytes)
                                              : by_table(~crc, data, bytes));
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~by_table(~crc, data, bytes);
}

#endif
