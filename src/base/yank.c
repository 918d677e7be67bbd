/*
 * The list of what can be yanked (see yank.h).
 */
#include "base/yank.h"

#include <glib.h>
#include <sys/socket.h>

struct yank {
    enum yank_kind kind;
    char *id;
    void (*fn)(void *opaque);
    void *opaque;
};

static GMutex mutex; /* guards the list, and holds while something is broken */
static GPtrArray *list;

struct yank *yank_add(enum yank_kind kind, const char *id, void (*fn)(void *opaque), void *opaque)
{
    struct yank *yank = g_new(struct yank, 1);

    *yank = (struct yank){kind, g_strdup(id), fn, opaque};
    g_mutex_lock(&mutex);
    if (!list) {
        list = g_ptr_array_new();
    }
    g_ptr_array_add(list, yank);
    g_mutex_unlock(&mutex);
    return yank;
}

static void shut_down(void *opaque)
{
    shutdown(GPOINTER_TO_INT(opaque), SHUT_RDWR);
}

struct yank *yank_add_socket(enum yank_kind kind, const char *id, int fd)
{
    return yank_add(kind, id, shut_down, GINT_TO_POINTER(fd));
}

void yank_remove(struct yank *yank)
{
    if (yank) {
        g_mutex_lock(&mutex);
        g_ptr_array_remove(list, yank);
        if (list->len == 0) {
            g_ptr_array_free(g_steal_pointer(&list), TRUE);
        }
        g_mutex_unlock(&mutex);
        g_free(yank->id);
        g_free(yank);
    }
}

static bool is_same(const struct yank *yank, enum yank_kind kind, const char *id)
{
    return yank->kind == kind && g_strcmp0(yank->id, id) == 0;
}

/* Mutex held. The place of the first entry of an instance; the list's length: there is none. */
static guint find(enum yank_kind kind, const char *id)
{
    guint i = 0;

    while (list && i < list->len && !is_same(list->pdata[i], kind, id)) {
        i++;
    }
    return i;
}

bool yank_exists(enum yank_kind kind, const char *id)
{
    bool exists;

    g_mutex_lock(&mutex);
    exists = list && find(kind, id) < list->len;
    g_mutex_unlock(&mutex);
    return exists;
}

void yank_break(enum yank_kind kind, const char *id)
{
    g_mutex_lock(&mutex);
    for (guint i = 0; list && i < list->len; i++) {
        const struct yank *yank = list->pdata[i];

        if (yank->fn && is_same(yank, kind, id)) {
            yank->fn(yank->opaque);
        }
    }
    g_mutex_unlock(&mutex);
}

void yank_foreach(void (*each)(void *opaque, enum yank_kind kind, const char *id), void *opaque)
{
    g_mutex_lock(&mutex);
    for (guint i = 0; list && i < list->len; i++) {
        const struct yank *yank = list->pdata[i];

        if (find(yank->kind, yank->id) == i) {
            each(opaque, yank->kind, yank->id);
        }
    }
    g_mutex_unlock(&mutex);
}
