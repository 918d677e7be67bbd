/*
 * Cases: an instruction (or a few), and a state in which it has something to work on.
 *
 * Instructions come from the instruction table, so that every line is met, with random prefixes and
 * operands; a share is random bytes. Registers that make up an address are then chosen so that it
 * hits the data pages, their edges more often than chance would.
 */
#include "cpu/x86/soft/insn.h"
#include "oracle.h"
#include <stdio.h>
#include <string.h>

#define CONTROL_FLOW (A_REL8 | A_RELZ | A_END | A_FAR)

static struct {
    const struct insn **integer, **sse, **x87, **avx;
    unsigned n_integer, n_sse, n_x87, n_avx;
} lines;

static void add_line(const struct insn *n)
{
    if (n->map >= V0F) {
        lines.avx[lines.n_avx++] = n;
    } else if (n->attrs & (A_SSE | A_MMX)) {
        lines.sse[lines.n_sse++] = n;
    } else if (n->attrs & (A_X87 | A_WAIT) || (n->map == M1 && (n->opcode & 0xf8) == 0xd8)) {
        lines.x87[lines.n_x87++] = n;
    } else {
        lines.integer[lines.n_integer++] = n;
    }
}

/* A line is out when no encoding of it passes the filter. */
static bool line_allowed(const struct insn *n)
{
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        if ((n->reg < RX && (modrm >> 3 & 7) != n->reg) || (n->rm < RMX && (modrm & 7) != n->rm)) {
            continue;
        }
        struct parsed p = {.ok = true, .map = n->map, .opcode = n->opcode, .modrm = modrm};
        p.prefix66 = n->pfx == P66;
        p.rep = n->pfx == PF3 ? 0xf3 : n->pfx == PF2 ? 0xf2 : 0;
        p.l = n->vex & V_L1;
        p.w = n->vex & V_W1;
        for (p.mode = CODE_64; p.mode <= CODE_16; p.mode++) {
            if (insn_allowed(&p)) {
                return true;
            }
        }
    }
    return false;
}

unsigned generator_init(const struct gen_options *options, bool verbose)
{
    unsigned left_out = 0;
    lines.integer = g_new0(const struct insn *, insn_table_size);
    lines.sse = g_new0(const struct insn *, insn_table_size);
    lines.x87 = g_new0(const struct insn *, insn_table_size);
    lines.avx = g_new0(const struct insn *, insn_table_size);
    for (unsigned i = 0; i < insn_table_size; i++) {
        const struct insn *n = &insn_table[i];
        if (options->only && !strstr(n->name, options->only)) {
            continue;
        }
        bool feature = feature_modelled(n->feature);
        if (!feature || !line_allowed(n)) {
            left_out++;
            if (verbose) {
                printf("# left out: %s%s\n", n->name, feature ? "" : " (feature)");
            }
            continue;
        }
        add_line(n);
    }
    return left_out;
}

/* ---------------------------------------------------------------- values */

static uint64_t value_int(struct rng *g)
{
    static const uint64_t edge[] = {0,          1,          2,          0x7f,   0x80,
                                    0xff,       0x7fff,     0x8000,     0xffff, 0x7fffffff,
                                    0x80000000, 0xffffffff, 0x100000000};
    uint64_t v;
    switch (rng_below(g, 8)) {
    case 0:
        v = edge[rng_below(g, G_N_ELEMENTS(edge))];
        return rng_percent(g, 30) ? -v : rng_percent(g, 20) ? ~v : v;
    case 1:
        v = (uint64_t)1 << rng_below(g, 64);
        return rng_percent(g, 40) ? v - 1 : rng_percent(g, 30) ? -v : v;
    case 2:
        return rng_below(g, 256);
    case 3:
        return -(uint64_t)rng_below(g, 256);
    case 4: /* edge values by byte */
        v = rng_next(g);
        for (unsigned i = 0; i < 8; i++) {
            unsigned pick = rng_below(g, 8);
            uint64_t b = pick == 0 ? 0 : pick == 1 ? 0xff : pick == 2 ? 0x80 : pick == 3 ? 0x7f : v;
            v = v << 8 | (b & 0xff);
        }
        return v;
    case 5:
        return rng_next(g) >> rng_below(g, 64);
    case 6:
        return (uint64_t)((int64_t)rng_next(g) >> rng_below(g, 64));
    default:
        return rng_next(g);
    }
}

static uint32_t value_f32(struct rng *g)
{
    static const uint32_t edge[] = {
        0,          1,          0x007fffff, 0x00800000, 0x00800001, 0x3f800000, 0x3f7fffff,
        0x3f800001, 0x3f000000, 0x40000000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff,
        0x7fc00000, 0x7fc12345, 0x7fffffff, 0x4b000000, 0x4b7fffff, 0x4effffff, 0x4f000000,
        0x5effffff, 0x5f000000, 0x3effffff, 0x3fc00000, 0x40200000, 0x00400000};
    uint32_t sign = rng_percent(g, 50) ? 0x80000000 : 0;
    switch (rng_below(g, 4)) {
    case 0:
        return sign | edge[rng_below(g, G_N_ELEMENTS(edge))];
    case 1: /* moderate, often halves */
        return sign | (120 + rng_below(g, 40)) << 23 |
               ((uint32_t)rng_next(g) & 0x7fffff & ~0u << rng_below(g, 24));
    case 2:
        return (uint32_t)rng_next(g);
    default:
        return sign | (uint32_t)rng_next(g) >> rng_below(g, 24);
    }
}

