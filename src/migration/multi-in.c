/*
 * Memory that comes over several channels: see multi.h. Each has a thread of its own, which checks,
 * expands and puts pages into their places. All that a channel says is hostile: a record is taken
 * in as far as it comes (stream.c), and expands to no more than the source puts into one.
 */
#include "migration/multi.h"

#include "base/threads.h"
#include "migration/multi-small.h"
#include <inttypes.h>
#include <string.h>

#define ALL_PASSES UINT64_MAX /* a channel at its end has come to them */

struct lane {
    struct multi_in *multi;
    struct channel *channel;
    struct stream_in stream;
    GThread *thread;
    bool known; /* "chan" has told which one it is; under the mutex */
    unsigned index;
    uint64_t pass; /* that it has come to; under the mutex */
    struct unpacker *unpacker;
};

struct multi_in {
    struct channel *first;
    const GPtrArray *blocks;
    uint8_t id[MULTI_ID_BYTES];
    GMutex mutex;
    GCond changed;
    uint64_t pass; /* that all have come to */
    bool broken;
    GError *error;
    unsigned n;
    struct lane lane[];
};

/* ---- a channel's thread */

static bool take_chan(struct lane *l, GError **error)
{
    struct multi_in *m = l->multi;
    struct record record;
    struct state_input in;
    uint64_t index;
    bool ok = true;

    if (!stream_in_next(&l->stream, &record, error)) {
        return false;
    }
    if (!record_is(&record, "chan")) {
        return migration_refuse(error, "stream: a channel begins with record '%s', not with 'chan'",
                                record.kind);
    }
    if (!record_version(&record, 1, error)) {
        return false;
    }
    in = (struct state_input){record.payload, record.bytes};
    if (in.left != MULTI_ID_BYTES + 4 || memcmp(in.data, m->id, MULTI_ID_BYTES) != 0) {
        return migration_refuse(error, "stream: a channel of another migration");
    }
    in.data += MULTI_ID_BYTES;
    in.left -= MULTI_ID_BYTES;
    ok = state_take_number(&in, 4, &index) && index < m->n;
    g_mutex_lock(&m->mutex);
    for (unsigned i = 0; ok && i < m->n; i++) {
        ok = !m->lane[i].known || m->lane[i].index != index;
    }
    l->known = ok;
    l->index = (unsigned)index;
    g_mutex_unlock(&m->mutex);
    return ok || migration_refuse(error, "stream: channel %" PRIu64 " of %u, or that comes twice",
                                  index, m->n);
}

static bool read_pass(const struct record *record, uint64_t *pass, GError **error)
{
    struct state_input in = {record->payload, record->bytes};

    return (record_version(record, 1, error) && state_take_number(&in, 8, pass) && !in.left) ||
           (error && *error) || migration_refuse(error, "stream: a record 'sync' of a wrong size");
}

/* Says how far it has come, and waits for the others. */
static bool wait_all(struct multi_in *m, uint64_t pass, GError **error)
{
    bool ok;

    while (m->pass < pass && !m->broken) {
        g_cond_wait(&m->changed, &m->mutex);
    }
    ok = !m->broken;
    return ok || migration_refuse(error, "the migration was broken off");
}

static bool lane_sync(struct lane *l, const struct record *record, GError **error)
{
    struct multi_in *m = l->multi;
    uint64_t pass = 0;
    bool ok;

    if (!read_pass(record, &pass, error)) {
        return false;
    }
    g_mutex_lock(&m->mutex);
    ok = pass == l->pass + 1 ||
         migration_refuse(error, "stream: pass %" PRIu64 " after %" PRIu64, pass, l->pass);
    if (ok) {
        l->pass = pass;
        g_cond_broadcast(&m->changed);
        ok = wait_all(m, pass, error);
    }
    g_mutex_unlock(&m->mutex);
    return ok;
}

/* *end: that was the last one. */
static bool take_record(struct lane *l, bool *end, GError **error)
{
    struct record record;

    *end = false;
    if (!stream_in_begin(&l->stream, &record, error)) {
        return false;
    }
    if (record_is(&record, "ram ")) {
        return ram_in_receive(l->multi->blocks, &l->stream, &record, error);
    }
    if (!stream_in_rest(&l->stream, &record, 0, error)) {
        return false;
    }
    if (record_is(&record, "fin ")) {
        *end = true;
        return stream_in_check_fin(&l->stream, &record, error);
    }
    if (record_is(&record, "sync")) {
        return lane_sync(l, &record, error);
    }
    if (!unpacker_knows(&record)) {
        return migration_refuse(error, "stream: record '%s' on a channel for memory", record.kind);
    }
    return unpacker_expand(l->unpacker, &record, error) &&
           ram_in_take(l->multi->blocks, &record, error);
}

/* The first failure is the one that counts: the first channel's reader is woken for it. */
static void lane_failed(struct lane *l, GError *error)
{
    struct multi_in *m = l->multi;

    g_mutex_lock(&m->mutex);
    if (!m->error && !m->broken) {
        m->error = error;
        error = NULL;
    }
    m->broken = true;
    g_cond_broadcast(&m->changed);
    g_mutex_unlock(&m->mutex);
    g_clear_error(&error);
    channel_break(m->first);
}

