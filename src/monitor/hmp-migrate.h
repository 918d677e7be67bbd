/* The human monitor's commands of migrations. Main thread, machine lock held. */
#ifndef MONITOR_HMP_MIGRATE_H
#define MONITOR_HMP_MIGRATE_H

#include "machine/machine.h"

/* args: [-d] uri. It goes on in the background either way. */
void hmp_migrate(struct machine *m, const char *args, GString *out);
void hmp_info_migrate(struct machine *m, GString *out);

#endif
