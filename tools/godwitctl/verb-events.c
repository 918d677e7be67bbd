/*
 * events and wait: what happened and what happens, as lines, and waiting for one of them.
 *
 * Servers with Godwit's journal (command godwit-query-events) also tell what happened before this
 * client came: {"since": N} returns {"events": [...], "gone": {"first": A, "last": B}}, the events
 * from number N on, less those that the journal no longer holds. Live events carry the same numbers
 * (member "seq"), so one that comes both ways is shown once.
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

struct watch {
    struct ctl *ctl;
    struct filter *filter;
    int64_t journal_end; /* the last number that the journal told, -1 before */
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

/* Whether a live event is wanted and was not among the journal's. Numbers of live events need not
 * rise: one that a rate limit held back comes late with the number of its time. */
static bool watch_wants(const struct watch *watch, struct json_object *event)
{
    int64_t sequence = event_sequence(event);
    if (sequence >= 0 && sequence <= watch->journal_end) {
        return false;
    }
    return filter_wants(watch->filter, event);
}

static bool watch_full(const struct watch *watch)
{
    return watch->count > 0 && watch->shown >= watch->count;
}

static void complain_gone(struct json_object *gone)
{
    int64_t first = json_member_int(gone, "first", -1), last = json_member_int(gone, "last", -1);
    if (first >= 0 && last >= first) {
        ctl_complain("events %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                     " are gone from the server's journal",
                     first, last);
    }
}

/* The journal's events from number since on, an array; NULL with an error. Says which are gone. */
static struct json_object *query_journal(struct watch *watch, int64_t since, GError **error)
{
    struct ctl *ctl = watch->ctl;
    if (!client_has_command(ctl->client, "godwit-query-events",
                            ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS))) {
        g_autofree char *server = text_safe(client_server(ctl->client), false);
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_REFUSED,
                    "%s keeps no journal of events (no command godwit-query-events)", server);
        return NULL;
    }
    struct json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "since", json_object_new_int64(since));
    struct json_object *journal = ctl_call(ctl, "godwit-query-events", arguments, error);
    json_object_put(arguments);
    if (!journal) {
        return NULL;
    }
    complain_gone(json_member(journal, "gone"));
    struct json_object *list = json_member(journal, "events");
    bool is_array = json_object_is_type(list, json_type_array);
    list = is_array ? json_object_get(list) : json_object_new_array();
    json_object_put(journal);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        watch->journal_end =
            MAX(watch->journal_end, event_sequence(json_object_array_get_idx(list, i)));
    }
    return list;
}

/* Shows what the journal holds from number since on. */
static enum ctl_status watch_journal(struct watch *watch, int64_t since)
{
    GError *error = NULL;
    struct json_object *list = query_journal(watch, since, &error);
    if (!list) {
        return ctl_fail(watch->ctl, error);
    }
    enum ctl_status result = CTL_OK;
    for (size_t i = 0; i < json_object_array_length(list) && result == CTL_OK; i++) {
        struct json_object *event = json_object_array_get_idx(list, i);
        if (!watch_full(watch) && filter_wants(watch->filter, event)) {
            result = print_event(watch->ctl, event);
            watch->shown++;
        }
    }
    json_object_put(list);
    return result;
}

/* Shows the events that are held. */
static enum ctl_status watch_held(struct watch *watch)
{
    enum ctl_status result = CTL_OK;
    struct json_object *event;
    while (result == CTL_OK && !watch_full(watch) &&
           (event = client_take_event(watch->ctl->client))) {
        if (watch_wants(watch, event)) {
            result = print_event(watch->ctl, event);
            watch->shown++;
        }
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

/* Shows live events until the server goes, nobody reads any more, or the count is reached. */
static enum ctl_status watch_live(struct watch *watch)
{
    struct client *client = watch->ctl->client;
    enum ctl_status result = watch_held(watch);
    while (result == CTL_OK && !watch_full(watch)) {
        /* Standard output is watched for its reader going away. */
        struct pollfd fds[] = {{.fd = client_fd(client), .events = POLLIN},
                               {.fd = STDOUT_FILENO, .events = 0}};
        enum wait_result ready = wait_ready(fds, 2, DEADLINE_NONE);
        if (ready == WAIT_FAILED || (ready == WAIT_READY && fds[1].revents & POLLERR)) {
            return CTL_ERROR;
        }
        if (ready == WAIT_SIGNAL && signals_pending() & (SIGNAL_INTERRUPT | SIGNAL_END)) {
            return CTL_INTERRUPTED;
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
    struct watch watch = {.ctl = ctl, .filter = filter_new(), .journal_end = -1, .count = count};
    enum ctl_status result = CTL_USAGE;
    if (fill_filter(watch.filter, names, conditions)) {
        result = run_events(&watch, follow, since);
    }
    filter_free(watch.filter);
    return result;
}

/* Waits for the first event that is wanted: one of the journal's, then those that come. */
static struct json_object *wait_wanted(struct watch *watch, int64_t since, int64_t deadline_us,
                                       GError **error)
{
    struct json_object *found = NULL;
    if (since >= 0) {
        struct json_object *list = query_journal(watch, since, error);
        if (!list) {
            return NULL;
        }
        for (size_t i = 0; i < json_object_array_length(list) && !found; i++) {
            struct json_object *event = json_object_array_get_idx(list, i);
            if (filter_wants(watch->filter, event)) {
                found = json_object_get(event);
            }
        }
        json_object_put(list);
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
            found = event;
        } else {
            json_object_put(event);
        }
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
    struct watch watch = {.ctl = ctl, .filter = filter_new(), .journal_end = -1};
    enum ctl_status result = CTL_USAGE;
    if (fill_filter(watch.filter, names, conditions)) {
        result = run_wait(&watch, exec, since, ctl_deadline(ctl, WAIT_TIMEOUT_DEFAULT_MS));
    }
    filter_free(watch.filter);
    return result;
}
