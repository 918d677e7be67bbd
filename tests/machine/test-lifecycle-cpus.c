/*
 * A machine's life with vCPUs: two threads that count turns instead of executing instructions, and
 * on demand do what guests do. The main loop runs in a thread of its own.
 */
#include "cpu/x86/cpuid.h"
#include "machine/machine.h"
#include "qapi-events.h"

#include <stdatomic.h>
#include <string.h>

enum deed { NOTHING, TRIPLE_FAULT, BROKEN_INSTRUCTION, POWER_OFF };

#define N_CPUS 2

struct fixture {
    struct event_sink sink; /* first */
    struct machine *m;
    GThread *main_thread;
    GMutex mutex;
    GCond cond;
    GString *events; /* mutex */
    _Atomic uint64_t turns[N_CPUS], turns_at_deed;
    _Atomic int deed; /* for vCPU 0 */
};

/* ---- the accelerator */

static struct fixture *fixture_of(struct vcpu *vcpu)
{
    struct machine *m = vcpu->cpus->hooks_opaque;

    return m->config->populate_opaque;
}

static bool fake_create(struct vcpu *vcpu, GError **error)
{
    return true;
}

static void fake_nothing(struct vcpu *vcpu)
{
}

static enum run_exit fake_run(struct vcpu *vcpu)
{
    struct fixture *f = fixture_of(vcpu);
    struct machine *m = f->m;

    while (!vcpu_wants_exit(vcpu)) {
        atomic_fetch_add(&f->turns[vcpu->index], 1);
        switch (vcpu->index ? NOTHING : atomic_exchange(&f->deed, NOTHING)) {
        case TRIPLE_FAULT:
            return RUN_SHUTDOWN;
        case BROKEN_INSTRUCTION:
            vcpu->cpus->hooks->internal_error(m, vcpu, "at 0x1234: 0f 0b\nRAX=0");
            return RUN_ERROR;
        case POWER_OFF:
            vcpu_lock_machine(vcpu);
            system_request_shutdown(&m->env, "test");
            vcpu_unlock_machine(vcpu);
            atomic_store(&f->turns_at_deed, atomic_load(&f->turns[0]));
            break;
        default:
            break;
        }
        g_thread_yield();
    }
    return RUN_KICKED;
}

static void fake_get(struct vcpu *vcpu, struct cpu_state *state, unsigned what)
{
}

static bool fake_read_linear(struct vcpu *vcpu, gva_t addr, void *buf, size_t length)
{
    return false;
}

static const struct vcpu_ops fake_vcpu = {
    .create = fake_create,
    .destroy = fake_nothing,
    .reset = fake_nothing,
    .run = fake_run,
    .get = fake_get,
    .read_linear = fake_read_linear,
};

static bool fake_init(struct cpus *cpus, GError **error)
{
    return true;
}

static void fake_finish(struct cpus *cpus)
{
}

static const struct accel_ops fake_accel = {
    .name = "fake", .init = fake_init, .finish = fake_finish, .vcpu = &fake_vcpu};

static const struct cpus_hooks hooks = {.triple_fault = machine_triple_fault,
                                        .internal_error = machine_internal_error,
                                        .crash = machine_crash};

static bool board_init(struct machine *m, GError **error)
{
    m->cpu_model = cpu_model_new(NULL, &m->config->topology, error);
    m->cpus = cpus_new(&fake_accel, NULL, &m->config->topology, m->cpu_model, m->mem, m->io,
                       m->clock, &m->lock, &hooks, m, error);
    return m->cpus != NULL;
}

static const struct board board = {.name = "test", .max_cpus = N_CPUS, .init = board_init};
const struct board *const boards[] = {&board, NULL};

/* ---- the test's side */

static void record(struct event_sink *sink, unsigned event, const char *data_json)
{
    struct fixture *f = (struct fixture *)sink;

    g_mutex_lock(&f->mutex);
    g_string_append_printf(f->events, "%s ", qapi_event_str((enum qapi_event)event));
    g_cond_broadcast(&f->cond);
    g_mutex_unlock(&f->mutex);
}

/* Waits for exactly these events. */
static void expect(struct fixture *f, const char *events)
{
    gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    g_mutex_lock(&f->mutex);
    while (f->events->len < strlen(events) && g_cond_wait_until(&f->cond, &f->mutex, end)) {
    }
    g_assert_cmpstr(f->events->str, ==, events);
    g_string_truncate(f->events, 0);
    g_mutex_unlock(&f->mutex);
}

