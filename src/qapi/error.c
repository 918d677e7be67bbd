/*
 * The protocol's error classes (QMP specification, "Error"). The set is closed: clients know
 * these five and treat anything else as a protocol violation.
 */
#include "qapi/error.h"

G_DEFINE_QUARK(qmp - error, qmp_error)

const char *qmp_error_class(const GError *error)
{
    if (error->domain == QMP_ERROR) {
        switch ((enum qmp_error)error->code) {
        case QMP_ERROR_COMMAND_NOT_FOUND:
            return "CommandNotFound";
        case QMP_ERROR_DEVICE_NOT_ACTIVE:
            return "DeviceNotActive";
        case QMP_ERROR_DEVICE_NOT_FOUND:
            return "DeviceNotFound";
        case QMP_ERROR_KVM_MISSING_CAP:
            return "KVMMissingCap";
        case QMP_ERROR_GENERIC:
            break;
        }
    }
    return "GenericError";
}