static gpointer run(gpointer arg)
{
    struct lane *l = arg;
    GError *error = NULL;
    bool ok, end = false;

    thread_begin("multifd", THREAD_OTHER);
    ok = take_chan(l, &error);
    while (ok && !end) {
        ok = take_record(l, &end, &error);
    }
    if (!ok) {
        lane_failed(l, error);
    } else {
        g_mutex_lock(&l->multi->mutex);
        l->pass = ALL_PASSES;
        g_cond_broadcast(&l->multi->changed);
        g_mutex_unlock(&l->multi->mutex);
    }
    thread_end();
    return NULL;
}

/* ---- the migration's thread */

struct multi_in *multi_in_new(struct channel *first, struct state_input *head, GError **error)
{
    struct multi_in *m;
    uint64_t n;

    if (!state_take_number(head, 4, &n) || n < 1 || n > UINT8_MAX || head->left < MULTI_ID_BYTES) {
        migration_refuse(error, "stream: memory comes over no number of channels from 1 to 255");
        return NULL;
    }
    m = g_malloc0(sizeof(*m) + (size_t)n * sizeof(struct lane));
    m->first = first;
    m->n = (unsigned)n;
    memcpy(m->id, head->data, MULTI_ID_BYTES);
    head->data += MULTI_ID_BYTES;
    head->left -= MULTI_ID_BYTES;
    g_mutex_init(&m->mutex);
    g_cond_init(&m->changed);
    return m;
}

bool multi_in_accept(struct multi_in *m, const GPtrArray *blocks, GError **error)
{
    m->blocks = blocks;
    for (unsigned i = 0; i < m->n; i++) {
        struct lane *l = &m->lane[i];
        struct channel *channel = channel_accept(m->first, error);

        if (!channel) {
            return false;
        }
        g_mutex_lock(&m->mutex);
        l->multi = m;
        l->unpacker = unpacker_new();
        l->stream.channel = l->channel = channel;
        if (m->broken) {
            channel_break(channel);
        }
        g_mutex_unlock(&m->mutex);
        l->thread = g_thread_new("multifd", run, l);
    }
    channel_stop_listening(m->first);
    return true;
}

/* Mutex held. */
static bool wait_lanes(struct multi_in *m, uint64_t pass, GError **error)
{
    for (unsigned i = 0; i < m->n; i++) {
        while (m->lane[i].pass < pass && !m->broken) {
            g_cond_wait(&m->changed, &m->mutex);
        }
    }
    return !m->broken || migration_refuse(error, "the migration was broken off");
}

bool multi_in_sync(struct multi_in *m, const struct record *record, GError **error)
{
    uint64_t pass = 0;
    bool ok;

    if (!read_pass(record, &pass, error)) {
        return false;
    }
    g_mutex_lock(&m->mutex);
    ok = (pass == m->pass + 1 ||
          migration_refuse(error, "stream: pass %" PRIu64 " after %" PRIu64, pass, m->pass)) &&
         wait_lanes(m, pass, error);
    if (ok) {
        m->pass = pass;
        g_cond_broadcast(&m->changed);
    }
    g_mutex_unlock(&m->mutex);
    return ok;
}

bool multi_in_finish(struct multi_in *m, GError **error)
{
    bool ok;

    g_mutex_lock(&m->mutex);
    ok = wait_lanes(m, ALL_PASSES, error);
    g_mutex_unlock(&m->mutex);
    return ok;
}

void multi_in_break(struct multi_in *m)
{
    g_mutex_lock(&m->mutex);
    m->broken = true;
    for (unsigned i = 0; i < m->n; i++) {
        if (m->lane[i].channel) {
            channel_break(m->lane[i].channel);
        }
    }
    g_cond_broadcast(&m->changed);
    g_mutex_unlock(&m->mutex);
}

bool multi_in_failed(struct multi_in *m, GError **error)
{
    bool failed;

    g_mutex_lock(&m->mutex);
    failed = m->error != NULL;
    if (failed) {
        g_propagate_error(error, g_error_copy(m->error));
    }
    g_mutex_unlock(&m->mutex);
    return failed;
}

static void lane_end(struct lane *l)
{
    struct channel *channel;

    if (!l->thread) {
        return;
    }
    g_thread_join(g_steal_pointer(&l->thread));
    g_mutex_lock(&l->multi->mutex);
    channel = g_steal_pointer(&l->channel); /* nobody breaks it from now on */
    g_mutex_unlock(&l->multi->mutex);
    channel_free(channel);
    stream_in_finish(&l->stream);
    g_clear_pointer(&l->unpacker, unpacker_free);
}

void multi_in_end(struct multi_in *m)
{
    multi_in_break(m);
    for (unsigned i = 0; i < m->n; i++) {
        lane_end(&m->lane[i]);
    }
}

void multi_in_free(struct multi_in *m)
{
    if (!m) {
        return;
    }
    multi_in_end(m);
    g_clear_error(&m->error);
    g_mutex_clear(&m->mutex);
    g_cond_clear(&m->changed);
    g_free(m);
}
