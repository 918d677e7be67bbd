/*
 * Lockstep: see xlat-lockstep.h.
 *
 * Where translated code stops is told by a budget that it counts down before each instruction
 * (xl_budget). Which flags count there is told by xl_live: dead ones may have been lost.
 *
 * Accessed and dirty bits that a page walk sets are not taken back: they would stay lost where the
 * TLB remembers the page. The TLB is emptied instead, so that the second run walks again.
 *
 * Left out: a store that touches more than 32 bytes beyond where it should be, and loads of pages
 * that the instruction has no right to, as long as both runs see the same bytes.
 */
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/xlat-lockstep-priv.h"
#include <inttypes.h>

#if defined(__x86_64__)

void lockstep_init(struct cpu *c)
{
    c->lockstep = g_new0(struct lockstep, 1);
    atomic_store(&c->lockstep->halt, VCPU_REQ_DEBUG);
    c->xlat->stats.lockstep = 1;
}

void lockstep_finish(struct cpu *c)
{
    if (c->lockstep) {
        g_free(c->lockstep->difference);
        g_clear_pointer(&c->lockstep, g_free);
    }
}

const char *lockstep_difference(const struct cpu *c)
{
    return c->lockstep ? c->lockstep->difference : NULL;
}

/* ---------------------------------------------------------------- what ends a step */

static bool alone_m1(const struct xinsn *x)
{
    switch (x->opcode) {
    case 0x6c ... 0x6f: /* INS, OUTS */
    case 0xa4 ... 0xa7: /* MOVS, CMPS */
    case 0xaa ... 0xaf: /* STOS, LODS, SCAS */
    case 0x9c:          /* PUSHF: flags may be undefined */
    case 0x9d:          /* POPF */
    case 0x90:          /* PAUSE */
    case 0xcd:          /* INT */
    case 0xe4 ... 0xe7: /* IN, OUT */
    case 0xec ... 0xef:
    case 0xfa: /* CLI, STI */
    case 0xfb:
        return true;
    default:
        return false;
    }
}

static bool alone_0f(const struct xinsn *x)
{
    switch (x->opcode) {
    case 0x00 ... 0x09:
    case 0x20 ... 0x23: /* control and debug registers */
    case 0x30 ... 0x35: /* MSRs, time */
    case 0xa2:          /* CPUID */
    case 0xae:          /* XSAVE, segment bases... */
        return true;
    case 0xc7:
        return (x->modrm >> 3 & 7) != 1; /* CMPXCHG8B, CMPXCHG16B; RDRAND... */
    default:
        return false;
    }
}

bool lockstep_is_alone(const struct xinsn *x)
{
    switch (x->class) {
    case XC_HANDLER_END:
    case XC_RDTSC:
    case XC_CPUID:
        return true;
    case XC_HANDLER:
        return x->map == M1 ? alone_m1(x) : x->map == M0F && alone_0f(x);
    default:
        return false;
    }
}

bool lockstep_op_begin(struct cpu *c, const struct op *o)
{
    struct lockstep *ls = c->lockstep;
    if (c->side != SIDE_TRANSLATED) {
        return true;
    }
    c->xl_live = XOP_LIVE_IN(o);
    if (XOP_ALONE(o) || (XOP_X87(o) && !(c->cr0 & CR0_NE))) {
        c->xl_budget++; /* it has not begun */
        return false;
    }
    ls->in_op = o;
    c->req = &ls->halt;
    c->tlb = c->tlb_mode[TLB_ALIGN];
    return true;
}

void lockstep_op_end(struct cpu *c, const struct op *o)
{
    struct lockstep *ls = c->lockstep;
    if (c->side == SIDE_TRANSLATED) {
        c->xl_live = XOP_LIVE_OUT(o);
        ls->in_op = NULL;
        c->req = ls->req;
        c->tlb = ls->tlb;
    }
}

void lockstep_outside(struct cpu *c)
{
    if (c->side != SIDE_NONE) {
        c->lockstep->outside = true;
        __builtin_longjmp(c->jump, 1);
    }
}

void lockstep_tables_changed(struct cpu *c)
{
    c->lockstep->tables_changed = true;
}

/* ---------------------------------------------------------------- writes */

static void note_window(struct cpu *c, uintptr_t at)
{
    struct note *note = (struct note *)c->xl_note;
    if (note >= c->lockstep->notes + NOTES - NOTES_INLINE) {
        lockstep_outside(c); /* enough for one step */
    }
    note->at = at;
    memcpy(note->before, (const void *)at, NOTE_BYTES);
    c->xl_note = (uint8_t *)(note + 1);
}

