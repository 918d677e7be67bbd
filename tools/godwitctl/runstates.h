/*
 * The run states of a QMP server as people see them: meaning, ways in and out.
 *
 * The transitions are those of src/machine/runstate.c (a test compares them), copied because this
 * program knows servers by their sockets only; QEMU's are the same but for one. A state that is not
 * in the table (a newer server's) is shown by its name alone.
 */
#ifndef GODWITCTL_RUNSTATES_H
#define GODWITCTL_RUNSTATES_H

#include "output.h"

#include <stddef.h>

struct runstate_info {
    const char *name;
    char letter; /* in the time line, one per state */
    enum style style;
    const char *meaning; /* and how it is left */
    const char *next;    /* the states it may go to, separated by spaces */
};

extern const struct runstate_info runstates[];
extern const size_t runstates_n;

/* NULL when the name is unknown. */
const struct runstate_info *runstate_find(const char *name);
bool runstate_may(const struct runstate_info *from, const char *to);

#endif
