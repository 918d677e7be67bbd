/*
 * String instructions.
 *
 * Registers are updated after each element, or after each run of elements within one page, so that
 * a fault or an interrupt finds a restartable state: the instruction then leaves at its own RIP.
 * Runs go through host pointers when both pages are plain RAM in the TLB and DF is 0.
 * Single-stepping leaves after each iteration.
 */
#include "cpu/x86/soft/op-int.h"

/* What one execution of a string instruction knows about its surroundings. */
struct string {
    struct cpu *c;
    const struct op *o;
    uint64_t mask; /* of the address size */
    int64_t step;  /* size or -size */
    unsigned size;
};

static inline __attribute__((always_inline)) struct string
string_start(struct cpu *c, const struct op *o, unsigned size)
{
    return (struct string){
        .c = c,
        .o = o,
        .mask = o->bits & OB_ASZ16   ? UINT16_MAX
                : o->bits & OB_ASZ32 ? UINT32_MAX
                                     : UINT64_MAX,
        .step = c->sysflags & RFLAGS_DF ? -(int64_t)size : (int64_t)size,
        .size = size,
    };
}

static inline bool is_repeated(const struct op *o)
{
    return o->bits & (OB_REP | OB_REPNE);
}

static inline uint64_t string_reg(const struct string *s, unsigned n)
{
    return s->c->r[n] & s->mask;
}

/* Adds to RSI, RDI or RCX by the rules of the address size. */
static inline void string_add(const struct string *s, unsigned n, int64_t delta)
{
    uint64_t v = (s->c->r[n] + delta) & s->mask;
    s->c->r[n] = s->mask == UINT16_MAX ? (s->c->r[n] & ~s->mask) | v : v;
}

/* Linear address of DS:rSI, or the overriding segment. */
static inline uint64_t source_linear(const struct string *s, unsigned size)
{
    uint64_t offset = string_reg(s, RSI);
    if (likely(!(s->o->mflags & (MF_SEG64 | MF_SEGCHK)))) {
        return offset;
    }
    return ea_slow(s->c, s->o, offset, size, false);
}

/* Linear address of ES:rDI. */
static inline uint64_t dest_linear(const struct string *s, unsigned size, bool write)
{
    uint64_t offset = string_reg(s, RDI);
    if (likely(s->c->key & (KEY_LONG64 | KEY_FLAT))) {
        return offset;
    }
    struct op t = *s->o;
    t.seg = SEG_ES;
    t.mflags = MF_SEGCHK | (s->mask == UINT16_MAX ? MF_ADDR16 : MF_ADDR32);
    return ea_slow(s->c, &t, offset, size, write);
}

/* Elements from lin to the end of its page, at most `most`; also within the address size. */
static inline uint64_t run_length(const struct string *s, uint64_t lin, unsigned reg, uint64_t most)
{
    uint64_t bytes = GUEST_PAGE_SIZE - (lin & ~GUEST_PAGE_MASK);
    uint64_t to_wrap = s->mask - string_reg(s, reg);
    if (unlikely(to_wrap < bytes)) {
        bytes = to_wrap + 1;
    }
    return MIN(bytes / s->size, most);
}

/* May runs of several elements be used? Checked segments do each element by itself. */
static inline bool runs_allowed(const struct string *s)
{
    return s->step > 0 && !(s->o->mflags & MF_SEGCHK) && (s->c->key & (KEY_LONG64 | KEY_FLAT)) &&
           !(s->c->key & (KEY_STEP | KEY_ALIGN));
}

/* Between iterations: should a repeated instruction leave at its own RIP? */
static inline bool string_pause(const struct string *s)
{
    return atomic_load_explicit(s->c->req, memory_order_relaxed) || (s->c->key & KEY_STEP);
}

#define STRING_PAUSE                                                                               \
    do {                                                                                           \
        if (unlikely(string_pause(&s))) {                                                          \
            c->rip = rip_wrap(c, OP_RIP(c, o));                                                    \
            LEAVE;                                                                                 \
        }                                                                                          \
    } while (0)

/* ---------------------------------------------------------------- MOVS, STOS, LODS */

