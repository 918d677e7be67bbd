/* What a vCPU's object tells of itself by qom-get. See qom-vcpu.c. */
#ifndef MONITOR_QOM_VCPU_H
#define MONITOR_QOM_VCPU_H

#include "machine/machine.h"
#include <json-c/json.h>

/* One property; NULL names end the list. get: a new value. Main thread. */
struct qom_vcpu_property {
    const char *name, *type;
    struct json_object *(*get)(const struct machine *m, const struct vcpu *vcpu);
};
extern const struct qom_vcpu_property qom_vcpu_properties[];

/* NULL: there is no such. */
const struct qom_vcpu_property *qom_vcpu_property_find(const char *name);

#endif
