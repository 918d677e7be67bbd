/*
 * events and wait: what happened and what happens, as lines, and waiting for one of them.
 *
 * Servers with Godwit's journal (command godwit-query-events) also tell what happened before this
 * client came: {"since": N} returns {"events": [...], "gone": {"first": A, "last": B}}, the events
 * from number N on, less those that the journal no longer holds. Live events carry the same numbers
 * (member "seq"), so one that comes both ways is shown once. What the server left out for this
 * client because it read too slowly (GODWIT_EVENTS_DROPPED) is fetched from there too.
 */
#include "arguments.h"
#include "ctl.h"
#include "filter.h"
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_TIMEOUT_DEFAULT_MS 60000
#define LOSS_EVENT              "GODWIT_EVENTS_DROPPED"
/* Numbers of events that are remembered: twice what a journal keeps. */
#define SEEN_MAX                8192

struct watch {
    struct ctl *ctl;
    struct filter *filter;
    GHashTable *seen; /* numbers of events, int64_t */
    GQueue seen_order;
    int64_t shown;
    int64_t count; /* stop after so many, 0: no limit */
    uint64_t dropped;
};

static enum ctl_status print_event(const struct ctl *ctl, struct json_object *event)
{
    if (ctl->options.json) {
        g_autofree char *text = json_text(event, false);
        g_autofree char *line = g_strconcat(text, "\n", NULL);
        return ctl_print(line);
    }
    g_autoptr(GString) line = g_string_new(NULL);
    event_append(line, event, ctl->options.colour);
    g_string_append_c(line, '\n');
    return ctl_print(line->str);
}

static void watch_init(struct watch *watch, struct ctl *ctl)
{
    *watch = (struct watch){.ctl = ctl, .filter = filter_new()};
    watch->seen = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&watch->seen_order);
}

static void watch_finish(struct watch *watch)
{
    filter_free(watch->filter);
    g_hash_table_unref(watch->seen);
    g_queue_clear_full(&watch->seen_order, g_free);
}

static bool is_loss(struct json_object *event)
{
    return g_strcmp0(json_member_string(event, "event"), LOSS_EVENT) == 0;
}

/* Notes its number, and tells whether it is the first with it. Numbers need not rise: an event that
 * a rate limit held back comes late with the number of its time. */
static bool watch_is_new(struct watch *watch, struct json_object *event)
{
    int64_t sequence = event_sequence(event);
    if (sequence < 0 || is_loss(event)) { /* that has another's number */
        return true;
    }
    if (g_hash_table_contains(watch->seen, &sequence)) {
        return false;
    }
    int64_t *number = g_memdup2(&sequence, sizeof(sequence));
    g_hash_table_add(watch->seen, number);
    g_queue_push_tail(&watch->seen_order, number);
    if (watch->seen_order.length > SEEN_MAX) {
        int64_t *oldest = g_queue_pop_head(&watch->seen_order);
        g_hash_table_remove(watch->seen, oldest);
        g_free(oldest);
    }
    return true;
}

static bool watch_wants(struct watch *watch, struct json_object *event)
{
    return watch_is_new(watch, event) && filter_wants(watch->filter, event);
}

static bool watch_full(const struct watch *watch)
{
    return watch->count > 0 && watch->shown >= watch->count;
}

static void complain_gone(struct json_object *gone, int64_t until)
{
    int64_t first = json_member_int(gone, "first", -1);
    int64_t last = MIN(json_member_int(gone, "last", -1), until);
    if (first >= 0 && last >= first) {
        ctl_complain("events %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                     " are gone from the server's journal",
                     first, last);
    }
}

/* The journal's events from number since on, an array; NULL with an error. Says which of those up
 * to number until are gone. */
