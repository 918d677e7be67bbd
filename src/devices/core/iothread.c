/* I/O threads of the user's: see iothread.h. */
#include "devices/core/iothread.h"

#include "base/threads.h"
#include <unistd.h>

struct iothread {
    char *id;
    struct loop *loop;
    GThread *thread;
    int tid;
};

static gpointer run(gpointer data)
{
    struct iothread *t = data;
    g_autofree char *name = g_strdup_printf("IO %s", t->id);

    thread_begin(name, THREAD_IO);
    loop_run(t->loop);
    thread_end();
    return NULL;
}

static void note_tid(void *arg)
{
    ((struct iothread *)arg)->tid = gettid();
}

struct iothread *iothread_new(const char *id)
{
    struct iothread *t = g_new0(struct iothread, 1);

    t->id = g_strdup(id);
    t->loop = loop_new(NULL);
    t->thread = g_thread_new("iothread", run, t);
    loop_call(t->loop, note_tid, t);
    return t;
}

void iothread_free(struct iothread *t)
{
    if (t) {
        loop_quit(t->loop);
        g_thread_join(t->thread);
        loop_free(t->loop);
        g_free(t->id);
        g_free(t);
    }
}

struct loop *iothread_loop(const struct iothread *t)
{
    return t->loop;
}

int iothread_tid(const struct iothread *t)
{
    return t->tid;
}
