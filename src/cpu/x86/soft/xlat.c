/*
 * Units' life: when code becomes hot, how it is entered and left, how units find each other, and
 * when they die.
 *
 * Executions of a block are counted by op_heat, which stands in the place of the block's first
 * instruction; a hot block gets a unit, and op_unit in that place. So the interpreter's loop, links
 * and caches need to know nothing of units: they run a block, and the block enters its unit. From
 * there units go on to each other by patched jumps within a page, and by the jump cache else.
 *
 * Code memory is one memfd mapped twice, writable and executable. When it or the tables are full,
 * all units go. Memory is reused only when no unit runs: units are made by op_heat outside of
 * translated code, and what dies before keeps its memory until then. A unit that kills itself by a
 * store is left after the storing instruction, which is a handler call by construction: pages that
 * hold code have no fast write entries.
 */
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/xlat-lockstep.h"
#include "cpu/x86/soft/xlat-priv.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)

#include <cpuid.h>

#if !SOFT_TAIL_CALLS
#define MUST_TAIL /* handlers return the next op */
#endif

/* ---------------------------------------------------------------- host */

static bool host_suffices(GError **error)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                    "the host's processor lacks SSE4.2 or POPCNT");
        return false;
    }
    return true;
}

static bool code_map(struct xlat *xl, GError **error)
{
    xl->fd = memfd_create("godwit-code", MFD_CLOEXEC);
    if (xl->fd < 0 || ftruncate(xl->fd, xl->bytes) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no memory for translated code: %s", g_strerror(errno));
        return false;
    }
    void *rw = mmap(NULL, xl->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, xl->fd, 0);
    void *rx = mmap(NULL, xl->bytes, PROT_READ | PROT_EXEC, MAP_SHARED, xl->fd, 0);
    xl->rw = rw == MAP_FAILED ? NULL : rw;
    xl->rx = rx == MAP_FAILED ? NULL : rx;
    if (!xl->rw || !xl->rx) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "the host does not allow translated code to be executed: %s",
                    g_strerror(errno));
        return false;
    }
    return true;
}

static bool table_map(struct xlat *xl, GError **error)
{
    void *table = mmap(NULL, xl->table_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no memory for the tables of translated code: %s", g_strerror(errno));
        return false;
    }
    xl->table = table;
    return true;
}

static void xlat_free(struct xlat *xl)
{
    if (xl->rw) {
        munmap(xl->rw, xl->bytes);
    }
    if (xl->rx) {
        munmap(xl->rx, xl->bytes);
    }
    if (xl->table) {
        munmap(xl->table, xl->table_bytes);
    }
    if (xl->fd >= 0) {
        close(xl->fd);
    }
    fault_points_finish(xl);
    g_free(xl);
}

static const uint8_t *executable(const struct xlat *xl, const uint8_t *p)
{
    return xl->rx + (p - xl->rw);
}

bool xlat_init(struct cpu *c, const struct xlat_config *config, GError **error)
{
    if (!host_suffices(error)) {
        return false;
    }
    if ((uintptr_t)c > INT32_MAX - sizeof(*c)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                    "there is no memory below 2 GiB for the vCPU's registers");
        return false;
    }
    struct xlat *xl = g_new0(struct xlat, 1);
    size_t page = GUEST_PAGE_SIZE;
    xl->config = *config;
    xl->config.max_insns = CLAMP(config->max_insns, 1, XLAT_MAX_INSNS);
    xl->region.max = xl->config.max_insns;
    /* Of the cache code has a quarter, which counts twice in what a process is said to use, being
     * mapped twice; its tables have a fifth, and decoded blocks have one (block.c). */
    size_t cache = MAX(config->cache_bytes, XLAT_MIN_BYTES);
    xl->bytes = cache / 4 & ~(page - 1);
    xl->table_bytes = cache / 5 & ~(page - 1);
    xl->fd = -1;
    if (!code_map(xl, error) || !table_map(xl, error)) {
        xlat_free(xl);
        return false;
    }
    xl->host_aes = __builtin_cpu_supports("aes");
    xl->host_pclmul = __builtin_cpu_supports("pclmul");
    xl->host_bmi1 = __builtin_cpu_supports("bmi");
    unsigned a, b, d, basic = 0, extended = 0;
    __get_cpuid(1, &a, &b, &basic, &d);
    __get_cpuid(0x80000001, &a, &b, &extended, &d);
    xl->host_movbe = basic & bit_MOVBE;
    xl->host_lzcnt = extended & bit_LZCNT;
    fault_points_init(xl);
    xlat_make_stubs(c, xl);
    xl->used = xl->stubs;
    xl->enter = (void (*)(struct cpu *, const uint8_t *))executable(xl, xl->stub_enter);
    c->xlat = xl;
    c->self = c;
    c->xl_novec = 1;
    c->xl_miss = executable(xl, xl->stub_miss);
    blocks_flush(c);
    return true;
}

