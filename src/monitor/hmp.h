/*
 * The human monitor: command lines for people, with QEMU's names and output.
 */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "machine/machine.h"

/* As hmp_run() of monitor.h, for the given vCPU (NULL: the machine has none). */
char *hmp_run_on(struct machine *m, struct vcpu *vcpu, const char *line);

/*
 * The value of the address expression at *text: numbers (0x..., 0..., decimal, 'c'), $registers,
 * parentheses, ~ - + * / % & | ^ (these three bind closer than + and -). *text is left at the first
 * character that does not belong to it. register_value may be NULL. On failure false and *error.
 */
typedef bool (*hmp_register_fn)(void *opaque, const char *name, uint64_t *value);
bool hmp_expression(const char **text, hmp_register_fn register_value, void *opaque,
                    uint64_t *value, GError **error);

#endif