static gpointer run_machine(gpointer m)
{
    machine_start(m);
    return GINT_TO_POINTER(machine_run(m));
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    struct machine_config *config = machine_config_new();
    g_autoptr(GError) error = NULL;

    config->machine_type = g_strdup("test");
    config->topology = (struct cpu_topology){N_CPUS, N_CPUS, N_CPUS, 1, 1, 1};
    f->sink.emit = record;
    config->populate_opaque = f; /* for the vCPUs */
    f->events = g_string_new(NULL);
    f->m = machine_new(config, loop_new, &f->sink, &error);
    g_assert_no_error(error);
    f->main_thread = g_thread_new("main", run_machine, f->m);
    expect(f, "RESUME ");
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    machine_request_exit(f->m, 3);
    g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(f->main_thread)), ==, 3);
    machine_free(f->m);
    g_string_free(f->events, TRUE);
}

static void stop_now(void *m)
{
    vm_stop(m, RUN_STATE_PAUSED);
}

static void start_now(void *m)
{
    g_assert_true(vm_start(m, NULL));
}

static void start_refused(void *m)
{
    g_assert_false(vm_start(m, NULL));
}

static void wait_for_turns(struct fixture *f)
{
    for (unsigned i = 0; i < N_CPUS; i++) {
        uint64_t from = atomic_load(&f->turns[i]);

        while (atomic_load(&f->turns[i]) < from + 3) {
            g_thread_yield();
        }
    }
}

static void expect_stillness(struct fixture *f)
{
    uint64_t turns[N_CPUS];

    for (unsigned i = 0; i < N_CPUS; i++) {
        turns[i] = atomic_load(&f->turns[i]);
    }
    g_usleep(5000);
    for (unsigned i = 0; i < N_CPUS; i++) {
        g_assert_cmpuint(atomic_load(&f->turns[i]), ==, turns[i]);
    }
}

static void test_stop_and_cont(struct fixture *f, gconstpointer unused)
{
    for (unsigned i = 0; i < 20; i++) {
        wait_for_turns(f);
        loop_call(f->m->loop, stop_now, f->m);
        expect(f, "STOP ");
        expect_stillness(f);
        loop_call(f->m->loop, start_now, f->m);
        expect(f, "RESUME ");
    }
    wait_for_turns(f);
}

static void test_triple_fault(struct fixture *f, gconstpointer unused)
{
    wait_for_turns(f);
    atomic_store(&f->deed, TRIPLE_FAULT);
    expect(f, "GODWIT_BLACK_BOX RESET ");
    wait_for_turns(f);
    g_assert_cmpint(runstate_get(f->m->run), ==, RUN_STATE_RUNNING);
}

static void test_internal_error(struct fixture *f, gconstpointer unused)
{
    wait_for_turns(f);
    atomic_store(&f->deed, BROKEN_INSTRUCTION);
    expect(f, "GODWIT_BLACK_BOX STOP ");
    g_assert_cmpint(runstate_get(f->m->run), ==, RUN_STATE_INTERNAL_ERROR);
    expect_stillness(f);
    loop_call(f->m->loop, start_refused, f->m);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    expect(f, "RESET ");
    loop_call(f->m->loop, start_now, f->m);
    expect(f, "RESUME ");
    wait_for_turns(f);
}

static void pause_on_shutdown(void *m)
{
    machine_actions(m)->shutdown = SHUTDOWN_ACTION_PAUSE;
}

/* After its own power-off a guest does not execute another instruction. */
static void test_power_off(struct fixture *f, gconstpointer unused)
{
    loop_call(f->m->loop, pause_on_shutdown, f->m);
    wait_for_turns(f);
    atomic_store(&f->deed, POWER_OFF);
    expect(f, "SHUTDOWN STOP ");
    g_assert_cmpuint(atomic_load(&f->turns[0]), ==, atomic_load(&f->turns_at_deed));
    expect_stillness(f);
    g_assert_cmpint(runstate_get(f->m->run), ==, RUN_STATE_SHUTDOWN);
}

static void look_at_registers(void *m)
{
    machine_park_begin(m);
    machine_park_end(m);
}

/* A look at a running machine is no stop: no events, and it goes on. */
static void test_look(struct fixture *f, gconstpointer unused)
{
    for (unsigned i = 0; i < 20; i++) {
        wait_for_turns(f);
        loop_call(f->m->loop, look_at_registers, f->m);
    }
    wait_for_turns(f);
    loop_call(f->m->loop, stop_now, f->m);
    loop_call(f->m->loop, look_at_registers, f->m);
    expect(f, "STOP ");
    expect_stillness(f);
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine_block_signals();
    ADD("/lifecycle-cpus/stop-and-cont", test_stop_and_cont);
    ADD("/lifecycle-cpus/triple-fault", test_triple_fault);
    ADD("/lifecycle-cpus/internal-error", test_internal_error);
    ADD("/lifecycle-cpus/power-off", test_power_off);
    ADD("/lifecycle-cpus/look", test_look);
    return g_test_run();
}
