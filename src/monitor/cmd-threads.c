/*
 * Commands of the schema module threads.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>

static const enum godwit_thread_kind kinds[] = {
    [THREAD_MAIN] = GODWIT_THREAD_KIND_MAIN,   [THREAD_CONTROL] = GODWIT_THREAD_KIND_CONTROL,
    [THREAD_VCPU] = GODWIT_THREAD_KIND_VCPU,   [THREAD_IO] = GODWIT_THREAD_KIND_IO,
    [THREAD_OTHER] = GODWIT_THREAD_KIND_OTHER,
};

static struct godwit_frame *frame_info(const void *address)
{
    struct godwit_frame *frame = g_new0(struct godwit_frame, 1);
    Dl_info found;

    frame->address = g_strdup_printf("0x%" PRIxPTR, (uintptr_t)address);
    if (dladdr(address, &found) && found.dli_fname) {
        frame->module = g_path_get_basename(found.dli_fname);
        frame->offset =
            g_strdup_printf("0x%" PRIxPTR, (uintptr_t)address - (uintptr_t)found.dli_fbase);
        frame->symbol = g_strdup(found.dli_sname);
    }
    return frame;
}

static const struct thread_info *thread_find(const GArray *list, int tid)
{
    for (guint i = 0; i < list->len; i++) {
        const struct thread_info *info = &g_array_index(list, struct thread_info, i);

        if (info->tid == tid) {
            return info;
        }
    }
    return NULL;
}

struct godwit_thread *godwit_thread_of(const GArray *list, const struct thread_info *info)
{
    const struct thread_info *holder = thread_find(list, info->held_by);
    struct godwit_thread *thread = g_new0(struct godwit_thread, 1);

    thread->name = g_strdup(info->name);
    thread->kind = kinds[info->kind];
    thread->thread_id = info->tid;
    thread->running = info->state == 'R';
    if (info->doing) {
        thread->doing = g_strconcat(info->doing, info->subject ? " " : NULL, info->subject, NULL);
    }
    thread->waits_for = g_strdup(info->waits_for);
    thread->held_by = g_strdup(holder ? holder->name : NULL);
    thread->call = info->call[0] ? g_strdup(info->call) : NULL;
    for (unsigned i = 0; i < info->n_frames; i++) {
        if (!thread->stack) {
            thread->stack = godwit_frame_list_new();
        }
        godwit_frame_list_append(thread->stack, frame_info(info->frame[i]));
    }
    return thread;
}

const struct thread_info *stall_culprit(const GArray *list, const char *name)
{
    const struct thread_info *info = NULL;

    for (guint i = 0; i < list->len && !info; i++) {
        const struct thread_info *t = &g_array_index(list, struct thread_info, i);

        info = t->kind != THREAD_OTHER && strcmp(t->name, name) == 0 ? t : NULL;
    }
    /* What it waits for may have an owner that waits itself. */
    for (guint i = 0; info && info->held_by && i < list->len; i++) {
        const struct thread_info *holder = thread_find(list, info->held_by);

        info = holder ? holder : info;
    }
    return info;
}

struct godwit_thread_list *qmp_godwit_query_threads(struct qmp_call *call,
                                                    const struct qmp_godwit_query_threads_arg *arg,
                                                    GError **errp)
{
    struct godwit_thread_list *answer = godwit_thread_list_new();
    g_autoptr(GArray) list = threads_list(!arg->has_stacks || arg->stacks);

    for (guint i = 0; i < list->len; i++) {
        godwit_thread_list_append(
            answer, godwit_thread_of(list, &g_array_index(list, struct thread_info, i)));
    }
    return answer;
}
