/* Dumps for people (cmd-dump.c): what a command prints is appended to out. */
#ifndef MONITOR_HMP_DUMP_H
#define MONITOR_HMP_DUMP_H

#include "machine/machine.h"

/* args: [-p] [-d] [-z|-l|-s|-w] filename [begin length] */
void hmp_dump_guest_memory(struct machine *m, const char *args, GString *out);
void hmp_info_dump(struct machine *m, GString *out);

#endif