void lockstep_note(struct cpu *c, const void *host, size_t bytes)
{
    uintptr_t first = (uintptr_t)host & ~(uintptr_t)(NOTE_BYTES - 1);
    uintptr_t last = ((uintptr_t)host + bytes - 1) & ~(uintptr_t)(NOTE_BYTES - 1);
    for (uintptr_t at = first; at <= last; at += NOTE_BYTES) {
        note_window(c, at);
    }
}

struct window *lockstep_window(struct writes *w, uint64_t at, bool insert)
{
    unsigned i = (at / NOTE_BYTES * 0x9e3779b1u) % SLOTS;
    while (w->slot[i] != 0) {
        struct window *found = &w->window[w->slot[i] - 1];
        if ((uintptr_t)found->at == at) {
            return found;
        }
        i = (i + 1) % SLOTS;
    }
    if (!insert) {
        return NULL;
    }
    w->slot[i] = ++w->n;
    w->window[w->n - 1] = (struct window){.at = (uint8_t *)(uintptr_t)at};
    return &w->window[w->n - 1];
}

/* The notes of a side that has run: one window for all stores to it, with what was there before the
 * first and what is there now. */
static void writes_collect(struct cpu *c, struct writes *w)
{
    struct lockstep *ls = c->lockstep;
    w->n = 0;
    memset(w->slot, 0, sizeof(w->slot));
    for (const struct note *note = ls->notes; note < (struct note *)c->xl_note; note++) {
        unsigned n = w->n;
        struct window *window = lockstep_window(w, note->at, true);
        if (w->n != n) {
            memcpy(window->before, note->before, NOTE_BYTES);
            memcpy(window->after, window->at, NOTE_BYTES);
        }
    }
}

/* Only bytes that changed: devices may have written beside them. */
static void writes_undo(struct cpu *c, const struct writes *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        const struct window *window = &w->window[i];
        bool changed = false;
        for (unsigned k = 0; k < NOTE_BYTES; k++) {
            if (window->before[k] != window->after[k]) {
                window->at[k] = window->before[k];
                changed = true;
            }
        }
        if (changed) {
            blocks_invalidate_host(c, window->at, window->at + NOTE_BYTES - 1);
        }
    }
}

/* ---------------------------------------------------------------- states */

static void state_save(const struct cpu *c, struct side_state *s)
{
    memcpy(s->r, c->r, sizeof(s->r));
    memcpy(s->xmm, c->xmm, sizeof(s->xmm));
    memcpy(s->ymm_hi, c->ymm_hi, sizeof(s->ymm_hi));
    s->rip = c->rip;
    s->res = c->res;
    s->aux = c->aux;
    s->flags = flags_arith_get(c);
    s->sysflags = c->sysflags;
    s->mxcsr = c->mxcsr;
    s->fpu = c->fpu;
    s->vector = c->fault.vector;
    s->error = c->fault.has_error ? c->fault.error : 0;
    s->fault_rip = c->fault.rip;
    s->cr2 = c->fault.cr2;
}

static void state_restore(struct cpu *c, const struct side_state *s)
{
    memcpy(c->r, s->r, sizeof(s->r));
    memcpy(c->xmm, s->xmm, sizeof(s->xmm));
    memcpy(c->ymm_hi, s->ymm_hi, sizeof(s->ymm_hi));
    c->rip = s->rip;
    c->res = s->res;
    c->aux = s->aux;
    c->sysflags = s->sysflags;
    c->mxcsr = s->mxcsr;
    c->fpu = s->fpu;
}

static void side_begin(struct cpu *c, enum side side)
{
    struct lockstep *ls = c->lockstep;
    ls->in_op = NULL;
    ls->outside = false;
    ls->req = c->req;
    ls->tlb = c->tlb;
    c->xl_note = (uint8_t *)ls->notes;
    c->side = side;
    fp_enter(c);
}

static void side_end(struct cpu *c, struct side_state *s, bool jumped)
{
    struct lockstep *ls = c->lockstep;
    c->side = SIDE_NONE;
    c->req = ls->req;
    c->tlb = ls->tlb;
    c->xl_running = false;
    while (c->vcpu && c->vcpu->exclusive_depth) {
        vcpu_exclusive_end(c->vcpu);
    }
    xlat_flags_settle(c);
    fp_leave(c);
    s->stop = !jumped ? STOP_BOUNDARY : ls->outside ? STOP_OUTSIDE : STOP_FAULT;
}