static uint64_t value_f64(struct rng *g)
{
    static const uint64_t edge[] = {
        0,
        1,
        0x000fffffffffffff,
        0x0010000000000000,
        0x0010000000000001,
        0x3ff0000000000000,
        0x3fefffffffffffff,
        0x3fe0000000000000,
        0x3fdfffffffffffff,
        0x4000000000000000,
        0x7fefffffffffffff,
        0x7ff0000000000000,
        0x7ff0000000000001,
        0x7ff7ffffffffffff,
        0x7ff8000000000000,
        0x7ff8000012345678,
        0x4330000000000000,
        0x41dfffffffc00000,
        0x41e0000000000000,
        0x43dfffffffffffff,
        0x43e0000000000000,
        0x47efffffe0000000,
        0x47effffff0000000,
        0x3810000000000000,
        0x380fffffffffffff,
        0x36a0000000000000,
        0x3690000000000000,
        0x3ff8000000000000,
        0x4004000000000000,
    };
    uint64_t sign = rng_percent(g, 50) ? (uint64_t)1 << 63 : 0;
    switch (rng_below(g, 5)) {
    case 0:
        return sign | edge[rng_below(g, G_N_ELEMENTS(edge))];
    case 1:
        return sign | (uint64_t)(1000 + rng_below(g, 80)) << 52 |
               (rng_next(g) & 0xfffffffffffff & ~(uint64_t)0 << rng_below(g, 53));
    case 2: /* around the single-precision limits */
        return sign |
               (uint64_t)(rng_percent(g, 50) ? 870 + rng_below(g, 30) : 1145 + rng_below(g, 8))
                   << 52 |
               (rng_next(g) & 0xfffffffffffff);
    case 3:
        return rng_next(g);
    default:
        return sign | rng_next(g) >> rng_below(g, 53);
    }
}

static void value_f80(struct rng *g, uint8_t *at)
{
    static const struct {
        uint16_t exponent;
        uint64_t mantissa;
    } edge[] = {
        {0, 0},
        {0, 1},
        {0, 0x7fffffffffffffff},
        {0, 0x8000000000000000}, /* pseudo-denormal */
        {1, 0x8000000000000000},
        {0x3fff, 0x8000000000000000},
        {0x3ffe, 0xffffffffffffffff},
        {0x3fff, 0x8000000000000001},
        {0x3ffe, 0x8000000000000000},
        {0x4000, 0x8000000000000000},
        {0x4000, 0xc90fdaa22168c235},
        {0x7ffe, 0xffffffffffffffff},
        {0x7fff, 0x8000000000000000},
        {0x7fff, 0x8000000000000001},
        {0x7fff, 0xbfffffffffffffff},
        {0x7fff, 0xc000000000000000},
        {0x7fff, 0xc000000012345678},
        {0x7fff, 0}, /* pseudo-infinity and pseudo-NaN */
        {0x7fff, 0x4000000000000001},
        {0x3fff, 0x4000000000000000}, /* unnormal */
        {0x403e, 0x8000000000000000}, /* 2^63 */
        {0x403d, 0xffffffffffffffff},
        {0x401d, 0xfffffffe00000000},
        {0x400d, 0xfffe000000000000},
        {0x403a, 0xde0b6b3a763ffff0}, /* BCD limit */
        {0x403e, 0xffffffffffffffff},
        {0x407e, 0xffffff7fffffffff},
        {0x407e, 0xffffff8000000000},
        {0x43fe, 0xfffffffffffffbff},
        {0x43fe, 0xfffffffffffffc00},
        {0x3f81, 0x8000000000000000},
        {0x3c01, 0x8000000000000000},
    };
    uint16_t exponent;
    uint64_t mantissa;
    switch (rng_below(g, 6)) {
    case 0:
    case 1: {
        unsigned i = rng_below(g, G_N_ELEMENTS(edge));
        exponent = edge[i].exponent;
        mantissa = edge[i].mantissa;
        break;
    }
    case 2:
    case 3:
        exponent = 0x3fff - 20 + rng_below(g, 60);
        mantissa = (rng_next(g) | (uint64_t)1 << 63) & ~(uint64_t)0 << rng_below(g, 64);
        break;
    case 4:
        exponent = rng_next(g) & 0x7fff;
        mantissa = rng_next(g) | (uint64_t)1 << 63;
        break;
    default:
        exponent = rng_next(g) & 0x7fff;
        mantissa = rng_next(g);
        break;
    }
    exponent |= rng_percent(g, 50) ? 0x8000 : 0;
    memcpy(at, &mantissa, 8);
    memcpy(at + 8, &exponent, 2);
}

enum kind { KIND_INT, KIND_F32, KIND_F64, KIND_F80, KIND_TEXT, KINDS };

static void fill(struct rng *g, uint8_t *at, unsigned bytes, enum kind kind)
{
    uint8_t buf[16];
    for (unsigned i = 0; i < bytes; i += 16) {
        for (unsigned j = 0; j < 16; j += 8) {
            uint64_t v = kind == KIND_F64   ? value_f64(g)
                         : kind == KIND_F32 ? value_f32(g) | (uint64_t)value_f32(g) << 32
                         : kind == KIND_TEXT
                             ? 0x6161616161616161 + (rng_next(g) & 0x0303030303030303)
                             : value_int(g);
            if (kind == KIND_TEXT && rng_percent(g, 40)) {
                v &= ~((uint64_t)0xff << 8 * rng_below(g, 8));
            }
            memcpy(buf + j, &v, 8);
        }
        if (kind == KIND_F80) {
            value_f80(g, buf);
        }
        memcpy(at + i, buf, MIN(16u, bytes - i));
    }
}

void template_generate(struct template *t, uint64_t seed, uint64_t batch)
{
    struct rng g = {seed * 0x2545f4914f6cdd1d + batch};
    for (unsigned i = 0; i < DATA_BYTES; i += 64) {
        fill(&g, t->data + i, 64, rng_below(&g, KINDS));
    }
}

/* ---------------------------------------------------------------- encoding */

struct encoder {
    struct rng *g;
    uint8_t *buf;
    unsigned n;
    enum code_mode mode;
    bool rip_only; /* memory operands relative to RIP (or absolute) */
};

static void emit(struct encoder *e, uint8_t b)
{
    e->buf[e->n++] = b;
}

static void emit_random(struct encoder *e, unsigned n)
{
    uint64_t v = value_int(e->g);
    while (n--) {
        emit(e, (uint8_t)v);
        v >>= 8;
    }
}

