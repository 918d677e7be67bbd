/*
 * Lockstep: what both sides of a step have led to, compared and written down (see
 * xlat-lockstep.h). Flags count that are live and that the architecture defines.
 */
#include "cpu/x86/soft/xlat-lockstep-priv.h"
#include <inttypes.h>

#if defined(__x86_64__)

static const char register_names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static void differ(GString *text, const char *what, uint64_t translated, uint64_t interpreted)
{
    g_string_append_printf(text, " %s: translated %016" PRIx64 ", interpreted %016" PRIx64 "\n",
                           what, translated, interpreted);
}

/* A set of FL_* as bits of RFLAGS. */
static uint32_t rflags_of(uint8_t fl)
{
    return (fl & FL_C ? RFLAGS_CF : 0) | (fl & FL_P ? RFLAGS_PF : 0) | (fl & FL_A ? RFLAGS_AF : 0) |
           (fl & FL_Z ? RFLAGS_ZF : 0) | (fl & FL_S ? RFLAGS_SF : 0) | (fl & FL_O ? RFLAGS_OF : 0);
}

/* Flags that an instruction leaves undefined, if it is one that is translated as itself: handlers
 * do the same on both sides. Intel SDM volume 2, "Flags Affected". */
static uint8_t undefined_by_shift(const struct xinsn *x)
{
    unsigned n = x->modrm >> 3 & 7;
    bool one = (x->opcode & 0xfe) == 0xd0, rotates = n < 4;
    return one ? (rotates ? 0 : FL_A) : rotates ? FL_O : FL_O | FL_A | FL_C;
}

static uint8_t undefined_m1(const struct xinsn *x)
{
    unsigned n = x->modrm >> 3 & 7;
    switch (x->opcode) {
    case 0x08 ... 0x0d: /* OR, AND, XOR, TEST */
    case 0x20 ... 0x25:
    case 0x30 ... 0x35:
    case 0x84:
    case 0x85:
    case 0xa8:
    case 0xa9:
        return FL_A;
    case 0x80 ... 0x83:
        return n == 1 || n == 4 || n == 6 ? FL_A : 0;
    case 0x69: /* IMUL */
    case 0x6b:
        return FL_S | FL_Z | FL_A | FL_P;
    case 0xc0:
    case 0xc1:
    case 0xd0 ... 0xd3:
        return undefined_by_shift(x);
    case 0xf6:
    case 0xf7: /* TEST, MUL, IMUL, DIV, IDIV */
        return n < 2 ? FL_A : n < 4 ? 0 : n < 6 ? FL_S | FL_Z | FL_A | FL_P : FL_ALL;
    default:
        return 0;
    }
}

static uint8_t undefined_0f(const struct xinsn *x)
{
    switch (x->opcode) {
    case 0xa3: /* BT and its like */
    case 0xab:
    case 0xb3:
    case 0xba:
    case 0xbb:
        return FL_O | FL_S | FL_A | FL_P;
    case 0xa4: /* SHLD, SHRD */
    case 0xa5:
    case 0xac:
    case 0xad:
        return FL_O | FL_A;
    case 0xaf:
        return FL_S | FL_Z | FL_A | FL_P;
    case 0xbc: /* BSF, BSR; TZCNT, LZCNT define CF */
    case 0xbd:
        return FL_O | FL_S | FL_A | FL_P | (x->mandatory == 0xf3 ? 0 : FL_C);
    default:
        return 0;
    }
}

/* Flags that are undefined after n instructions of the interpreter's side. */
static uint8_t undefined_flags(const struct cpu *c, unsigned n)
{
    uint8_t undefined = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct executed *e = &c->lockstep->executed[i];
        struct xinsn x = {.op = e->op, .len = e->op.len};
        memcpy(x.bytes, e->bytes, MIN(x.len, sizeof(e->bytes)));
        xinsn_classify(c, &x, false);
        undefined &= ~x.f_write;
        undefined |= x.map == M1 ? undefined_m1(&x) : x.map == M0F ? undefined_0f(&x) : 0;
    }
    return undefined;
}

static void compare_registers(struct cpu *c, GString *text)
{
    const struct lockstep *ls = c->lockstep;
    const struct side_state *t = &ls->translated, *i = &ls->interpreted;
    uint32_t count = rflags_of(ls->live);
    if ((t->flags ^ i->flags) & count) {
        count &= ~rflags_of(undefined_flags(c, MIN(ls->done, BUDGET)));
    }
    if (t->rip != i->rip) {
        differ(text, "rip", t->rip, i->rip);
    }
    for (unsigned n = 0; n < 16; n++) {
        if (t->r[n] != i->r[n]) {
            differ(text, register_names[n], t->r[n], i->r[n]);
        }
    }
    if ((t->flags ^ i->flags) & count) {
        differ(text, "arithmetic flags", t->flags & count, i->flags & count);
    }
    if (t->sysflags != i->sysflags) {
        differ(text, "system flags", t->sysflags, i->sysflags);
    }
}

