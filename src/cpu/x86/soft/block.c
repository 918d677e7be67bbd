/*
 * The block cache: decoded code by guest-physical address, RIP and mode, and the tracking of writes
 * to RAM that holds code.
 *
 * Blocks are private to a vCPU. What is shared is one `struct code_page` per RAM page: a bit per 64
 * bytes that some vCPU has decoded, and whether some vCPU may write to the page without asking. The
 * protocol, on both sides with sequentially consistent atomics:
 *
 *   decoder: set the chunk's bit; if fast_write, take all fast write entries away (everybody
 * parked); read the bytes MMU:     set fast_write; if any chunk bit is set, make no fast entry
 *   writer:  store the bytes; if a chunk bit is set, clear it and make every vCPU drop what it has
 * of the chunk: at once on its own, by a queued range and VCPU_REQ_CODE on others
 *
 * Other vCPUs look at the queue before their next block, so they may still finish the block that
 * they are in: less than what hardware allows for code modified by another processor.
 *
 * Memory comes from an arena that is emptied as a whole when full. That, and freeing, happens only
 * in block_find(), which soft_run() calls between blocks.
 */
#include "cpu/x86/soft/xlat.h"
#include <sys/mman.h>

#define CHUNK_BITS  6
#define CHUNK_BYTES (1u << CHUNK_BITS)

/* ---------------------------------------------------------------- life */

void jump_cache_clear(struct cpu *c)
{
    /* Invalid entries hold an address that belongs to another index: 0, and in entry 0 another. */
    memset(c->jump_cache, 0, sizeof(c->jump_cache));
    c->jump_cache[0].rip = 1;
}

/* The cache that the user asked for is for translations, but they are made of decoded blocks: these
 * get a fifth of it (xlat_init() has the rest), and some memory of their own. */
static size_t arena_size(const struct cpu *c)
{
    const struct cpus *cpus = c->vcpu ? c->vcpu->cpus : NULL;
    size_t all = BLOCK_ARENA_BYTES;
    if (cpus && cpus->config.translate) {
        all += cpus->config.cache_bytes / 5;
    }
    all /= cpus ? MAX(cpus->max, 1) : 1;
    return MAX(all, BLOCK_ARENA_MIN) & GUEST_PAGE_MASK;
}

bool blocks_init(struct cpu *c)
{
    struct block_cache *bc = g_new0(struct block_cache, 1);
    bc->arena_bytes = arena_size(c);
    void *arena = mmap(NULL, bc->arena_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) {
        g_free(bc);
        return false;
    }
    bc->arena = arena;
    bc->decoder = decoder_new(c->features);
    g_mutex_init(&bc->mutex);
    c->blocks = bc;
    c->jump_cache[0].rip = 1; /* what is new is zero, and is not touched before it is used */
    return true;
}

void blocks_finish(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    if (bc) {
        munmap(bc->arena, bc->arena_bytes);
        decoder_free(bc->decoder);
        g_mutex_clear(&bc->mutex);
        g_free(bc);
        c->blocks = NULL;
    }
}

static void block_kill(struct cpu *c, struct block *b)
{
    if (b->dead) {
        return;
    }
    if (b->unit) {
        xlat_unit_kill(c, b->unit);
    }
    b->dead = true;
    b->op[0].disp = 0;
    b->op[1].fn = op_dead_first;
    for (unsigned i = 2; i < b->n_ops; i++) {
        b->op[i].fn = op_dead;
    }
}

static void tables_clear(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    memset(bc->hash, 0, sizeof(bc->hash));
    memset(bc->page, 0, sizeof(bc->page));
    jump_cache_clear(c);
}

void blocks_flush(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    if (bc->arena_used == 0) {
        return; /* nothing was decoded since it was emptied; the tables' memory stays untouched */
    }
    xlat_flush(c);
    for (unsigned i = 0; i < BLOCK_HASH_SIZE; i++) {
        for (struct block *b = bc->hash[i]; b; b = b->hash_next) {
            block_kill(c, b);
        }
    }
    tables_clear(c);
}

