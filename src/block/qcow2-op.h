/*
 * qcow2: requests, between the I/O thread (qcow2-io.c, which opens with how they go) and the worker
 * (qcow2-work.c).
 */
#ifndef BLOCK_QCOW2_OP_H
#define BLOCK_QCOW2_OP_H

#include "block/qcow2-priv.h"

#define MAX_EXTENTS 64u

enum extent_kind { EXTENT_DATA, EXTENT_ZERO, EXTENT_BACKING, EXTENT_COMPRESSED };

struct extent {
    enum extent_kind kind;
    uint64_t guest, bytes; /* of the request */
    uint64_t host;         /* DATA: the offset in the image; COMPRESSED: the L2 entry */
    uint8_t *whole;        /* write: a cluster, what was there and the new bytes; or NULL */
};

struct link { /* a cluster that is being written */
    uint64_t guest, host;
    bool taken; /* it is new, not the one that was there, as zeroes */
};

enum todo { TODO_STEP, TODO_LINK, TODO_CALL };

struct qcow2_op {
    struct qcow2_op *next;
    struct qcow2 *q;
    struct block_request *r; /* whose it is; NULL: a call */
    enum todo todo;
    uint64_t at, next_at;        /* done up to; the step ends at */
    struct extent one, *extents; /* extents is &one, or allocated */
    unsigned n, max;
    GArray *links; /* struct link; NULL: none */
    unsigned pending, phase;
    int result;
    /* TODO_CALL */
    int (*fn)(struct qcow2 *q, void *arg);
    void *arg;
    bool called;
    GCond *cond;
};

static inline uint64_t qcow2_op_end(const struct qcow2_op *op)
{
    return op->r->offset + op->r->bytes;
}

/* ---- qcow2-io.c */
void qcow2_extents_clear(struct qcow2_op *op);
/* false: there is no room for another one. */
bool qcow2_extent_add(struct qcow2_op *op, const struct extent *e);
/* What an entry says of bytes within its cluster, for a read. false: as above. */
bool qcow2_extent_of_entry(struct qcow2_op *op, uint64_t entry, uint64_t guest, uint64_t bytes);
/* Its place is the image's own and holds data. */
bool qcow2_is_in_place(const struct qcow2 *q, uint64_t entry);
/* Between a request's memory, from byte `at` of it, and a buffer. buf NULL: zeroes. */
void qcow2_iov_copy(const struct block_request *r, uint64_t at, uint8_t *buf, uint64_t bytes,
                    bool to_buf);
void qcow2_phase_enter(struct qcow2_op *op); /* q->mutex held */
/* What the I/O thread does next with an op. */
void qcow2_op_move(void *op);  /* the extents are mapped and counted in a phase */
void qcow2_op_go_on(void *op); /* they are moved, and linked where that is needed */
void qcow2_op_done(struct qcow2_op *op);

/* ---- qcow2-work.c */
/* To the worker, before or behind what it has to do. */
void qcow2_op_queue(struct qcow2_op *op, bool first);

#endif
