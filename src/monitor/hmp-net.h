/* The human monitor's commands about networks. Main thread, machine lock held. */
#ifndef MONITOR_HMP_NET_H
#define MONITOR_HMP_NET_H

#include "machine/machine.h"

void hmp_netdev_add(struct machine *m, const char *args, GString *out);
void hmp_netdev_del(struct machine *m, const char *args, GString *out);
void hmp_set_link(struct machine *m, const char *args, GString *out);
void hmp_announce_self(struct machine *m, const char *args, GString *out);

#endif
