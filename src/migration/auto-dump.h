/*
 * -auto-dump: guest memory goes into a file when the guest fails: when it reports a panic, a
 * watchdog expires, or a vCPU meets what cannot be executed.
 *
 * That is done after the black box has recorded the failure and before anything comes of it. The
 * machine stands still meanwhile, its run state stays. The file is read back before it gets its
 * name.
 */
#ifndef MIGRATION_AUTO_DUMP_H
#define MIGRATION_AUTO_DUMP_H

#include "machine/machine.h"

/* text: "DIR[,format=F][,keep=N]", format elf, keep 4. Main thread, lock held, once. false and
 * *error when the text or the folder won't do. */
bool auto_dump_enable(struct machine *m, const char *text, GError **error);
void auto_dump_disable(struct machine *m); /* fine without the other */

#endif