unsigned block_limit_number(struct cpu *c, uint32_t limit)
{
    struct block_cache *bc = c->blocks;
    for (unsigned i = 0; i < bc->n_limits; i++) {
        if (bc->limits[i] == limit) {
            return i + 1;
        }
    }
    if (bc->n_limits == BLOCK_LIMITS_MAX) {
        blocks_flush(c);
        bc->n_limits = 0;
    }
    bc->limits[bc->n_limits++] = limit;
    return bc->n_limits;
}

/* Between blocks only, when nobody can come to a block but through the tables: gives all memory
 * back. */
static void arena_empty(struct cpu *c)
{
    if (c->blocks->arena_used > 0) {
        xlat_flush(c);
        tables_clear(c);
    }
    c->blocks->arena_used = 0;
    c->blocks->link_from = NULL;
    c->blocks->n_flushes++;
}

void blocks_reset(struct cpu *c)
{
    size_t used = c->blocks->arena_used;
    arena_empty(c);
    if (used > BLOCK_KEEP_BYTES) {
        madvise(c->blocks->arena + BLOCK_KEEP_BYTES, c->blocks->arena_bytes - BLOCK_KEEP_BYTES,
                MADV_DONTNEED);
    }
}

/* ---------------------------------------------------------------- shared page table */

