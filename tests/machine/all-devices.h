/* A bus with every device of the PC on it, wired as a board would. */
#ifndef TESTS_MACHINE_ALL_DEVICES_H
#define TESTS_MACHINE_ALL_DEVICES_H

#include "bare-bus.h"
#include "devices/acpi-pm.h"
#include "devices/fw-cfg.h"
#include "devices/hpet.h"
#include "devices/ioapic.h"
#include "devices/isa/debugcon.h"
#include "devices/isa/ferr.h"
#include "devices/isa/i8042.h"
#include "devices/isa/i8254.h"
#include "devices/isa/i8259.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/port92.h"
#include "devices/isa/serial.h"
#include "devices/isa/testdev.h"
#include "devices/pci/ich9-lpc.h"
#include "devices/pci/ich9-smb.h"
#include "devices/pci/q35-host.h"

struct all_devices {
    struct bare_bus *bus;
    struct device *pic, *ioapic, *pit, *rtc, *pm, *hpet, *fw_cfg;
    struct chardev *null[2];
};

static inline void all_isa_irq(void *opaque, int n, bool level)
{
    struct all_devices *all = opaque;

    i8259_set_irq(all->pic, n, level);
    ioapic_set_irq(all->ioapic, n == 0 ? 2 : n, level);
}

static inline void all_gsi(void *opaque, int n, bool level)
{
    ioapic_set_irq(((struct all_devices *)opaque)->ioapic, n, level);
}

static inline void all_hpet_legacy(void *opaque, bool on)
{
    struct all_devices *all = opaque;

    i8254_enable_irq(all->pit, !on);
    mc146818rtc_enable_irq(all->rtc, !on);
}

/* Those that only a -device makes; on PCI out of the way of what a test plugs in. */
static const struct {
    const char *name, *addr;
} all_plugged[] = {
    {"isa-debug-exit", NULL}, {"pc-testdev", NULL},   {"pvpanic", NULL},     {"ib700", NULL},
    {"i6300esb", "10"},       {"godwit-stall", NULL}, {"pvpanic-pci", "11"},
};

static inline void all_devices_new(struct all_devices *all)
{
    struct bare_bus *bus = bus_new();
    struct device_env *env = &bus->env;
    struct irq_line intr = bus_line(bus, 20), gsi = {.set = all_gsi, .opaque = all};
    struct hpet_wiring hpet = {.gsi = gsi, .legacy = all_hpet_legacy, .legacy_opaque = all};

    *all = (struct all_devices){.bus = bus};
    for (int i = 0; i < 16; i++) {
        env->isa_irq[i] = (struct irq_line){.set = all_isa_irq, .opaque = all, .n = i};
    }
    all->null[0] = chardev_new("n0", "null", bus->loop, NULL);
    all->null[1] = chardev_new("n1", "null", bus->loop, NULL);
    all->pic = i8259_create(env, &intr, NULL);
    all->ioapic = ioapic_create(env, NULL);
    g_assert_nonnull(q35_host_create(env, NULL, NULL));
    all->pit = i8254_create(env, &env->isa_irq[0], NULL);
    all->rtc = mc146818rtc_create(env, &env->isa_irq[8], "2026-01-01", "vm", NULL);
    all->pm = acpi_pm_create(env, &env->isa_irq[9], NULL);
    g_assert_nonnull(ich9_lpc_create(env, all->pm, &gsi, NULL));
    g_assert_nonnull(ich9_smb_create(env, 3ull << 29, NULL)); /* 1.5 GiB */
    all->hpet = hpet_create(env, &hpet, NULL);
    all->fw_cfg = fw_cfg_create(env, NULL);
    g_assert_nonnull(i8042_create(env, NULL));
    g_assert_nonnull(port92_create(env, NULL));
    g_assert_nonnull(ferr_create(env, NULL));
    g_assert_nonnull(serial_create(env, 0, all->null[0], NULL));
    g_assert_nonnull(debugcon_create(env, all->null[1], NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(all_plugged); i++) {
        struct device *dev = device_new_named(all_plugged[i].name, env, NULL);

        g_assert_true(!all_plugged[i].addr ||
                      device_set_property(dev, "addr", all_plugged[i].addr, NULL));
        g_assert_true(device_realize(dev, NULL));
    }
    bus_start(bus);
}

static inline void all_devices_free(struct all_devices *all)
{
    bus_free(all->bus);
    chardev_free(all->null[0]);
    chardev_free(all->null[1]);
}

#endif
