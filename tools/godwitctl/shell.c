/*
 * shell: an interactive session on one connection.
 *
 * A line is a verb, a command of the server with arguments, or a whole QMP request in JSON. Events
 * appear as they come, also while a line is being typed. The prompt tells the run state.
 */
#include "arguments.h"
#include "ctl.h"
#include "line-editor.h"
#include "output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROMPT_QUERY_MS 1000 /* a server that is busy for longer gets a prompt without state */

struct shell {
    struct ctl *ctl;
    struct line_editor *editor;
    char *prompt;
    enum ctl_status failed; /* the last failure, or CTL_OK */
    enum ctl_status end;    /* the status when the connection ended */
    bool leave;
};

static void shell_update_prompt(struct shell *shell)
{
    if (!shell->ctl->interactive) {
        return;
    }
    struct json_object *status = client_call(shell->ctl->client, "query-status", NULL, false,
                                             deadline_after(PROMPT_QUERY_MS), NULL);
    const char *raw = json_member_string(status, "status");
    g_autofree char *state = text_safe(raw ? raw : "?", false);
    g_free(shell->prompt);
    shell->prompt = g_strdup_printf("%.40s> ", state);
    json_object_put(status);
}

/* Shows the events that are held; true when there were any. Lines from a pipe get no events between
 * their answers: they stay held, so that a later 'wait' finds what an earlier line brought about.
 */
static bool shell_show_events(struct shell *shell)
{
    bool any = false;
    struct json_object *event;
    while (shell->ctl->interactive && (event = client_take_event(shell->ctl->client))) {
        g_autoptr(GString) line = g_string_new(NULL);
        if (shell->ctl->options.json) {
            g_autofree char *text = json_text(event, false);
            g_string_append(line, text);
        } else {
            event_append(line, event, shell->ctl->options.colour);
        }
        g_string_append_c(line, '\n');
        output_text(line->str);
        json_object_put(event);
        any = true;
    }
    return any;
}

/* Something came from the server while a line is read. */
static bool shell_watch(void *data)
{
    struct shell *shell = data;
    GError *error = NULL;
    bool alive = client_pump(shell->ctl->client, &error);
    if (shell_show_events(shell) && alive) {
        shell_update_prompt(shell);
        line_editor_set_prompt(shell->editor, shell->prompt);
        shell_show_events(shell);
    }
    if (!alive) {
        shell->end = ctl_fail(shell->ctl, error);
    }
    return alive;
}

static void shell_complete(void *data, const char *line, struct completion *completion)
{
    struct shell *shell = data;
    shell->ctl->began_us = g_get_monotonic_time();
    completion_fill(completion, ctl_schema(shell->ctl), line);
}

static const struct line_editor_ops shell_editor_ops = {
    .watch = shell_watch,
    .complete = shell_complete,
};

static void append_member_help(GString *out, const struct schema *schema,
                               const struct schema_member *member)
{
    g_autofree char *name = text_safe(member->name, false);
    g_autofree char *label = schema_type_label(schema, member->type);
    g_autofree char *type = text_safe(label, false);
    g_autofree const char **values = schema_values(schema, member->type);
    g_string_append_printf(out, "  %-20s %s%s", name, type, member->optional ? ", optional" : "");
    for (unsigned i = 0; values && values[i]; i++) {
        g_autofree char *value = text_safe(values[i], false);
        g_string_append_printf(out, "%s%s", i ? " " : ": ", value);
    }
    g_string_append_c(out, '\n');
}

/* What the schema tells of a command; false when there is no such command. */
static bool help_command(GString *out, const struct schema *schema, const char *name)
{
    if (!schema || !schema_has_command(schema, name)) {
        return false;
    }
    g_autoptr(GArray) members = schema_members(schema, schema_arguments(schema, name), NULL);
    g_string_append_printf(out, "%s%s\n", name, members->len ? ", arguments:" : ": no arguments");
    for (guint i = 0; i < members->len; i++) {
        append_member_help(out, schema, &g_array_index(members, struct schema_member, i));
    }
    return true;
}

/* The server's commands with a text in their name; false when none has it. */
static bool help_search(GString *out, const struct schema *schema, const char *text)
{
    g_autofree const char **names = schema ? schema_commands(schema) : NULL;
    bool any = false;
    for (unsigned i = 0; names && names[i]; i++) {
        if (strstr(names[i], text)) {
            g_autofree char *name = text_safe(names[i], false);
            g_string_append_printf(out, "  %s\n", name);
            any = true;
        }
    }
    return any;
}

static enum ctl_status shell_help(struct shell *shell, const char *name)
{
    g_autoptr(GString) out = g_string_new(NULL);
    const struct schema *schema = ctl_schema(shell->ctl);
    const struct verb *verb = name ? verb_find(name) : NULL;
    if (!name) {
        g_autofree char *list = verbs_list(true);
        g_string_append_printf(out,
                               "%s  %-12s list the arguments of a command, or search commands\n"
                               "  %-12s leave; the machine stays as it is\n"
                               "All else is a command of the server: TAB lists them.\n",
                               list, "help TEXT", "exit");
    } else if (verb && verb->in_shell) {
        g_autofree char *text = verb_help(verb);
        g_string_append(out, text);
    } else if (!help_command(out, schema, name) && !help_search(out, schema, name)) {
        ctl_complain("no verb and no command '%s'", name);
        return CTL_USAGE;
    }
    return ctl_print(out->str);
}

