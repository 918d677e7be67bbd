/*
 * godwit-stall: a test device. It does on purpose what no device may do: it sleeps with the machine
 * lock held, so that tests can see what still works then. There is no such hardware, and only an
 * explicit -device makes one.
 *
 *   port + 0, write of n: the writing vCPU sleeps n milliseconds in the handler
 *   port + 2, write of n: the main thread does, as soon as it comes to it
 *
 * A sleep is a minute at most. Reads give zero. Threads that belong to no machine, and writes that
 * no vCPU makes, do not sleep: so tests that poke every device can poke this one.
 */
#include "devices/isa/stall.h"

#include "base/threads.h"
#include <errno.h>
#include <time.h>

#define STALL_VCPU   0
#define STALL_MAIN   2
#define STALL_PORTS  4
#define STALL_MAX_MS 60000

struct stall {
    struct device dev;
    struct {
        uint32_t iobase;
    } cfg;
    struct region region;
};

static void sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

static void sleep_on_main(void *ms)
{
    struct thread_doing outer;

    if (thread_is(THREAD_MAIN)) {
        thread_doing_begin(&outer, "posted function", "godwit-stall");
        sleep_ms(GPOINTER_TO_UINT(ms));
        thread_doing_end(&outer);
    }
}

static uint64_t stall_read(void *opaque, gpa_t offset, unsigned size)
{
    return 0;
}

static void stall_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct stall *d = opaque;
    uint64_t ms = MIN(value, STALL_MAX_MS);

    if (offset == STALL_VCPU && thread_is(THREAD_VCPU)) {
        sleep_ms(ms);
    } else if (offset == STALL_MAIN) {
        loop_post(d->dev.env->loop, sleep_on_main, GUINT_TO_POINTER((guint)ms));
    }
}

static const struct region_ops stall_ops = {
    .read = stall_read, .write = stall_write, .min_size = 2, .max_size = 2};

static bool stall_realize(struct device *dev, GError **error)
{
    struct stall *d = (struct stall *)dev;

    d->region = (struct region){.name = "godwit-stall",
                                .kind = REGION_IO,
                                .size = STALL_PORTS,
                                .ops = &stall_ops,
                                .opaque = d};
    address_space_map(dev->env->io, d->cfg.iobase, &d->region, 0);
    return true;
}

static void stall_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct stall *)dev)->region);
}

static const struct property stall_props[] = {
    {.name = "iobase",
     .type = PROP_U32,
     .offset = offsetof(struct stall, cfg.iobase),
     .def = 0x5e0,
     .max = 0xfffc,
     .help = "first of its four ports"},
    {.type = PROP_END},
};

const struct device_class stall_class = {
    .name = "godwit-stall",
    .help = "test device whose ports make a vCPU or the main thread sleep",
    .bus = BUS_ISA,
    .size = sizeof(struct stall),
    .props = stall_props,
    .state = &state_none,
    .realize = stall_realize,
    .unrealize = stall_unrealize,
};
