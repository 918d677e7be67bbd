/* Snapshots for people (cmd-snapshot.c): what a command prints is appended to out. */
#ifndef MONITOR_HMP_SNAPSHOT_H
#define MONITOR_HMP_SNAPSHOT_H

#include "machine/machine.h"

void hmp_savevm(struct machine *m, const char *tag, GString *out); /* tag may be empty */
void hmp_loadvm(struct machine *m, const char *tag, GString *out);
void hmp_delvm(struct machine *m, const char *tag, GString *out);
void hmp_info_snapshots(struct machine *m, GString *out);

#endif