/* A whole request, as in the protocol's documents. */
static enum ctl_status shell_request(struct shell *shell, const char *text)
{
    struct json_object *request = json_tokener_parse(text);
    const char *command = json_member_string(request, "execute");
    enum ctl_status result = CTL_USAGE;
    if (!command) {
        ctl_complain("a line in JSON needs a member \"execute\": %s", text);
    } else {
        GError *error = NULL;
        struct json_object *value =
            ctl_call(shell->ctl, command, json_member(request, "arguments"), &error);
        if (value) {
            g_autofree char *json = json_text(value, true);
            g_autofree char *lines = g_strconcat(json, "\n", NULL);
            result = ctl_print(lines);
        } else {
            result = ctl_fail(shell->ctl, error);
        }
        json_object_put(value);
    }
    json_object_put(request);
    return result;
}

/* Asks before the machine is ended: people type quit to leave a shell. */
static bool shell_confirms_quit(struct shell *shell)
{
    if (!shell->ctl->interactive) {
        return true;
    }
    g_autofree char *answer = NULL;
    enum line_result result =
        line_editor_read(shell->editor, "End the virtual machine ('exit' only leaves)? [y/N] ",
                         client_fd(shell->ctl->client), &answer);
    return result == LINE_READ && g_ascii_tolower(answer[0]) == 'y';
}

static enum ctl_status shell_run_words(struct shell *shell, char **words)
{
    struct ctl *ctl = shell->ctl;
    const struct verb *verb = verb_find(words[0]);
    if (strcmp(words[0], "exit") == 0) {
        shell->leave = true;
        return CTL_OK;
    }
    if (strcmp(words[0], "help") == 0) {
        return shell_help(shell, words[1]);
    }
    if (words[0][0] == '{') {
        return shell_request(shell, words[0]);
    }
    if (verb && !verb->in_shell) {
        ctl_complain("'%s' is not for the shell", words[0]);
        return CTL_USAGE;
    }
    if (verb && strcmp(words[0], "quit") == 0) {
        if (!shell_confirms_quit(shell)) {
            return CTL_OK;
        }
        ctl->began_us = g_get_monotonic_time();
        shell->leave = true;
    }
    if (verb) {
        /* Options hold for one line. */
        struct ctl_options options = ctl->options;
        guint n = g_strv_length(words);
        g_autofree char **argv = g_new(char *, n + 1); /* GOption rearranges it */
        memcpy(argv, words, sizeof(*words) * (n + 1));
        enum ctl_status result = verb->run(ctl, (int)n, argv);
        ctl->options = options;
        return result;
    }
    GError *error = NULL;
    struct json_object *value = exec_words(ctl, words, &error);
    enum ctl_status result = value ? ctl_print_value(ctl, value) : ctl_fail(ctl, error);
    json_object_put(value);
    return result;
}

static void shell_run_line(struct shell *shell, const char *line)
{
    GError *error = NULL;
    g_auto(GStrv) words = words_split(line, &error);
    shell->ctl->began_us = g_get_monotonic_time();
    enum ctl_status result = CTL_OK;
    if (!words) {
        result = ctl_fail(shell->ctl, error);
    } else if (words[0] && words[0][0] != '#') {
        result = shell_run_words(shell, words);
    }
    signals_clear(SIGNAL_INTERRUPT);
    if (result != CTL_OK) {
        shell->failed = result;
    }
    if (result == CTL_GONE) {
        shell->end = CTL_GONE;
        shell->leave = true;
    }
}

/* Reads and runs lines until the end; why it ended. */
static enum line_result shell_loop(struct shell *shell)
{
    while (!shell->leave) {
        shell_update_prompt(shell);
        shell_show_events(shell);
        g_autofree char *line = NULL;
        enum line_result result =
            line_editor_read(shell->editor, shell->prompt, client_fd(shell->ctl->client), &line);
        if (result == LINE_INTERRUPTED && shell->ctl->interactive) {
            continue;
        }
        if (result != LINE_READ) {
            return result;
        }
        if (line[strspn(line, " \t")]) {
            line_editor_remember(shell->editor, line);
        }
        shell_run_line(shell, line);
    }
    return LINE_END;
}

static char *history_path(void)
{
    const char *state = g_getenv("XDG_STATE_HOME");
    if (state && g_path_is_absolute(state)) {
        return g_build_filename(state, "godwitctl", "history", NULL);
    }
    return g_build_filename(g_get_home_dir(), ".local", "state", "godwitctl", "history", NULL);
}

static void shell_greet(const struct ctl *ctl)
{
    g_autofree char *server = text_safe(client_server(ctl->client), false);
    g_autofree char *text =
        g_strdup_printf("%s. TAB completes, 'help' helps, 'exit' leaves.\n", server);
    output_text(text);
}

enum ctl_status verb_shell(struct ctl *ctl, int argc, char **argv)
{
    GError *error = NULL;
    if (!ctl_parse(ctl, verb_find("shell"), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    if (!ctl_connect(ctl, &error)) {
        return ctl_fail(ctl, error);
    }
    ctl->in_shell = true;
    ctl->interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct shell shell = {.ctl = ctl, .prompt = g_strdup("> ")};
    g_autofree char *history = history_path();
    signals_catch();
    shell.editor = line_editor_new(ctl->interactive, history, &shell_editor_ops, &shell);
    if (ctl->interactive) {
        shell_greet(ctl);
    }
    enum line_result why = shell_loop(&shell);
    line_editor_free(shell.editor);
    g_free(shell.prompt);
    if (why == LINE_TERMINATED) {
        signals_end_self();
    }
    if (why == LINE_INTERRUPTED) {
        return CTL_INTERRUPTED;
    }
    if (shell.end != CTL_OK) {
        return shell.end;
    }
    return ctl->interactive ? CTL_OK : shell.failed;
}
