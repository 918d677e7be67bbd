/*
 * top: a live view of one machine in the terminal.
 *
 * It looks every second and at each event. The terminal is put back however it ends: by a key, a
 * signal, or the server going away; while stopped by Ctrl-Z it is the shell's. Without a terminal
 * one picture is printed. The share of the host's CPU that a vCPU has is read from /proc, where the
 * server's process is on this host; servers do not tell it.
 */
#include "top-view.h"

#include "ctl.h"
#include "output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define EVENTS_KEPT  64
#define CHANGES_KEPT 4096
#define VCPUS_MAX    4096
#define QUERY_MS     2000 /* a server that takes longer is shown as not answering */
#define LAST_WORDS   3    /* events printed when the server is gone */

#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"

struct top {
    struct ctl *ctl;
    struct top_model model;
    struct termios modes; /* as found */
    bool on_screen;
    int64_t interval_us;
    int64_t looked_us; /* the last look at vCPUs, 0: none yet */
};

static void change_clear(void *data)
{
    g_free(((struct top_change *)data)->state);
}

static void vcpu_clear(void *data)
{
    g_free(((struct top_vcpu *)data)->place);
}

static void top_open(struct top *top, struct ctl *ctl, double interval_s)
{
    struct top_model *model = &top->model;
    top->ctl = ctl;
    top->interval_us = (int64_t)ceil(interval_s * 1e6);
    model->changes = g_array_new(FALSE, TRUE, sizeof(struct top_change));
    model->vcpus = g_array_new(FALSE, TRUE, sizeof(struct top_vcpu));
    g_array_set_clear_func(model->changes, change_clear);
    g_array_set_clear_func(model->vcpus, vcpu_clear);
    g_queue_init(&model->events);
    model->began_us = model->now_us = g_get_monotonic_time();
    g_autofree char *server = text_safe(client_server(ctl->client), false);
    model->server = g_strdup_printf("%s at %s", server, ctl->address);
    model->name = g_strdup("");
}

static void top_close(struct top *top)
{
    struct top_model *model = &top->model;
    struct json_object *event;
    while ((event = g_queue_pop_head(&model->events))) {
        json_object_put(event);
    }
    g_array_unref(model->changes);
    g_array_unref(model->vcpus);
    g_free(model->server);
    g_free(model->name);
    g_free(model->trouble);
}

/* Asks the server; a failure becomes the trouble shown. NULL on failure, with an error only when
 * there is no point in going on. */
static struct json_object *top_query(struct top *top, const char *command, GError **error)
{
    GError *failure = NULL;
    struct json_object *value =
        client_call(top->ctl->client, command, NULL, false, deadline_after(QUERY_MS), &failure);
    if (value) {
        return value;
    }
    bool fatal = !g_error_matches(failure, CLIENT_ERROR, CLIENT_ERROR_REFUSED) &&
                 !g_error_matches(failure, CLIENT_ERROR, CLIENT_ERROR_TIMEOUT);
    if (fatal) {
        g_propagate_error(error, failure);
        return NULL;
    }
    g_free(top->model.trouble);
    top->model.trouble = g_strdup(failure->message);
    g_error_free(failure);
    return NULL;
}

static void note_state(struct top_model *model, const char *state)
{
    guint n = model->changes->len;
    if (n && strcmp(g_array_index(model->changes, struct top_change, n - 1).state, state) == 0) {
        return;
    }
    struct top_change change = {.at_us = model->now_us, .state = g_strndup(state, 64)};
    if (n == CHANGES_KEPT) {
        g_array_remove_range(model->changes, 0, CHANGES_KEPT / 4);
    }
    g_array_append_val(model->changes, change);
}

/* The CPU time of a thread of the server's process; -1 when it can't be known. */
static int64_t thread_time_us(int server_pid, int64_t thread_id)
{
    g_autofree char *path =
        g_strdup_printf("/proc/%d/task/%" G_GINT64_FORMAT "/stat", server_pid, thread_id);
    g_autofree char *text = NULL;
    if (server_pid <= 0 || !g_file_get_contents(path, &text, NULL, NULL)) {
        return -1;
    }
    /* The name, in parentheses, may hold anything; times are fields 14 and 15 (proc(5)). */
    const char *behind = strrchr(text, ')');
    unsigned long user, system;
    if (!behind || sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                          &system) != 2) {
        return -1;
    }
    return (int64_t)((user + system) * (G_USEC_PER_SEC / (unsigned long)sysconf(_SC_CLK_TCK)));
}

