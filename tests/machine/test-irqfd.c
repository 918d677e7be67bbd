/*
 * Interrupts that the host's kernel sends by itself (cpu/vcpu.h, irqfd_set): an eventfd is
 * signalled, and a guest on KVM counts. The main loop only looks at the guest's memory.
 */
#include "machine/machine.h"
#include "qapi/event.h"
#include <sys/eventfd.h>
#include <unistd.h>

#define COUNTS  0x200000u /* as in guests/signal.c */
#define MESSAGE 0xfee00000u
#define LEVEL   (1u << 15)
#define WAIT_S  20

static void emit(struct event_sink *sink, unsigned event, const char *data_json)
{
}

static struct event_sink sink = {.emit = emit};

static struct machine *machine_on_kvm(void)
{
    struct machine_config *config = machine_config_new();
    g_autoptr(GError) error = NULL;
    struct machine *m;

    config->machine_type = g_strdup("q35");
    config->cpu_spec = g_strdup("qemu64,-pni"); /* not every KVM has it */
    config->ram_bytes = 16u << 20;
    config->topology = (struct cpu_topology){1, 1, 1, 1, 1, 1};
    config->kernel = g_build_filename(g_getenv("GUESTS"), "guest-signal-far", NULL);
    g_ptr_array_add(config->accels, g_strdup("kvm"));
    m = machine_new(config, loop_new, &sink, &error);
    g_assert_no_error(error);
    return m;
}

struct wait {
    struct machine *m;
    unsigned index;
    uint32_t value;
    gint64 end_us;
    bool came;
};

static uint32_t count(struct machine *m, unsigned index)
{
    uint32_t value;

    g_assert_true(address_space_read(m->mem, COUNTS + 4 * index, &value, sizeof(value)));
    return value;
}

static gboolean look(gpointer opaque)
{
    struct wait *w = opaque;

    w->came = count(w->m, w->index) >= w->value;
    if (w->came || g_get_monotonic_time() >= w->end_us) {
        loop_quit(w->m->loop);
    }
    return G_SOURCE_CONTINUE;
}

/* Runs until the guest's count is there. */
static bool counts_to(struct machine *m, unsigned index, uint32_t value, unsigned wait_ms)
{
    struct wait w = {m, index, value, g_get_monotonic_time() + wait_ms * 1000ll, false};
    GSource *timer = g_timeout_source_new(1);

    g_source_set_callback(timer, look, &w, NULL);
    g_source_attach(timer, m->loop->context);
    loop_run(m->loop);
    g_source_destroy(timer);
    g_source_unref(timer);
    return w.came;
}

static bool irqfd_set(struct machine *m, int fd, uint32_t data)
{
    bool ok;

    big_lock_acquire(&m->lock);
    ok = m->env.irqfd_set(&m->env, fd, MESSAGE, data);
    big_lock_release(&m->lock);
    return ok;
}

static void test_irqfd(void)
{
    struct machine *m;
    int fd[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
    eventfd_t left;

    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        g_test_skip("/dev/kvm cannot be used");
        return;
    }
    m = machine_on_kvm();
    machine_start(m);
    g_assert_true(counts_to(m, 0, 1, WAIT_S * 1000));
    eventfd_write(fd[0], 1); /* before the kernel watches it: not lost */
    g_assert_true(irqfd_set(m, fd[0], 0x40));
    g_assert_true(irqfd_set(m, fd[1], 0x41));
    g_assert_true(counts_to(m, 1, 1, WAIT_S * 1000));
    for (uint32_t i = 1; i <= 10; i++) {
        eventfd_write(fd[1], 1);
        g_assert_true(counts_to(m, 2, i, WAIT_S * 1000));
    }
    g_assert_cmpuint(count(m, 1), ==, 1);
    g_assert_true(irqfd_set(m, fd[0], 0x41)); /* another message */
    eventfd_write(fd[0], 1);
    g_assert_true(counts_to(m, 2, 11, WAIT_S * 1000));
    g_assert_false(irqfd_set(m, fd[0], 0x40 | LEVEL));
    eventfd_write(fd[0], 1);
    g_assert_false(counts_to(m, 2, 12, 50));
    g_assert_cmpint(eventfd_read(fd[0], &left), ==, 0); /* the kernel left it alone */
    big_lock_acquire(&m->lock);
    m->env.irqfd_clear(&m->env, fd[1]);
    m->env.irqfd_clear(&m->env, fd[1]);
    big_lock_release(&m->lock);
    eventfd_write(fd[1], 1);
    g_assert_false(counts_to(m, 2, 12, 50));
    big_lock_acquire(&m->lock);
    vm_stop(m, RUN_STATE_PAUSED);
    big_lock_release(&m->lock);
    machine_free(m);
    close(fd[0]);
    close(fd[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/irqfd/guest", test_irqfd);
    return g_test_run();
}