static struct json_object *query_journal(struct watch *watch, int64_t since, int64_t until,
                                         int64_t deadline_us, GError **error)
{
    struct client *client = watch->ctl->client;
    if (!client_has_command(client, "godwit-query-events", deadline_us)) {
        g_autofree char *server = text_safe(client_server(client), false);
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_REFUSED,
                    "%s keeps no journal of events (no command godwit-query-events)", server);
        return NULL;
    }
    struct json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "since", json_object_new_int64(since));
    struct json_object *journal =
        client_call(client, "godwit-query-events", arguments, false, deadline_us, error);
    json_object_put(arguments);
    if (!journal) {
        return NULL;
    }
    complain_gone(json_member(journal, "gone"), until);
    struct json_object *list = json_member(journal, "events");
    bool is_array = json_object_is_type(list, json_type_array);
    list = is_array ? json_object_get(list) : json_object_new_array();
    json_object_put(journal);
    return list;
}

/* What the server left out, as its notice tells, from the journal; an array, NULL when it cannot be
 * had (said). */
static struct json_object *query_missed(struct watch *watch, struct json_object *notice)
{
    GError *error = NULL;
    struct json_object *data = json_member(notice, "data");
    int64_t first = json_member_int(data, "first", -1), last = json_member_int(data, "last", -1);
    struct json_object *list =
        query_journal(watch, first, last, deadline_after(CTL_TIMEOUT_DEFAULT_MS), &error);
    struct json_object *missed = list ? json_object_new_array() : NULL;
    if (!list) {
        ctl_complain("events %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " were left out: %s", first,
                     last, error->message);
        g_error_free(error);
        return NULL;
    }
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *event = json_object_array_get_idx(list, i);
        int64_t sequence = event_sequence(event);
        if (sequence >= first && sequence <= last) {
            json_object_array_add(missed, json_object_get(event));
        }
    }
    json_object_put(list);
    return missed;
}

static enum ctl_status watch_list(struct watch *watch, struct json_object *list)
{
    enum ctl_status result = CTL_OK;
    for (size_t i = 0; i < json_object_array_length(list) && result == CTL_OK; i++) {
        struct json_object *event = json_object_array_get_idx(list, i);
        if (!watch_full(watch) && watch_wants(watch, event)) {
            result = print_event(watch->ctl, event);
            watch->shown++;
        }
    }
    return result;
}

/* Shows what the journal holds from number since on. */
static enum ctl_status watch_journal(struct watch *watch, int64_t since)
{
    GError *error = NULL;
    struct json_object *list = query_journal(
        watch, since, INT64_MAX, ctl_deadline(watch->ctl, CTL_TIMEOUT_DEFAULT_MS), &error);
    if (!list) {
        return ctl_fail(watch->ctl, error);
    }
    enum ctl_status result = watch_list(watch, list);
    json_object_put(list);
    return result;
}

/* Shows a live event; in place of the server's notice, unless that is asked for by name, what it
 * tells of. */
static enum ctl_status watch_live_event(struct watch *watch, struct json_object *event)
{
    bool by_name = *filter_names(watch->filter) && filter_wants(watch->filter, event);
    struct json_object *missed = is_loss(event) && !by_name ? query_missed(watch, event) : NULL;
    enum ctl_status result = CTL_OK;
    if (missed) {
        result = watch_list(watch, missed);
        json_object_put(missed);
    } else if (watch_wants(watch, event)) {
        result = print_event(watch->ctl, event);
        watch->shown++;
    }
    return result;
}

/* Shows the events that are held. */
static enum ctl_status watch_held(struct watch *watch)
{
    enum ctl_status result = CTL_OK;
    struct json_object *event;
    while (result == CTL_OK && !watch_full(watch) &&
           (event = client_take_event(watch->ctl->client))) {
        result = watch_live_event(watch, event);
        json_object_put(event);
    }
    uint64_t dropped = client_events_dropped(watch->ctl->client);
    if (dropped > watch->dropped) {
        ctl_complain("%" G_GUINT64_FORMAT " events came faster than they could be shown",
                     dropped - watch->dropped);
        watch->dropped = dropped;
    }
    return result;
}

/* Shows live events until the server goes, nobody reads any more, the count is reached, or the time
 * is over that the user gave. */