static void emit_prefixes(struct encoder *e, const struct insn *n, bool *prefix66, uint8_t *rex)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint8_t prefix[8];
    unsigned k = 0;
    bool string = n->attrs & A_STR;
    *prefix66 = n->pfx == P66 || (n->pfx == PX && rng_percent(e->g, 20));
    if (*prefix66) {
        prefix[k++] = 0x66;
    }
    if (n->pfx == PF3 || n->pfx == PF2) {
        prefix[k++] = n->pfx == PF3 ? 0xf3 : 0xf2;
        *prefix66 = rng_percent(e->g, 10);
        if (*prefix66) {
            prefix[k++] = 0x66;
        }
    } else if (n->pfx == PX && rng_percent(e->g, string ? 60 : 3)) {
        prefix[k++] = rng_percent(e->g, 50) ? 0xf3 : 0xf2;
    }
    if (rng_percent(e->g, 8)) {
        prefix[k++] = 0x67;
    }
    if (rng_percent(e->g, 8)) {
        /* null FS and GS in compatibility mode: bases differ in what they mean */
        prefix[k++] = segments[rng_below(e->g, (e->mode != CODE_64) ? 4 : 6)];
    }
    if (rng_percent(e->g, n->attrs & A_LOCK ? 25 : 2)) {
        prefix[k++] = 0xf0;
    }
    for (unsigned i = 0; i < k; i++) { /* in any order */
        unsigned j = i + rng_below(e->g, k - i);
        uint8_t b = prefix[j];
        prefix[j] = prefix[i];
        emit(e, b);
    }
    *rex = 0;
    if (e->mode == CODE_64 && rng_percent(e->g, 50)) {
        *rex = 0x40 | rng_below(e->g, 16);
        emit(e, *rex);
    }
}

static bool has_modrm(const struct insn *n)
{
    return n->attrs & (A_MODRM | A_MODREG) || n->reg != RX || n->rm != RMX;
}

/* Of an opcode, as some line of the table says. */
static bool opcode_has_modrm(const struct parsed *p)
{
    for (unsigned i = 0; i < insn_table_size; i++) {
        const struct insn *n = &insn_table[i];
        if (n->map == p->map && n->opcode == p->opcode && has_modrm(n)) {
            return true;
        }
    }
    return false;
}

static bool opcode_is_sse(const struct parsed *p)
{
    if (p->map >= V0F && p->map < V0F + VEX_MAPS) {
        return true;
    }
    for (unsigned i = 0; i < insn_table_size; i++) {
        const struct insn *n = &insn_table[i];
        if (n->map == p->map && n->opcode == p->opcode && n->attrs & A_SSE) {
            return true;
        }
    }
    return false;
}