/* Path, target and topology of a vCPU, in words. */
static char *vcpu_place(struct json_object *entry)
{
    g_autoptr(GString) place = g_string_new(NULL);
    const char *target = json_member_string(entry, "target");
    const char *path = json_member_string(entry, "qom-path");
    g_string_append(place, target ? target : "");
    struct json_object *props = json_member(entry, "props");
    static const char *const levels[] = {"socket-id", "die-id", "core-id", "thread-id"};
    for (size_t i = 0; i < G_N_ELEMENTS(levels); i++) {
        int64_t id = json_member_int(props, levels[i], -1);
        if (id >= 0) {
            g_string_append_printf(place, " %.*s %" G_GINT64_FORMAT, (int)strcspn(levels[i], "-"),
                                   levels[i], id);
        }
    }
    if (path) {
        g_string_append_printf(place, "  %s", path);
    }
    return text_safe(place->str, false);
}

static void note_vcpus(struct top *top, struct json_object *list)
{
    struct top_model *model = &top->model;
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    int pid = client_server_pid(top->ctl->client);
    int64_t elapsed_us = top->looked_us ? model->now_us - top->looked_us : 0;
    GArray *vcpus = g_array_new(FALSE, TRUE, sizeof(struct top_vcpu));
    g_array_set_clear_func(vcpus, vcpu_clear);
    for (size_t i = 0; i < MIN(n, VCPUS_MAX); i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        struct top_vcpu vcpu = {
            .index = json_member_int(entry, "cpu-index", -1),
            .thread_id = json_member_int(entry, "thread-id", -1),
            .place = vcpu_place(entry),
            .host_percent = -1,
        };
        vcpu.host_time_us = thread_time_us(pid, vcpu.thread_id);
        const struct top_vcpu *before =
            i < model->vcpus->len ? &g_array_index(model->vcpus, struct top_vcpu, i) : NULL;
        if (before && before->thread_id == vcpu.thread_id && before->host_time_us >= 0 &&
            vcpu.host_time_us >= before->host_time_us && elapsed_us > 0) {
            vcpu.host_percent =
                100.0 * (double)(vcpu.host_time_us - before->host_time_us) / (double)elapsed_us;
        }
        g_array_append_val(vcpus, vcpu);
    }
    g_array_unref(model->vcpus);
    model->vcpus = vcpus;
    top->looked_us = model->now_us;
}

/* Takes the events that are held; true when there were any. */
static bool note_events(struct top *top)
{
    struct json_object *event;
    bool any = false;
    while ((event = client_take_event(top->ctl->client))) {
        int64_t sequence = event_sequence(event);
        if (sequence >= 0 && sequence <= top->model.last_seq &&
            sequence > top->model.last_seq - EVENTS_KEPT) { /* the journal has told of it */
            json_object_put(event);
            continue;
        }
        g_queue_push_tail(&top->model.events, event);
        if (top->model.events.length > EVENTS_KEPT) {
            json_object_put(g_queue_pop_head(&top->model.events));
        }
        any = true;
    }
    return any;
}

/* When the server's clock, which is this host's or set like it, showed that time. */
static int64_t monotonic_of(const struct top *top, struct json_object *timestamp)
{
    int64_t at_us = json_member_int(timestamp, "seconds", 0) * G_USEC_PER_SEC +
                    json_member_int(timestamp, "microseconds", 0);
    int64_t ago_us = MAX(g_get_real_time() - at_us, 0);
    return MAX(top->model.now_us - ago_us, 0);
}

