/*
 * Commands of the schema module session.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

struct godwit_subscribed *qmp_godwit_subscribe(struct qmp_call *call,
                                               const struct godwit_subscription *arg, GError **errp)
{
    struct godwit_subscribed *answer;
    struct subscription *sub = session_new_subscription(call->session, arg, errp);

    if (!sub) {
        return NULL;
    }
    answer = g_new0(struct godwit_subscribed, 1);
    g_mutex_lock(&call->mon->mutex);
    subscription_free(call->session->sub);
    call->session->sub = sub;
    answer->next = journal_next(call->mon->journal);
    g_mutex_unlock(&call->mon->mutex);
    return answer;
}

static struct godwit_session *session_info(struct session *s)
{
    struct godwit_session *info = g_new0(struct godwit_session, 1);

    info->monitor = g_strdup(s->label);
    info->role = s->role;
    info->capabilities = qmp_capability_list_new();
    if (s->mode.oob) {
        qmp_capability_list_append(info->capabilities, QMP_CAPABILITY_OOB);
    }
    if (s->mode.own_events) {
        qmp_capability_list_append(info->capabilities, QMP_CAPABILITY_GODWIT_EVENTS);
    }
    info->has_pid = info->has_uid = s->peer.pid > 0;
    info->pid = s->peer.pid;
    info->uid = s->peer.uid;
    info->address = g_strdup(s->peer_address);
    session_count_dropped(s);
    info->events_dropped = (int64_t)s->dropped;
    return info;
}

struct godwit_session_list *qmp_godwit_query_sessions(struct qmp_call *call, GError **errp)
{
    struct godwit_session_list *list = godwit_session_list_new();
    GPtrArray *sessions = call->mon->sessions;

    g_mutex_lock(&call->mon->mutex);
    for (guint i = 0; i < sessions->len; i++) {
        struct session *s = sessions->pdata[i];
        struct godwit_session *info = session_info(s);

        info->own = s == call->session;
        godwit_session_list_append(list, info);
    }
    g_mutex_unlock(&call->mon->mutex);
    return list;
}
