/*
 * Regions: the instructions that a unit is made of, and the flags that are live between them.
 *
 * From the entry, instructions are collected along fall-through first; targets of direct branches
 * in the same page wait on a stack. The order of collection is the order of the code, so that the
 * path not taken continues inline. Whatever leads out of the region (other pages, indirect jumps,
 * the limit) counts as reading all flags.
 */
#include "cpu/x86/soft/xlat-priv.h"

struct collector {
    struct cpu *c;
    struct code_region *g;
    region_read read;
    void *ctx;
    unsigned n_waiting;
    uint16_t waiting[XLAT_MAX_INSNS];
};

/* Offset of a direct branch's target within the page, or -1. */
static int target_in_page(const struct xinsn *x)
{
    return x->op.imm >= 0 && x->op.imm < GUEST_PAGE_SIZE ? (int)x->op.imm : -1;
}

static bool is_direct(const struct xinsn *x)
{
    return x->class == XC_JCC || x->class == XC_JCXZ || x->class == XC_LOOP || x->class == XC_JMP;
}

static void want(struct collector *k, int offset)
{
    if (offset >= 0 && k->g->at[offset] < 0 && k->n_waiting < XLAT_MAX_INSNS) {
        k->waiting[k->n_waiting++] = offset;
    }
}

/* Decodes the instruction at an offset into x. 1: done; 0: the region ends here; -1: give up. */
static int insn_read(struct collector *k, unsigned offset, struct xinsn *x)
{
    memset(x, 0, sizeof(*x));
    unsigned left = MIN(15, GUEST_PAGE_SIZE - offset);
    int n = k->read(k->ctx, offset, x->bytes, left);
    bool ends;
    if (n < 0) {
        return -1;
    }
    x->op.ip = offset;
    if (decode(k->c, x->bytes, left, &x->op, &ends) == DECODE_NEED_MORE) {
        return 0;
    }
    x->len = x->op.len;
    memset(x->bytes + x->len, 0, sizeof(x->bytes) - x->len);
    xinsn_classify(k->c, x, ends);
    return x->class != XC_STOP;
}

/* Where control goes on behind x, or -1. */
static int follow(struct collector *k, const struct xinsn *x, unsigned offset)
{
    switch (x->class) {
    case XC_JCC:
    case XC_JCXZ:
    case XC_LOOP:
        want(k, target_in_page(x));
        return offset;
    case XC_JMP:
        want(k, target_in_page(x));
        return -1;
    case XC_HANDLER_END:
    case XC_CALL:
    case XC_RET:
    case XC_JMP_IND:
    case XC_CALL_IND:
        return -1;
    default:
        return offset;
    }
}

/* Collects a run of instructions. false: give up. */
static bool collect_run(struct collector *k, unsigned start)
{
    struct code_region *g = k->g;
    int offset = start, before = -1;
    while (offset >= 0 && offset < (int)GUEST_PAGE_SIZE) {
        if (g->at[offset] >= 0) {
            if (before >= 0) {
                g->insn[before].next = g->at[offset];
            }
            return true;
        }
        if (g->n == g->max) {
            return true;
        }
        struct xinsn *x = &g->insn[g->n];
        int ok = insn_read(k, offset, x);
        if (ok <= 0) {
            return ok == 0;
        }
        g->at[offset] = g->n;
        if (before >= 0) {
            g->insn[before].next = g->n;
        }
        int on = follow(k, x, offset + x->len);
        before = on >= 0 ? (int)g->n : -1;
        g->vec |= x->vec;
        g->n++;
        offset = on;
    }
    return true;
}

static void connect(struct code_region *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        struct xinsn *x = &g->insn[i];
        x->falls = x->class != XC_JMP && x->class != XC_CALL && x->class != XC_RET &&
                   x->class != XC_JMP_IND && x->class != XC_CALL_IND;
        if (is_direct(x) && target_in_page(x) >= 0) {
            x->target = g->at[target_in_page(x)];
        }
        if (x->target >= 0) {
            g->insn[x->target].labelled = true;
            g->insn[x->target].head |= x->target <= (int)i;
        }
        if (x->falls && x->next >= 0 && x->next != (int)i + 1) {
            g->insn[x->next].labelled = true;
            g->insn[x->next].head |= x->next <= (int)i;
        }
    }
}

