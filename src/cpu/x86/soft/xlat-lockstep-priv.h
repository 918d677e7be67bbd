/* What the files of lockstep share (xlat-lockstep.h): a step's two sides. */
#ifndef CPU_X86_SOFT_XLAT_LOCKSTEP_PRIV_H
#define CPU_X86_SOFT_XLAT_LOCKSTEP_PRIV_H

#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/soft/xlat-lockstep.h"

enum {
    BUDGET = 128, /* instructions of a step */
    NOTES = 2048,
    NOTES_INLINE = 8 * BUDGET, /* that translated code makes at most: it does not look */
    SLOTS = 4 * NOTES,
    TRIES = 6,
};

struct note { /* made by the stub, too: xlat-stubs.c */
    uint64_t at;
    uint8_t before[NOTE_BYTES];
};
_Static_assert(sizeof(struct note) == 8 + NOTE_BYTES, "as the stub steps");

struct window {
    uint8_t *at;
    uint8_t before[NOTE_BYTES], after[NOTE_BYTES];
};

/* What one side has written. */
struct writes {
    unsigned n;
    struct window window[NOTES];
    uint16_t slot[SLOTS]; /* by address: index + 1 of a window */
};

enum stop { STOP_BOUNDARY, STOP_FAULT, STOP_OUTSIDE };

/* What a step starts from and what it leads to. */
struct side_state {
    uint64_t r[16], rip, res;
    uint32_t aux, flags, sysflags, mxcsr; /* flags: the arithmetic ones, out of res and aux */
    union vec xmm[16], ymm_hi[16];
    struct x87 fpu;
    enum stop stop;
    int vector;
    uint32_t error;
    uint64_t fault_rip, cr2;
};

struct executed { /* an instruction of the interpreter's side */
    struct op op;
    uint8_t bytes[16];
};

struct lockstep {
    struct unit *unit;
    const struct op *in_op; /* translated code has called its handler */
    bool outside;           /* a side wants to access a device */
    bool tables_changed;    /* a page walk has set bits */
    unsigned todo, done;    /* instructions of the interpreter */
    _Atomic uint32_t halt;  /* a request for handlers to see: they go on to no other block */
    _Atomic uint32_t *req;
    struct tlbe *tlb;
    void *outer[5];
    struct side_state start, translated, interpreted;
    uint8_t live; /* flags that count at the end of the translated side */
    struct executed executed[BUDGET + 1];
    struct writes by_translated, by_interpreter;
    struct note notes[NOTES];
    char *difference;
};

/* What is known of the writes to the window at a host address; NULL when there are none, or, with
 * insert, a new one. */
struct window *lockstep_window(struct writes *w, uint64_t at, bool insert);

/* xlat-lockstep-compare.c: what differs between both sides' ends, a line each; NULL: nothing. */
GString *lockstep_compare(struct cpu *c);

#endif