static enum ctl_status watch_live(struct watch *watch)
{
    struct client *client = watch->ctl->client;
    int64_t deadline_us = ctl_deadline(watch->ctl, 0);
    enum ctl_status result = watch_held(watch);
    while (result == CTL_OK && !watch_full(watch)) {
        /* Standard output is watched for its reader going away. */
        struct pollfd fds[] = {{.fd = client_fd(client), .events = POLLIN},
                               {.fd = STDOUT_FILENO, .events = 0}};
        enum wait_result ready = wait_ready(fds, 2, deadline_us);
        if (ready == WAIT_FAILED || (ready == WAIT_READY && fds[1].revents & POLLERR)) {
            return CTL_ERROR;
        }
        if (ready == WAIT_SIGNAL && signals_pending() & (SIGNAL_INTERRUPT | SIGNAL_END)) {
            return CTL_INTERRUPTED;
        }
        if (ready == WAIT_TIMEOUT ||
            deadline_passed(deadline_us)) { /* also when events never end */
            return CTL_TIMEOUT;
        }
        GError *error = NULL;
        bool alive = ready != WAIT_READY || client_pump(client, &error);
        result = watch_held(watch);
        if (!alive && (result != CTL_OK || watch_full(watch))) {
            g_error_free(error);
        } else if (!alive) {
            result = ctl_fail(watch->ctl, error);
        }
    }
    return result;
}

/* Fills the filter from options. The names must be events of the server, when it tells them: else a
 * slip of the pen is a wait without end. */
static bool fill_filter(struct filter *filter, char **names, char **conditions)
{
    for (unsigned i = 0; names && names[i]; i++) {
        filter_add_names(filter, names[i]);
    }
    for (unsigned i = 0; conditions && conditions[i]; i++) {
        GError *error = NULL;
        if (!filter_add_condition(filter, conditions[i], &error)) {
            ctl_complain("%s", error->message);
            g_error_free(error);
            return false;
        }
    }
    return true;
}

static bool check_names(struct ctl *ctl, const struct filter *filter)
{
    char **names = filter_names(filter);
    struct schema *schema = *names ? ctl_schema(ctl) : NULL;
    for (unsigned i = 0; schema && names[i]; i++) {
        if (!schema_has_event(schema, names[i])) {
            g_autofree char *server = text_safe(client_server(ctl->client), false);
            ctl_complain("%s has no event %s", server, names[i]);
            return false;
        }
    }
    return true;
}

static enum ctl_status run_events(struct watch *watch, bool follow, int64_t since)
{
    GError *error = NULL;
    if (!ctl_connect(watch->ctl, &error)) {
        return ctl_fail(watch->ctl, error);
    }
    if (!check_names(watch->ctl, watch->filter)) {
        return CTL_ERROR;
    }
    enum ctl_status result = CTL_OK;
    if (since >= 0 || !follow) {
        result = watch_journal(watch, MAX(since, 0));
    }
    return result == CTL_OK && follow ? watch_live(watch) : result;
}

