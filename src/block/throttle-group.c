/*
 * Groups of those who share limits: see throttle.h.
 *
 * Everything of a group is the I/O thread's; the main thread changes it there and waits. A request
 * that may not go yet is held by its member, and everybody's behind it, of its direction, too.
 * Members take turns: whose request has gone is asked last. There is one timer for all groups.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"

#include "base/clock.h"
#include <string.h>

struct throttle_group {
    struct block_graph *graph;
    char *name;
    unsigned refs; /* the main thread's */
    struct throttle_state state;
    GPtrArray *members;
    guint turn[2];          /* who comes first, for reads and for writes */
    int64_t deadline_ns[2]; /* when somebody may go, -1: nobody waits */
};

/* ---- time */

static int64_t now_ns(const struct block_graph *graph)
{
    const struct throttle_clock *clock = &graph->throttle_clock;

    return clock->now_ns ? clock->now_ns(clock->opaque) : g_get_monotonic_time() * NS_PER_US;
}

static void let_go(void *arg);

static gboolean timer_expired(gpointer data)
{
    struct block_graph *graph = data;

    g_source_set_ready_time(graph->throttle_timer, -1);
    let_go(graph);
    return G_SOURCE_CONTINUE;
}

static gboolean dispatch_timer(GSource *source, GSourceFunc fn, gpointer data)
{
    return fn(data);
}

static void arm_host_timer(struct block_graph *graph, int64_t deadline_ns)
{
    static GSourceFuncs funcs = {.dispatch = dispatch_timer};

    if (!graph->throttle_timer) {
        graph->throttle_timer = g_source_new(&funcs, sizeof(GSource));
        g_source_set_callback(graph->throttle_timer, timer_expired, graph, NULL);
        g_source_attach(graph->throttle_timer, graph->io->context);
    }
    /* Rounded up, for the time must have come. */
    g_source_set_ready_time(graph->throttle_timer,
                            deadline_ns < 0 ? -1 : deadline_ns / NS_PER_US + 1);
}

static void arm(struct block_graph *graph)
{
    int64_t first = -1;

    for (guint i = 0; i < graph->throttle_groups->len; i++) {
        const struct throttle_group *group = graph->throttle_groups->pdata[i];

        for (unsigned write = 0; write < 2; write++) {
            int64_t deadline = group->deadline_ns[write];

            first = deadline >= 0 && (first < 0 || deadline < first) ? deadline : first;
        }
    }
    if (graph->throttle_clock.arm) {
        graph->throttle_clock.arm(graph->throttle_clock.opaque, first);
    } else if (first >= 0 || graph->throttle_timer) {
        arm_host_timer(graph, first);
    }
}

/* ---- requests */

static bool is_hurried(struct block_graph *graph)
{
    return atomic_load(&graph->hurry) > 0;
}

static bool is_write(const struct block_request *r)
{
    return r->op != BLOCK_READ;
}

/* How long the next of that direction must wait. */
static int64_t wait_ns(struct throttle_group *group, bool write, int64_t now)
{
    int64_t wait = is_hurried(group->graph) ? 0 : throttle_wait_ns(&group->state, write, now);

    return MIN(wait, INT64_MAX - now);
}

static struct block_request *take(struct throttle_member *member, bool write)
{
    struct block_request *r = member->held[write];

    member->held[write] = r->next;
    if (!r->next) {
        member->tail[write] = &member->held[write];
    }
    r->next = NULL;
    return r;
}

/* Whose turn it is; NULL: nobody waits. */
static struct throttle_member *next_member(struct throttle_group *group, bool write)
{
    guint n = group->members->len;

    for (guint i = 0; i < n; i++) {
        guint at = (group->turn[write] + i) % n;
        struct throttle_member *member = group->members->pdata[at];

        if (member->held[write]) {
            group->turn[write] = (at + 1) % n;
            return member;
        }
    }
    return NULL;
}

static bool anybody_waits(const struct throttle_group *group, bool write)
{
    for (guint i = 0; i < group->members->len; i++) {
        if (((const struct throttle_member *)group->members->pdata[i])->held[write]) {
            return true;
        }
    }
    return false;
}

static void group_go(struct throttle_group *group, bool write)
{
    int64_t now = now_ns(group->graph), wait = 0;

    group->deadline_ns[write] = -1;
    while (anybody_waits(group, write) && (wait = wait_ns(group, write, now)) == 0) {
        struct throttle_member *member = next_member(group, write);
        struct block_request *r = take(member, write);

        throttle_account(&group->state, write, r->bytes);
        member->go(member, r); /* may submit further ones, which wait behind */
    }
    if (anybody_waits(group, write)) {
        group->deadline_ns[write] = now + wait;
    }
}

/* Those whose time has come. */
static void let_go(void *arg)
{
    struct block_graph *graph = arg;

    graph->plugged++;
    for (guint i = 0; i < graph->throttle_groups->len; i++) {
        struct throttle_group *group = graph->throttle_groups->pdata[i];

        group_go(group, false);
        group_go(group, true);
    }
    arm(graph);
    block_graph_unplug(graph);
}

void throttle_member_submit(struct throttle_member *member, struct block_request *r)
{
    struct throttle_group *group = member->group;
    bool write = is_write(r), waits = anybody_waits(group, write);
    int64_t now = now_ns(group->graph);
    int64_t wait = waits ? 1 : wait_ns(group, write, now);

    if (wait == 0) {
        throttle_account(&group->state, write, r->bytes);
        member->go(member, r);
        return;
    }
    r->next = NULL;
    *member->tail[write] = r;
    member->tail[write] = &r->next;
    if (!waits) {
        group->deadline_ns[write] = now + wait;
        arm(group->graph);
    }
}

