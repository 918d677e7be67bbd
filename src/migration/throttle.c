/*
 * Auto-converge: a guest that writes memory faster than it can be sent is slowed down. All its
 * vCPUs run for a slice and then stand for as long as makes the percentage. A timer of the main
 * loop does it.
 */
#include "migration/migration-priv.h"

#define SLICE_MS 10u

struct throttle {
    struct machine *machine;
    _Atomic unsigned percent;
    bool standing;
    GSource *timer;
};

static void arm(struct throttle *t, unsigned ms);

static gboolean tick(gpointer data)
{
    struct throttle *t = data;
    unsigned percent = t->percent;

    t->standing = !t->standing && percent > 0;
    machine_hold_vcpus(t->machine, t->standing);
    arm(t, t->standing ? SLICE_MS * percent / (100 - MIN(percent, 99)) : SLICE_MS);
    return G_SOURCE_REMOVE;
}

static void arm(struct throttle *t, unsigned ms)
{
    GSource *timer = g_timeout_source_new(MAX(ms, 1));

    g_source_set_callback(timer, tick, t, NULL);
    g_source_attach(timer, t->machine->loop->context);
    if (t->timer) {
        g_source_destroy(t->timer);
        g_source_unref(t->timer);
    }
    t->timer = timer;
}

struct throttle *throttle_new(struct machine *m)
{
    struct throttle *t = g_new0(struct throttle, 1);

    t->machine = m;
    arm(t, SLICE_MS);
    return t;
}

void throttle_set(struct throttle *t, unsigned percent)
{
    t->percent = percent;
}

unsigned throttle_get(const struct throttle *t)
{
    return t->percent;
}

void throttle_free(struct throttle *t)
{
    if (t) {
        g_source_destroy(t->timer);
        g_source_unref(t->timer);
        if (t->standing) {
            machine_hold_vcpus(t->machine, false);
        }
        g_free(t);
    }
}
