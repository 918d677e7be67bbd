/*
 * Which accelerators there are, and the register door's: vCPUs exist, nothing executes.
 */
#include "cpu/vcpu.h"

#include <string.h>

static const struct accel_ops *const accels[] = {
    &accel_soft,
#ifdef HAVE_KVM
    &accel_kvm,
#endif
    &accel_qtest,
    NULL,
};

const struct accel_ops *accel_find(const char *name)
{
    if (strcmp(name, "soft") == 0) {
        name = "tcg";
    }
    for (unsigned i = 0; accels[i]; i++) {
        if (strcmp(accels[i]->name, name) == 0) {
            return accels[i];
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- the register door's */

static bool qtest_create(struct vcpu *vcpu, GError **error)
{
    return true;
}

static void qtest_nothing(struct vcpu *vcpu)
{
}

static enum run_exit qtest_run(struct vcpu *vcpu)
{
    return RUN_HALT;
}

static void qtest_get(struct vcpu *vcpu, struct cpu_state *state, unsigned what)
{
}

static bool qtest_set(struct vcpu *vcpu, const struct cpu_state *state, unsigned what,
                      GError **error)
{
    return true;
}

static bool qtest_read_linear(struct vcpu *vcpu, gva_t addr, void *buf, size_t length)
{
    return address_space_read(vcpu->cpus->mem, addr, buf, length);
}

static const struct vcpu_ops qtest_vcpu = {
    .create = qtest_create,
    .destroy = qtest_nothing,
    .reset = qtest_nothing,
    .run = qtest_run,
    .get = qtest_get,
    .set = qtest_set,
    .read_linear = qtest_read_linear,
};

/* Nothing executes: what the software CPU has will do. */
static bool qtest_probe(struct cpu_support *support, GError **error)
{
    return accel_soft.probe(support, error);
}

static bool qtest_init(struct cpus *cpus, GError **error)
{
    return true;
}

static void qtest_finish(struct cpus *cpus)
{
}

static void qtest_send_msi(struct cpus *cpus, gpa_t addr, uint32_t data)
{
}

static void qtest_set_extint(struct cpus *cpus, bool level)
{
}

static void qtest_pulse_lint1(struct cpus *cpus)
{
}

const struct accel_ops accel_qtest = {
    .name = "qtest",
    .probe = qtest_probe,
    .init = qtest_init,
    .finish = qtest_finish,
    .vcpu = &qtest_vcpu,
    .send_msi = qtest_send_msi,
    .set_extint = qtest_set_extint,
    .pulse_lint1 = qtest_pulse_lint1,
};
