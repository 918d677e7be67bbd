/*
 * What a back end or filter node that limits its requests has to do with its group.
 */
#ifndef BLOCK_THROTTLE_PRIV_H
#define BLOCK_THROTTLE_PRIV_H

#include "block/throttle.h"

struct throttle_member {
    struct throttle_group *group; /* NULL: in none */
    /* I/O thread: the request may go on its way. */
    void (*go)(struct throttle_member *, struct block_request *);
    /* the group's; reads and writes apart, each in their order */
    struct block_request *held[2], **tail[2];
};

/* The group of that name, or one made with no limits; a reference. */
struct throttle_group *throttle_group_get(struct block_graph *graph, const char *name);
/* NULL: there is none. */
struct throttle_group *throttle_group_find(struct block_graph *graph, const char *name);
const char *throttle_group_name(const struct throttle_group *group);
void throttle_group_config(const struct throttle_group *group, struct throttle_config *config);
/* The same in the terms of query-block. */
void throttle_group_describe(const struct throttle_group *group, struct block_device_info *info);
/* They have been checked. What is held is judged by them at once. */
void throttle_group_set_config(struct throttle_group *group, const struct throttle_config *config);

/* Main thread, drained. What is held for somebody goes when its member leaves. */
void throttle_member_join(struct throttle_member *member, struct throttle_group *group);
void throttle_member_leave(struct throttle_member *member); /* in none: fine */

/* I/O thread. Reads, writes, write-zeroes and discards are limited; flushes never come here. */
void throttle_member_submit(struct throttle_member *member, struct block_request *request);

/*
 * Between these two nothing is held, in no group: for whoever holds the machine lock and waits for
 * a request, or for there to be none. What goes meanwhile counts, so that others wait the longer.
 * begin() has let go what was held when it returns, or, `soon`, will have when the I/O thread has
 * done what it was given before. Any thread but the I/O thread.
 */
void block_hurry_begin(struct block_graph *graph, bool soon);
void block_hurry_end(struct block_graph *graph);

/* ---- throttle-limits.c; all but from_arg() check what they make */

struct params;
/* Only the members that are given change. */
bool throttle_config_apply(struct throttle_config *config, const struct throttle_limits *limits,
                           GError **error);
bool throttle_config_from_properties(struct throttle_config *config,
                                     const struct throttle_group_properties *properties,
                                     GError **error);
void throttle_config_from_arg(struct throttle_config *config, const struct block_io_throttle *arg);
/* What -drive has of limits, taken from p. *group: to be freed, NULL if none is named. */
bool throttle_config_from_params(struct throttle_config *config, struct params *p, char **group,
                                 GError **error);

/* ---- throttle-device.c */

/* The back end is a member of that group, which has those limits. */
void block_backend_set_throttle(struct block_backend *backend, const struct throttle_config *config,
                                const char *group);

#endif
