/*
 * What the verbs of godwitctl share: options, the connection, exit statuses, the table of verbs.
 */
#ifndef GODWITCTL_CTL_H
#define GODWITCTL_CTL_H

#include "client.h"
#include "schema.h"
#include "waiting.h"

/* Exit statuses; godwitctl(1) promises them to scripts. */
enum ctl_status {
    CTL_OK = 0,            /* done; what wait waited for happened */
    CTL_ERROR = 1,         /* the server refused, or what it sent is not QMP */
    CTL_USAGE = 2,         /* the command line is wrong */
    CTL_TIMEOUT = 3,       /* it did not happen in time */
    CTL_GONE = 4,          /* no server there, or it went away meanwhile */
    CTL_INTERRUPTED = 130, /* Ctrl-C in the shell */
};

#define CTL_TIMEOUT_DEFAULT_MS 10000

struct ctl_options {
    double timeout_s; /* < 0: not given */
    gboolean json;
    gboolean oob; /* ask for out-of-band execution when connecting */
    bool colour;
    bool utf8; /* the terminal shows UTF-8 */
};

struct ctl {
    char *address; /* NULL: none given */
    struct ctl_options options;
    int64_t began_us;      /* when the verb that runs began: timeouts count from here */
    struct client *client; /* NULL until ctl_connect() */
    struct schema *schema; /* NULL until ctl_schema() */
    bool schema_tried;
    bool in_shell;
    bool interactive; /* in the shell, with a person at the terminal */
};

struct verb {
    const char *name;
    const char *synopsis; /* arguments, for the usage line */
    const char *summary;  /* one line */
    const char *help;     /* lines, each ended by a newline */
    enum ctl_status (*run)(struct ctl *ctl, int argc, char **argv); /* argv[0] is the name */
    bool in_shell;                                                  /* the shell has it too */
};

extern const struct verb verbs[]; /* ended by a NULL name */
/* The lines of the usage: every verb, or those of the shell. The caller's. */
char *verbs_list(bool shell_only);
/* The help of one verb. The caller's. */
char *verb_help(const struct verb *verb);
/* The options that every verb has, in lines. */
const char *ctl_common_options(void);
const struct verb *verb_find(const char *name);

/* Takes own options (a GOption table ended by {0}, or NULL) and the common ones out of argv, and
 * checks that min to max arguments remain after argv[0]; max < 0 is no limit. False after saying
 * what is wrong. */
bool ctl_parse(struct ctl *ctl, const struct verb *verb, const GOptionEntry *own, int *argc,
               char ***argv, int min, int max);

/* Prints "godwitctl: text" on standard error. */
void ctl_complain(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Says the error, frees it, and gives its exit status. */
enum ctl_status ctl_fail(struct ctl *ctl, GError *error);
/* When the verb that runs must be done: --timeout, or else fallback_ms (0: no limit), after it
 * began. */
int64_t ctl_deadline(const struct ctl *ctl, int64_t fallback_ms);

/* Connects unless it is connected. */
bool ctl_connect(struct ctl *ctl, GError **error);
/* Connects if need be and executes; the error of client_call(). */
struct json_object *ctl_call(struct ctl *ctl, const char *command, struct json_object *arguments,
                             GError **error);
/* The server's schema; NULL when it has none. Asked once. */
struct schema *ctl_schema(struct ctl *ctl);
/* Prints a reply: JSON with --json; else text as it is, {} not at all, the rest as JSON in lines.
 */
enum ctl_status ctl_print_value(const struct ctl *ctl, struct json_object *value);
/* Prints text; CTL_ERROR when standard output takes no more. */
enum ctl_status ctl_print(const char *text);

enum ctl_status verb_status(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_control(struct ctl *ctl, int argc,
                             char **argv); /* stop cont reset powerdown */
enum ctl_status verb_quit(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_why(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_black_box(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_exec(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_events(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_wait(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_shell(struct ctl *ctl, int argc, char **argv);
enum ctl_status verb_top(struct ctl *ctl, int argc, char **argv);

/* verb-exec.c: executes COMMAND with arguments in words (JSON or key=value) and gives its value. */
struct json_object *exec_words(struct ctl *ctl, char **words, GError **error);

#endif
