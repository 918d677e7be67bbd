/*
 * The human monitor: the table of its commands, and how a line finds its own. Output and complaints
 * are QEMU's; each line ends with CR LF.
 */
#include "monitor/hmp.h"

#include "machine/cause.h"
#include "monitor/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include <string.h>

static void run_help(struct hmp *h, struct json_object *args);

static const struct hmp_command help_commands[] = {{"help", "?", "[cmd]",
                                                    "list the commands, or tell about one",
                                                    "name:S?", .run = run_help, .preconfig = true},
                                                   {0}};

static const struct hmp_command *const tables[] = {
    help_commands,       hmp_block_commands,   hmp_cpu_commands,  hmp_paging_commands,
    hmp_device_commands, hmp_dump_commands,    hmp_info_commands, hmp_machine_commands,
    hmp_memory_commands, hmp_migrate_commands, hmp_net_commands,  hmp_snapshot_commands,
    hmp_tree_commands,   hmp_ui_commands};

static void print_help(struct hmp *h, const struct hmp_command *command)
{
    hmp_print(h, "%s", command->name);
    if (command->alias) {
        hmp_print(h, "|%s", command->alias);
    }
    hmp_print(h, " %s -- %s\n", command->params, command->help);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    const struct hmp_command *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

/* The commands whose names begin so, by name. */
static void print_helps(struct hmp *h, const char *prefix)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct hmp_command *c = tables[t]; c->name; c++) {
            if (g_str_has_prefix(c->name, prefix)) {
                g_ptr_array_add(all, (gpointer)c);
            }
        }
    }
    g_ptr_array_sort(all, compare_names);
    for (guint i = 0; i < all->len; i++) {
        print_help(h, all->pdata[i]);
    }
}

/* The blanks and the word at *p, which is moved behind them. */
static char *take_word(const char **p)
{
    const char *start;

    while (g_ascii_isspace(**p)) {
        (*p)++;
    }
    start = *p;
    while (**p && !g_ascii_isspace(**p) && **p != '/') {
        (*p)++;
    }
    return g_strndup(start, (gsize)(*p - start));
}

/* The command at *line, which is moved behind its name and the blanks that follow; NULL with *name
 * when there is none. A '/' may follow the name at once. An entry whose name begins with "info " is
 * found by its second word. */
static const struct hmp_command *find_command(const char **line, char **name)
{
    *name = take_word(line);
    if (strcmp(*name, "info") == 0 && **line) {
        g_autofree char *item = take_word(line);

        g_free(*name);
        *name = g_strdup_printf("info %s", item);
    }
    while (g_ascii_isspace(**line)) {
        (*line)++;
    }
    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct hmp_command *c = tables[t]; c->name; c++) {
            if (strcmp(c->name, *name) == 0 || g_strcmp0(c->alias, *name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static void run_help(struct hmp *h, struct json_object *args)
{
    const char *line = hmp_string(args, "name");
    g_autofree char *name = NULL;
    const struct hmp_command *about;

    if (!line) {
        print_helps(h, "");
        return;
    }
    if (strcmp(line, "info") == 0) {
        print_helps(h, "info ");
        return;
    }
    about = find_command(&line, &name);
    if (about) {
        print_help(h, about);
    } else {
        hmp_print(h, "unknown command: '%s'\n", name);
    }
}

static void run_command(struct hmp *h, const struct hmp_command *command, const char *line)
{
    struct json_object *args = hmp_parse(h, command, line);
    struct cause_scope scope;

    if (!args) {
        return;
    }
    cause_enter(h->m, &scope, cause_now_named(h->m, GODWIT_CAUSE_WHO_USER, command->name));
    if (command->qmp) {
        g_free(hmp_qmp(h, command->qmp, args));
    } else {
        command->run(h, args);
    }
    cause_leave(h->m, &scope);
    json_object_put(args);
}

static void run_line(struct hmp *h, const char *line)
{
    const struct hmp_command *command = find_command(&line, &h->typed);

    if (command && h->m->preconfig && !command->preconfig) {
        hmp_print(h, "Command '%s' not available until machine initialization has completed.\n",
                  command->name);
    } else if (command) {
        run_command(h, command, line);
    } else if (strcmp(h->typed, "info") == 0) {
        print_helps(h, "info ");
    } else if (*h->typed) {
        hmp_print(h, "unknown command: '%s'\n", h->typed);
    }
}

static char *run_and_answer(struct hmp *h, const char *line)
{
    g_autofree char *text = g_strstrip(g_strdup(line));

    h->out = g_string_new(NULL);
    run_line(h, text);
    g_free(h->typed);
    g_string_replace(h->out, "\n", "\r\n", 0);
    return g_string_free(h->out, FALSE);
}

char *hmp_run_on(struct machine *m, struct vcpu *vcpu, const char *line)
{
    struct hmp h = {.m = m, .vcpu = vcpu};

    return run_and_answer(&h, line);
}

char *hmp_run(struct machine *m, unsigned *cpu, const char *line)
{
    struct vcpu *chosen = machine_vcpu(m, *cpu); /* it may have been taken out since */
    struct hmp h = {.m = m, .vcpu = chosen ? chosen : machine_vcpu(m, 0)};
    char *answer = run_and_answer(&h, line);

    *cpu = h.vcpu ? h.vcpu->index : 0;
    return answer;
}
