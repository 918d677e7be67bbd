/*
 * The register door: the qtest protocol, by which a test drives devices without a CPU.
 */
#ifndef DEVICES_QTEST_H
#define DEVICES_QTEST_H

#include "devices/core/device.h"

/* Serves the protocol on chr (taken as its front end, until devices_free()). log_path: a file for
 * the log of requests and answers, NULL for stderr. Main loop's thread, machine lock held. Fails
 * when chr is in use, the log can't be opened, or the machine has a register door already. */
bool qtest_start(struct device_env *env, struct chardev *chr, const char *log_path, GError **error);

/* Ends it; no door is fine. devices_free() does so. */
void qtest_stop(struct device_env *env);

#endif