/* Copies as hardware does, element by element upwards: an overlap repeats the pattern. */
static inline void copy_up(uint8_t *dst, const uint8_t *src, size_t bytes, unsigned size)
{
    if (dst <= src || dst >= src + bytes) {
        memmove(dst, src, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += size) {
        uint64_t v = 0;
        memcpy(&v, src + i, size);
        memcpy(dst + i, &v, size);
    }
}

static inline void fill_up(uint8_t *dst, uint64_t value, size_t bytes, unsigned size)
{
    uint64_t pattern = value * (size == 8   ? 1
                                : size == 4 ? 0x100000001ull
                                : size == 2 ? 0x1000100010001ull
                                            : 0x101010101010101ull);
    if (pattern == (pattern & 0xff) * 0x101010101010101ull) {
        memset(dst, pattern, bytes);
        return;
    }
    size_t words = bytes / sizeof(pattern);
    for (size_t i = 0; i < words; i++) {
        memcpy(dst + i * sizeof(pattern), &pattern, sizeof(pattern));
    }
    memcpy(dst + words * sizeof(pattern), &pattern, bytes % sizeof(pattern));
}

/* Host pointers for a run, NULL where only single accesses do. */
static inline const uint8_t *run_source(const struct string *s, uint64_t lin)
{
    const uint8_t *p = mem_fast_read(s->c, lin, 1);
    if (unlikely(!p)) {
        mem_probe(s->c, s->o, lin, 1, ACCESS_READ);
        p = mem_fast_read(s->c, lin, 1);
    }
    return p;
}

static inline uint8_t *run_dest(const struct string *s, uint64_t lin)
{
    uint8_t *p = mem_fast_write(s->c, lin, 1);
    return likely(p != NULL) ? p : mem_rmw_slow(s->c, s->o, lin, 1);
}

/* Moves a run; the number of elements, 0 when it must be done the slow way. */
static inline uint64_t movs_run(const struct string *s, uint64_t count)
{
    if (!runs_allowed(s)) {
        return 0;
    }
    uint64_t from = source_linear(s, s->size), to = dest_linear(s, s->size, true);
    uint64_t n = run_length(s, from, RSI, run_length(s, to, RDI, count));
    const uint8_t *src = n ? run_source(s, from) : NULL;
    uint8_t *dst = src ? run_dest(s, to) : NULL; /* may push src's page out of the TLB: no matter */
    if (!dst) {
        return 0;
    }
    copy_up(dst, src, n * s->size, s->size);
    return n;
}

static inline uint64_t stos_run(const struct string *s, uint64_t count)
{
    if (!runs_allowed(s)) {
        return 0;
    }
    uint64_t to = dest_linear(s, s->size, true);
    uint64_t n = run_length(s, to, RDI, count);
    uint8_t *dst = n ? run_dest(s, to) : NULL;
    if (!dst) {
        return 0;
    }
    uint64_t value = s->c->r[RAX] & (UINT64_MAX >> (64 - 8 * s->size));
    fill_up(dst, value, n * s->size, s->size);
    return n;
}

#define MOVE_SIZE(bits)                                                                            \
    static inline void movs_one##bits(const struct string *s)                                      \
    {                                                                                              \
        uint64_t from = source_linear(s, bits / 8);                                                \
        uint##bits##_t v = mem_ld##bits(s->c, s->o, from);                                         \
        mem_st##bits(s->c, s->o, dest_linear(s, bits / 8, true), v);                               \
    }                                                                                              \
    static OP(op_movs##bits)                                                                       \
    {                                                                                              \
        const struct string s = string_start(c, o, bits / 8);                                      \
        if (!is_repeated(o)) {                                                                     \
            movs_one##bits(&s);                                                                    \
            string_add(&s, RSI, s.step);                                                           \
            string_add(&s, RDI, s.step);                                                           \
            NEXT;                                                                                  \
        }                                                                                          \
        uint64_t count;                                                                            \
        while ((count = string_reg(&s, RCX)) != 0) {                                               \
            uint64_t n = movs_run(&s, count);                                                      \
            if (!n) {                                                                              \
                movs_one##bits(&s);                                                                \
                n = 1;                                                                             \
            }                                                                                      \
            string_add(&s, RSI, n *s.step);                                                        \
            string_add(&s, RDI, n *s.step);                                                        \
            string_add(&s, RCX, -(int64_t)n);                                                      \
            if (n < count) {                                                                       \
                STRING_PAUSE;                                                                      \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_stos##bits)                                                                       \
    {                                                                                              \
        const struct string s = string_start(c, o, bits / 8);                                      \
        if (!is_repeated(o)) {                                                                     \
            mem_st##bits(c, o, dest_linear(&s, bits / 8, true), c->r[RAX]);                        \
            string_add(&s, RDI, s.step);                                                           \
            NEXT;                                                                                  \
        }                                                                                          \
        uint64_t count;                                                                            \
        while ((count = string_reg(&s, RCX)) != 0) {                                               \
            uint64_t n = stos_run(&s, count);                                                      \
            if (!n) {                                                                              \
                mem_st##bits(c, o, dest_linear(&s, bits / 8, true), c->r[RAX]);                    \
                n = 1;                                                                             \
            }                                                                                      \
            string_add(&s, RDI, n *s.step);                                                        \
            string_add(&s, RCX, -(int64_t)n);                                                      \
            if (n < count) {                                                                       \
                STRING_PAUSE;                                                                      \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_lods##bits)                                                                       \
    {                                                                                              \
        const struct string s = string_start(c, o, bits / 8);                                      \
        if (!is_repeated(o)) {                                                                     \
            WR##bits(RAX, mem_ld##bits(c, o, source_linear(&s, bits / 8)));                        \
            string_add(&s, RSI, s.step);                                                           \
            NEXT;                                                                                  \
        }                                                                                          \
        uint64_t count;                                                                            \
        while ((count = string_reg(&s, RCX)) != 0) {                                               \
            WR##bits(RAX, mem_ld##bits(c, o, source_linear(&s, bits / 8)));                        \
            string_add(&s, RSI, s.step);                                                           \
            string_add(&s, RCX, -1);                                                               \
            if (count > 1) {                                                                       \
                STRING_PAUSE;                                                                      \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }
FOR_SIZES(MOVE_SIZE)
FORMS_REG(movs, movs)
FORMS_REG(stos, stos)
FORMS_REG(lods, lods)

/* ---------------------------------------------------------------- CMPS, SCAS */

/* REPE goes on while equal, REPNE while not. */
static inline bool repeat_ends(const struct op *o, bool equal)
{
    return o->bits & OB_REPNE ? equal : !equal;
}

#define COMPARE_SIZE(bits)                                                                         \
    static OP(op_cmps##bits)                                                                       \
    {                                                                                              \
        const struct string s = string_start(c, o, bits / 8);                                      \
        uint64_t count = is_repeated(o) ? string_reg(&s, RCX) : 1;                                 \
        while (count) {                                                                            \
            uint##bits##_t a = mem_ld##bits(c, o, source_linear(&s, bits / 8));                    \
            uint##bits##_t b = mem_ld##bits(c, o, dest_linear(&s, bits / 8, false));               \
            string_add(&s, RSI, s.step);                                                           \
            string_add(&s, RDI, s.step);                                                           \
            arith_sub##bits(c, a, b);                                                              \
            count--;                                                                               \
            if (!is_repeated(o)) {                                                                 \
                break;                                                                             \
            }                                                                                      \
            string_add(&s, RCX, -1);                                                               \
            if (repeat_ends(o, a == b)) {                                                          \
                break;                                                                             \
            }                                                                                      \
            if (count) {                                                                           \
                STRING_PAUSE;                                                                      \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_scas##bits)                                                                       \
    {                                                                                              \
        const struct string s = string_start(c, o, bits / 8);                                      \
        uint64_t count = is_repeated(o) ? string_reg(&s, RCX) : 1;                                 \
        uint##bits##_t a = RD##bits(RAX);                                                          \
        while (count) {                                                                            \
            uint##bits##_t b = mem_ld##bits(c, o, dest_linear(&s, bits / 8, false));               \
            string_add(&s, RDI, s.step);                                                           \
            arith_sub##bits(c, a, b);                                                              \
            count--;                                                                               \
            if (!is_repeated(o)) {                                                                 \
                break;                                                                             \
            }                                                                                      \
            string_add(&s, RCX, -1);                                                               \
            if (repeat_ends(o, a == b)) {                                                          \
                break;                                                                             \
            }                                                                                      \
            if (count) {                                                                           \
                STRING_PAUSE;                                                                      \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }
FOR_SIZES(COMPARE_SIZE)
FORMS_REG(cmps, cmps)
FORMS_REG(scas, scas)

/* ---------------------------------------------------------------- INS, OUTS */

/* One element each; the memory side is checked before the port is touched. */
static void ins_one(const struct string *s)
{
    struct cpu *c = s->c;
    uint64_t lin = dest_linear(s, s->size, true);
    mem_probe(c, s->o, lin, s->size, ACCESS_WRITE);
    uint32_t v = io_read(c, s->o, c->r[RDX], s->size);
    mem_store_slow(c, s->o, lin, v, s->size);
    string_add(s, RDI, s->step);
}

static void outs_one(const struct string *s)
{
    struct cpu *c = s->c;
    uint32_t v = mem_load_slow(c, s->o, source_linear(s, s->size), s->size);
    io_write(c, s->o, c->r[RDX], v, s->size);
    string_add(s, RSI, s->step);
}

/* false: it leaves at its own RIP. */
static bool port_string(struct cpu *c, const struct op *o, void (*one)(const struct string *))
{
    const struct string s = string_start(c, o, o->osz == 8 ? 4 : o->osz);
    uint64_t count = is_repeated(o) ? string_reg(&s, RCX) : 1;
    io_check(c, o, c->r[RDX], s.size);
    while (count) {
        one(&s);
        count--;
        if (is_repeated(o)) {
            string_add(&s, RCX, -1);
            if (count && string_pause(&s)) {
                c->rip = rip_wrap(c, OP_RIP(c, o));
                return false;
            }
        }
    }
    return true;
}

OP(op_ins)
{
    if (!port_string(c, o, ins_one)) {
        LEAVE;
    }
    NEXT;
}

OP(op_outs)
{
    if (!port_string(c, o, outs_one)) {
        LEAVE;
    }
    NEXT;
}
