/* The human monitor's commands of drives and of what the machine is made of. Main thread, machine
 * lock held. */
#ifndef MONITOR_HMP_BLOCK_H
#define MONITOR_HMP_BLOCK_H

#include "machine/machine.h"

/* SLOT OPTIONS: a -drive with if=none; the slot, which was a card's once, is not looked at. */
void hmp_drive_add(struct machine *m, const char *args, GString *out);
/* ID: takes a -drive away, from under its device too. */
void hmp_drive_del(struct machine *m, const char *args, GString *out);

#endif
