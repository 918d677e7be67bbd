/*
 * Draws docs/run-states.md from the program's own table of transitions.
 *
 *     run-states-doc            prints the document
 *     run-states-doc FILE       exit status 1 when FILE differs from it
 */
#include "machine/runstate.h"

#include <glib.h>
#include <stdio.h>

static void append_diagram(GString *out)
{
    g_string_append(out, "```mermaid\nstateDiagram-v2\n    [*] --> prelaunch\n");
    for (unsigned i = 0; i < runstate_n_transitions; i++) {
        g_autofree char *from = g_strdup(run_state_str(runstate_transitions[i].from));
        g_autofree char *to = g_strdup(run_state_str(runstate_transitions[i].to));

        /* A dash may not stand in a name there. */
        g_strdelimit(from, "-", '_');
        g_strdelimit(to, "-", '_');
        g_string_append_printf(out, "    %s --> %s\n", from, to);
    }
    g_string_append(out, "```\n");
}

static void append_table(GString *out)
{
    g_string_append(out, "| from | to |\n|---|---|\n");
    for (int from = 0; from < RUN_STATE__MAX; from++) {
        const char *separator = "";

        g_string_append_printf(out, "| `%s` | ", run_state_str((enum run_state)from));
        for (unsigned i = 0; i < runstate_n_transitions; i++) {
            if ((int)runstate_transitions[i].from == from) {
                g_string_append_printf(out, "%s`%s`", separator,
                                       run_state_str(runstate_transitions[i].to));
                separator = ", ";
            }
        }
        g_string_append(out, " |\n");
    }
}

static char *make_document(void)
{
    GString *out = g_string_new(
        "# Run states\n\n"
        "Every legal transition between run states, drawn from the table in\n"
        "`src/machine/runstate.c` by `tests/unit/run-states-doc.c`. Do not edit: a test compares.\n\n"
        "A machine begins in `prelaunch`, or in `inmigrate` when it waits for a migration. Setting the\n"
        "state that it is already in is no transition. `save-vm` to `prelaunch` is a reset while a\n"
        "memory dump is being written; the other pairs are those of QEMU 7.2.\n\n");

    append_diagram(out);
    g_string_append_printf(out, "\nThe same as a table, %u transitions:\n\n",
                           runstate_n_transitions);
    append_table(out);
    return g_string_free(out, FALSE);
}

int main(int argc, char **argv)
{
    g_autofree char *text = make_document(), *found = NULL;
    g_autoptr(GError) error = NULL;

    if (argc < 2) {
        fputs(text, stdout);
        return 0;
    }
    if (!g_file_get_contents(argv[1], &found, NULL, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    if (g_strcmp0(text, found) != 0) {
        fprintf(stderr, "%s differs from the table: write run-states-doc's output there\n",
                argv[1]);
        return 1;
    }
    return 0;
}