void xlat_finish(struct cpu *c)
{
    if (c->xlat) {
        lockstep_finish(c);
        xlat_free(c->xlat);
        c->xlat = NULL;
    }
}

void xlat_stats_get(const struct cpu *c, struct translation_stats *stats)
{
    if (c->xlat) {
        *stats = c->xlat->stats;
        stats->used_bytes = c->xlat->used + c->xlat->table_used;
    } else {
        memset(stats, 0, sizeof(*stats));
    }
}

/* ---------------------------------------------------------------- death */

static unsigned page_slot(const uint8_t *host)
{
    uintptr_t page = (uintptr_t)host >> GUEST_PAGE_BITS;
    return (page ^ page >> 10) & 1023;
}

static void exit_unlink(struct unit_exit *exit)
{
    if (exit->to) {
        *exit->prev_in = exit->next_in;
        if (exit->next_in) {
            exit->next_in->prev_in = exit->prev_in;
        }
        exit->to = NULL;
        e_target(exit->jump, exit->stub);
    }
}

/* The block counts executions again, or goes back to plain interpretation. */
static void block_detach(struct cpu *c, struct block *b, bool count)
{
    b->unit = NULL;
    b->code = c->xl_miss;
    if (!b->dead && b->op[1].fn == op_unit) {
        b->op[0].ip = 0;
        b->op[1].fn = count ? op_heat : b->op[0].fn;
    }
}

void xlat_unit_kill(struct cpu *c, struct unit *u)
{
    if (u->dead) {
        return;
    }
    u->dead = true;
    while (u->incoming) {
        exit_unlink(u->incoming);
    }
    for (struct unit_exit *exit = u->exits; exit; exit = exit->next_of) {
        exit_unlink(exit);
    }
    *u->page_prev = u->page_next;
    if (u->page_next) {
        u->page_next->page_prev = u->page_prev;
    }
    struct jump_entry *e = &c->jump_cache[jump_index(u->block->rip)];
    if (e->block == u->block) {
        e->code = c->xl_miss;
    }
    block_detach(c, u->block, true);
}

void xlat_invalidate(struct cpu *c, const uint8_t *first, const uint8_t *last)
{
    struct xlat *xl = c->xlat;
    if (!xl) {
        return;
    }
    unsigned from = ((uintptr_t)first & ~GUEST_PAGE_MASK) >> 6;
    unsigned to = ((uintptr_t)last & ~GUEST_PAGE_MASK) >> 6;
    uint64_t mask = ~0ull << from & ~0ull >> (63 - to);
    const uint8_t *page = (const uint8_t *)((uintptr_t)first & GUEST_PAGE_MASK);
    struct unit *next;
    for (struct unit *u = xl->page[page_slot(first)]; u; u = next) {
        next = u->page_next;
        if (u->host_page == page && (u->chunks & mask)) {
            xl->stats.invalidations++;
            xlat_unit_kill(c, u);
        }
    }
}

void xlat_flush(struct cpu *c)
{
    struct xlat *xl = c->xlat;
    if (!xl) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(xl->page); i++) {
        while (xl->page[i]) {
            xlat_unit_kill(c, xl->page[i]);
        }
    }
    xl->flush_pending = true;
}

/* ---------------------------------------------------------------- birth */

/* Only when no unit runs. */
static void space_make(struct cpu *c, struct xlat *xl)
{
    if (!xl->flush_pending && xl->used + GEN_MAX_CODE <= xl->bytes &&
        xl->table_used + GEN_MAX_TABLE + sizeof(struct unit) <= xl->table_bytes) {
        return;
    }
    xlat_flush(c);
    xl->stats.flushes++;
    xl->used = xl->stubs;
    xl->table_used = 0;
    fault_points_drop(xl);
    xl->flush_pending = false;
}

struct code_bytes {
    struct cpu *c;
    const struct block *block;
    const uint8_t *page;
    uint64_t chunks;
};

static int code_bytes_read(void *ctx, unsigned offset, uint8_t *buf, unsigned n)
{
    struct code_bytes *code = ctx;
    unsigned from = offset >> 6, to = (offset + n - 1) >> 6;
    uint64_t mask = ~0ull << from & ~0ull >> (63 - to);
    if (mask & ~code->chunks) {
        if (!block_mark_code(code->c, code->block, offset, offset + n - 1)) {
            return -1; /* others ran meanwhile */
        }
        code->chunks |= mask;
    }
    memcpy(buf, code->page + offset, n);
    return n;
}

