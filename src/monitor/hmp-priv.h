/*
 * What the files of the human monitor share: a command's surroundings, the tables, and how words
 * become arguments. Main thread, machine lock held.
 */
#ifndef MONITOR_HMP_PRIV_H
#define MONITOR_HMP_PRIV_H

#include "monitor/hmp.h"
#include <json-c/json.h>

struct hmp {
    struct machine *m;
    struct vcpu *vcpu; /* NULL: none */
    GString *out;      /* lines end with LF until the end */
    char *typed;       /* the command's name as it came */
};

struct hmp_command {
    const char *name;   /* "info status" */
    const char *alias;  /* NULL: none */
    const char *params; /* for help */
    const char *help;
    /*
     * What words may follow: "NAME:TYPE ...", a '?' behind those that may be missing at the end.
     * NULL: none. Types:
     *   s   a word, in double quotes if it has blanks         S   all the rest of the line
     *   F   the same, a file's name                           B   the same, a block device's
     *   i   an expression of at most 32 bits                  l   of 64
     *   M   an expression, in MiB; the argument is in bytes   o   a size with a suffix, else in MiB
     *   b   on or off                                         /   a format: "/" count, form, size
     *   -x  an option of that letter                          -xs an option with a word
     */
    const char *args;
    const char *qmp; /* the command of QMP's that it is, with these arguments; else NULL and run */
    void (*run)(struct hmp *, struct json_object *args);
    bool preconfig; /* may run before the machine is there (--preconfig) */
};

/* Tables ended by an entry without a name. */
extern const struct hmp_command hmp_block_commands[], hmp_cpu_commands[], hmp_paging_commands[],
    hmp_device_commands[], hmp_dump_commands[], hmp_info_commands[], hmp_machine_commands[],
    hmp_memory_commands[], hmp_migrate_commands[], hmp_net_commands[], hmp_snapshot_commands[],
    hmp_tree_commands[], hmp_ui_commands[];

__attribute__((format(printf, 2, 3))) void hmp_print(struct hmp *h, const char *format, ...);
/* "Error: ..."; nothing without one. */
void hmp_print_error(struct hmp *h, const GError *error);
void hmp_print_try_help(struct hmp *h);

/* The arguments that the line has for the command; NULL after a complaint. The caller's. */
struct json_object *hmp_parse(struct hmp *h, const struct hmp_command *command, const char *line);

/* An argument by its name. */
const char *hmp_string(const struct json_object *args, const char *name); /* NULL: is missing */
uint64_t hmp_number(const struct json_object *args, const char *name);    /* 0: is missing */
bool hmp_flag(const struct json_object *args, const char *name);          /* false: is missing */
bool hmp_has(const struct json_object *args, const char *name);

/* An argument of type '/'. */
struct hmp_format {
    uint64_t count;
    char form;     /* one of "oduxci" */
    unsigned size; /* of an item, in bytes: 1, 2, 4 or 8 */
};

struct hmp_format hmp_format(const struct json_object *args, const char *name);

/* Runs a command of QMP's. The JSON text that it returns, the caller's, or NULL after the error has
 * been printed. */
char *hmp_qmp(struct hmp *h, const char *name, struct json_object *args);
/* For handlers of QMP's that are called with arguments of their own. */
struct qmp_call hmp_call(struct hmp *h);

#endif
