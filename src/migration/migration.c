/*
 * A machine's migration: settings, status, and what clients ask and order.
 */
#include "migration/migration-priv.h"

#include "migration/dump.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include <string.h>

struct migration *migration_of(struct machine *m)
{
    if (!m->migration) {
        struct migration *mig = g_new0(struct migration, 1);

        mig->machine = m;
        parameters_init(mig);
        m->migration = mig;
    }
    return m->migration;
}

void migration_end(struct machine *m)
{
    struct migration *mig = m ? m->migration : NULL;

    if (mig) {
        migration_cancel(m);
        outgoing_end(mig->out);
        incoming_end(mig->in);
        g_free(mig->error);
        g_free(mig);
        m->migration = NULL;
    }
}

/* ---- status */

void migration_set_status(struct migration *mig, enum migration_status status)
{
    mig->status = status;
    mig->has_status = true;
    if (mig->capability[MIGRATION_CAPABILITY_EVENTS]) {
        qapi_event_send_migration(mig->machine->events, status);
    }
}

/* Of a guest that is to come the first status is told even to who did not ask for events, as by
 * QEMU 7.2. */
static void announce_incoming(struct migration *mig)
{
    mig->status = MIGRATION_STATUS_SETUP;
    mig->has_status = true;
    qapi_event_send_migration(mig->machine->events, mig->status);
}

void migration_set_error(struct migration *mig, const char *text)
{
    char *copy = g_strdup(text);

    g_free(mig->error);
    mig->error = copy;
}

static bool is_active(const struct migration *mig)
{
    switch (mig->has_status ? mig->status : MIGRATION_STATUS_NONE) {
    case MIGRATION_STATUS_SETUP:
    case MIGRATION_STATUS_ACTIVE:
    case MIGRATION_STATUS_CANCELLING:
    case MIGRATION_STATUS_PRE_SWITCHOVER:
    case MIGRATION_STATUS_DEVICE:
        return true;
    default:
        return false;
    }
}

bool migration_goes_out(const struct machine *m)
{
    return m->migration && m->migration->out && is_active(m->migration);
}

const char *migration_blocked(const struct machine *m)
{
    const char *frozen = machine_frozen(m);

    return frozen && strcmp(frozen, DUMP_IN_PROGRESS) == 0
               ? "Live migration disabled: dump-guest-memory in progress"
               : frozen;
}

/* ---- out */

const char *migration_forbids_snapshot(const struct machine *m)
{
    return migration_goes_out(m) ? MIGRATION_IN_PROGRESS : migration_blocked(m);
}

bool migration_may_start(struct machine *m, GError **error)
{
    if (runstate_get(m->run) == RUN_STATE_INMIGRATE) {
        return migration_refuse(error, "Guest is waiting for an incoming migration");
    }
    if (migration_goes_out(m)) {
        return migration_refuse(error, MIGRATION_IN_PROGRESS);
    }
    switch (runstate_get(m->run)) {
    case RUN_STATE_POSTMIGRATE:
        return migration_refuse(error,
                                "Can't migrate the vm that was paused due to previous migration");
    case RUN_STATE_RESTORE_VM:
        return migration_refuse(error, "Can't migrate a machine whose state could not be loaded");
    default:
        return !migration_blocked(m) || migration_refuse(error, "%s", migration_blocked(m));
    }
}

static struct channel *open_out(const char *uri, int fd, bool multi, GError **error)
{
    struct channel_uri parsed;
    struct channel *channel = NULL;

    if (channel_uri_parse(uri, &parsed, error)) {
        channel = channel_new_out(&parsed, fd, error);
    }
    channel_uri_clear(&parsed);
    if (channel && multi && !channel_is_plural(channel)) {
        migration_refuse(error, "multifd is not supported by current protocol");
        g_clear_pointer(&channel, channel_free);
    }
    return channel;
}

void migration_fail(struct machine *m, const char *text)
{
    struct migration *mig = migration_of(m);

    migration_set_status(mig, MIGRATION_STATUS_SETUP);
    migration_set_error(mig, text);
    migration_set_status(mig, MIGRATION_STATUS_FAILED);
}

bool migration_start(struct machine *m, const char *uri, int fd, GError **error)
{
    struct migration *mig = migration_of(m);
    GError *why = NULL;
    struct channel *channel;

    if (!migration_may_start(m, error)) {
        return false;
    }
    outgoing_end(g_steal_pointer(&mig->out));
    migration_set_error(mig, NULL);
    migration_set_status(mig, MIGRATION_STATUS_SETUP);
    channel = open_out(uri, fd, mig->capability[MIGRATION_CAPABILITY_MULTIFD], &why);
    if (!channel || !outgoing_start(mig, channel, &why)) {
        migration_set_error(mig, why->message);
        migration_set_status(mig, MIGRATION_STATUS_FAILED);
        g_propagate_error(error, why);
        return false;
    }
    return true;
}