static struct unit *unit_make(struct cpu *c, struct block *b)
{
    struct xlat *xl = c->xlat;
    space_make(c, xl);
    struct code_bytes code = {
        .c = c, .block = b, .page = (const uint8_t *)((uintptr_t)b->host & GUEST_PAGE_MASK)};
    uint64_t page_rip = b->rip & GUEST_PAGE_MASK;
    if (!region_collect(c, &xl->region, page_rip, b->rip & ~GUEST_PAGE_MASK, code_bytes_read,
                        &code) ||
        b->dead) {
        return NULL;
    }
    struct unit *u = (struct unit *)(xl->table + xl->table_used);
    xl->table_used += (sizeof(*u) + 63) & ~63ul;
    *u = (struct unit){
        .block = b,
        .page_rip = page_rip,
        .host_page = code.page,
        .chunks = code.chunks,
        .key = c->key,
    };
    size_t before = xl->used;
    xlat_generate(c, xl, &xl->region, u);
    struct unit **list = &xl->page[page_slot(u->host_page)];
    u->page_next = *list;
    u->page_prev = list;
    if (*list) {
        (*list)->page_prev = &u->page_next;
    }
    *list = u;
    xl->stats.units++;
    xl->stats.insns += xl->region.n;
    xl->stats.code_bytes += xl->used - before;
    return u;
}

static bool translatable(const struct cpu *c, const struct block *b)
{
    return key_translatable(b->key) && !(b->key & (KEY_STEP | KEY_ALIGN | KEY_FPEXC)) &&
           !c->host_breaks && !c->host_watches && b->host != NULL && b->gpa2 == NO_GPA &&
           b->n_insns > 0;
}

void xlat_block_new(struct cpu *c, struct block *b)
{
    if (c->xlat && translatable(c, b)) {
        b->op[0].fn = b->op[1].fn;
        b->op[0].ip = 0;
        b->op[1].fn = op_heat;
    }
}

/* ---------------------------------------------------------------- in and out */

static uint16_t flags_raw(const struct cpu *c)
{
    uint32_t f = flags_arith_get(c);
    return (f & 0xd5) << 8 | (f >> 11 & 1);
}

static void flags_from_raw(struct cpu *c)
{
    flags_arith_set(c, (c->xl_flags >> 8 & 0xd5) | (uint64_t)(c->xl_flags & 1) << 11);
}

void xlat_flags_settle(struct cpu *c)
{
    if (c->xl_raw) {
        c->xl_raw = 0;
        flags_from_raw(c);
    }
}

static struct block *block_of_head(const struct op *head)
{
    return (struct block *)((uint8_t *)head - offsetof(struct block, op));
}

void xlat_run(struct cpu *c, struct unit *u)
{
    struct xlat *xl = c->xlat;
    xl->stats.enters++;
    c->xl_flags = flags_raw(c);
    c->xl_running = true;
    c->xl_raw = 0;
    xl->enter(c, executable(xl, u->entry));
    c->xl_running = false;
    xlat_flags_settle(c);
    xl->stats.leaves++;
}

OP(op_xlat_end)
{
#if SOFT_TAIL_CALLS
    c->xl_fell = true;
    LEAVE;
#else
    NEXT; /* not reached: xlat_op() stops before it */
#endif
}

OP(op_heat)
{
    struct op *head = (struct op *)o - 1;
    struct block *b = block_of_head(head);
    if (likely(head->ip < c->xlat->config.threshold)) {
        head->ip++;
        op_fn fn = head->fn;
        MUST_TAIL return fn(c, o);
    }
    if (c->xl_running) { /* a handler of translated code came here */
        c->rip = b->rip;
        LEAVE;
    }
    struct unit *u = unit_make(c, b);
    if (b->dead) {
        c->rip = b->rip;
        LEAVE;
    }
    if (!u) {
        c->xlat->stats.refused++;
        head->ip = 0;
        ((struct op *)o)->fn = head->fn;
        op_fn fn = head->fn;
        MUST_TAIL return fn(c, o);
    }
    b->unit = u;
    b->code = executable(c->xlat, u->entry_parked);
    ((struct op *)o)->fn = op_unit;
    struct jump_entry *e = &c->jump_cache[jump_index(b->rip)];
    if (e->block == b) {
        e->code = b->code;
    }
    GOTO_OP(o);
}

OP(op_unit)
{
    const struct op *head = o - 1;
    struct block *b = block_of_head(head);
    if (unlikely(c->xl_running)) {
        c->rip = b->rip;
        LEAVE;
    }
    if (unlikely(atomic_load_explicit(c->req, memory_order_relaxed))) {
        /* A request that stays set must not stop progress: the unit would leave at once. */
        op_fn fn = head->fn;
        MUST_TAIL return fn(c, o);
    }
    if (unlikely(c->lockstep != NULL)) {
        if (!lockstep_step(c, b->unit)) {
            op_fn fn = head->fn;
            MUST_TAIL return fn(c, o);
        }
        LEAVE;
    }
    xlat_run(c, b->unit);
    LEAVE;
}

