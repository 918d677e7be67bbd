/*
 * Which memory operands of a loop walk through memory in small steps: for them a copy of the TLB's
 * entry pays (xlat-gen-mem.c).
 *
 * A register walks if all that a loop does to it, nested loops included, is to add small constants
 * or to give it the value of others that walk, perhaps with any constant added, or a constant. One
 * that never changes does so, too; one that comes from memory doesn't: where that points may be
 * another page each time.
 *
 * That is a guess, and wrong where a loop is short and starts elsewhere each time. So the copies'
 * misses are counted, and code whose copy misses too often does without from then on.
 *
 * A loop is what can be reached from each of its instructions without leaving the region; and of
 * that, what lies between a backward branch and its target, for an inner loop may walk from where
 * an outer one has jumped.
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

static bool is_modrm_of_registers(const struct xinsn *x)
{
    return x->class == XC_MODRM && x->map == M1 && !x->mem && x->size >= 4;
}

/* ADD or SUB of a register and a constant. */
static bool is_sum(const struct xinsn *x)
{
    unsigned digit = x->modrm >> 3 & 7;
    return is_modrm_of_registers(x) && (x->opcode == 0x81 || x->opcode == 0x83) &&
           (digit == 0 || digit == 5);
}

/* ADD, SUB, INC or DEC of a register by a small constant. */
static bool is_step(const struct xinsn *x)
{
    return x->class == XC_LOOP || (is_sum(x) && small(x->op.imm)) ||
           (is_modrm_of_registers(x) && x->opcode == 0xff && (x->modrm >> 3 & 7) < 2);
}

/* The register that a MOV or MOVSXD between registers reads, or XLAT_IN_ENV. */
static unsigned moved_from(const struct xinsn *x)
{
    if (!is_modrm_of_registers(x)) {
        return XLAT_IN_ENV;
    }
    return x->opcode == 0x89                        ? x->reg
           : x->opcode == 0x8b || x->opcode == 0x63 ? x->rm
                                                    : XLAT_IN_ENV;
}

/* XOR of a register with itself. */
static bool is_zeroing(const struct xinsn *x)
{
    return is_modrm_of_registers(x) && x->reg == x->rm && x->reg_kind == OPERAND_GPR &&
           (x->opcode == 0x31 || x->opcode == 0x33);
}

/* Whether it gives a register a value that does not depend on the one before. */
static bool is_fresh(const struct xinsn *x, unsigned reg)
{
    unsigned from = moved_from(x);
    return (from != XLAT_IN_ENV && from != reg) || is_zeroing(x) || x->class == XC_MOV_IMM ||
           (x->class == XC_LEA && x->op.base != reg && x->op.index != reg);
}

/* ADD or SUB of any constant to what a register has got anew, a few instructions before: not a step
 * from one turn of the loop to the next. */
static bool is_offset(const struct code_region *g, unsigned i)
{
    const struct xinsn *x = &g->insn[i];
    if (!is_sum(x)) {
        return false;
    }
    while (!g->insn[i].labelled && i > 0 && g->insn[i - 1].falls && g->insn[i - 1].next == (int)i) {
        i--;
        if (insn_written(&g->insn[i]) >> x->rm & 1) {
            return is_fresh(&g->insn[i], x->rm);
        }
    }
    return false;
}

/* Whether what instruction i writes walks if the registers of the set do. */
static bool keeps_walking(const struct code_region *g, unsigned i, uint32_t set)
{
    const struct xinsn *x = &g->insn[i];
    unsigned from = moved_from(x);
    if (from != XLAT_IN_ENV) {
        return walks(set, from);
    }
    if (x->class == XC_LEA) {
        return x->size == g->word && walks(set, x->op.base) && walks(set, x->op.index);
    }
    return is_step(x) || is_offset(g, i) || is_zeroing(x) ||
           (x->class == XC_MOV_IMM && x->size >= 4);
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
            if (set_has(loop, i) && !keeps_walking(g, i, set)) {
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

static void mark_walking(struct code_region *g, const struct insn_set *loop)
{
    uint32_t set = walking(g, loop);
    for (unsigned k = 0; k < g->n; k++) {
        g->insn[k].near |= set_has(loop, k) && operand_walks(&g->insn[k], set);
    }
}

/* What lies from instruction `first` to `last` and belongs to a loop with both. */
static struct insn_set loop_within(const struct insn_set *reached, unsigned first, unsigned last)
{
    struct insn_set loop = {0};
    for (unsigned k = first; k <= last; k++) {
        if (set_has(&reached[first], k) && set_has(&reached[k], first)) {
            set_add(&loop, k);
        }
    }
    return loop;
}

void region_near(struct code_region *g)
{
    struct insn_set reached[XLAT_MAX_INSNS], done = {0};
    if (!has_loops(g)) {
        return;
    }
    find_reached(g, reached);
    for (unsigned i = 0; i < g->n; i++) {
        int head = g->insn[i].target;
        if (!set_has(&done, i) && set_has(&reached[i], i)) {
            struct insn_set loop = loop_within(reached, i, g->n - 1);
            for (unsigned w = 0; w < WORDS; w++) {
                done.word[w] |= loop.word[w];
            }
            mark_walking(g, &loop);
        }
        if (head >= 0 && head <= (int)i && set_has(&reached[head], i)) {
            struct insn_set loop = loop_within(reached, (unsigned)head, i);
            mark_walking(g, &loop);
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