/* The changes of state that the server remembers; it tells the last one first. */
static void note_changes(struct top *top, struct json_object *changes)
{
    struct top_model *model = &top->model;
    size_t n =
        json_object_is_type(changes, json_type_array) ? json_object_array_length(changes) : 0;
    for (size_t i = MIN(n, CHANGES_KEPT / 2); i-- > 0;) {
        struct json_object *entry = json_object_array_get_idx(changes, i);
        const char *to = json_member_string(entry, "to");
        struct top_change change = {
            .at_us = monotonic_of(top, json_member(entry, "timestamp")),
            .state = g_strndup(to ? to : "?", 64),
        };
        if (model->changes->len) { /* clocks that were set back */
            struct top_change *last =
                &g_array_index(model->changes, struct top_change, model->changes->len - 1);
            change.at_us = MAX(change.at_us, last->at_us);
        }
        g_array_append_val(model->changes, change);
    }
    if (n) {
        model->began_us = g_array_index(model->changes, struct top_change, 0).at_us;
        model->knows_past = true;
    }
}

/* What happened before this client came, from servers that remember. */
static void look_back(struct top *top, GError **error)
{
    struct top_model *model = &top->model;
    if (!client_has_command(top->ctl->client, "godwit-query-cause", deadline_after(QUERY_MS))) {
        return;
    }
    struct json_object *why = top_query(top, "godwit-query-cause", error);
    note_changes(top, json_member(why, "changes"));
    json_object_put(why);
    struct json_object *journal =
        error && *error ? NULL : top_query(top, "godwit-query-events", error);
    struct json_object *list = json_member(journal, "events");
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = n > EVENTS_KEPT ? n - EVENTS_KEPT : 0; i < n; i++) {
        struct json_object *event = json_object_array_get_idx(list, i);
        model->last_seq = MAX(model->last_seq, event_sequence(event));
        g_queue_push_tail(&model->events, json_object_get(event));
    }
    json_object_put(journal);
}

static bool look_at_state(struct top *top, GError **error)
{
    g_clear_pointer(&top->model.trouble, g_free);
    struct json_object *status = top_query(top, "query-status", error);
    top->model.now_us = g_get_monotonic_time();
    const char *state = json_member_string(status, "status");
    if (state) {
        note_state(&top->model, state);
    }
    json_object_put(status);
    return !error || !*error;
}

static bool look_at_vcpus(struct top *top, GError **error)
{
    if (top->model.trouble) {
        return true; /* one question without answer a look is enough */
    }
    struct json_object *list = top_query(top, "query-cpus-fast", error);
    top->model.now_us = g_get_monotonic_time();
    if (list) {
        note_vcpus(top, list);
    }
    json_object_put(list);
    return !error || !*error;
}

static bool look_at_name(struct top *top, GError **error)
{
    struct json_object *reply = top_query(top, "query-name", error);
    const char *name = json_member_string(reply, "name");
    if (name) {
        g_free(top->model.name);
        top->model.name = text_safe(name, false);
    }
    json_object_put(reply);
    return !error || !*error;
}

static void screen_enter(struct top *top)
{
    struct termios raw = top->modes;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    output_text(SCREEN_ENTER);
    top->on_screen = true;
}

static void screen_leave(struct top *top)
{
    if (top->on_screen) {
        output_text(SCREEN_LEAVE);
        tcsetattr(STDIN_FILENO, TCSADRAIN, &top->modes);
        top->on_screen = false;
    }
}

static struct top_size screen_size(const struct top *top)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return (struct top_size){
        .rows = size.ws_row ? size.ws_row : 24,
        .columns = size.ws_col ? size.ws_col : 80,
        .colour = top->ctl->options.colour,
        .utf8 = top->ctl->options.utf8,
    };
}

/* Each line wipes what is left of the old one: no flicker, and nothing stale. */
static void draw(struct top *top)
{
    struct top_size size = screen_size(top);
    top->model.now_us = g_get_monotonic_time();
    g_autofree char *view = top_view(&top->model, &size);
    g_auto(GStrv) lines = g_strsplit(view, "\n", -1);
    g_autofree char *body = g_strjoinv("\033[K\r\n", lines);
    g_autofree char *picture = g_strconcat("\033[H", body, "\033[J", NULL);
    output_text(picture);
}