/* ---------------------------------------------------------------- called by stubs */

static const uint8_t *leave_done(struct cpu *c)
{
    return executable(c->xlat, c->xlat->stub_leave_done);
}

/* Where the code at c->rip is entered with parked flags (executable mapping), if it is translated
 * and nothing is requested; else NULL. Everything is in struct cpu: the fetch may fault. */
static const void *code_ready(struct cpu *c)
{
    struct xlat *xl = c->xlat;
    if (unlikely(atomic_load_explicit(c->req, memory_order_relaxed))) {
        xl->stats.leaves_req++;
        return NULL;
    }
    if (unlikely((c->key & KEY_STEP) || !key_translatable(c->key))) {
        return NULL;
    }
    const struct jump_entry *e = &c->jump_cache[jump_index(c->rip)];
    const void *code = e->rip == c->rip && e->key == jump_key(c) && e->code != c->xl_miss
                           ? e->code
                           : block_find(c)->code;
    if (code == c->xl_miss) {
        return NULL;
    }
    xl->stats.dispatches++;
    return code;
}

/* At a boundary with everything in struct cpu, flags in the lazy form unless xl_raw. */
static const uint8_t *go_on(struct cpu *c)
{
    const void *code = c->leave ? NULL : code_ready(c);
    if (!code) {
        return leave_done(c);
    }
    /* A handler may have gone on in the interpreter, whose last block wanted to be linked here. */
    c->blocks->link_from = NULL;
    if (!c->xl_raw) {
        c->xl_flags = flags_raw(c);
    }
    c->xl_raw = 0;
    return code;
}

static bool op_step(struct cpu *c, const struct op *o)
{
#if SOFT_TAIL_CALLS
    c->xl_fell = false;
    o->fn(c, o);
    return c->xl_fell;
#else
    const struct op *next = o->fn(c, o);
    while (next && next != o + 1) {
        next = next->fn(c, next);
    }
    return next != NULL;
#endif
}

const uint8_t *xlat_op(struct cpu *c, const struct op *o)
{
    struct unit *u = XOP_UNIT(o);
    c->xlat->stats.handlers++;
    if (XOP_FLAGS_KEPT(o)) {
        c->xl_raw = 1; /* a fault settles them */
    } else if (XOP_FLAGS_IN(o)) {
        flags_from_raw(c);
    }
    c->r[R_BLOCK] = u->page_rip;
    if (unlikely(c->lockstep != NULL) && !lockstep_op_begin(c, o)) {
        c->rip = OP_RIP(c, o);
        c->xl_raw = 1;
        return leave_done(c);
    }
    bool fell = op_step(c, o);
    if (unlikely(c->lockstep != NULL)) {
        lockstep_op_end(c, o);
    }
    if (!fell) {
        return go_on(c);
    }
    if (unlikely(u->dead)) {
        c->rip = OP_NEXT_RIP(c, o);
        return go_on(c);
    }
    if (XOP_FLAGS_KEPT(o)) {
        c->xl_raw = 0;
    } else if (XOP_FLAGS_OUT(o)) {
        c->xl_flags = flags_raw(c);
    }
    return NULL;
}

const uint8_t *xlat_exit(struct cpu *c, struct unit_exit *exit)
{
    struct unit *from = exit->from;
    c->rip = exit->rip;
    c->xl_live = FL_ALL;
    c->xl_raw = 1; /* the fetch may fault */
    const void *code = code_ready(c);
    if (!code) {
        return leave_done(c);
    }
    c->xl_raw = 0;
    struct unit *to = c->jump_cache[jump_index(c->rip)].block->unit;
    if (!from->dead && !exit->to && to->host_page == from->host_page) {
        exit->to = to;
        exit->next_in = to->incoming;
        exit->prev_in = &to->incoming;
        if (to->incoming) {
            to->incoming->prev_in = &exit->next_in;
        }
        to->incoming = exit;
        e_target(exit->jump, exit->parked ? to->entry_parked : to->entry);
        c->xlat->stats.links++;
    }
    return code;
}

const uint8_t *xlat_miss(struct cpu *c)
{
    c->xl_live = FL_ALL;
    c->xl_raw = 1; /* the fetch may fault */
    const void *code = code_ready(c);
    if (!code) {
        return leave_done(c);
    }
    c->xl_raw = 0;
    return code;
}

#endif
