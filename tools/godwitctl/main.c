/*
 * godwitctl: talks to the QMP socket of Godwit, or of QEMU, for people and for scripts.
 *
 * docs/godwitctl.1 is its manual. Each verb is in a file verb-*.c or bears its name; client.c is
 * the protocol. Nothing here knows Godwit's insides: all it knows it learns over the socket.
 */
#include "ctl.h"
#include "output.h"

#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBEDIT
#define LINE_EDITOR " (with libedit)"
#else
#define LINE_EDITOR ""
#endif

static void print_usage(FILE *to)
{
    g_autofree char *list = verbs_list(false);
    fprintf(
        to,
        "Usage: godwitctl [-s ADDR] [OPTION...] VERB [ARGUMENT...]\n"
        "Controls a virtual machine through its QMP socket.\n\n"
        "Verbs ('godwitctl help VERB' tells more):\n%s\nOptions:\n%s"
        "  -h, --help         this text, or that of a verb\n"
        "  --version          the version of godwitctl\n\n"
        "Exit status: 0 done, 1 error, 2 wrong usage, 3 timeout, 4 no server or it went away.\n",
        list, ctl_common_options());
}

static enum ctl_status print_help(const char *name)
{
    const struct verb *verb = name ? verb_find(name) : NULL;
    if (name && !verb) {
        ctl_complain("no verb '%s'; 'godwitctl help' lists them", name);
        return CTL_USAGE;
    }
    if (!verb) {
        print_usage(stdout);
        return CTL_OK;
    }
    g_autofree char *text = verb_help(verb);
    return ctl_print(text);
}

/* -h and --help before or behind the verb; a bare -- ends options. */
static bool asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            return true;
        }
    }
    return false;
}

static enum ctl_status run(struct ctl *ctl, int argc, char **argv)
{
    gboolean version = FALSE, help = FALSE;
    const GOptionEntry own[] = {
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, NULL, NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, NULL, NULL},
        {0},
    };
    if (!ctl_parse(ctl, NULL, own, &argc, &argv, 0, -1)) {
        return CTL_USAGE;
    }
    if (version) {
        return ctl_print("godwitctl " GODWIT_VERSION LINE_EDITOR "\n");
    }
    if (help) {
        return print_help(argc > 1 ? argv[1] : NULL);
    }
    if (argc < 2) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    if (strcmp(argv[1], "help") == 0) {
        return print_help(argc > 2 ? argv[2] : NULL);
    }
    const struct verb *verb = verb_find(argv[1]);
    if (!verb) {
        ctl_complain("no verb '%s'; 'godwitctl help' lists them", argv[1]);
        return CTL_USAGE;
    }
    if (asks_help(argc - 1, argv + 1)) {
        return print_help(verb->name);
    }
    return verb->run(ctl, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C");
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is a failed write, not the end of us */

    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    struct ctl ctl = {
        .address = g_strdup(getenv("GODWIT_SOCKET")),
        .options =
            {
                .timeout_s = -1,
                .colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour) &&
                          !(terminal && strcmp(terminal, "dumb") == 0),
                .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
            },
        .began_us = g_get_monotonic_time(),
    };
    /* GOption rearranges the vector that it is given: main's own stays as it is. */
    g_autofree char **words = g_new0(char *, (gsize)argc + 1);
    memcpy(words, argv, sizeof(*words) * (gsize)argc);
    enum ctl_status status = run(&ctl, argc, words);
    client_free(ctl.client);
    schema_free(ctl.schema);
    g_free(ctl.address);
    return (int)status;
}