/* ---- those who can't wait */

static void on_io_thread(struct block_graph *graph, void (*fn)(void *), void *arg)
{
    if (graph->io) {
        loop_call(graph->io, fn, arg);
    } else {
        fn(arg);
    }
}

void block_hurry_begin(struct block_graph *graph, bool soon)
{
    atomic_fetch_add(&graph->hurry, 1);
    if (!graph->io || !atomic_load(&graph->throttles)) {
        return;
    }
    if (soon) {
        loop_post(graph->io, let_go, graph);
    } else {
        loop_call(graph->io, let_go, graph);
    }
}

void block_hurry_end(struct block_graph *graph)
{
    atomic_fetch_sub(&graph->hurry, 1);
}

void block_throttle_alarm(struct block_graph *graph)
{
    if (graph->io) {
        loop_call(graph->io, let_go, graph);
    }
}

void block_graph_set_throttle_clock(struct block_graph *graph, const struct throttle_clock *clock)
{
    graph->throttle_clock = *clock;
}

/* ---- members */

struct change { /* for the I/O thread */
    struct throttle_group *group;
    struct throttle_member *member;
    const struct throttle_config *config;
};

static void do_join(void *arg)
{
    struct change *c = arg;

    for (unsigned write = 0; write < 2; write++) {
        c->member->held[write] = NULL;
        c->member->tail[write] = &c->member->held[write];
    }
    c->member->group = c->group;
    g_ptr_array_add(c->group->members, c->member);
}

void throttle_member_join(struct throttle_member *member, struct throttle_group *group)
{
    struct change c = {.group = group, .member = member};

    group->refs++;
    on_io_thread(group->graph, do_join, &c);
    atomic_fetch_add(&group->graph->throttles, 1);
}

static void do_leave(void *arg)
{
    struct change *c = arg;

    for (unsigned write = 0; write < 2; write++) {
        while (c->member->held[write]) { /* of somebody who is not drained: a job */
            c->member->go(c->member, take(c->member, write));
        }
    }
    g_ptr_array_remove(c->group->members, c->member);
    c->group->turn[0] = c->group->turn[1] = 0;
    c->member->group = NULL;
}

void throttle_member_leave(struct throttle_member *member)
{
    struct change c = {.group = member->group, .member = member};

    if (member->group) {
        on_io_thread(c.group->graph, do_leave, &c);
        atomic_fetch_sub(&c.group->graph->throttles, 1);
        throttle_group_release(c.group);
    }
}

/* ---- groups */

const char *throttle_group_name(const struct throttle_group *group)
{
    return group->name;
}

bool throttle_group_is_used(const struct throttle_group *group)
{
    return group->members->len > 0;
}

struct throttle_group *throttle_group_find(struct block_graph *graph, const char *name)
{
    for (guint i = 0; i < graph->throttle_groups->len; i++) {
        struct throttle_group *group = graph->throttle_groups->pdata[i];

        if (strcmp(group->name, name) == 0) {
            return group;
        }
    }
    return NULL;
}

static void do_add(void *arg)
{
    struct throttle_group *group = arg;

    g_ptr_array_add(group->graph->throttle_groups, group);
}

static struct throttle_group *group_new(struct block_graph *graph, const char *name,
                                        const struct throttle_config *config)
{
    struct throttle_group *group = g_new0(struct throttle_group, 1);

    group->graph = graph;
    group->name = g_strdup(name);
    group->refs = 1;
    group->members = g_ptr_array_new();
    group->deadline_ns[0] = group->deadline_ns[1] = -1;
    throttle_state_init(&group->state, config, now_ns(graph));
    on_io_thread(graph, do_add, group);
    return group;
}

struct throttle_group *throttle_group_get(struct block_graph *graph, const char *name)
{
    struct throttle_group *group = throttle_group_find(graph, name);
    struct throttle_config none;

    if (group) {
        group->refs++;
        return group;
    }
    throttle_config_init(&none);
    return group_new(graph, name, &none);
}

struct throttle_group *throttle_group_new(struct block_graph *graph,
                                          const struct throttle_group_properties *properties,
                                          const char *name, GError **error)
{
    struct throttle_config config;

    if (!throttle_config_from_properties(&config, properties, error)) {
        return NULL;
    }
    if (throttle_group_find(graph, name)) {
        g_set_error(error, BLOCK_ERROR, 0, "A group with this name already exists");
        return NULL;
    }
    return group_new(graph, name, &config);
}

static void do_remove(void *arg)
{
    struct throttle_group *group = arg;

    g_ptr_array_remove(group->graph->throttle_groups, group);
}

void throttle_group_release(struct throttle_group *group)
{
    if (--group->refs == 0) {
        on_io_thread(group->graph, do_remove, group);
        g_ptr_array_unref(group->members);
        g_free(group->name);
        g_free(group);
    }
}

void throttle_group_config(const struct throttle_group *group, struct throttle_config *config)
{
    *config = group->state.config; /* changed by this thread only */
}

static void do_config(void *arg)
{
    struct change *c = arg;

    throttle_state_init(&c->group->state, c->config, now_ns(c->group->graph));
    let_go(c->group->graph);
}

void throttle_group_set_config(struct throttle_group *group, const struct throttle_config *config)
{
    struct change c = {.group = group, .config = config};

    on_io_thread(group->graph, do_config, &c);
}

bool throttle_group_set_limits(struct throttle_group *group, const struct throttle_limits *limits,
                               GError **error)
{
    struct throttle_config config;

    throttle_group_config(group, &config);
    if (!throttle_config_apply(&config, limits, error)) {
        return false;
    }
    throttle_group_set_config(group, &config);
    return true;
}
