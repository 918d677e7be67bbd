/*
 * Dumps of guest memory: dump-guest-memory, and those that a failure of the guest causes.
 *
 * The guest stands still while its memory is written, by the calling thread or, detached, by one of
 * its own; see machine_freeze(). Main thread, machine lock held, here unless said.
 */
#ifndef MIGRATION_DUMP_H
#define MIGRATION_DUMP_H

#include "machine/machine.h"

#define DUMP_ERROR       (g_quark_from_static_string("dump-error"))

/* What the commands that would disturb a dump are refused with. */
#define DUMP_IN_PROGRESS "There is a dump in process, please wait."

struct dump_options {
    enum dump_guest_memory_format format;
    bool paging;                /* ELF: also linear addresses */
    bool has_begin, has_length; /* both or neither; ELF only */
    uint64_t begin, length;     /* guest-physical, bytes */
};

/* Whether that format can be written. */
bool dump_format_available(enum dump_guest_memory_format format);

/* Checks what can be before a file is opened; errors are those of QEMU's command. */
bool dump_check(struct machine *m, const struct dump_options *options, GError **error);

/* Dumps to fd, which is closed at the end, also on failure. Stops a machine that runs (STOP, state
 * save-vm) and lets it go on. false and *error: nothing was written, or not all; DUMP_COMPLETED
 * tells of a dump that had begun to be written. detach: returns when writing has begun. */
bool dump_run(struct machine *m, const struct dump_options *options, int fd, bool detach,
              GError **error);

/* Dumps to a file of that name, which appears when it is complete and reads back as it was written;
 * what had the name is replaced. The machine stands (machine_still_begin()), and its run state
 * stays. named() is called when it is there, before DUMP_COMPLETED tells. */
bool dump_to_file(struct machine *m, const struct dump_options *options, const char *path,
                  void (*named)(void *opaque), void *opaque, GError **error);

/* The last dump, or status none. */
struct dump_query_result *dump_query(struct machine *m);

/* At the machine's end: ends a dump that is being written. */
void dump_finish(struct machine *m);

#endif
