/*
 * Memory on its way out over several channels: see multi.h. Each has a thread of its own, which
 * looks for zeroes, copies, compresses, sums up and sends. The migration's thread hands out pages,
 * to whoever has nothing to do.
 */
#include "migration/multi.h"

#include "base/threads.h"
#include "migration/multi-small.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum task { TASK_NONE, TASK_PAGES, TASK_SYNC, TASK_FINISH, TASK_QUIT };

struct lane {
    struct multi_out *multi;
    unsigned index;
    struct channel *channel;
    struct stream_out stream;
    GThread *thread;
    enum task task; /* under the mutex; whoever gives one waits for TASK_NONE */
    struct ram_pick pick;
    GByteArray *head;
    uint8_t *pages;
    struct packer *packer; /* NULL: pages go as they are */
};

struct multi_out {
    struct multi_settings settings;
    struct ram_numbers *numbers;
    const struct channel *first;
    uint8_t id[MULTI_ID_BYTES];
    uint64_t pass; /* of the last "sync" */
    _Atomic uint64_t bytes;
    GMutex mutex;
    GCond asked, done;
    bool broken;
    GError *error; /* of the first that failed; under the mutex */
    unsigned n, turn;
    struct lane lane[];
};

/* ---- a channel's thread */

static bool send_pages(struct lane *l, GError **error)
{
    size_t bytes = ram_pick_copy(&l->pick, !l->packer, l->head, l->pages, l->multi->numbers);

    return l->packer ? packer_send(l->packer, &l->stream, l->head, l->pages, bytes, error)
                     : stream_out_record(&l->stream, "ram ", RAM_VERSION, l->head, l->pages, bytes,
                                         error);
}

static bool send_sync(struct stream_out *stream, uint64_t pass, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t start = record_begin(out, "sync", 1);

    state_put_number(out, pass, 8);
    record_end(out, start);
    return stream_out_write(stream, out->data, out->len, error);
}

static bool send_chan(struct lane *l, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t start = record_begin(out, "chan", 1);

    g_byte_array_append(out, l->multi->id, MULTI_ID_BYTES);
    state_put_number(out, l->index, 4);
    record_end(out, start);
    return stream_out_write(&l->stream, out->data, out->len, error);
}

static bool do_task(struct lane *l, enum task task, GError **error)
{
    uint64_t before = l->stream.bytes;
    bool ok = task == TASK_PAGES  ? send_pages(l, error)
              : task == TASK_SYNC ? send_sync(&l->stream, l->multi->pass, error)
                                  : stream_out_fin(&l->stream, error);

    l->multi->bytes += l->stream.bytes - before;
    return ok;
}

static gpointer run(gpointer arg)
{
    struct lane *l = arg;
    struct multi_out *m = l->multi;
    sigset_t pipe;
    enum task task;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    thread_begin("multifd", THREAD_OTHER);
    do {
        GError *error = NULL;

        g_mutex_lock(&m->mutex);
        while (l->task == TASK_NONE) {
            g_cond_wait(&m->asked, &m->mutex);
        }
        task = l->task;
        g_mutex_unlock(&m->mutex);
        if (task != TASK_QUIT) {
            do_task(l, task, &error);
        }
        g_mutex_lock(&m->mutex);
        l->task = TASK_NONE;
        if (error && !m->error) {
            m->error = g_steal_pointer(&error);
        }
        g_cond_signal(&m->done);
        g_mutex_unlock(&m->mutex);
        g_clear_error(&error);
    } while (task != TASK_QUIT);
    thread_end();
    return NULL;
}

/* ---- the migration's thread */

/* Mutex held. */
static bool all_well(const struct multi_out *m, GError **error)
{
    if (m->broken) {
        g_set_error_literal(error, MIGRATION_ERROR, 0, "the migration was broken off");
    } else if (m->error) {
        g_propagate_error(error, g_error_copy(m->error));
    }
    return !m->broken && !m->error;
}

/* In turn. */
static struct lane *idle_lane(struct multi_out *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        struct lane *l = &m->lane[(m->turn + i) % m->n];

        if (l->task == TASK_NONE) {
            m->turn = l->index + 1;
            return l;
        }
    }
    return NULL;
}

bool multi_out_send(struct multi_out *m, const struct ram_pick *pick, GError **error)
{
    struct lane *l;
    bool ok;

    g_mutex_lock(&m->mutex);
    while (!(l = idle_lane(m)) && !m->broken && !m->error) {
        g_cond_wait(&m->done, &m->mutex);
    }
    ok = all_well(m, error);
    if (ok) {
        l->pick = *pick;
        l->task = TASK_PAGES;
        g_cond_broadcast(&m->asked);
    }
    g_mutex_unlock(&m->mutex);
    return ok;
}

/* Mutex held. */
static bool wait_idle(struct multi_out *m, GError **error)
{
    for (unsigned i = 0; i < m->n; i++) {
        while (m->lane[i].task != TASK_NONE && !m->broken) {
            g_cond_wait(&m->done, &m->mutex);
        }
    }
    return all_well(m, error);
}

