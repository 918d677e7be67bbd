/* Commands of the human monitor about displays and keys; complaints go to out. */
#ifndef MONITOR_HMP_UI_H
#define MONITOR_HMP_UI_H

#include "machine/machine.h"

void hmp_screendump(struct machine *m, const char *args, GString *out);
void hmp_sendkey(struct machine *m, const char *args, GString *out);

#endif