/* ---------------------------------------------------------------- the translated side */

static __attribute__((noinline)) bool translated_guarded(struct cpu *c)
{
    if (__builtin_setjmp(c->jump)) {
        return true;
    }
    xlat_run(c, c->lockstep->unit);
    __asm__ volatile("" ::: "memory");
    return false;
}

/* Runs at most `budget` instructions; returns how many were completed. */
static unsigned run_translated(struct cpu *c, unsigned budget)
{
    struct lockstep *ls = c->lockstep;
    c->xl_budget = budget;
    c->xl_live = FL_ALL;
    ls->tables_changed = false;
    side_begin(c, SIDE_TRANSLATED);
    bool jumped = translated_guarded(c);
    const struct op *in_op = ls->in_op;
    side_end(c, &ls->translated, jumped);
    unsigned begun = budget - c->xl_budget;
    if (jumped && in_op) {
        c->rip = OP_RIP(c, in_op);
        begun--;
    }
    ls->live = c->xl_live;
    state_save(c, &ls->translated);
    writes_collect(c, &ls->by_translated);
    return begun;
}

/* ---------------------------------------------------------------- the interpreter's side */

static void remember(struct executed *e, const struct block *b)
{
    unsigned first = GUEST_PAGE_SIZE - ((uintptr_t)b->host & ~GUEST_PAGE_MASK);
    e->op = b->op[1];
    memset(e->bytes, 0, sizeof(e->bytes));
    if (b->host) {
        memcpy(e->bytes, b->host, MIN(first, sizeof(e->bytes)));
    }
    if (b->host2 && first < sizeof(e->bytes)) {
        memcpy(e->bytes + first, b->host2, sizeof(e->bytes) - first);
    }
}

static void run_one(struct cpu *c)
{
    struct block *b = block_find(c);
    c->r[R_BLOCK] = b->rip;
    remember(&c->lockstep->executed[c->lockstep->done], b);
    ops_run(c, &b->op[1]);
}

static __attribute__((noinline)) bool interpreted_guarded(struct cpu *c)
{
    if (__builtin_setjmp(c->jump)) {
        return true;
    }
    while (c->lockstep->done < c->lockstep->todo && !c->leave) {
        run_one(c);
        c->lockstep->done++;
    }
    __asm__ volatile("" ::: "memory");
    return false;
}

/* n instructions, and the one that faults when the translated side did. */
static void run_interpreted(struct cpu *c, unsigned n)
{
    struct lockstep *ls = c->lockstep;
    ls->done = 0;
    ls->todo = n + (ls->translated.stop == STOP_FAULT);
    side_begin(c, SIDE_INTERPRETED);
    c->tlb = c->tlb_mode[TLB_ALIGN];
    c->key |= KEY_STEP;
    bool jumped = interpreted_guarded(c);
    c->key &= ~(uint32_t)KEY_STEP;
    side_end(c, &ls->interpreted, jumped);
    if (ls->interpreted.stop == STOP_FAULT) {
        c->rip = c->fault.rip;
    }
    state_save(c, &ls->interpreted);
    writes_collect(c, &ls->by_interpreter);
}

/* ---------------------------------------------------------------- a difference */

static void undo_interpreted(struct cpu *c)
{
    writes_undo(c, &c->lockstep->by_interpreter);
    state_restore(c, &c->lockstep->start);
    tlb_flush_all(c);
}

/* Both sides for at most `budget` instructions from the start, which `start` has and the CPU is in.
 * Returns what differs. The CPU is then as the interpreter left it. */
static GString *run_both(struct cpu *c, unsigned budget, unsigned *n)
{
    struct lockstep *ls = c->lockstep;
    *n = run_translated(c, budget);
    if (c->leave || (*n == 0 && ls->translated.stop != STOP_FAULT)) {
        return NULL;
    }
    writes_undo(c, &ls->by_translated);
    state_restore(c, &ls->start);
    if (ls->tables_changed) {
        tlb_flush_all(c);
    }
    run_interpreted(c, *n);
    return c->leave ? NULL : lockstep_compare(c);
}

/* A step of n instructions has shown a difference several times. The shortest one that does. */
static GString *first_difference(struct cpu *c, unsigned n, unsigned *first)
{
    for (unsigned budget = 1; budget <= n + 1; budget++) {
        unsigned done;
        GString *text = run_both(c, budget, &done);
        if (text) {
            *first = done;
            return text;
        }
        undo_interpreted(c);
    }
    return NULL;
}