/* With 16-bit addressing there is no SIB byte. */
static void emit_memory(struct encoder *e, unsigned reg, bool addr16, bool sib)
{
    unsigned mod = rng_below(e->g, 3), rm = rng_below(e->g, 8);
    rm = sib && rng_percent(e->g, 97) ? 4 : rm;
    if (e->rip_only) {
        mod = 0;
        rm = addr16 ? 6 : 5;
    }
    emit(e, mod << 6 | reg << 3 | rm);
    if (addr16) {
        emit_random(e, mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
        return;
    }
    if (rm == 4) {
        uint8_t byte = (uint8_t)rng_next(e->g);
        emit(e, byte);
        rm = byte & 7;
    }
    emit_random(e, mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0);
}

static void emit_modrm(struct encoder *e, const struct insn *n, bool addr16)
{
    unsigned reg = n->reg < RX ? n->reg : rng_below(e->g, 8);
    if (n->rm < RMX) {
        emit(e, 0xc0 | reg << 3 | n->rm);
    } else if (n->rm == RMR || n->attrs & A_MODREG || (n->rm == RMX && rng_percent(e->g, 45))) {
        emit(e, 0xc0 | reg << 3 | rng_below(e->g, 8));
    } else {
        emit_memory(e, reg, addr16, n->vex & V_SIB);
    }
}

static bool addr16(const struct encoder *e, bool prefix67)
{
    return e->mode != CODE_64 && prefix67 == (e->mode == CODE_32);
}

static unsigned immediate_bytes(const struct encoder *e, const struct insn *n, bool prefix66,
                                uint8_t rex, bool prefix67)
{
    unsigned osz = n->attrs & A_BYTE ? 1 : rex & 8 ? 8 : prefix66 == (e->mode != CODE_16) ? 2 : 4;
    unsigned bytes = 0;
    bool d64 = e->mode == CODE_64 && n->attrs & A_F64;
    if (n->attrs & (A_I8 | A_REL8)) {
        bytes += 1;
    }
    if (n->attrs & A_I16) {
        bytes += 2;
    }
    if (n->attrs & A_IZ) {
        bytes += osz == 2 ? 2 : 4;
    }
    if (n->attrs & A_RELZ) {
        bytes += osz == 2 && !d64 ? 2 : 4;
    }
    if (n->attrs & A_IV) {
        bytes += osz;
    }
    if (n->attrs & A_FAR) {
        bytes += osz == 2 ? 4 : 6;
    }
    if (n->attrs & A_MOFFS) {
        bytes += e->mode != CODE_64 ? (addr16(e, prefix67) ? 2 : 4) : prefix67 ? 4 : 8;
    }
    return bytes;
}

/* Mostly with the VEX fields that the line asks for. */
static void emit_vex(struct encoder *e, const struct insn *n)
{
    static const uint8_t pp_of[] = {[PN] = 0, [P66] = 1, [PF3] = 2, [PF2] = 3};
    static const uint8_t others[] = {0x2e, 0x36, 0x3e, 0x26, 0x66, 0xf2, 0xf3, 0xf0};
    struct rng *g = e->g;
    bool mode64 = e->mode == CODE_64, prefix67 = rng_percent(g, 6);
    bool l = n->vex & V_L1 || (!(n->vex & V_L0) && rng_percent(g, 50));
    bool w = n->vex & V_W1 || (!(n->vex & V_W0) && rng_percent(g, 40));
    unsigned vvvv = n->vex & V_NOV ? 15 : rng_below(g, 16), rxb = mode64 ? rng_below(g, 8) : 7;

    if (rng_percent(g, 3)) {
        l = !l;
    }
    if (rng_percent(g, 2)) {
        w = !w;
    }
    if (rng_percent(g, 3)) {
        vvvv = rng_below(g, 16);
    }
    if (prefix67) {
        emit(e, 0x67);
    }
    if (rng_percent(g, 5)) {
        emit(e, mode64 && rng_percent(g, 50) ? 0x64 + rng_below(g, 2)
                                             : others[rng_below(g, rng_percent(g, 80) ? 4 : 8)]);
    }
    bool ignored = mode64 || rng_percent(g, 10); /* the top bit counts in 64-bit mode only */
    vvvv |= ignored ? 0 : 8;
    if (n->map == V0F && !w && (mode64 || vvvv & 8) && rng_percent(g, 60)) {
        emit(e, 0xc5);
        emit(e, (rxb & 4) << 5 | vvvv << 3 | l << 2 | pp_of[n->pfx]);
    } else {
        emit(e, 0xc4);
        emit(e, rxb << 5 | (n->map - V0F + 1));
        emit(e, w << 7 | vvvv << 3 | l << 2 | pp_of[n->pfx]);
    }
    emit(e, n->opcode);
    if (has_modrm(n)) {
        emit_modrm(e, n, addr16(e, prefix67));
    }
    emit_random(e, n->attrs & A_I8 ? 1 : 0);
}

static void emit_insn(struct encoder *e, const struct insn *n)
{
    if (n->map >= V0F) {
        emit_vex(e, n);
        return;
    }
    bool prefix66;
    uint8_t rex;
    unsigned start = e->n;
    emit_prefixes(e, n, &prefix66, &rex);
    bool prefix67 = memchr(e->buf + start, 0x67, e->n - start) != NULL;
    if (n->map != M1) {
        emit(e, 0x0f);
    }
    if (n->map == M38 || n->map == M3A) {
        emit(e, n->map == M38 ? 0x38 : 0x3a);
    }
    emit(e, n->opcode | (n->attrs & A_OPREG ? rng_below(e->g, 8) : 0));
    if (has_modrm(n)) {
        emit_modrm(e, n, addr16(e, prefix67));
    }
    emit_random(e, immediate_bytes(e, n, prefix66, rex, prefix67));
}

/* ---------------------------------------------------------------- addresses */

static uint64_t pick_address(struct rng *g)
{
    unsigned p = rng_below(g, 100);
    if (p < 40) {
        return RW_BASE + (rng_below(g, RW_BYTES - 64) & ~15u);
    }
    if (p < 65) {
        return RW_BASE + rng_below(g, RW_BYTES - 16);
    }
    if (p < 77) { /* across the pages */
        return RW_BASE + 0x1000 - 1 - rng_below(g, 20);
    }
    if (p < 85) { /* off the end */
        return RW_BASE + RW_BYTES - rng_below(g, 24);
    }
    if (p < 90) {
        return RO_BASE + rng_below(g, RO_BYTES);
    }
    if (p < 93) { /* from the unmapped page into the read-only one */
        return RO_BASE - rng_below(g, 16);
    }
    if (p < 95) {
        return RO_BASE + RO_BYTES - rng_below(g, 16);
    }
    if (p < 97) {
        return CODE_BASE + rng_below(g, CODE_BYTES);
    }
    if (p < 98) { /* around the canonical hole */
        return (rng_percent(g, 50) ? 0x0000800000000000 : 0xffff7ffffffffff0) + rng_below(g, 32) -
               16;
    }
    return value_int(g);
}

/* Base of a case's segment. */
static uint32_t segment_base(const struct oracle_case *k, unsigned which)
{
    return k->segmented ? ldt_entries[k->segment[which]].base : 0;
}

/* Offset of a linear address in the operand's segment. */
static uint64_t operand_offset(struct rng *g, const struct oracle_case *k, const struct parsed *p,
                               bool stack, uint64_t linear)
{
    if (k->mode == CODE_64) {
        return linear - (p->segment == 0x64 ? FS_BASE : p->segment == 0x65 ? GS_BASE : 0);
    }
    unsigned which = p->segment == 0x26   ? CASE_ES
                     : p->segment == 0x2e ? CASE_CS
                     : p->segment == 0x36 ? CASE_SS
                     : p->segment == 0x3e ? CASE_DS
                     : stack              ? CASE_SS
                                          : CASE_DS;
    if (k->segmented && rng_percent(g, 15)) { /* around the limit */
        return ldt_entries[k->segment[which]].limit - rng_below(g, 24) + 4;
    }
    return (uint32_t)(linear - segment_base(k, which));
}

enum aim { AIM_NONE /* no memory operand */, AIM_MISS, AIM_HIT };

static bool is_gather(const struct parsed *p)
{
    return p->map == V38 && p->opcode >= 0x90 && p->opcode <= 0x93;
}

/* The elements of a gather's index register: small, so that they stay about the data pages. */
static void prepare_gather(struct rng *g, struct oracle_case *k, unsigned n, bool quads)
{
    for (unsigned i = 0; i < 8; i++) {
        int32_t v = (int32_t)rng_below(g, 600) - 300;
        uint8_t *half = i < 4 ? k->fx + 160 + 16 * n : k->ymm + 16 * n;
        if (quads) {
            int64_t v64 = v;
            memcpy(half + 8 * (i % 2), &v64, 8);
        } else {
            memcpy(half + 4 * (i % 4), &v, 4);
        }
    }
}

static void set_low16(uint64_t *r, uint64_t v)
{
    *r = (*r & ~(uint64_t)0xffff) | (v & 0xffff);
}

static enum aim aim16(struct rng *g, struct oracle_case *k, uint8_t *code, unsigned at,
                      const struct parsed *p, uint64_t target)
{
    static const int8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const int8_t index[8] = {RSI, RDI, RSI, RDI, -1, -1, -1, -1};
    unsigned mod = p->modrm >> 6, rm = p->modrm & 7;
    bool absolute = mod == 0 && rm == 6;
    uint64_t offset = operand_offset(g, k, p, !absolute && base[rm] == RBP, target), disp = 0;
    if (absolute) {
        memcpy(code + at, &offset, 2);
    } else {
        if (mod == 1) {
            disp = (uint64_t)(int8_t)code[at];
        } else if (mod == 2) {
            disp = code[at] | code[at + 1] << 8;
        }
        disp += index[rm] >= 0 ? k->r[index[rm]] : 0;
        set_low16(&k->r[base[rm]], offset - disp);
    }
    return offset < 0x10000 ? AIM_HIT : AIM_MISS;
}

/* Makes the memory operand that starts at modrm_at point to `target`, as far as its form allows. */
static enum aim aim(struct rng *g, struct oracle_case *k, uint8_t *code, unsigned start,
                    unsigned end, const struct parsed *p, uint64_t target)
{
    uint8_t modrm = code[start + p->modrm_at];
    unsigned mod = modrm >> 6, rm = modrm & 7, at = start + p->modrm_at + 1;
    if (mod == 3 || !opcode_has_modrm(p)) {
        return AIM_NONE;
    }
    if (p->addr16) {
        return aim16(g, k, code, at, p, target);
    }
    int base = rm | (p->rex & 1) << 3, index = -1, scale = 0;
    if (rm == 4) {
        uint8_t sib = code[at++];
        scale = sib >> 6;
        index = (sib >> 3 & 7) | (p->rex & 2) << 2;
        index = index == 4 ? -1 : index;
        base = (sib & 7) | (p->rex & 1) << 3;
        if (is_gather(p)) {
            prepare_gather(g, k, (sib >> 3 & 7) | (p->rex & 2) << 2, p->opcode & 1);
            index = -1;
        }
        rm = sib & 7;
        base = rm == 5 && mod == 0 ? -1 : base;
    } else if (rm == 5 && mod == 0) {
        base = -2; /* RIP, or nothing */
    }
    uint64_t offset = operand_offset(g, k, p, base == RSP || base == RBP, target);
    if (base < 0) {
        uint64_t disp = offset;
        if (base == -2 && k->mode == CODE_64) {
            disp -= CODE_BASE + k->code_at + end;
        }
        if (index >= 0) {
            disp -= k->r[index] << scale;
        }
        if (disp != (uint64_t)(int64_t)(int32_t)disp && k->mode == CODE_64 && !p->prefix67) {
            return AIM_MISS;
        }
        memcpy(code + at, &disp, 4);
        return AIM_HIT;
    }
    int32_t disp = 0;
    if (mod == 1) {
        disp = (int8_t)code[at];
    } else if (mod == 2) {
        memcpy(&disp, code + at, 4);
    }
    uint64_t rest = offset - (uint64_t)(int64_t)disp;
    if (index == base) {
        k->r[base] = rest / (1 + (1u << scale));
        return rest % (1 + (1u << scale)) == 0 ? AIM_HIT : AIM_MISS;
    }
    k->r[base] = rest - (index >= 0 ? k->r[index] << scale : 0);
    return AIM_HIT;
}

/* Parts of the operand at `target` that are not compared. Returns false when there are some, but
 * the operand is elsewhere. */
static bool note_ignored(struct oracle_case *k, const struct parsed *p, enum aim aimed,
                         uint64_t target)
{
    struct ignored ignored[2];
    insn_ignored_memory(p, ignored);
    for (unsigned i = 0; i < 2 && ignored[i].bytes; i++) {
        if (aimed != AIM_HIT) {
            return false;
        }
        ignored[i].at += (uint32_t)(target - DATA_BASE);
        k->ignored[k->n_ignored++] = ignored[i];
    }
    return true;
}

/* ---------------------------------------------------------------- state */

static void random_mode(struct rng *g, struct oracle_case *k, const struct gen_options *options)
{
    unsigned p = options->only_64 ? 100 : rng_below(g, 100);
    if (p < 10) {
        k->mode = CODE_32;
    } else if (p < 20 && !options->only_flat) {
        unsigned data = rng_below(g, 100);
        k->segmented = true;
        k->mode = rng_percent(g, 65) ? CODE_16 : CODE_32;
        k->segment[CASE_CS] = k->mode == CODE_16 ? LDT_CODE_16 : LDT_CODE_32;
        k->segment[CASE_SS] =
            rng_percent(g, k->mode == CODE_16 ? 75 : 25) ? LDT_STACK_16 : LDT_STACK_32;
        k->segment[CASE_DS] = data < 75 ? LDT_DATA : data < 85 ? LDT_READ_ONLY : LDT_EXPAND_DOWN;
        k->segment[CASE_ES] = rng_percent(g, 50) ? LDT_DATA : LDT_SHORT;
    }
}

static void random_mxcsr(struct rng *g, uint8_t *fx)
{
    uint32_t v = 0x1f80;
    if (rng_percent(g, 45)) {
        v |= rng_next(g) & 0xe07f;
        if (rng_percent(g, 50)) {
            v &= ~0x3fu;
        }
    }
    if (rng_percent(g, 15)) {
        v &= ~(1u << (7 + rng_below(g, 6)));
        v &= ~0x3fu | (rng_next(g) & 0x3f);
    }
    memcpy(fx + 24, &v, 4);
}

static void random_x87(struct rng *g, uint8_t *fx)
{
    uint16_t control = 0x37f, status = 0;
    uint8_t tags = 0xff;
    if (rng_percent(g, 40)) {
        control = 0x40 | (rng_next(g) & 0x1f3f);
        control |= rng_percent(g, 60) ? 0x3f : 0;
    }
    status = (rng_next(g) & 0x4700) | (rng_percent(g, 60) ? rng_below(g, 8) << 11 : 0);
    if (rng_percent(g, 20)) {
        status |= rng_next(g) & 0x7f;
    }
    if (status & ~control & 0x3f) { /* pending: seldom, or nothing else would run */
        if (rng_percent(g, 80)) {
            status &= ~0x7fu;
        } else {
            status |= 0x8080;
        }
    }
    switch (rng_below(g, 5)) {
    case 0:
        tags = (uint8_t)rng_next(g);
        break;
    case 1:
    case 2: /* ST(0), ST(1).. in use, ST(7) free */
        tags = 0;
        for (unsigned i = 0; i < 1 + rng_below(g, 7); i++) {
            tags |= 1u << (((status >> 11) + i) & 7);
        }
        break;
    case 3:
        tags = 0;
        break;
    }
    memcpy(fx, &control, 2);
    memcpy(fx + 2, &status, 2);
    fx[4] = tags;
    for (unsigned i = 0; i < 8; i++) {
        value_f80(g, fx + 32 + 16 * i);
    }
}

static void random_state(struct rng *g, struct oracle_case *k)
{
    for (unsigned i = 0; i < 16; i++) {
        k->r[i] = k->mode != CODE_64 && i >= 8 ? 0 : value_int(g);
        if (k->mode != CODE_64) {
            k->r[i] = (uint32_t)k->r[i];
        }
    }
    k->rflags = RFLAGS_1 | RFLAGS_IF | (rng_next(g) & RFLAGS_ARITH) |
                (rng_percent(g, 20) ? RFLAGS_DF : 0) | (rng_percent(g, 3) ? RFLAGS_AC : 0);
    memset(k->fx, 0, sizeof(k->fx));
    random_mxcsr(g, k->fx);
    random_x87(g, k->fx);
    enum kind kind = rng_below(g, KINDS);
    for (unsigned i = 0; i < 16; i++) {
        fill(g, k->fx + 160 + 16 * i, 16, rng_percent(g, 75) ? kind : rng_below(g, KINDS));
        if (i && rng_percent(g, 15)) { /* equal operands */
            memcpy(k->fx + 160 + 16 * i, k->fx + 160 + 16 * (i - 1), 16);
        }
        fill(g, k->ymm + 16 * i, 16, rng_percent(g, 75) ? kind : rng_below(g, KINDS));
        if (i && rng_percent(g, 15)) {
            memcpy(k->ymm + 16 * i, k->ymm + 16 * (i - 1), 16);
        }
    }
}

/* A pointer to `linear` through the segment of the given index, or FS or GS by prefix. */
static uint64_t pointer(const struct oracle_case *k, const struct parsed *p, unsigned which,
                        uint64_t linear)
{
    if (k->mode == CODE_64) {
        return linear - (which == CASE_DS && p->segment == 0x64   ? FS_BASE
                         : which == CASE_DS && p->segment == 0x65 ? GS_BASE
                                                                  : 0);
    }
    return (uint32_t)(linear - segment_base(k, which));
}

static void prepare_stack(struct rng *g, struct oracle_case *k, const struct parsed *p)
{
    uint64_t mask = k->segmented && k->segment[CASE_SS] == LDT_STACK_16 ? 0xffff : ~(uint64_t)0;
    uint64_t rsp = rng_percent(g, 85) ? pick_address(g) & ~7ull : value_int(g);
    if (p->map == M1 && (p->opcode == 0x60 || p->opcode == 0x61)) {
        /* PUSHA, POPA: what a fault in the middle leaves in memory and registers differs. */
        rsp = RW_BASE + 32 + rng_below(g, RW_BYTES - 64);
    } else if (p->map == M1 && (p->opcode == 0xff || p->opcode == 0xe8)) {
        /* A call's bad target or bad stack: which fault comes first differs. */
        rsp = RW_BASE + 16 + (rng_below(g, RW_BYTES - 32) & ~7u);
    }
    k->r[RSP] = pointer(k, p, CASE_SS, rsp) & mask;
    if (rng_percent(g, 50)) {
        k->r[RBP] = pointer(k, p, CASE_SS, pick_address(g) & ~7ull);
    }
}

static void prepare_string(struct rng *g, struct oracle_case *k, const struct parsed *p)
{
    uint64_t source = pick_address(g);
    uint64_t target = rng_percent(g, 70) ? pick_address(g) : source + rng_below(g, 16) - 8;
    k->r[RSI] = pointer(k, p, CASE_DS, source);
    k->r[RDI] = pointer(k, p, CASE_ES, target);
    if (rng_percent(g, 80)) {
        k->r[RCX] = rng_below(g, rng_percent(g, 50) ? 8 : 300);
    }
}

/* What the instruction takes from registers that no operand names. */
static void prepare_implicit(struct rng *g, struct oracle_case *k, const struct parsed *p)
{
    unsigned reg = (p->modrm >> 3 & 7) | (p->rex & 4) << 1;
    prepare_stack(g, k, p);
    if (p->map == M1 && p->opcode >= 0xa4 && p->opcode <= 0xaf) {
        prepare_string(g, k, p);
    } else if (p->map == M1 && p->opcode == 0xd7) {
        k->r[RBX] = pointer(k, p, CASE_DS, pick_address(g) - (uint8_t)k->r[RAX]);
    } else if ((p->map == M0F || p->map == V0F) && p->opcode == 0xf7) {
        /* MASKMOV: faults on bytes that are not selected depend on the processor (SDM). */
        k->r[RDI] = pointer(k, p, CASE_DS, RW_BASE + rng_below(g, RW_BYTES - 16));
    } else if (p->map == M1 && (p->opcode == 0xf6 || p->opcode == 0xf7) && rng_percent(g, 60)) {
        /* a quotient that fits */
        k->r[RDX] = rng_percent(g, 50) ? 0 : (uint64_t)((int64_t)k->r[RAX] >> 63);
    } else if (p->map == M0F && (p->opcode & 0xe7) == 0xa3 && rng_percent(g, 80)) {
        /* a bit number near the operand */
        k->r[reg] = (uint64_t)((int64_t)rng_below(g, 4096) - 2048);
    } else if (p->map == M1 && p->opcode >= 0xe0 && p->opcode <= 0xe3) {
        k->r[RCX] = rng_percent(g, 60) ? rng_below(g, 3) : k->r[RCX];
    }
}

/* Bytes of interest at the memory operand. */
static void patch_memory(struct rng *g, struct oracle_case *k, const struct parsed *p,
                         uint64_t target)
{
    if (target < DATA_BASE || target >= DATA_BASE + DATA_BYTES || rng_percent(g, 25)) {
        return;
    }
    k->patch_at = (uint32_t)(target - DATA_BASE);
    k->patch_bytes = (uint8_t)MIN(PATCH_MAX, DATA_BYTES - k->patch_at);
    fill(g, k->patch, k->patch_bytes, rng_below(g, KINDS));
    bool compare = p->map == M0F && (p->opcode == 0xb0 || p->opcode == 0xb1 || p->opcode == 0xc7);
    if (compare && rng_percent(g, 50)) { /* CMPXCHG that succeeds */
        bool wide = p->rex & 8;
        memcpy(k->patch, &k->r[RAX], 8);
        memcpy(k->patch + (p->opcode != 0xc7 || wide ? 8 : 4), &k->r[RDX], 8);
    }
    if ((p->map == M0F || p->map == V0F) && p->opcode == 0xae && k->patch_bytes >= 32 &&
        rng_percent(g, 70)) {
        uint32_t mxcsr = rng_next(g) & 0xffff;
        memcpy(k->patch + (p->modrm >> 3 & 1 ? 24 : 0), &mxcsr, 4);
    }
}

/* ---------------------------------------------------------------- a case */

static const struct insn *pick_line(struct rng *g, enum code_mode mode)
{
    for (unsigned i = 0;; i++) {
        unsigned p = rng_below(g, 100);
        const struct insn **list = p < 30   ? lines.integer
                                   : p < 52 ? lines.sse
                                   : p < 82 ? lines.avx
                                            : lines.x87;
        unsigned n = p < 30   ? lines.n_integer
                     : p < 52 ? lines.n_sse
                     : p < 82 ? lines.n_avx
                              : lines.n_x87;
        if (n == 0) {
            continue;
        }
        const struct insn *line = list[rng_below(g, n)];
        bool fits = !(line->attrs & (mode != CODE_64 ? A_64 : A_NO64));
        if (fits || i > 1000 || rng_percent(g, 3)) {
            return line;
        }
    }
}

/* Opcode first, so that no part of the opcode space is rare. */
static void emit_random_bytes(struct encoder *e)
{
    static const uint8_t prefixes[] = {0x66, 0x66, 0xf2, 0xf3, 0x67, 0x2e, 0xf0, 0x65};
    while (rng_percent(e->g, 25) && e->n < 4) {
        emit(e, prefixes[rng_below(e->g, (e->mode != CODE_64) ? 7 : 8)]);
    }
    if (e->mode == CODE_64 && rng_percent(e->g, 30)) {
        emit(e, 0x40 | rng_below(e->g, 16));
    }
    unsigned p = rng_below(e->g, 10);
    if (p >= 4) {
        emit(e, 0x0f);
    }
    if (p >= 8) {
        emit(e, p == 8 ? 0x38 : 0x3a);
    }
    while (e->n < 18) {
        emit(e, (uint8_t)rng_next(e->g));
    }
}

static bool is_control_flow(const struct parsed *p)
{
    unsigned reg = p->modrm >> 3 & 7;
    if (p->map == M0F) {
        return (p->opcode & 0xf0) == 0x80;
    }
    return p->map == M1 &&
           ((p->opcode & 0xf0) == 0x70 || (p->opcode >= 0xe0 && p->opcode <= 0xe3) ||
            (p->opcode >= 0xe8 && p->opcode <= 0xeb) || (p->opcode & 0xfe) == 0xc2 ||
            p->opcode == 0xcc || p->opcode == 0xcd || p->opcode == 0xce ||
            (p->opcode == 0xff && reg >= 2 && reg <= 5));
}

/* Where the code goes: mostly in the middle, at times across or off the end of a page. */
static void place_code(struct rng *g, struct oracle_case *k, unsigned bytes, bool may_end_page)
{
    unsigned p = rng_below(g, 100);
    k->code_at = 0x400 + rng_below(g, 0x800);
    if (p < 6) {
        k->code_at = 0x1000 - rng_below(g, bytes + 1);
    } else if (p < 9 && may_end_page) {
        k->code_at = CODE_BYTES - 1 - rng_below(g, bytes);
    }
    k->code_bytes = (uint8_t)MIN(bytes, CODE_BYTES - k->code_at);
}

/* One instruction; returns false when the filter refuses it. */
static bool generate_single(struct rng *g, struct oracle_case *k, bool random_bytes)
{
    struct encoder e = {.g = g, .buf = k->code, .mode = k->mode};
    struct parsed p;
    bool skip = false;
    if (random_bytes) {
        emit_random_bytes(&e);
    } else {
        emit_insn(&e, pick_line(g, k->mode));
    }
    unsigned bytes = e.n;
    memset(k->code + bytes, 0xcc, CODE_MAX - bytes);
    insn_parse(&p, k->code, bytes + 8, k->mode);
    /* MASKMOV whose pointer may leave the pages or the segment: see prepare_implicit() */
    bool maskmov =
        (p.map == M0F || p.map == V0F) && p.opcode == 0xf7 && (p.prefix67 || k->segmented);
    /* Whether bytes that are not selected count for the segment's limit differs. */
    bool vmaskmov = p.map == V38 && insn_has_wide_operand(&p) && !is_gather(&p) && k->segmented;
    if (!insn_allowed(&p) || maskmov || vmaskmov) {
        return false;
    }
    k->step = random_bytes || is_control_flow(&p) || rng_percent(g, 50);
    if (is_gather(&p)) {
        k->step = false; /* the trap may come in the middle, instead of a fault */
    }
    place_code(g, k, bytes + !k->step, k->step);
    prepare_implicit(g, k, &p);
    uint64_t target = pick_address(g);
    while (insn_has_wide_operand(&p) &&
           (target > ~(uint64_t)512 || ((target + 512) >> 47 != 0 && target >> 47 != 0x1ffff))) {
        target = pick_address(g); /* which part comes first matters at the canonical hole */
    }
    enum aim aimed = aim(g, k, k->code, 0, bytes, &p, target);
    if (!note_ignored(k, &p, aimed, target)) {
        return false;
    }
    if (aimed != AIM_NONE) {
        patch_memory(g, k, &p, target);
    } else if ((p.map == M0F || p.map == V0F) && p.opcode == 0xf7) {
        patch_memory(g, k, &p, k->r[RDI]);
    } else {
        patch_memory(g, k, &p, k->r[rng_percent(g, 50) ? RSI : RSP]);
    }
    k->undefined_flags = insn_undefined_flags(&p, k->code, k->r, &skip);
    k->ignored_fsw = insn_ignored_fsw(&p, &k->ignored_fsw_if_stopped);
    k->vector = opcode_is_sse(&p);
    k->call = p.map == M1 && (p.opcode == 0xff || p.opcode == 0xe8);
    k->fs_gs = k->mode == CODE_64 && p.segment >= 0x64;
    k->mmx_late = insn_touches_mmx_late(&p);
    k->wide_operand = insn_has_wide_operand(&p);
    if (insn_alignment_varies(&p)) {
        k->rflags &= ~(uint64_t)RFLAGS_AC;
    }
    return !skip;
}

/* ---------------------------------------------------------------- several instructions */

/* A forward branch whose target is `skip` instructions further on. */
struct branch {
    unsigned at, bytes; /* of the displacement */
    unsigned skip;
};

struct program {
    struct encoder e;
    struct branch branch[8];
    unsigned n_branches;
};

/* Where the loop counter of a program is: no operand of a program reaches up to it. */
#define COUNTER (RW_BASE + RW_BYTES - 8)

static void emit_branch(struct program *prog)
{
    struct encoder *e = &prog->e;
    struct branch *b = &prog->branch[prog->n_branches++];
    unsigned form = rng_below(e->g, 8);
    b->bytes = form < 5 ? 1 : e->mode == CODE_16 ? 2 : 4;
    if (form < 4) { /* Jcc */
        emit(e, 0x70 | rng_below(e->g, 16));
    } else if (form < 5) {
        emit(e, 0xeb); /* JMP */
    } else if (form < 7) {
        emit(e, 0x0f);
        emit(e, 0x80 | rng_below(e->g, 16));
    } else {
        emit(e, 0xe8); /* CALL */
    }
    b->at = e->n;
    b->skip = 1 + rng_below(e->g, 3);
    for (unsigned i = 0; i < b->bytes; i++) {
        emit(e, 0);
    }
}

/* After an instruction: branches that end here get their displacement. */
static void land_branches(struct program *prog, bool all)
{
    for (unsigned i = 0; i < prog->n_branches; i++) {
        struct branch *b = &prog->branch[i];
        if (b->skip && (all || --b->skip == 0)) {
            prog->e.buf[b->at] = (uint8_t)(prog->e.n - b->at - b->bytes);
            b->skip = 0;
        }
    }
}

/* One instruction that does not branch, leaves nothing undefined and has its operand in the data
 * pages. Returns false when the line drawn would not do. */
static bool emit_step(struct rng *g, struct oracle_case *k, struct encoder *e)
{
    const struct insn *line = pick_line(g, k->mode);
    unsigned start = e->n;
    struct parsed p;
    uint16_t ignored = 0;
    bool skip = false;
    if (line->attrs & (CONTROL_FLOW | A_STR) || line->vex & V_SIB) {
        return false;
    }
    emit_insn(e, line);
    memset(k->code + e->n, 0xcc, CODE_MAX - e->n);
    insn_parse(&p, k->code + start, e->n - start + 8, k->mode);
    struct ignored unknown[2];
    insn_ignored_memory(&p, unknown);                      /* a later instruction may read it */
    bool popf = p.map == M1 && p.opcode == 0x9d;           /* sets AC */
    bool pusha = p.map == M1 && (p.opcode & 0xfe) == 0x60; /* may store half before a fault */
    if (!insn_allowed(&p) || is_control_flow(&p) || popf || pusha || unknown[0].bytes ||
        insn_undefined_flags(&p, k->code + start, NULL, &skip) || skip ||
        insn_ignored_fsw(&p, &ignored) || ignored || insn_touches_mmx_late(&p)) {
        e->n = start;
        return false;
    }
    uint64_t target = RW_BASE + (rng_below(g, RW_BYTES - 64) & ~15u);
    if (insn_has_wide_operand(&p)) {
        target = RW_BASE + (rng_below(g, RW_BYTES - 1024) & ~15u);
    }
    aim(g, k, k->code, start, e->n, &p, target);
    k->wide_operand |= insn_has_wide_operand(&p);
    k->vector |= opcode_is_sse(&p);
    return true;
}

/* DEC dword [counter]; JNZ start. The counter's address does not depend on registers. */
static void emit_loop(struct oracle_case *k, struct encoder *e)
{
    uint32_t disp = COUNTER;
    emit(e, 0xff);
    emit(e, 0x0d);
    if (k->mode == CODE_64) {
        disp -= CODE_BASE + k->code_at + e->n + 4;
    }
    memcpy(e->buf + e->n, &disp, 4);
    e->n += 4;
    emit(e, 0x0f);
    emit(e, 0x85);
    disp = 0u - (e->n + 4);
    memcpy(e->buf + e->n, &disp, 4);
    e->n += 4;
    k->patch_at = COUNTER - DATA_BASE;
    k->patch_bytes = 8;
    k->patch[0] = (uint8_t)(2 + rng_below(e->g, 8));
}

/* A few instructions: in a row, with branches forward among them, or in a loop. */
static void generate_program(struct rng *g, struct oracle_case *k)
{
    struct program prog = {.e = {.g = g, .buf = k->code, .mode = k->mode, .rip_only = true}};
    unsigned want = 2 + rng_below(g, CASE_INSNS_MAX - 1), have = 0;
    bool branches = rng_percent(g, 50), loop = !k->segmented && rng_percent(g, 30);
    place_code(g, k, CODE_MAX, false);
    for (unsigned tries = 0; have < want && tries < 200 && prog.e.n < CODE_MAX - 48; tries++) {
        if (branches && rng_percent(g, 25) && prog.n_branches < G_N_ELEMENTS(prog.branch)) {
            emit_branch(&prog);
        }
        if (emit_step(g, k, &prog.e)) {
            have++;
            land_branches(&prog, false);
        }
    }
    land_branches(&prog, true);
    if (loop) {
        emit_loop(k, &prog.e);
    }
    emit(&prog.e, 0xcc);
    k->code_bytes = (uint8_t)prog.e.n;
    memset(k->code + prog.e.n, 0xcc, CODE_MAX - prog.e.n);
    k->rflags &= ~(uint64_t)RFLAGS_AC;
    k->r[RSP] = RW_BASE + 0x800 + 8 * rng_below(g, 64) - segment_base(k, CASE_SS);
}

void case_generate(struct oracle_case *k, const struct gen_options *options, uint64_t seed,
                   uint64_t number)
{
    struct rng g = {seed * 0x9e3779b97f4a7c15 ^ number * 0xd1342543de82ef95};
    rng_next(&g);
    for (;;) {
        memset(k, 0, sizeof(*k));
        k->seed = seed;
        k->number = number;
        random_mode(&g, k, options);
        random_state(&g, k);
        bool random_bytes = !options->no_random_bytes && !options->only && rng_percent(&g, 12);
        if (!random_bytes && rng_percent(&g, 20)) {
            generate_program(&g, k);
            break;
        }
        if (generate_single(&g, k, random_bytes)) {
            break;
        }
    }
    if (k->step) {
        k->rflags |= RFLAGS_TF;
    }
    if (k->mode != CODE_64) {
        for (unsigned i = 0; i < 16; i++) {
            k->r[i] = (uint32_t)k->r[i];
        }
    }
}
