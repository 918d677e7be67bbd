/*
 * The SHA extensions (SDM vol. 2; FIPS 180-4 for the functions). Lane 3 holds what the manual calls
 * the first word. Operands in memory need no alignment, as with AMD's processors.
 */
#include "cpu/x86/soft/vec-priv.h"

static inline uint32_t rol(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static inline uint32_t ror(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static inline uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (~x & z);
}

static inline uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (x & z) ^ (y & z);
}

/* ---------------------------------------------------------------- SHA-1 */

static inline uint32_t sha1_function(unsigned part, uint32_t b, uint32_t c, uint32_t d)
{
    return part == 0 ? choose(b, c, d) : part == 2 ? majority(b, c, d) : b ^ c ^ d;
}

static inline vreg sha1rnds4(vreg state, vreg words, unsigned part)
{
    static const uint32_t constant[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    u32x4 s = (u32x4)state, w = (u32x4)words;
    uint32_t a = s[3], b = s[2], c = s[1], d = s[0], e = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t next = sha1_function(part, b, c, d) + rol(a, 5) + w[3 - i] + e + constant[part];
        e = d;
        d = c;
        c = rol(b, 30);
        b = a;
        a = next;
    }
    return (vreg)(u32x4){d, c, b, a};
}

OP(op_sha1rnds4)
{
    vreg s = vec_src128u(c, o);
    xmm_set(c, o->dst, sha1rnds4(xmm_get(c, o->dst), s, o->imm & 3));
    NEXT;
}

OP(op_sha1nexte)
{
    u32x4 s = (u32x4)vec_src128u(c, o), d = (u32x4)xmm_get(c, o->dst);
    s[3] += rol(d[3], 30);
    xmm_set(c, o->dst, (vreg)s);
    NEXT;
}

OP(op_sha1msg1)
{
    u32x4 s = (u32x4)vec_src128u(c, o), d = (u32x4)xmm_get(c, o->dst);
    xmm_set(c, o->dst, (vreg)(u32x4){s[2] ^ d[0], s[3] ^ d[1], d[0] ^ d[2], d[1] ^ d[3]});
    NEXT;
}

OP(op_sha1msg2)
{
    u32x4 s = (u32x4)vec_src128u(c, o), d = (u32x4)xmm_get(c, o->dst);
    uint32_t w16 = rol(d[3] ^ s[2], 1), w17 = rol(d[2] ^ s[1], 1), w18 = rol(d[1] ^ s[0], 1);
    xmm_set(c, o->dst, (vreg)(u32x4){rol(d[0] ^ w16, 1), w18, w17, w16});
    NEXT;
}

/* ---------------------------------------------------------------- SHA-256 */

static inline uint32_t small_sigma0(uint32_t v)
{
    return ror(v, 7) ^ ror(v, 18) ^ v >> 3;
}

static inline uint32_t small_sigma1(uint32_t v)
{
    return ror(v, 17) ^ ror(v, 19) ^ v >> 10;
}

static inline vreg sha256rnds2(vreg cdgh, vreg abef, vreg words)
{
    u32x4 x = (u32x4)abef, y = (u32x4)cdgh, w = (u32x4)words;
    uint32_t a = x[3], b = x[2], c = y[3], d = y[2], e = x[1], f = x[0], g = y[1], h = y[0];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = choose(e, f, g) + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + w[i] + h;
        uint32_t next = t + majority(a, b, c) + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22));
        h = g;
        g = f;
        f = e;
        e = t + d;
        d = c;
        c = b;
        b = a;
        a = next;
    }
    return (vreg)(u32x4){f, e, b, a};
}

OP(op_sha256rnds2)
{
    vreg s = vec_src128u(c, o);
    xmm_set(c, o->dst, sha256rnds2(xmm_get(c, o->dst), s, xmm_get(c, 0)));
    NEXT;
}

OP(op_sha256msg1)
{
    u32x4 s = (u32x4)vec_src128u(c, o), d = (u32x4)xmm_get(c, o->dst);
    u32x4 r = {d[0] + small_sigma0(d[1]), d[1] + small_sigma0(d[2]), d[2] + small_sigma0(d[3]),
               d[3] + small_sigma0(s[0])};
    xmm_set(c, o->dst, (vreg)r);
    NEXT;
}

OP(op_sha256msg2)
{
    u32x4 s = (u32x4)vec_src128u(c, o), d = (u32x4)xmm_get(c, o->dst);
    uint32_t w16 = d[0] + small_sigma1(s[2]), w17 = d[1] + small_sigma1(s[3]);
    u32x4 r = {w16, w17, d[2] + small_sigma1(w16), d[3] + small_sigma1(w17)};
    xmm_set(c, o->dst, (vreg)r);
    NEXT;
}
