/* The verbs of godwitctl: names, help, functions. One table; help and man page follow its order. */
#include "ctl.h"

#include <string.h>

const struct verb verbs[] = {
    {
        .name = "status",
        .synopsis = "",
        .summary = "show the run state",
        .help = "Prints the run state and what it means. With --json: the reply of query-status.\n",
        .run = verb_status,
        .in_shell = true,
    },
    {
        .name = "stop",
        .synopsis = "",
        .summary = "stop the vCPUs, then show the run state",
        .help = "A machine that does not run stays as it is: the state printed tells.\n",
        .run = verb_control,
        .in_shell = true,
    },
    {
        .name = "cont",
        .synopsis = "",
        .summary = "let the vCPUs run, then show the run state",
        .help = "Refused by the server in states that need a reset first.\n",
        .run = verb_control,
        .in_shell = true,
    },
    {
        .name = "reset",
        .synopsis = "",
        .summary = "reset the machine, then show the run state",
        .help = "As the reset button: the guest is not asked (system_reset).\n",
        .run = verb_control,
        .in_shell = true,
    },
    {
        .name = "powerdown",
        .synopsis = "",
        .summary = "press the power button, then show the run state",
        .help = "The guest decides what to do (system_powerdown). To wait until it is off:\n"
                "  godwitctl wait --exec system_powerdown --for SHUTDOWN --timeout 120\n",
        .run = verb_control,
        .in_shell = true,
    },
    {
        .name = "quit",
        .synopsis = "",
        .summary = "end the virtual machine at once",
        .help = "The guest is not asked. Returns when the server has closed the connection.\n",
        .run = verb_quit,
        .in_shell = true,
    },
    {
        .name = "why",
        .synopsis = "",
        .summary = "show what caused the present state",
        .help = "Needs a server that records causes (godwit-query-cause). Others: the run state\n"
                "is shown and the exit status is 1.\n",
        .run = verb_why,
        .in_shell = true,
    },
    {
        .name = "black-box",
        .synopsis = "",
        .summary = "show what was recorded at the last crash",
        .help = "Needs a server with godwit-query-black-box.\n",
        .run = verb_black_box,
        .in_shell = true,
    },
    {
        .name = "exec",
        .synopsis = "[--oob] COMMAND [JSON | NAME=VALUE... | NAME:=JSON...]",
        .summary = "execute any command of the server",
        .help =
            "Arguments are one JSON object, or NAME=VALUE each: a.b=1 goes into the object a, and\n"
            "the server's schema says whether 5 is a number or a string. NAME:=JSON takes the\n"
            "value as it is. A returned text is printed as text, {} not at all, other values\n"
            "as JSON; with --json all as JSON in one line.\n"
            "  --oob              out of band: overtakes commands that are stuck\n"
            "Examples:\n"
            "  godwitctl exec query-cpus-fast\n"
            "  godwitctl exec set-action reboot=shutdown panic=pause\n"
            "  godwitctl exec human-monitor-command command-line='info registers'\n",
        .run = verb_exec,
        .in_shell = true,
    },
    {
        .name = "events",
        .synopsis = "[--follow] [--since N] [--for EVENT]... [--where PATH=VALUE]... [--count N]",
        .summary = "show what happened, and what happens",
        .help = "One line for each event; with --json the event itself.\n"
                "  -f, --follow       show events as they come, until the server goes away\n"
                "  --since N          first those from number N on that the server recorded\n"
                "                     (needs a server with a journal, as without --follow)\n"
                "  --for EVENT        only these (A,B or more than once)\n"
                "  --where PATH=VALUE only when a member is so (PATH!=VALUE: not so)\n"
                "  -n, --count N      end after N events\n",
        .run = verb_events,
        .in_shell = true,
    },
    {
        .name = "wait",
        .synopsis = "--for EVENT... [--where PATH=VALUE]... [--since N] [--exec COMMAND]",
        .summary = "wait for an event and print it",
        .help =
            "Exit status 0: it happened; 3: not in time (--timeout, 60 s unless given);\n"
            "4: the server went away before it happened.\n"
            "  --for EVENT        one of these (A,B or more than once)\n"
            "  --where PATH=VALUE and a member is so (PATH!=VALUE: not so), as in\n"
            "                     --where data.reason=guest-shutdown\n"
            "  --since N          it may have happened already, as number N or later (needs a\n"
            "                     server with a journal)\n"
            "  --exec COMMAND     execute this once events are being received, so that what it\n"
            "                     causes is not missed; arguments as for exec, in one word\n"
            "Example:\n"
            "  godwitctl wait --exec system_powerdown --for SHUTDOWN --timeout 120\n",
        .run = verb_wait,
        .in_shell = true,
    },
    {
        .name = "shell",
        .synopsis = "",
        .summary = "type commands, with completion and history; events show as they come",
        .help =
            "Each line is a verb of godwitctl, or a command of the server with arguments as for\n"
            "exec. TAB completes commands, arguments and their values from the server's schema.\n"
            "'help COMMAND' lists arguments; 'exit' or Ctrl-D leaves. Lines may also come from a\n"
            "pipe or a file: then the exit status is that of the last one that failed.\n"
            "History is kept in $XDG_STATE_HOME/godwitctl/history (~/.local/state by default).\n",
        .run = verb_shell,
    },
    {
        .name = "top",
        .synopsis = "[--interval S] [--once]",
        .summary = "live view: run state, time line, vCPUs, last events",
        .help =
            "'q' or Ctrl-C ends it. When standard output is not a terminal, one view is printed.\n"
            "  --interval S       look every S seconds (1)\n"
            "  --once             print one view and end\n",
        .run = verb_top,
    },
    {0},
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *verb = verbs; verb->name; verb++) {
        if (strcmp(verb->name, name) == 0) {
            return verb;
        }
    }
    return NULL;
}

char *verbs_list(bool shell_only)
{
    GString *out = g_string_new(NULL);
    for (const struct verb *verb = verbs; verb->name; verb++) {
        if (verb->in_shell || !shell_only) {
            g_string_append_printf(out, "  %-12s %s\n", verb->name, verb->summary);
        }
    }
    return g_string_free(out, FALSE);
}

const char *ctl_common_options(void)
{
    return "  -s, --socket ADDR  PATH, unix:PATH or tcp:HOST:PORT; else $GODWIT_SOCKET\n"
           "  -t, --timeout S    give up after S seconds (10); 0: never\n"
           "  --json             JSON, one value a line, for scripts\n"
           "  --color WHEN       auto, always or never\n";
}

char *verb_help(const struct verb *verb)
{
    return g_strdup_printf("Usage: godwitctl [-s ADDR] %s%s%s\n%c%s.\n\n%s\nCommon options:\n%s",
                           verb->name, *verb->synopsis ? " " : "", verb->synopsis,
                           g_ascii_toupper(verb->summary[0]), verb->summary + 1, verb->help,
                           ctl_common_options());
}
