/*
 * Errors of the control protocol: the domain whose codes are the protocol's error classes.
 *
 * A handler that wants a class other than GenericError sets its GError in this domain. Errors of
 * every other domain reach the client as GenericError with their message as it is.
 * Any thread.
 */
#ifndef QAPI_ERROR_H
#define QAPI_ERROR_H

#include <glib.h>

#define QMP_ERROR (qmp_error_quark())

enum qmp_error {
    QMP_ERROR_GENERIC,
    QMP_ERROR_COMMAND_NOT_FOUND,
    QMP_ERROR_DEVICE_NOT_ACTIVE,
    QMP_ERROR_DEVICE_NOT_FOUND,
    QMP_ERROR_KVM_MISSING_CAP,
};

GQuark qmp_error_quark(void);

/* The class to put on the wire for @error ("GenericError" for a foreign domain). Never NULL. */
const char *qmp_error_class(const GError *error);

#endif
