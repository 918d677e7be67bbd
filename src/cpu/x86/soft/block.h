/*
 * The block cache as decode.c, block.c, run.c and the branch handlers see it.
 *
 * A block is entered through op[0], whose handler sets r[R_BLOCK], counts the instructions and
 * looks at the request word. It leaves through a branch handler, or through the filler after its
 * last instruction. Both go on to the next block directly when they can: by the link in the op
 * (same linear page only: then nothing but the block's death can make the link wrong), or by the
 * jump cache (validated by rip, mode key and TLB generation).
 */
#ifndef CPU_X86_SOFT_BLOCK_H
#define CPU_X86_SOFT_BLOCK_H

#include "cpu/x86/soft/insn.h"

struct decoder;

#define BLOCK_MAX_INSNS      64
#define BLOCK_HASH_SIZE      131072u
#define BLOCK_PAGE_HASH_SIZE 8192u
#define BLOCK_ARENA_BYTES    (16u << 20) /* of all vCPUs together, beside the translator's part */
#define BLOCK_ARENA_MIN      (4u << 20)  /* but so much for each */
#define BLOCK_KEEP_BYTES     (1u << 20)  /* of the arena, through a reset */
#define BLOCK_QUEUE_SIZE     64u
#define BLOCK_LIMITS_MAX     255u

struct code_range {
    struct ram_block *ram;
    uint64_t offset, len;
};

/* One vCPU's decoded code. Owner: the vCPU's thread; `queue` is shared, under `mutex`. */
struct block_cache {
    struct decoder *decoder;
    uint8_t *arena;
    size_t arena_bytes, arena_used;
    struct op *link_from; /* soft_run shall link this op to the block that it finds next */
    uint64_t n_blocks;    /* decoded since the start, for statistics */
    uint64_t n_flushes;
    uint64_t pauses;                   /* PAUSE instructions executed */
    uint32_t limits[BLOCK_LIMITS_MAX]; /* of code segments: entry i has number i + 1 */
    unsigned n_limits;
    struct block *hash[BLOCK_HASH_SIZE];
    struct block *page[BLOCK_PAGE_HASH_SIZE]; /* lists through page_next */
    GMutex mutex;
    unsigned n_queued; /* more than BLOCK_QUEUE_SIZE: everything */
    struct code_range queue[BLOCK_QUEUE_SIZE];
};

/* The decoding tables for a CPU's feature set. */
struct decoder *decoder_new(const uint64_t features[2]);
void decoder_free(struct decoder *decoder);

/* Pseudo-ops: falling out of a block's end, and places of dead blocks. */
OP(op_fall);
OP(op_fall_step);
OP(op_dead);
OP(op_dead_first);
OP(op_forward);
OP(op_gp0);
OP(op_nm);
void host_break(struct cpu *c); /* leaves for the debugger, at c->rip (run.c) */

/* Goes on with the block whose head is `first`, unless something is requested: sets r[R_BLOCK] and
 * counts the block's instructions; `fix` takes off what the present block counted but does not
 * execute. */
#define ENTER_BLOCK(first, fix)                                                                    \
    do {                                                                                           \
        const struct op *head_ = (first);                                                          \
        if (unlikely(atomic_load_explicit(c->req, memory_order_relaxed))) {                        \
            c->rip = head_->imm;                                                                   \
            LEAVE;                                                                                 \
        }                                                                                          \
        c->r[R_BLOCK] = head_->imm;                                                                \
        c->insn_count += (int64_t)head_->disp + (fix);                                             \
        GOTO_OP(head_ + 1);                                                                        \
    } while (0)

/* Executes ops from o on until one leaves. */
static inline void ops_run(struct cpu *c, const struct op *o)
{
#if SOFT_TAIL_CALLS
    o->fn(c, o);
#else
    while (o) {
        o = o->fn(c, o);
    }
#endif
}

static inline unsigned jump_index(uint64_t lin)
{
    return (lin ^ lin >> 12) & (JUMP_CACHE_SIZE - 1);
}

static inline uint64_t jump_key(const struct cpu *c)
{
    _Static_assert(offsetof(struct cpu, tlb_gen) == offsetof(struct cpu, key) + 4, "one load");
    return c->key | (uint64_t)c->tlb_gen << 32;
}

/* Linear address of an instruction pointer. */
static inline uint64_t rip_linear(const struct cpu *c, uint64_t rip)
{
    return is_long64(c) ? rip : (uint32_t)(c->seg[SEG_CS].base + rip);
}

/* For a direct branch or filler whose `next` is not known: goes on at rip, and has `next` filled in
 * when it is in the same linear page. */
op_ret branch_direct(struct cpu *c, const struct op *o, uint64_t rip);
/* Checks a near target and takes a direct branch whose `next` is not known. */
op_ret take_direct(struct cpu *c, const struct op *o, uint64_t target);
/* The handler for an op followed by a 64-bit Jcc, or NULL. (op-fuse.c) */
op_fn fused_with_branch(op_fn first, unsigned condition);
/* Marks bytes [first, last] of the page that b lies in as code, before they are read. false: other
 * vCPUs ran meanwhile, what was looked up is stale. */
bool block_mark_code(struct cpu *c, const struct block *b, unsigned first, unsigned last);
/* Drops this vCPU's blocks with bytes in [first, last], which lie in one page of memory. */
void blocks_invalidate_host(struct cpu *c, const uint8_t *first, const uint8_t *last);
/* soft_run, with the block found at c->rip right after op `link_from` asked for it. */
void block_link(struct cpu *c, struct block *b);

/* Goes on at rip in 64-bit mode, or leaves. */
static inline __attribute__((always_inline)) op_ret jump64(struct cpu *c, uint64_t rip)
{
    const struct jump_entry *e = &c->jump_cache[jump_index(rip)];
    if (likely(e->rip == rip && e->key == jump_key(c))) {
        ENTER_BLOCK(e->block->op, 0);
    }
    c->rip = rip;
    LEAVE;
}

#endif
