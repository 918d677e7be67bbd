/*
 * The command line: QEMU's option names, forms and meaning, for what Godwit has.
 *
 * Parsing has no side effects outside struct options: nothing is opened, created or started.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "chardev/sock.h"
#include "cli/confine.h"
#include "cli/error.h"
#include "machine/machine.h"
#include "monitor/monitor.h"
#include "qapi/params.h"

struct monitor_option {
    enum { MONITOR_SOCKET, MONITOR_STDIO, MONITOR_CHARDEV } kind;
    char *spec;   /* socket address text, or chardev id */
    bool control; /* QMP; else the human monitor */
    struct monitor_style style;
    char *given; /* "-qmp unix:...": for messages */
};

struct memory_object { /* -object memory-backend-... */
    struct object_options *options;
    char *text; /* as given */
    bool used;  /* it is the machine's RAM, or a part of that */
};

struct option_text { /* an option with its argument still as text */
    char *given;     /* "-device foo,...": for messages */
    char *text;
};

enum options_action { OPTIONS_RUN, OPTIONS_DONE /* help or version was printed */ };

struct options {
    struct machine_config *config; /* given away to machine_new() */
    /* struct option_text */
    GPtrArray *chardevs, *serials, *debugcons, *devices, *blockdevs, *drives, *objects;
    GPtrArray *netdevs, *nics; /* the same */
    GPtrArray *monitors;       /* struct monitor_option */
    GPtrArray *memories;       /* struct memory_object */
    GArray *numa_cpus;         /* struct numa_cpu: -numa node,cpus= */
    char *memory_backend;      /* -machine memory-backend=, or NULL */
    char *memory_path;         /* -mem-path, or NULL */
    char *human_monitor;       /* -monitor: a chardev spec, "none", or NULL */
    char *vga;                 /* -vga: "std", "none"; NULL: not given */
    char *qtest, *qtest_log;
    char *gdb;                      /* -gdb: a device, or NULL */
    char *incoming;                 /* where the guest comes from, or NULL */
    struct confinement confinement; /* -chroot, -runas, -sandbox */
    char *pidfile, *log_file, *event_log;
    char *load_snapshot; /* -loadvm: a tag, or NULL */
    char *restore;       /* -restore: a file, or NULL */
    char *auto_dump;     /* DIR[,...], or NULL */
    unsigned stall_ms;   /* 0: not watched */
    bool nographic, no_display, no_defaults, daemonize, log_guest;
    bool snapshot_drives;               /* -snapshot */
    bool debug_threads;                 /* -name debug-threads=on */
    bool lock_memory;                   /* -overcommit mem-lock=on */
    bool fill_memory;                   /* -mem-prealloc */
    bool slots_given, max_memory_given; /* -m slots=, maxmem= */
    bool log_timestamp;                 /* -msg timestamp=on */
    bool has_reboot, has_shutdown, has_panic, has_watchdog;
    struct machine_actions actions;
    enum options_action action;
};

/* NULL and *error on the first bad option; the message has no "godwit: " before it. */
struct options *options_parse(int argc, char **argv, GError **error);
void options_free(struct options *options); /* NULL is fine */

/* COM1 is to be on the terminal because nothing else was said: -nographic. */
bool options_default_console(const struct options *o);

/* Fills a socket address from the parameters of a -chardev socket,... that a monitor uses. */
bool options_chardev_address(const char *text, struct sock_address *address, GError **error);

/* What the options take, for query-command-line-options (option-params.c). */
extern const struct option_desc option_descs[];

#endif