/* Waits for the next look, or what comes first. False: the user wants to leave. */
static bool wait_for_something(struct top *top, int64_t until_us, bool *news, GError **error)
{
    struct pollfd fds[] = {{.fd = client_fd(top->ctl->client), .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    enum wait_result ready = wait_ready(fds, 2, until_us);
    unsigned signals = signals_pending();
    if (ready == WAIT_FAILED || signals & (SIGNAL_INTERRUPT | SIGNAL_END)) {
        return false;
    }
    if (signals & SIGNAL_STOP) {
        screen_leave(top);
        signals_stop_self();
        screen_enter(top);
    }
    signals_clear(SIGNAL_STOP | SIGNAL_CONTINUE | SIGNAL_RESIZE);
    if (ready != WAIT_READY) {
        return true;
    }
    if (fds[1].revents) {
        char key;
        if (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q') {
            return false;
        }
    }
    if (fds[0].revents) {
        bool alive = client_pump(top->ctl->client, error);
        *news = note_events(top);
        return alive;
    }
    return true;
}

static bool look(struct top *top, bool vcpus, GError **error)
{
    bool alive = look_at_state(top, error) && (!vcpus || look_at_vcpus(top, error));
    note_events(top);
    return alive;
}

/* Shows the view until the user leaves (no error) or the server goes. */
static void top_loop(struct top *top, GError **error)
{
    int64_t next_us = g_get_monotonic_time() + top->interval_us;
    draw(top);
    for (;;) {
        bool news = false;
        if (!wait_for_something(top, next_us, &news, error)) {
            return;
        }
        bool due = g_get_monotonic_time() >= next_us;
        if ((due || news) && !look(top, due, error)) {
            return;
        }
        if (due) {
            next_us = g_get_monotonic_time() + top->interval_us;
        }
        draw(top);
    }
}

static enum ctl_status print_once(struct top *top)
{
    const char *columns = getenv("COLUMNS");
    struct top_size size = {
        .columns = columns ? (unsigned)CLAMP(atoi(columns), 20, 1000) : 80,
        .colour = top->ctl->options.colour,
        .utf8 = top->ctl->options.utf8,
    };
    g_autofree char *view = top_view(&top->model, &size);
    g_autofree char *text = g_strconcat(g_strchomp(view), "\n", NULL);
    return ctl_print(text);
}

/* What happened last stays readable when the picture is gone. */
static void print_last_words(const struct top *top)
{
    guint n = top->model.events.length;
    for (guint i = n > LAST_WORDS ? n - LAST_WORDS : 0; i < n; i++) {
        g_autoptr(GString) line = g_string_new(NULL);
        event_append(line, g_queue_peek_nth((GQueue *)&top->model.events, i),
                     top->ctl->options.colour);
        g_string_append_c(line, '\n');
        output_text(line->str);
    }
}

static enum ctl_status top_run(struct top *top, bool once)
{
    GError *error = NULL;
    look_at_name(top, &error);
    if (!error) {
        look_back(top, &error);
    }
    if (!error) {
        look(top, true, &error);
    }
    if (!error && once) {
        return print_once(top);
    }
    if (!error) {
        signals_catch();
        screen_enter(top);
        top_loop(top, &error);
        screen_leave(top);
        print_last_words(top);
    }
    signals_clear(SIGNAL_INTERRUPT); /* Ctrl-C is a way to leave */
    bool interrupted = g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_INTERRUPTED);
    signals_end_self();
    if (interrupted) {
        g_clear_error(&error);
    }
    return error ? ctl_fail(top->ctl, error) : CTL_OK;
}

enum ctl_status verb_top(struct ctl *ctl, int argc, char **argv)
{
    double interval_s = 1;
    gboolean once = FALSE;
    const GOptionEntry own[] = {
        {"interval", 0, 0, G_OPTION_ARG_DOUBLE, &interval_s, NULL, NULL},
        {"once", 0, 0, G_OPTION_ARG_NONE, &once, NULL, NULL},
        {0},
    };
    if (!ctl_parse(ctl, verb_find("top"), own, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    if (!(interval_s >= 0.1 && interval_s <= 86400)) {
        ctl_complain("--interval takes 0.1 to 86400 seconds");
        return CTL_USAGE;
    }
    GError *error = NULL;
    if (!ctl_connect(ctl, &error)) {
        return ctl_fail(ctl, error);
    }
    struct top top = {0};
    bool terminal =
        isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetattr(STDIN_FILENO, &top.modes) == 0;
    top_open(&top, ctl, interval_s);
    enum ctl_status result = top_run(&top, once || !terminal);
    top_close(&top);
    return result;
}
