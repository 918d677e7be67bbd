/*
 * What the files of the human monitor share: a command's surroundings, the tables, and how words
 * become arguments. Main thread, machine lock held.
 */
#ifndef MONITOR_HMP_PRIV_H
#define MONITOR_HMP_PRIV_H

#include "monitor/hmp.h"

struct hmp {
    struct machine *m;
    struct vcpu *vcpu; /* NULL: none */
    GString *out;      /* lines end with LF until the end */
};

struct hmp_command {
    const char *name;   /* "info status" */
    const char *alias;  /* NULL: none */
    const char *params; /* for help */
    const char *help;
    bool takes_args;
    /* args: what follows the name, without blanks at its ends */
    void (*run)(struct hmp *, const struct hmp_command *, const char *args);
    /* hmp_run_qmp() runs this one of QMP's, with words for its members: "MEMBER:TYPE ...", a '?'
     * behind those that may be missing at the end. Types: s a string, B a block device, F a file,
     * i an expression, M mebibytes, o a size with a suffix (else mebibytes), b on or off, -x an
     * option. */
    const char *qmp, *members;
};

/* Tables ended by an entry without a name. */
extern const struct hmp_command hmp_cpu_commands[], hmp_info_commands[], hmp_device_commands[],
    hmp_drive_commands[], hmp_migrate_commands[], hmp_memory_commands[];

__attribute__((format(printf, 2, 3))) void hmp_print(struct hmp *h, const char *format, ...);
/* "Error: ..."; nothing without one. */
void hmp_print_error(struct hmp *h, const GError *error);
void hmp_print_try_help(struct hmp *h, const struct hmp_command *command);

/* The next word, *args being moved behind it and the blanks that follow; it may be in double
 * quotes. NULL when there is none, or the quotes do not end. The caller's. */
char *hmp_word(const char **args);
/* The same, with a complaint that `what` is expected. */
char *hmp_needed_word(struct hmp *h, const struct hmp_command *command, const char **args,
                      const char *what);
/* The value of an expression, as in hmp_expression(), of this vCPU's registers; else a complaint.
 */
bool hmp_value(struct hmp *h, const struct hmp_command *command, const char **args,
               uint64_t *value);
/* False and a complaint unless all of it has been used. */
bool hmp_end(struct hmp *h, const struct hmp_command *command, const char *args);

/* Runs a command of QMP's; takes the reference of args (NULL: no arguments). The JSON text that it
 * returns, the caller's, or NULL after the error has been printed. */
struct json_object;
char *hmp_qmp(struct hmp *h, const char *name, struct json_object *args);
void hmp_run_qmp(struct hmp *h, const struct hmp_command *command, const char *args);

#endif
