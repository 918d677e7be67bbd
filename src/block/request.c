/*
 * Requests on their way: into nodes, onto workers, and through drained sections.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"

#include "base/bytes.h"
#include "base/lock.h"
#include "base/threads.h"

#include <errno.h>
#include <string.h>

#define MAX_WORKERS 16

/* ---- into a node */

static bool iov_is_zero(const struct block_request *request)
{
    for (int i = 0; i < request->n_iov; i++) {
        if (!bytes_are_zero(request->iov[i].iov_base, request->iov[i].iov_len)) {
            return false;
        }
    }
    return true;
}

static void note_write(struct block_node *node, const struct block_request *request)
{
    uint64_t end = request->offset + request->bytes;

    if (end > atomic_load_explicit(&node->highest, memory_order_relaxed)) {
        atomic_store_explicit(&node->highest, end, memory_order_relaxed);
    }
}

void block_node_submit(struct block_node *node, struct block_request *request)
{
    switch (request->op) {
    case BLOCK_WRITE:
        if (node->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF && iov_is_zero(request)) {
            request->op = BLOCK_WRITE_ZEROES;
            request->flags |=
                node->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP ? BLOCK_MAY_UNMAP : 0;
        }
        note_write(node, request);
        break;
    case BLOCK_WRITE_ZEROES:
        note_write(node, request);
        break;
    case BLOCK_DISCARD:
        if (!node->unmap) {
            block_request_done(request, 0);
            return;
        }
        break;
    case BLOCK_READ:
    case BLOCK_FLUSH:
        break;
    }
    node->driver->submit(node, request);
}

/* ---- workers */

struct task {
    void (*fn)(void *arg);
    void *arg;
};

static void run_task(gpointer data, gpointer unused)
{
    struct task *task = data;

    task->fn(task->arg);
    g_free(task);
}

void block_worker_run(struct block_graph *graph, void (*fn)(void *arg), void *arg)
{
    struct task *task = g_new(struct task, 1);

    task->fn = fn;
    task->arg = arg;
    if (!graph->workers) {
        graph->workers = g_thread_pool_new(run_task, NULL, MAX_WORKERS, FALSE, NULL);
    }
    g_thread_pool_push(graph->workers, task, NULL);
}

GThreadPool *block_serial_new(void)
{
    return g_thread_pool_new(run_task, NULL, -1, FALSE, NULL);
}

void block_serial_run(struct block_graph *graph, void (*fn)(void *arg), void *arg)
{
    struct task *task = g_new(struct task, 1);

    task->fn = fn;
    task->arg = arg;
    g_thread_pool_push(graph->serial, task, NULL);
}

/* ---- waiting for one request */

struct waited {
    struct block_request request; /* first */
    struct block_node *node;
    GMutex mutex;
    GCond cond;
    bool done;
};

static void waited_done(struct block_request *request, int result)
{
    struct waited *w = (struct waited *)request;

    g_mutex_lock(&w->mutex);
    request->result = result;
    w->done = true;
    g_cond_signal(&w->cond);
    g_mutex_unlock(&w->mutex);
}

/* Whoever has the machine lock has everybody wait. */
static bool has_machine_lock(const struct block_graph *graph)
{
    const struct loop *main = graph->main;

    return main->lock ? big_lock_held(main->lock) : g_main_context_is_owner(main->context);
}

static void waited_submit(void *arg)
{
    struct waited *w = arg;
    struct block_graph *graph = w->node->graph;

    block_node_submit(w->node, &w->request); /* w may be gone when this returns */
    if (graph->uring) {
        uring_kick(graph->uring);
    }
}

static int node_wait(struct block_node *node, struct waited *w)
{
    bool hurry = has_machine_lock(node->graph);

    g_assert(g_thread_self() != node->graph->thread);
    w->node = node;
    w->request.done = waited_done;
    g_mutex_init(&w->mutex);
    g_cond_init(&w->cond);
    if (hurry) {
        block_hurry_begin(node->graph, true);
    }
    loop_post(block_graph_loop(node->graph), waited_submit, w);
    g_mutex_lock(&w->mutex);
    thread_wait_begin("a disk request", NULL);
    while (!w->done) {
        g_cond_wait(&w->cond, &w->mutex);
    }
    thread_wait_end();
    g_mutex_unlock(&w->mutex);
    g_mutex_clear(&w->mutex);
    g_cond_clear(&w->cond);
    if (hurry) {
        block_hurry_end(node->graph);
    }
    return w->request.result;
}

static int node_rw(struct block_node *node, enum block_op op, uint64_t offset, void *buf,
                   uint64_t bytes)
{
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    struct waited w = {
        .request = {.op = op, .offset = offset, .bytes = bytes, .iov = &iov, .n_iov = 1}};

    return bytes ? node_wait(node, &w) : 0;
}

int block_node_pread(struct block_node *node, uint64_t offset, void *buf, uint64_t bytes)
{
    return node_rw(node, BLOCK_READ, offset, buf, bytes);
}

int block_node_pwrite(struct block_node *node, uint64_t offset, const void *buf, uint64_t bytes)
{
    return node_rw(node, BLOCK_WRITE, offset, (void *)buf, bytes);
}

int block_node_sync(struct block_node *node, enum block_op op, uint64_t offset, uint64_t bytes,
                    unsigned flags)
{
    struct waited w = {.request = {.op = op, .offset = offset, .bytes = bytes, .flags = flags}};

    return node_wait(node, &w);
}

/* ---- drained sections */

static void nothing(void *arg)
{
}

void block_drain_begin(struct block_graph *graph)
{
    g_assert(!graph->thread || g_thread_self() != graph->thread);
    g_mutex_lock(&graph->mutex);
    graph->drained++;
    g_mutex_unlock(&graph->mutex);
    block_hurry_begin(graph, true);
    g_mutex_lock(&graph->mutex);
    thread_wait_begin("disk requests", NULL);
    while (graph->in_flight) {
        g_cond_wait(&graph->idle, &graph->mutex);
    }
    thread_wait_end();
    g_mutex_unlock(&graph->mutex);
    if (graph->io) { /* the last completion has returned too */
        loop_call(graph->io, nothing, NULL);
        block_backends_settle(graph);
    }
}

static void start_waiting(void *arg)
{
    struct block_request *next;

    for (struct block_request *r = arg; r; r = next) {
        next = r->next;
        block_backend_start(r);
    }
}

void block_drain_end(struct block_graph *graph)
{
    struct block_request *list = NULL;

    block_hurry_end(graph);
    g_mutex_lock(&graph->mutex);
    g_assert(graph->drained);
    if (--graph->drained == 0) {
        list = graph->waiting;
        graph->waiting = NULL;
        graph->waiting_tail = &graph->waiting;
        for (struct block_request *r = list; r; r = r->next) {
            graph->in_flight++;
        }
    }
    g_mutex_unlock(&graph->mutex);
    if (list) {
        loop_post(graph->io, start_waiting, list);
    }
}

void block_graph_plug(struct block_graph *graph)
{
    graph->plugged++;
}

void block_graph_unplug(struct block_graph *graph)
{
    g_assert(graph->plugged);
    if (--graph->plugged == 0 && graph->uring) {
        uring_kick(graph->uring);
    }
}