enum ctl_status verb_events(struct ctl *ctl, int argc, char **argv)
{
    gboolean follow = FALSE;
    gint64 since = -1, count = 0;
    g_auto(GStrv) names = NULL;
    g_auto(GStrv) conditions = NULL;
    const GOptionEntry own[] = {
        {"follow", 'f', 0, G_OPTION_ARG_NONE, &follow, NULL, NULL},
        {"since", 0, 0, G_OPTION_ARG_INT64, &since, NULL, "N"},
        {"for", 0, 0, G_OPTION_ARG_STRING_ARRAY, &names, NULL, "EVENT"},
        {"where", 0, 0, G_OPTION_ARG_STRING_ARRAY, &conditions, NULL, "PATH=VALUE"},
        {"count", 'n', 0, G_OPTION_ARG_INT64, &count, NULL, "N"},
        {0},
    };
    if (!ctl_parse(ctl, verb_find("events"), own, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    struct watch watch;
    watch_init(&watch, ctl);
    watch.count = count;
    enum ctl_status result = CTL_USAGE;
    if (fill_filter(watch.filter, names, conditions)) {
        result = run_events(&watch, follow, since);
    }
    watch_finish(&watch);
    return result;
}

/* The first of the list that is wanted; the list is put. */
static struct json_object *first_wanted(struct watch *watch, struct json_object *list)
{
    struct json_object *found = NULL;
    for (size_t i = 0; list && i < json_object_array_length(list) && !found; i++) {
        struct json_object *event = json_object_array_get_idx(list, i);
        if (watch_wants(watch, event)) {
            found = json_object_get(event);
        }
    }
    json_object_put(list);
    return found;
}

/* Waits for the first event that is wanted: one of the journal's, then those that come. */
static struct json_object *wait_wanted(struct watch *watch, int64_t since, int64_t deadline_us,
                                       GError **error)
{
    struct json_object *found = NULL;
    if (since >= 0) {
        struct json_object *list = query_journal(watch, since, INT64_MAX, deadline_us, error);
        if (!list) {
            return NULL;
        }
        found = first_wanted(watch, list);
    }
    while (!found) {
        if (deadline_passed(deadline_us)) {
            /* Also when unwanted events come without end. */
            g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_TIMEOUT,
                        "the event did not come in time");
            return NULL;
        }
        struct json_object *event = client_wait_event(watch->ctl->client, deadline_us, error);
        if (!event) {
            return NULL;
        }
        if (watch_wants(watch, event)) {
            found = json_object_get(event);
        } else if (is_loss(event)) {
            found = first_wanted(watch, query_missed(watch, event));
        }
        json_object_put(event);
    }
    return found;
}

static enum ctl_status run_wait(struct watch *watch, char **exec, int64_t since,
                                int64_t deadline_us)
{
    GError *error = NULL;
    struct ctl *ctl = watch->ctl;
    if (!ctl_connect(ctl, &error)) {
        return ctl_fail(ctl, error);
    }
    if (!check_names(ctl, watch->filter)) {
        return CTL_ERROR;
    }
    if (exec) {
        struct json_object *done = exec_words(ctl, exec, &error);
        json_object_put(done);
        if (!done) {
            return ctl_fail(ctl, error);
        }
    }
    struct json_object *event = wait_wanted(watch, since, deadline_us, &error);
    if (!event) {
        return ctl_fail(ctl, error);
    }
    enum ctl_status result = print_event(ctl, event);
    json_object_put(event);
    return result;
}

enum ctl_status verb_wait(struct ctl *ctl, int argc, char **argv)
{
    gint64 since = -1;
    g_auto(GStrv) names = NULL;
    g_auto(GStrv) conditions = NULL;
    g_auto(GStrv) exec = NULL;
    g_autofree char *command = NULL;
    const GOptionEntry own[] = {
        {"for", 0, 0, G_OPTION_ARG_STRING_ARRAY, &names, NULL, "EVENT"},
        {"where", 0, 0, G_OPTION_ARG_STRING_ARRAY, &conditions, NULL, "PATH=VALUE"},
        {"since", 0, 0, G_OPTION_ARG_INT64, &since, NULL, "N"},
        {"exec", 0, 0, G_OPTION_ARG_STRING, &command, NULL, "COMMAND"},
        {0},
    };
    if (!ctl_parse(ctl, verb_find("wait"), own, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    GError *error = NULL;
    if (!names && !conditions) {
        ctl_complain("wait needs --for EVENT or --where PATH=VALUE");
        return CTL_USAGE;
    }
    if (command && !(exec = words_split(command, &error))) {
        ctl_complain("%s", error->message);
        g_error_free(error);
        return CTL_USAGE;
    }
    if (exec && !exec[0]) {
        ctl_complain("--exec needs a command");
        return CTL_USAGE;
    }
    struct watch watch;
    watch_init(&watch, ctl);
    enum ctl_status result = CTL_USAGE;
    if (fill_filter(watch.filter, names, conditions)) {
        result = run_wait(&watch, exec, since, ctl_deadline(ctl, WAIT_TIMEOUT_DEFAULT_MS));
    }
    watch_finish(&watch);
    return result;
}