static struct code_page *code_pages(struct ram_block *ram)
{
    struct code_page *pages =
        __atomic_load_n((struct code_page **)&ram->accel_pages, __ATOMIC_ACQUIRE);
    if (likely(pages != NULL)) {
        return pages;
    }
    struct code_page *fresh = calloc(ram->size / GUEST_PAGE_SIZE, sizeof(*fresh));
    if (!fresh) {
        g_error("no memory for code tracking of %s (%" G_GUINT64_FORMAT " bytes)", ram->name,
                ram->size);
    }
    if (!__atomic_compare_exchange_n((struct code_page **)&ram->accel_pages, &pages, fresh, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        free(fresh);
        return pages;
    }
    return fresh;
}

bool code_page_allow_write(struct ram_block *ram, uint64_t offset)
{
    struct code_page *page = &code_pages(ram)[offset / GUEST_PAGE_SIZE];
    if (atomic_load_explicit(&page->chunks, memory_order_relaxed)) {
        return false;
    }
    if (!atomic_load_explicit(&page->fast_write, memory_order_relaxed)) {
        atomic_store(&page->fast_write, 1);
    } else {
        atomic_thread_fence(memory_order_seq_cst);
    }
    return atomic_load(&page->chunks) == 0;
}

static uint64_t chunk_mask(unsigned first_byte, unsigned last_byte)
{
    unsigned first = first_byte >> CHUNK_BITS, last = last_byte >> CHUNK_BITS;
    return ~0ull << first & ~0ull >> (63 - last);
}

/* ---------------------------------------------------------------- invalidation */

static unsigned page_hash(const uint8_t *host)
{
    uintptr_t page = (uintptr_t)host >> GUEST_PAGE_BITS;
    return (page ^ page >> 13) & (BLOCK_PAGE_HASH_SIZE - 1);
}

/* Code that is near is looked up near: a page's blocks are in one page of the table. */
static unsigned block_hash(gpa_t gpa, uint64_t rip, uint32_t key)
{
    uint64_t page = gpa >> GUEST_PAGE_BITS ^ rip >> GUEST_PAGE_BITS << 20 ^ (uint64_t)key << 40;
    unsigned h = page * 0x9e3779b97f4a7c15ull >> 47;
    return h ^ (gpa & ~GUEST_PAGE_MASK) >> 3;
}
_Static_assert(BLOCK_HASH_SIZE == 1u << 17, "block_hash gives 17 bits");

/* A list holds the blocks of all pages with one hash. A block is in it once, with this link. */
static unsigned list_side(const struct block *b, unsigned hash)
{
    return page_hash(b->host) != hash;
}

static void list_insert(struct block_cache *bc, struct block *b, const uint8_t *page)
{
    unsigned hash = page_hash(page);
    b->page_next[list_side(b, hash)] = bc->page[hash];
    bc->page[hash] = b;
}

static void list_remove(struct block_cache *bc, struct block *gone, const uint8_t *page)
{
    struct block **link = &bc->page[page_hash(page)];
    while (*link && *link != gone) {
        link = &(*link)->page_next[list_side(*link, page_hash(page))];
    }
    if (*link) {
        *link = gone->page_next[list_side(gone, page_hash(page))];
    }
}

static void hash_remove(struct block_cache *bc, struct block *gone)
{
    struct block **link = &bc->hash[block_hash(gone->gpa, gone->rip, gone->key)];
    while (*link && *link != gone) {
        link = &(*link)->hash_next;
    }
    if (*link) {
        *link = gone->hash_next;
    }
}

static bool overlaps(const struct block *b, const uint8_t *first, const uint8_t *last)
{
    const uint8_t *end = b->host + b->bytes - 1; /* in the first page */
    if (b->host2) {
        const uint8_t *page_end = (const uint8_t *)((uintptr_t)b->host | (GUEST_PAGE_SIZE - 1));
        unsigned rest = end - page_end;
        if (b->host2 <= last && b->host2 + rest > first) {
            return true;
        }
        end = page_end;
    }
    return b->host <= last && end >= first;
}

void blocks_invalidate_host(struct cpu *c, const uint8_t *first, const uint8_t *last)
{
    struct block_cache *bc = c->blocks;
    unsigned h = page_hash(first);
    xlat_invalidate(c, first, last);
    struct block *next;
    for (struct block *b = bc->page[h]; b; b = next) {
        next = b->page_next[list_side(b, h)];
        if (overlaps(b, first, last)) {
            block_kill(c, b);
            hash_remove(bc, b);
            list_remove(bc, b, b->host);
            if (b->host2 && page_hash(b->host2) != page_hash(b->host)) {
                list_remove(bc, b, b->host2);
            }
        }
    }
}

static void invalidate_ram(struct cpu *c, const struct ram_block *ram, uint64_t offset,
                           uint64_t len)
{
    while (len) {
        uint64_t n = MIN(len, GUEST_PAGE_SIZE - offset % GUEST_PAGE_SIZE);
        blocks_invalidate_host(c, ram->host + offset, ram->host + offset + n - 1);
        offset += n;
        len -= n;
    }
}

void blocks_invalidate(struct cpu *c, gpa_t gpa, uint64_t len)
{
    while (len) {
        uint64_t n = MIN(len, GUEST_PAGE_SIZE - gpa % GUEST_PAGE_SIZE), offset;
        bool writable;
        struct ram_block *ram;
        uint8_t *host = c->host->ram_page(c, gpa & GUEST_PAGE_MASK, &writable, &ram, &offset);
        if (host) {
            host += gpa % GUEST_PAGE_SIZE;
            blocks_invalidate_host(c, host, host + n - 1);
        }
        gpa += n;
        len -= n;
    }
}

/* Queues a range for another vCPU, which drains it before its next block. */
static void queue_range(struct vcpu *vcpu, struct ram_block *ram, uint64_t offset, uint64_t len)
{
    struct cpu *c = vcpu->accel;
    if (!c || !c->blocks) {
        return;
    }
    struct block_cache *bc = c->blocks;
    g_mutex_lock(&bc->mutex);
    if (bc->n_queued < BLOCK_QUEUE_SIZE) {
        bc->queue[bc->n_queued] = (struct code_range){ram, offset, len};
    }
    if (bc->n_queued <= BLOCK_QUEUE_SIZE) {
        bc->n_queued++;
    }
    g_mutex_unlock(&bc->mutex);
    /* No wake-up: a vCPU that sleeps looks at its requests before it runs code again. */
    atomic_fetch_or(&vcpu->req, VCPU_REQ_CODE);
}

void blocks_drain(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    atomic_fetch_and(c->req, ~(uint32_t)VCPU_REQ_CODE);
    g_mutex_lock(&bc->mutex);
    if (bc->n_queued > BLOCK_QUEUE_SIZE) {
        blocks_flush(c);
    } else {
        for (unsigned i = 0; i < bc->n_queued; i++) {
            invalidate_ram(c, bc->queue[i].ram, bc->queue[i].offset, bc->queue[i].len);
        }
    }
    bc->n_queued = 0;
    g_mutex_unlock(&bc->mutex);
}

/* Makes every vCPU drop what it has of whole chunks in one page. */
static void drop_everywhere(struct cpus *cpus, struct cpu *self, struct ram_block *ram,
                            uint64_t first, uint64_t last)
{
    uint64_t start = first & ~(uint64_t)(CHUNK_BYTES - 1);
    uint64_t len = (last | (CHUNK_BYTES - 1)) + 1 - start;
    if (self) {
        invalidate_ram(self, ram, start, len);
    }
    for (unsigned i = 0; cpus && i < cpus->n; i++) {
        if (cpus->vcpu[i] && (!self || cpus->vcpu[i] != self->vcpu)) {
            queue_range(cpus->vcpu[i], ram, start, len);
        }
    }
}

/* Is it time to find out whether the page still is code? A page that was code once and is data now
 * would keep all its stores slow. Asked for at the 64th, 128th, 256th... store beside its code. */
static bool page_given_up(struct code_page *page)
{
    uint32_t n = atomic_load_explicit(&page->data_writes, memory_order_relaxed) + 1;
    atomic_store_explicit(&page->data_writes, n, memory_order_relaxed);
    return n >= 64 && (n & (n - 1)) == 0;
}

/* Bytes [first, last] of one page were stored to. */
static void page_written(struct cpus *cpus, struct cpu *self, struct ram_block *ram,
                         struct code_page *page, uint64_t first, uint64_t last)
{
    uint64_t page_start = first & GUEST_PAGE_MASK;
    uint64_t mask = chunk_mask(first - page_start, last - page_start);
    uint64_t chunks = atomic_load_explicit(&page->chunks, memory_order_relaxed);
    if (likely(!chunks)) {
        return;
    }
    if (chunks & mask) {
        if (atomic_fetch_and(&page->chunks, ~mask) & mask) {
            drop_everywhere(cpus, self, ram, first, last);
        }
    } else if (page_given_up(page)) {
        atomic_store(&page->chunks, 0);
        drop_everywhere(cpus, self, ram, page_start, page_start + GUEST_PAGE_SIZE - 1);
    }
}

static void ram_written(struct cpus *cpus, struct cpu *self, struct ram_block *ram, uint64_t offset,
                        uint64_t len)
{
    struct code_page *pages =
        __atomic_load_n((struct code_page **)&ram->accel_pages, __ATOMIC_ACQUIRE);
    if (!pages || !len || offset >= ram->size) {
        return;
    }
    if (!self || (cpus && cpus->n > 1)) {
        /* pairs with the decoder, which marks the page, then reads the bytes */
        atomic_thread_fence(memory_order_seq_cst);
    }
    len = MIN(len, ram->size - offset);
    while (len) {
        uint64_t n = MIN(len, GUEST_PAGE_SIZE - offset % GUEST_PAGE_SIZE);
        page_written(cpus, self, ram, &pages[offset / GUEST_PAGE_SIZE], offset, offset + n - 1);
        offset += n;
        len -= n;
    }
}

void code_written(struct cpu *c, struct ram_block *ram, uint64_t offset, gpa_t gpa, uint64_t len)
{
    ram_written(c->vcpu ? c->vcpu->cpus : NULL, c, ram, offset, len);
}

void soft_ram_written(struct cpus *cpus, struct ram_block *ram, uint64_t offset, gpa_t gpa,
                      uint64_t len)
{
    ram_written(cpus, NULL, ram, offset, len);
}

/* ---------------------------------------------------------------- making blocks */

static OP(op_host_break);

/* Where the bytes of a new block come from. */
struct source {
    uint64_t lin;
    gpa_t gpa;
    const uint8_t *host; /* of the first byte, NULL: not memory */
    struct code_page *page;
    uint64_t marked; /* chunk bits known to be set */
};

/* Takes every vCPU's fast write entries of the page away. What the caller looked up before may be
 * stale when other vCPUs exist: true. */
static bool drop_fast_writes(struct cpu *c, struct code_page *page, const uint8_t *host_page)
{
    struct cpus *cpus = c->vcpu ? c->vcpu->cpus : NULL;
    if (!cpus || cpus->n <= 1) {
        atomic_store(&page->fast_write, 0);
        tlb_drop_write(c, host_page);
        return false;
    }
    vcpu_exclusive_begin(c->vcpu);
    atomic_store(&page->fast_write, 0);
    for (unsigned i = 0; i < cpus->n; i++) {
        if (cpus->vcpu[i] && cpus->vcpu[i]->accel) {
            tlb_drop_write(cpus->vcpu[i]->accel, host_page);
        }
    }
    vcpu_exclusive_end(c->vcpu);
    return true;
}

/* Marks the chunks of bytes [first, last] of the page as code before they are read. */
static bool chunks_mark(struct cpu *c, struct source *src, unsigned first, unsigned last)
{
    uint64_t mask = chunk_mask(first, last);
    if (!src->page || !(mask & ~src->marked)) {
        return false;
    }
    src->marked |= mask;
    if ((atomic_load_explicit(&src->page->chunks, memory_order_relaxed) & mask) != mask) {
        atomic_fetch_or(&src->page->chunks, mask);
    } else {
        atomic_thread_fence(memory_order_seq_cst);
    }
    if (unlikely(atomic_load(&src->page->fast_write))) {
        const uint8_t *host_page = src->host - (src->gpa & ~GUEST_PAGE_MASK);
        return drop_fast_writes(c, src->page, host_page);
    }
    return false;
}

/* Looks the page of linear address lin up. */
static struct source source_at(struct cpu *c, uint64_t lin)
{
    const struct itlbe *e = code_page_lookup(c, lin);
    unsigned in_page = lin & ~GUEST_PAGE_MASK;
    struct source src = {
        .lin = lin,
        .gpa = e->gpa + in_page,
        .host = e->host ? e->host + in_page : NULL,
    };
    return src;
}

static void source_track(struct cpu *c, struct source *src)
{
    bool writable;
    struct ram_block *ram;
    uint64_t offset;
    if (src->host && c->host->ram_page(c, src->gpa & GUEST_PAGE_MASK, &writable, &ram, &offset) &&
        ram) {
        src->page = &code_pages(ram)[offset / GUEST_PAGE_SIZE];
    }
}

static struct block *block_alloc(struct cpu *c)
{
    struct block_cache *bc = c->blocks;
    size_t most = sizeof(struct block) + (BLOCK_MAX_INSNS + 2) * sizeof(struct op);
    if (bc->arena_used + most > bc->arena_bytes) {
        arena_empty(c);
    }
    return (struct block *)(bc->arena + bc->arena_used);
}

/* The pseudo-ops at both ends, fused pairs, and the branches' instruction counts. */
static void block_frame(struct cpu *c, struct block *b, unsigned n, unsigned bytes)
{
    b->op[0] = (struct op){.disp = n, .imm = b->rip};
    for (unsigned i = 1; i <= n; i++) {
        if (!(b->op[i].bits & OB_DIRECT)) {
            continue;
        }
        if ((b->op[i].disp & 16) && i > 1 && is_long64(c) && !c->host_watches) {
            op_fn fused = fused_with_branch(b->op[i - 1].fn, b->op[i].disp & 15);
            b->op[i - 1].fn = fused ? fused : b->op[i - 1].fn;
        }
        b->op[i].disp = (int)i - (int)n;
    }
    b->op[n + 1] = (struct op){
        .fn = c->key & KEY_STEP ? op_fall_step : op_fall,
        .ip = bytes,
        .imm = bytes,
    };
    b->n_ops = n + 2;
    b->n_insns = n;
    b->bytes = bytes;
}

/* How many bytes from lin lie within the code segment's limit; at least 1 (checked by the caller).
 */
static uint64_t bytes_to_limit(const struct cpu *c, uint64_t rip)
{
    return c->key & (KEY_LONG64 | KEY_CS_FLAT) ? G_MAXUINT32 : c->seg[SEG_CS].limit - rip + 1;
}

/* Single steps go by without stopping at breakpoints, and look at them where blocks begin when they
 * are not the debugger's (run.c). */
static bool host_breaks_at(const struct cpu *c, uint64_t lin)
{
    return !(c->key & KEY_STEP) && debug_break_at(c->vcpu->cpus, lin) != NULL;
}

/* Decodes from one page. Returns the number of bytes, 0 when the first instruction straddles, or -1
 * when the lookups are stale. */
static int decode_page(struct cpu *c, struct source *src, struct block *b)
{
    unsigned in_page = src->gpa & ~GUEST_PAGE_MASK, at = 0, n = 0;
    unsigned most = MIN(GUEST_PAGE_SIZE - in_page, bytes_to_limit(c, b->rip));
    unsigned insns = c->key & KEY_STEP ? 1 : BLOCK_MAX_INSNS;
    bool ends = false;
    while (n < insns && at < most && !ends) {
        struct op *op = &b->op[n + 1];
        if (unlikely(c->host_breaks) && host_breaks_at(c, src->lin + at)) {
            if (n == 0) {
                *op = (struct op){.fn = op_host_break, .len = 1};
                n = at = 1;
            }
            break;
        }
        unsigned left = MIN(most - at, 15);
        if (chunks_mark(c, src, in_page + at, in_page + at + left - 1)) {
            return -1;
        }
        op->ip = at;
        if (decode(c, src->host + at, left, op, &ends) == DECODE_NEED_MORE) {
            break;
        }
        at += op->len;
        n++;
    }
    block_frame(c, b, n, at);
    return at;
}

/* A block of the one instruction that lies in two pages (or goes past the segment limit). Faults
 * when the second page does. */
static bool decode_straddling(struct cpu *c, struct source *src, struct block *b)
{
    uint8_t bytes[15];
    unsigned in_page = src->gpa & ~GUEST_PAGE_MASK;
    unsigned first = GUEST_PAGE_SIZE - in_page, allowed = MIN(15, bytes_to_limit(c, b->rip));
    bool ends;
    if (allowed <= first) {
        b->op[1] = (struct op){.fn = op_gp0, .len = 1}; /* past the limit, whatever comes there */
        block_frame(c, b, 1, 1);
        return true;
    }
    memset(bytes, 0xff, sizeof(bytes));
    struct source second =
        source_at(c, is_long64(c) ? src->lin + first : (uint32_t)(src->lin + first));
    source_track(c, &second);
    if (chunks_mark(c, &second, 0, 15 - first - 1)) {
        return false;
    }
    if (src->host) {
        memcpy(bytes, src->host, first);
    }
    if (second.host) {
        memcpy(bytes + first, second.host, 15 - first);
    }
    b->op[1].ip = 0;
    if (decode(c, bytes, allowed, &b->op[1], &ends) == DECODE_NEED_MORE) {
        b->op[1].fn = op_gp0;
        b->op[1].len = 1;
    }
    block_frame(c, b, 1, b->op[1].len);
    if (b->op[1].len > first) {
        b->gpa2 = second.gpa;
        b->host2 = second.host;
    }
    return true;
}

static struct block *block_make(struct cpu *c, struct source *src)
{
    struct block *b = block_alloc(c);
    *b = (struct block){
        .rip = c->rip,
        .gpa = src->gpa,
        .gpa2 = NO_GPA,
        .host = src->host,
        .key = c->key,
        .code = c->xl_miss,
    };
    if (!src->host) {
        /* Not memory: all bytes read as 0xff, which is no instruction. */
        b->op[1] = (struct op){.fn = op_ud, .len = 2};
        block_frame(c, b, 1, 2);
        return b;
    }
    source_track(c, src);
    int bytes = decode_page(c, src, b);
    if (bytes < 0 || (bytes == 0 && !decode_straddling(c, src, b))) {
        return NULL;
    }
    struct block_cache *bc = c->blocks;
    bc->arena_used += sizeof(*b) + b->n_ops * sizeof(struct op);
    bc->n_blocks++;
    struct block **bucket = &bc->hash[block_hash(b->gpa, b->rip, b->key)];
    b->hash_next = *bucket;
    *bucket = b;
    xlat_block_new(c, b);
    list_insert(bc, b, b->host);
    if (b->host2 && page_hash(b->host2) != page_hash(b->host)) {
        list_insert(bc, b, b->host2);
    }
    return b;
}

bool block_mark_code(struct cpu *c, const struct block *b, unsigned first, unsigned last)
{
    struct source src = {
        .lin = b->rip,
        .gpa = b->gpa,
        .host = b->host,
    };
    source_track(c, &src);
    return !chunks_mark(c, &src, first, last);
}

/* ---------------------------------------------------------------- finding blocks */

static struct block *hash_find(struct cpu *c, gpa_t gpa, uint64_t rip)
{
    struct block *b = c->blocks->hash[block_hash(gpa, rip, c->key)];
    while (b && !(b->gpa == gpa && b->rip == rip && b->key == c->key)) {
        b = b->hash_next;
    }
    return b;
}

static void jump_cache_enter(struct cpu *c, uint64_t lin, struct block *b)
{
    if (!(c->key & KEY_STEP) && b->host) {
        jump_page_entered(c, lin);
        c->jump_cache[jump_index(lin)] = (struct jump_entry){lin, jump_key(c), b, b->code};
    }
}

/* A straddling block is right only while its second page is where it was. */
static bool second_page_agrees(struct cpu *c, uint64_t lin, const struct block *b)
{
    if (b->gpa2 == NO_GPA) {
        return true;
    }
    uint64_t next = (lin | (GUEST_PAGE_SIZE - 1)) + 1;
    return code_page_lookup(c, is_long64(c) ? next : (uint32_t)next)->gpa == b->gpa2;
}

struct block *block_find(struct cpu *c)
{
    if (!(c->key & (KEY_LONG64 | KEY_CS_FLAT)) && c->rip > c->seg[SEG_CS].limit) {
        raise_error(c, NULL, EXC_GP, 0);
    }
    for (;;) {
        uint64_t lin = rip_linear(c, c->rip);
        struct source src = source_at(c, lin);
        struct block *b = hash_find(c, src.gpa, c->rip);
        if (b && !second_page_agrees(c, lin, b)) {
            block_kill(c, b);
            hash_remove(c->blocks, b);
            b = NULL;
        }
        if (!b) {
            b = block_make(c, &src);
        }
        if (b) {
            jump_cache_enter(c, lin, b);
            return b;
        }
        /* Others ran while the fast write entries were dropped: look again. */
    }
}

/* ---------------------------------------------------------------- direct links */

op_ret branch_direct(struct cpu *c, const struct op *o, uint64_t rip)
{
    uint64_t from = rip_linear(c, c->r[R_BLOCK]), to = rip_linear(c, rip);
    if ((from ^ to) >> GUEST_PAGE_BITS == 0 && !(c->key & KEY_STEP)) {
        c->blocks->link_from = (struct op *)o;
        c->rip = rip;
        LEAVE;
    }
    return branch_to(c, o, rip);
}

void block_link(struct cpu *c, struct block *b)
{
    struct op *from = c->blocks->link_from;
    c->blocks->link_from = NULL;
    if (!b->host || b->gpa2 != NO_GPA) {
        return;
    }
    if (from[1].fn == op_dead_first) {
        /* It is the head of a dead block, which others may still be linked to. */
        const struct block *dead = (void *)((uint8_t *)from - offsetof(struct block, op));
        if (dead->gpa != b->gpa || dead->rip != b->rip || dead->key != b->key) {
            return;
        }
        from[1].fn = op_forward;
    }
    from->next = b->op;
}

op_ret branch_to(struct cpu *c, const struct op *o, uint64_t rip)
{
    uint64_t lin = rip_linear(c, rip);
    const struct jump_entry *e = &c->jump_cache[jump_index(lin)];
    if (likely(e->rip == lin && e->key == jump_key(c) && e->block->rip == rip)) {
        ENTER_BLOCK(e->block->op, 0);
    }
    c->rip = rip;
    LEAVE;
}

/* ---------------------------------------------------------------- pseudo-ops */

OP(op_fall)
{
    if (likely(o->next != NULL)) {
        ENTER_BLOCK(o->next, 0);
    }
    return branch_direct(c, o, rip_wrap(c, c->r[R_BLOCK] + o->imm));
}

OP(op_fall_step)
{
    c->rip = rip_wrap(c, c->r[R_BLOCK] + o->imm);
    LEAVE;
}

/* Stands at the debugger's breakpoint in place of the instruction. */
static OP(op_host_break)
{
    c->rip = rip_wrap(c, OP_RIP(c, o));
    host_break(c);
    LEAVE;
}

OP(op_dead)
{
    c->rip = rip_wrap(c, OP_RIP(c, o));
    LEAVE;
}

OP(op_dead_first)
{
    c->blocks->link_from = (struct op *)o - 1;
    c->rip = c->r[R_BLOCK];
    LEAVE;
}

OP(op_forward)
{
    ENTER_BLOCK((o - 1)->next, 0);
}

OP(op_gp0)
{
    raise_error(c, o, EXC_GP, 0);
}

OP(op_nm)
{
    raise_fault(c, o, EXC_NM);
}