/* RIP of the last instruction of a step of n, or of the one that ended it with a fault. */
static uint64_t rip_of_last(struct cpu *c, unsigned n)
{
    struct lockstep *ls = c->lockstep;
    bool fault = ls->translated.stop == STOP_FAULT;
    enum stop stop = ls->translated.stop;
    undo_interpreted(c);
    ls->translated.stop = STOP_BOUNDARY; /* no more than as many as are asked for */
    run_interpreted(c, n > 0 && !fault ? n - 1 : n);
    ls->translated.stop = stop;
    return ls->interpreted.rip;
}

static void describe_side(struct cpu *c, GString *text, const char *which,
                          const struct side_state *s)
{
    state_restore(c, s);
    g_string_append_printf(text, "%s: rip %016" PRIx64 "\n", which, s->rip);
    cpu_describe_registers(c, text);
    cpu_describe_vectors(c, text);
}

/* The CPU is left as the interpreter has it before the instruction. */
static void report(struct cpu *c, GString *what, unsigned n)
{
    struct lockstep *ls = c->lockstep;
    struct side_state translated = ls->translated, interpreted = ls->interpreted;
    GString *text = g_string_new(NULL);
    uint64_t rip = rip_of_last(c, n);
    struct side_state before = ls->interpreted;
    g_string_append_printf(text,
                           "translated code and the interpreter differ\nrip %016" PRIx64
                           "  instruction %u from rip %016" PRIx64 " on\n",
                           rip, n, ls->start.rip);
    cpu_describe_code(c, text, rip);
    g_string_append(text, what->str);
    describe_side(c, text, "translated", &translated);
    describe_side(c, text, "interpreted", &interpreted);
    state_restore(c, &before);
    ls->difference = g_string_free(text, false);
    cpu_internal_error(c, ls->difference);
}

/* ---------------------------------------------------------------- steps */

/* The instruction at rip, by the interpreter alone. */
static void run_alone(struct cpu *c)
{
    c->lockstep->done = 0;
    c->key |= KEY_STEP;
    run_one(c);
    mode_update(c);
}

static bool repeats(const struct unit *u)
{
    return u->block->op[1].bits & (OB_REP | OB_REPNE);
}

/* A difference that stays is reported. false: something went wrong that ends the run already. */
static bool settle_difference(struct cpu *c, GString *what, unsigned budget)
{
    struct lockstep *ls = c->lockstep;
    unsigned n = budget;
    for (unsigned i = 0; i < TRIES; i++) {
        g_string_free(what, true);
        undo_interpreted(c);
        g_thread_yield();
        what = run_both(c, budget, &n);
        if (!what) { /* a device wrote between the two */
            c->xlat->stats.lockstep_retries++;
            return !c->leave;
        }
    }
    undo_interpreted(c);
    unsigned first = n;
    GString *shortest = first_difference(c, n, &first);
    if (!shortest) {
        shortest = run_both(c, budget, &first);
    }
    report(c, shortest ? shortest : what, first);
    if (shortest) {
        g_string_free(shortest, true);
    }
    g_string_free(what, true);
    ls->translated.stop = STOP_BOUNDARY;
    return false;
}

bool lockstep_step(struct cpu *c, struct unit *u)
{
    struct lockstep *ls = c->lockstep;
    unsigned n;
    ls->unit = u;
    c->blocks->link_from = NULL;
    c->rip = u->block->rip;
    bool string = repeats(u);
    memcpy(ls->outer, c->jump, sizeof(ls->outer));
    fp_leave(c);
    state_save(c, &ls->start);
    GString *what = run_both(c, BUDGET, &n);
    bool fine = what ? settle_difference(c, what, BUDGET) : !c->leave;
    memcpy(c->jump, ls->outer, sizeof(ls->outer));
    fp_enter(c);
    if (!fine) {
        return true;
    }
    c->xlat->stats.lockstep_steps++;
    c->xlat->stats.lockstep_insns += n;
    c->insn_count += n;
    if (ls->translated.stop == STOP_FAULT) {
        __builtin_longjmp(c->jump, 1);
    }
    if (n == 0) {
        state_restore(c, &ls->start); /* dead flags may be lost */
        if (string) {
            c->r[R_BLOCK] = c->rip;
            return false;
        }
        run_alone(c);
    }
    return true;
}

#endif