/* Whether control can come from behind instruction `head` to it again without a poll on the way. */
static bool cycle_unpolled(const struct code_region *g, int head)
{
    int16_t stack[XLAT_MAX_INSNS];
    bool seen[XLAT_MAX_INSNS] = {false};
    unsigned depth = 0;
    stack[depth++] = head;
    while (depth > 0) {
        const struct xinsn *x = &g->insn[stack[--depth]];
        const int on[2] = {x->falls ? x->next : -1, x->target};
        for (unsigned i = 0; i < 2; i++) {
            if (on[i] == head) {
                return true;
            }
            if (on[i] >= 0 && !seen[on[i]] && !g->insn[on[i]].head) {
                seen[on[i]] = true;
                stack[depth++] = on[i];
            }
        }
    }
    return false;
}

/* Every way round polls at least once; the entry does always. Outer loops come first, so that they
 * leave it to the inner ones where these are on every way. */
static void find_polls(struct code_region *g)
{
    g->insn[0].head = true;
    for (unsigned i = 1; i < g->n; i++) {
        g->insn[i].head = g->insn[i].head && cycle_unpolled(g, i);
    }
}

static uint8_t live_after(const struct code_region *g, const struct xinsn *x)
{
    uint8_t live = 0;
    if (x->falls) {
        live |= x->next >= 0 ? g->insn[x->next].live_in : FL_ALL;
    } else if (x->class != XC_JMP) {
        live = FL_ALL;
    }
    if (is_direct(x)) {
        live |= x->target >= 0 ? g->insn[x->target].live_in : FL_ALL;
    }
    return live;
}

static void find_live_flags(struct code_region *g)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (int i = (int)g->n - 1; i >= 0; i--) {
            struct xinsn *x = &g->insn[i];
            uint8_t out = live_after(g, x);
            uint8_t in = x->f_read | (out & ~x->f_write);
            changed |= in != x->live_in || out != x->live_out;
            x->live_in = in;
            x->live_out = out;
        }
    }
}

/* mov reg, [reg + ...]: the next one of a list. */
static bool is_chase(const struct code_region *g, const struct xinsn *x)
{
    return x->class == XC_MODRM && x->map == M1 && x->opcode == 0x8b && x->mem &&
           x->size == g->word && x->op.base == x->reg;
}

static void find_chains(struct code_region *g)
{
    g->chains = 0;
    for (unsigned i = 0; i < g->n; i++) {
        int end = is_chase(g, &g->insn[i]) ? (int)g->n : 0;
        for (int k = i; k < end; k++) {
            const struct xinsn *x = &g->insn[k];
            if ((x->target >= 0 && x->target <= (int)i) || (x->next >= 0 && x->next <= (int)i)) {
                g->chains |= 1u << g->insn[i].reg;
                break;
            }
        }
    }
}

bool region_collect(struct cpu *c, struct code_region *g, uint64_t page_rip, unsigned entry,
                    region_read read, void *ctx)
{
    struct collector k = {.c = c, .g = g, .read = read, .ctx = ctx};
    g->page_rip = page_rip;
    g->key = c->key;
    g->word = is_long64(c) ? 8 : 4;
    g->n = 0;
    g->vec = false;
    memset(g->at, 0xff, sizeof(g->at));
    if (!collect_run(&k, entry)) {
        return false;
    }
    while (k.n_waiting > 0) {
        if (!collect_run(&k, k.waiting[--k.n_waiting])) {
            return false;
        }
    }
    if (g->n == 0) {
        return false;
    }
    connect(g);
    find_polls(g);
    find_live_flags(g);
    find_chains(g);
    region_group(g);
    region_near(g);
    return true;
}