void migration_cancel(struct machine *m)
{
    struct migration *mig = migration_of(m);

    if (mig->out && is_active(mig)) {
        if (mig->status != MIGRATION_STATUS_CANCELLING) {
            migration_set_status(mig, MIGRATION_STATUS_CANCELLING);
        }
        outgoing_cancel(mig->out);
    }
}

bool migration_continue(struct machine *m, enum migration_status state, GError **error)
{
    struct migration *mig = migration_of(m);
    bool comes = mig->incoming_allowed && !mig->out; /* the status is not of a guest that goes */
    enum migration_status now = mig->has_status && !comes ? mig->status : MIGRATION_STATUS_NONE;

    if (now != state) {
        return migration_refuse(error, "Migration not in expected state: %s",
                                migration_status_str(now));
    }
    if (now == MIGRATION_STATUS_PRE_SWITCHOVER) {
        outgoing_go_on(mig->out);
    }
    return true;
}

/* ---- in */

static bool begin_incoming(struct migration *mig, const char *uri, int fd, GError **error)
{
    struct channel_uri parsed;
    struct channel *channel = NULL;

    if (!channel_uri_is_known(uri)) {
        return migration_refuse(error, "unknown migration protocol: %s", uri);
    }
    if (channel_uri_parse(uri, &parsed, error)) {
        channel = channel_new_in(&parsed, fd, error);
    }
    channel_uri_clear(&parsed);
    if (!channel) {
        return false;
    }
    mig->incoming_started = true;
    incoming_start(mig, channel);
    return true;
}

/* The number of an inherited descriptor; -1: none. */
static int inherited_fd(const char *uri)
{
    char *end;
    gint64 fd;

    if (!g_str_has_prefix(uri, "fd:")) {
        return -1;
    }
    fd = g_ascii_strtoll(uri + 3, &end, 10);
    return end > uri + 3 && !*end && fd >= 0 && fd <= G_MAXINT ? (int)fd : -1;
}

bool migration_incoming_setup(struct machine *m, const char *uri, GError **error)
{
    struct migration *mig = migration_of(m);
    bool ok = true;

    mig->incoming_allowed = true;
    if (g_str_has_prefix(uri, "fd:") && inherited_fd(uri) < 0) {
        ok = migration_refuse(error, "'%s' is not the number of an inherited descriptor", uri + 3);
    } else if (strcmp(uri, "defer") != 0) {
        announce_incoming(mig);
        ok = begin_incoming(mig, uri, inherited_fd(uri), error);
    }
    if (!ok) {
        g_prefix_error(error, "-incoming %s: ", uri);
    }
    return ok;
}

bool migration_incoming_begins(struct machine *m, GError **error)
{
    struct migration *mig = migration_of(m);

    if (!mig->incoming_allowed) {
        return migration_refuse(error, "'-incoming' was not specified on the command line");
    }
    if (mig->incoming_started || runstate_get(m->run) != RUN_STATE_INMIGRATE) {
        return migration_refuse(error, "The incoming migration has already been started");
    }
    announce_incoming(mig);
    return true;
}

bool migration_incoming_start(struct machine *m, const char *uri, int fd, GError **error)
{
    return begin_incoming(migration_of(m), uri, fd >= 0 ? fd : inherited_fd(uri), error);
}

/* ---- questions */

static void blocked_info(struct migration *mig, struct migration_info *info)
{
    const char *reason = is_active(mig) ? NULL : migration_blocked(mig->machine);

    if (reason) {
        info->blocked_reasons = str_list_new();
        str_list_append(info->blocked_reasons, g_strdup(reason));
    }
}

struct migration_info *migration_query(struct machine *m)
{
    struct migration *mig = migration_of(m);
    struct migration_info *info = g_new0(struct migration_info, 1);

    blocked_info(mig, info);
    if (mig->incoming_allowed && !mig->out) {
        /* As long as nobody has connected there is no status to tell. */
        if (mig->in) {
            incoming_info(mig->in, info);
        }
        info->has_status = mig->has_status && mig->status != MIGRATION_STATUS_SETUP;
    } else {
        info->has_status = mig->has_status;
        if (mig->out) {
            outgoing_info(mig->out, info);
        }
    }
    info->status = mig->status;
    info->error_desc =
        mig->has_status && mig->status == MIGRATION_STATUS_FAILED ? g_strdup(mig->error) : NULL;
    return info;
}
