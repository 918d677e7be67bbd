/*
 * Which memory operands of a loop walk through memory in small steps: for them a copy of the TLB's
 * entry pays (xlat-gen-mem.c).
 *
 * A register walks if all that a loop does to it, nested loops included, is to add small constants
 * or to give it the value of others that walk, or a constant. One that never changes does so, too;
 * one that comes from memory doesn't: where that points may be another page each time.
 *
 * That is a guess, and wrong where a loop is short and starts elsewhere each time. So the copies'
 * misses are counted, and code whose copy misses too often does without from then on.
 *
 * A loop is what can be reached from each of its instructions without leaving the region.
 */
#include "cpu/x86/soft/xlat-priv.h"

#define STEP_MAX 64

static bool small(int64_t n)
{
    return n >= -STEP_MAX && n <= STEP_MAX;
}

static bool walks(uint32_t set, unsigned n)
{
    return n == R_ZERO || (n < 16 && (set >> n & 1));
}

/* ADD, SUB, INC or DEC of a register by a small constant. */
static bool is_step(const struct xinsn *x)
{
    unsigned digit = x->modrm >> 3 & 7;
    if (x->class == XC_LOOP) {
        return true;
    }
    if (x->class != XC_MODRM || x->map != M1 || x->mem || x->size < 4) {
        return false;
    }
    return ((x->opcode == 0x81 || x->opcode == 0x83) && (digit == 0 || digit == 5) &&
            small(x->op.imm)) ||
           (x->opcode == 0xff && digit < 2);
}

/* The register that a MOV or MOVSXD between registers reads, or XLAT_IN_ENV. */
static unsigned moved_from(const struct xinsn *x)
{
    if (x->class != XC_MODRM || x->map != M1 || x->mem || x->size < 4) {
        return XLAT_IN_ENV;
    }
    return x->opcode == 0x89                        ? x->reg
           : x->opcode == 0x8b || x->opcode == 0x63 ? x->rm
                                                    : XLAT_IN_ENV;
}

/* XOR of a register with itself. */
static bool is_zeroing(const struct xinsn *x)
{
    return x->class == XC_MODRM && x->map == M1 && !x->mem && x->size >= 4 && x->reg == x->rm &&
           x->reg_kind == OPERAND_GPR && (x->opcode == 0x31 || x->opcode == 0x33);
}

/* Whether what it writes walks if the registers of the set do. */
static bool keeps_walking(const struct xinsn *x, uint32_t set)
{
    unsigned from = moved_from(x);
    if (from != XLAT_IN_ENV) {
        return walks(set, from);
    }
    if (x->class == XC_LEA) {
        return x->size == 8 && walks(set, x->op.base) && walks(set, x->op.index);
    }
    return is_step(x) || is_zeroing(x) || (x->class == XC_MOV_IMM && x->size >= 4);
}

#define WORDS (XLAT_MAX_INSNS / 64)

struct insn_set {
    uint64_t word[WORDS];
};

static bool set_has(const struct insn_set *s, unsigned i)
{
    return s->word[i / 64] >> (i % 64) & 1;
}

static void set_add(struct insn_set *s, unsigned i)
{
    s->word[i / 64] |= 1ull << (i % 64);
}

/* Adds what is behind instruction `to`, and that itself. Whether that is anything new. */
static bool set_add_reached(struct insn_set *reached, unsigned i, int to)
{
    bool more = false;
    if (to < 0) {
        return false;
    }
    struct insn_set before = reached[i];
    set_add(&reached[i], to);
    for (unsigned w = 0; w < WORDS; w++) {
        reached[i].word[w] |= reached[to].word[w];
        more |= reached[i].word[w] != before.word[w];
    }
    return more;
}

/* reached[i]: the instructions that control can come to from behind instruction i on. */
static void find_reached(const struct code_region *g, struct insn_set *reached)
{
    bool more = true;
    memset(reached, 0, g->n * sizeof(*reached));
    while (more) {
        more = false;
        for (int i = (int)g->n - 1; i >= 0; i--) {
            const struct xinsn *x = &g->insn[i];
            more |= set_add_reached(reached, i, x->falls ? x->next : -1);
            more |= set_add_reached(reached, i, x->target);
        }
    }
}

static bool has_loops(const struct code_region *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        const struct xinsn *x = &g->insn[i];
        if ((x->target >= 0 && x->target <= (int)i) ||
            (x->falls && x->next >= 0 && x->next <= (int)i)) {
            return true;
        }
    }
    return false;
}

/* The registers that walk in a loop. */
static uint32_t walking(const struct code_region *g, const struct insn_set *loop)
{
    uint32_t set = UINT16_MAX, before;
    do {
        before = set;
        for (unsigned i = 0; i < g->n; i++) {
            if (set_has(loop, i) && !keeps_walking(&g->insn[i], set)) {
                set &= ~insn_written(&g->insn[i]);
            }
        }
    } while (set != before);
    return set;
}

static bool operand_walks(const struct xinsn *x, uint32_t set)
{
    return x->mem && x->class == XC_MODRM && walks(set, x->op.base) && walks(set, x->op.index);
}

void region_near(struct code_region *g)
{
    struct insn_set reached[XLAT_MAX_INSNS], done = {0};
    if (!has_loops(g)) {
        return;
    }
    find_reached(g, reached);
    for (unsigned i = 0; i < g->n; i++) {
        if (set_has(&done, i) || !set_has(&reached[i], i)) {
            continue;
        }
        struct insn_set loop = {0};
        for (unsigned k = i; k < g->n; k++) {
            if (set_has(&reached[i], k) && set_has(&reached[k], i)) {
                set_add(&loop, k);
                set_add(&done, k);
            }
        }
        uint32_t set = walking(g, &loop);
        for (unsigned k = i; k < g->n; k++) {
            g->insn[k].near |= set_has(&loop, k) && operand_walks(&g->insn[k], set);
        }
    }
}

/* Judges a site that has missed COPY_MISSES times since it was last looked at. */
const uint8_t *xlat_copy(struct cpu *c, struct copy_site *site)
{
    const struct xlat *xl = c->xlat;
    int64_t now = g_get_monotonic_time();
    bool pays = (now - site->since) * 1000 >= COPY_MISSES * COPY_INTERVAL_NS;
    site->since = now;
    site->left = COPY_MISSES;
    if (!pays) {
        *site->begin = 0xe9; /* jmp */
        e_target(site->begin + 1, site->plain);
    }
    return site->begin + (xl->rx - xl->rw);
}
