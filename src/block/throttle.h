/*
 * Limits on how fast a disk is used: bytes and requests in a second, with bursts.
 *
 * Limits belong to a group. Its members share them: filter nodes (the driver throttle) and back
 * ends (-drive with throttling.*, block_set_io_throttle). A group is an object of the user's
 * (throttle-group), or made for a back end and gone with its last member.
 *
 * The meaning of the limits is that of docs/throttle.txt of QEMU 7.2: each limited quantity is a
 * leaky bucket. Main thread with the machine lock, unless said otherwise.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/block.h"

/* ---- buckets: no clock and no thread of their own */

enum throttle_kind {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_KINDS
};

#define THROTTLE_MAX_VALUE 1000000000000000ull

struct throttle_limit {
    uint64_t avg;   /* bytes or requests in a second; 0: no limit */
    uint64_t max;   /* the same, during a burst; 0: there are none but for a tenth of a second */
    uint64_t burst; /* seconds that a burst may last, at least 1 */
};

struct throttle_config {
    struct throttle_limit limit[THROTTLE_KINDS];
    uint64_t op_bytes; /* a longer request counts as several; 0: each is one */
};

struct throttle_bucket {
    double level, burst_level;
};

struct throttle_state {
    struct throttle_config config;
    struct throttle_bucket bucket[THROTTLE_KINDS];
    int64_t leaked_ns; /* when they last ran out */
};

/* No limits. */
void throttle_config_init(struct throttle_config *config);
bool throttle_config_check(const struct throttle_config *config, GError **error);
bool throttle_config_is_on(const struct throttle_config *config); /* there is a limit */

/* Empty buckets with those limits. */
void throttle_state_init(struct throttle_state *state, const struct throttle_config *config,
                         int64_t now_ns);
/* How long a read or write must wait from now on; 0: it may go. */
int64_t throttle_wait_ns(struct throttle_state *state, bool write, int64_t now_ns);
/* It goes. */
void throttle_account(struct throttle_state *state, bool write, uint64_t bytes);

/* ---- groups */

struct throttle_group;

/* What requests wait by, instead of the host's monotonic clock. */
struct throttle_clock {
    void *opaque;
    int64_t (*now_ns)(void *opaque); /* any thread */
    /* Has block_throttle_alarm() called at that time or soon after, instead of at an earlier
     * wish's; -1: not at all. I/O thread. */
    void (*arm)(void *opaque, int64_t deadline_ns);
};

/* Before the first node and group. The struct is copied. */
void block_graph_set_throttle_clock(struct block_graph *graph, const struct throttle_clock *clock);
/* Lets those go whose time has come, before it returns. Not from the I/O thread. */
void block_throttle_alarm(struct block_graph *graph);

/* An object's group. NULL and *error for limits that make no sense or a name that is taken. */
struct throttle_group *throttle_group_new(struct block_graph *graph,
                                          const struct throttle_group_properties *properties,
                                          const char *name, GError **error);
/* Members keep it. */
void throttle_group_release(struct throttle_group *group);
bool throttle_group_is_used(const struct throttle_group *group); /* it has members */
/* Only the members that are given change. */
bool throttle_group_set_limits(struct throttle_group *group, const struct throttle_limits *limits,
                               GError **error);
/* All that hold; to be freed. */
struct throttle_limits *throttle_group_limits(const struct throttle_group *group);

/* The command block_set_io_throttle. */
bool block_set_throttle(struct block_graph *graph, const struct block_io_throttle *arg,
                        GError **error);

#endif