static bool all_do(struct multi_out *m, enum task task, GError **error)
{
    bool ok;

    g_mutex_lock(&m->mutex);
    ok = wait_idle(m, error);
    for (unsigned i = 0; ok && i < m->n; i++) {
        m->lane[i].task = task;
    }
    g_cond_broadcast(&m->asked);
    ok = ok && wait_idle(m, error);
    g_mutex_unlock(&m->mutex);
    return ok;
}

bool multi_out_sync(struct multi_out *m, struct stream_out *first, GError **error)
{
    m->pass++; /* nobody reads it: all are idle, or the migration has failed */
    return all_do(m, TASK_SYNC, error) && send_sync(first, m->pass, error);
}

bool multi_out_finish(struct multi_out *m, GError **error)
{
    return all_do(m, TASK_FINISH, error);
}

uint64_t multi_out_bytes(const struct multi_out *m)
{
    return m ? m->bytes : 0;
}

void multi_out_break(struct multi_out *m)
{
    g_mutex_lock(&m->mutex);
    m->broken = true;
    for (unsigned i = 0; i < m->n; i++) {
        if (m->lane[i].channel) {
            channel_break(m->lane[i].channel);
        }
    }
    g_cond_broadcast(&m->done);
    g_mutex_unlock(&m->mutex);
}

/* ---- life */

struct multi_out *multi_out_new(const struct channel *first, const struct multi_settings *settings,
                                struct ram_numbers *numbers)
{
    struct multi_out *m = g_malloc0(sizeof(*m) + (size_t)settings->channels * sizeof(struct lane));

    m->settings = *settings;
    m->numbers = numbers;
    m->first = first;
    m->n = settings->channels;
    for (unsigned i = 0; i < MULTI_ID_BYTES; i += 4) {
        uint32_t number = g_random_int();

        memcpy(m->id + i, &number, 4);
    }
    g_mutex_init(&m->mutex);
    g_cond_init(&m->asked);
    g_cond_init(&m->done);
    for (unsigned i = 0; i < m->n; i++) {
        struct lane *l = &m->lane[i];

        l->multi = m;
        l->index = i;
        l->head = g_byte_array_new();
        l->pages = ram_pages_new(RAM_PICK_PAGES);
    }
    return m;
}

void multi_out_put_head(const struct multi_out *m, GByteArray *out)
{
    state_put_number(out, m->n, 4);
    g_byte_array_append(out, m->id, MULTI_ID_BYTES);
}

/* Makes the channel, so that it can be broken. */
static bool lane_open(struct lane *l, GError **error)
{
    struct multi_out *m = l->multi;
    bool ok;

    g_mutex_lock(&m->mutex);
    ok = all_well(m, error);
    if (ok) {
        l->stream.channel = l->channel = channel_new_same(m->first, error);
        ok = l->channel != NULL;
    }
    g_mutex_unlock(&m->mutex);
    return ok;
}

static bool lane_pack(struct lane *l, GError **error)
{
    GError *why = NULL;

    l->packer = packer_new(&l->multi->settings, &why);
    if (why) {
        g_propagate_error(error, why);
    }
    return !why;
}

bool multi_out_connect(struct multi_out *m, GError **error)
{
    for (unsigned i = 0; i < m->n; i++) {
        struct lane *l = &m->lane[i];

        if (!lane_pack(l, error) || !lane_open(l, error) || !channel_connect(l->channel, error) ||
            !send_chan(l, error)) {
            g_prefix_error(error, "channel %u of %u: ", i + 1, m->n);
            return false;
        }
        l->thread = g_thread_new("multifd", run, l);
    }
    return true;
}

static void lane_end(struct lane *l)
{
    struct channel *channel;

    if (l->thread) {
        g_mutex_lock(&l->multi->mutex);
        while (l->task != TASK_NONE) {
            g_cond_wait(&l->multi->done, &l->multi->mutex);
        }
        l->task = TASK_QUIT;
        g_cond_broadcast(&l->multi->asked);
        g_mutex_unlock(&l->multi->mutex);
        g_thread_join(g_steal_pointer(&l->thread));
    }
    g_mutex_lock(&l->multi->mutex);
    channel = g_steal_pointer(&l->channel); /* nobody breaks it from now on */
    g_mutex_unlock(&l->multi->mutex);
    channel_free(channel);
    g_clear_pointer(&l->head, g_byte_array_unref);
    g_clear_pointer(&l->pages, g_free);
    g_clear_pointer(&l->packer, packer_free);
}

void multi_out_end(struct multi_out *m)
{
    if (m) {
        multi_out_break(m);
        for (unsigned i = 0; i < m->n; i++) {
            lane_end(&m->lane[i]);
        }
    }
}

void multi_out_free(struct multi_out *m)
{
    if (!m) {
        return;
    }
    multi_out_end(m);
    g_clear_error(&m->error);
    g_mutex_clear(&m->mutex);
    g_cond_clear(&m->asked);
    g_cond_clear(&m->done);
    g_free(m);
}
