/*
 * Between the files of a machine's life: requests.c (leaving requests), lifecycle.c (carrying them
 * out) and main-thread.c.
 */
#ifndef MACHINE_LIFECYCLE_PRIV_H
#define MACHINE_LIFECYCLE_PRIV_H

#include "machine/machine-priv.h"

enum request_bit {
    REQUEST_DEBUG = 1 << 0,
    REQUEST_SHUTDOWN = 1 << 1,
    REQUEST_RESET = 1 << 2,
    REQUEST_POWERDOWN = 1 << 3,
    REQUEST_STOP = 1 << 4,
    REQUEST_EXIT = 1 << 5,
    REQUEST_SUSPEND = 1 << 6,
    REQUEST_WAKEUP = 1 << 7,
    REQUEST_RECORD = 1 << 8,
};
#define REQUEST_KINDS 9

struct slots {
    unsigned pending; /* enum request_bit */
    unsigned by_vcpu; /* of those: left by a vCPU alone, that ran guest code */
    enum shutdown_cause shutdown, reset;
    bool reset_last;   /* the reset was asked for after the shutdown */
    bool ends_process; /* somebody outside asked for that: holds whatever cause comes later */
    enum run_state stop;
    int exit_status;
    struct cause *why[REQUEST_KINDS]; /* by bit of pending */
};

struct requests {
    GMutex mutex; /* guards what follows: requests come from any thread */
    struct slots slots;
    bool posted;
    bool carrying_out;
    unsigned carried; /* enum request_bit: taken to be carried out, and not done yet */
    enum run_state carried_stop;
    unsigned acting; /* who is telling of something and will leave a request */
    GCond settled;   /* none of the three any more */
    unsigned waiters;
    uint64_t rounds; /* how often machine_run_requests() has come to its end */
    uint64_t waited; /* in vain: rounds was that, plus 1 */
    /* The rest is the main thread's. */
    bool ended;
    struct cause *why_ended;
    bool broken;        /* the last reset failed */
    const char *frozen; /* machine_freeze() */
    bool frozen_but_resets;
    bool autostart; /* inmigrate: the guest runs when it has come */
    struct machine_actions actions;
};

/* ---- requests.c */

void slots_clear(struct slots *s); /* drops the causes */
/* The cause of one of what is pending; the slots'. */
struct cause **slot_why(struct slots *s, enum request_bit bit);
/* With the mutex: the slots, to look at or to write into. */
struct slots *slots_lock(struct machine *m);
void slots_unlock(struct machine *m);
/* Mutex held: something has been carried out. */
void requests_tell_waiters(struct requests *r);

/* ---- lifecycle.c */

/* Has the guest stop in that state, with no event. Main thread, lock held. */
void machine_stop_guest(struct machine *m, enum run_state state);

#endif