static void compare_vector(GString *text, const struct side_state *t, const struct side_state *i)
{
    for (unsigned n = 0; n < 16; n++) {
        if (memcmp(&t->xmm[n], &i->xmm[n], 16) != 0 ||
            memcmp(&t->ymm_hi[n], &i->ymm_hi[n], 16) != 0) {
            g_string_append_printf(
                text,
                " ymm%u: translated %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64
                ", interpreted %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n",
                n, t->ymm_hi[n].u64[1], t->ymm_hi[n].u64[0], t->xmm[n].u64[1], t->xmm[n].u64[0],
                i->ymm_hi[n].u64[1], i->ymm_hi[n].u64[0], i->xmm[n].u64[1], i->xmm[n].u64[0]);
        }
    }
    if (t->mxcsr != i->mxcsr) {
        differ(text, "mxcsr", t->mxcsr, i->mxcsr);
    }
}

static void compare_x87(GString *text, const struct x87 *t, const struct x87 *i)
{
    for (unsigned n = 0; n < 8; n++) {
        if (t->st[n].mantissa != i->st[n].mantissa) {
            differ(text, "x87 significand", t->st[n].mantissa, i->st[n].mantissa);
        }
        if (t->st[n].exponent != i->st[n].exponent) {
            differ(text, "x87 exponent", t->st[n].exponent, i->st[n].exponent);
        }
    }
    const struct {
        const char *name;
        uint64_t t, i;
    } word[] = {
        {"x87 top", t->top, i->top},
        {"x87 empty registers", t->empty, i->empty},
        {"x87 control", t->control, i->control},
        {"x87 status", t->status, i->status},
        {"x87 instruction pointer", t->ip, i->ip},
        {"x87 data pointer", t->dp, i->dp},
        {"x87 opcode", t->opcode, i->opcode},
    };
    for (unsigned n = 0; n < G_N_ELEMENTS(word); n++) {
        if (word[n].t != word[n].i) {
            differ(text, word[n].name, word[n].t, word[n].i);
        }
    }
}

static void compare_end(GString *text, const struct side_state *t, const struct side_state *i)
{
    static const char *const ends[] = {"at a boundary", "in a fault", "at a device"};
    bool faulted = t->stop == STOP_FAULT;
    if (faulted != (i->stop == STOP_FAULT) || i->stop == STOP_OUTSIDE) {
        g_string_append_printf(text, " the translated side ends %s, the interpreted one %s\n",
                               ends[t->stop], ends[i->stop]);
    } else if (faulted) {
        if (t->vector != i->vector) {
            differ(text, "exception", t->vector, i->vector);
        }
        if (t->error != i->error) {
            differ(text, "error code", t->error, i->error);
        }
        if (t->vector == EXC_PF && t->cr2 != i->cr2) {
            differ(text, "cr2", t->cr2, i->cr2);
        }
        if (t->fault_rip != i->fault_rip) {
            differ(text, "rip of the exception", t->fault_rip, i->fault_rip);
        }
    }
}

static void append_bytes(GString *text, const uint8_t *p)
{
    for (unsigned i = 0; i < NOTE_BYTES; i++) {
        g_string_append_printf(text, "%s%02x", i % 8 == 0 ? " " : "", p[i]);
    }
}

/* Where the guest sees a byte of its memory. */
static bool find_gpa(const struct cpu *c, const uint8_t *host, gpa_t *gpa)
{
    const struct flat_view *view = c->vcpu ? atomic_load(&c->vcpu->cpus->mem->view) : NULL;
    for (unsigned i = 0; view && i < view->n; i++) {
        const struct flat_range *range = &view->range[i];
        if (range->region->kind == REGION_IO) {
            continue;
        }
        uint8_t *start = range->region->ram->host + range->region->ram_offset + range->offset;
        if (host >= start && host - start <= (ptrdiff_t)(range->last - range->start)) {
            *gpa = range->start + (host - start);
            return true;
        }
    }
    return false;
}

static void compare_window(struct cpu *c, GString *text, const uint8_t *at,
                           const uint8_t *translated, const uint8_t *interpreted)
{
    gpa_t gpa;
    if (memcmp(translated, interpreted, NOTE_BYTES) != 0) {
        g_string_append(text, " memory");
        if (find_gpa(c, at, &gpa)) {
            g_string_append_printf(text, " at physical address %" PRIx64, gpa);
        }
        g_string_append(text, "\n  translated ");
        append_bytes(text, translated);
        g_string_append(text, "\n  interpreted");
        append_bytes(text, interpreted);
        g_string_append_c(text, '\n');
    }
}

static void compare_memory(struct cpu *c, GString *text)
{
    struct lockstep *ls = c->lockstep;
    struct writes *by_t = &ls->by_translated, *by_i = &ls->by_interpreter;
    for (unsigned n = 0; n < by_t->n; n++) {
        const struct window *t = &by_t->window[n],
                            *i = lockstep_window(by_i, (uintptr_t)t->at, false);
        compare_window(c, text, t->at, t->after, i ? i->after : t->before);
    }
    for (unsigned n = 0; n < by_i->n; n++) {
        const struct window *i = &by_i->window[n];
        if (!lockstep_window(by_t, (uintptr_t)i->at, false)) {
            compare_window(c, text, i->at, i->before, i->after);
        }
    }
}

GString *lockstep_compare(struct cpu *c)
{
    struct lockstep *ls = c->lockstep;
    GString *text = g_string_new(NULL);
    compare_end(text, &ls->translated, &ls->interpreted);
    compare_registers(c, text);
    compare_vector(text, &ls->translated, &ls->interpreted);
    compare_x87(text, &ls->translated.fpu, &ls->interpreted.fpu);
    compare_memory(c, text);
    if (text->len == 0) {
        g_string_free(text, true);
        return NULL;
    }
    return text;
}

#endif
