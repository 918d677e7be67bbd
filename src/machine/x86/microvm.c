/*
 * The microvm board: a PC without PCI. What it has beside memory, interrupt controllers, 8254,
 * clock, serial ports and power management are slots for virtio devices, which ACPI tells of. What
 * it has in common with PCs is in pc.c.
 *
 * Unlike QEMU's, it has the ACPI registers of a PC rather than those of a hardware-reduced machine.
 */
#include "machine/x86/pc-priv.h"

#include "devices/acpi-pm.h"
#include "devices/virtio/virtio-mmio.h"

#define RAM_HOLE  0xe0000000u
#define RAM_SPLIT 0xc0000000u
#define SLOTS     0xfeb00000u
#define SLOTS_GSI 16

/* Firmware works in RAM below 1 MiB, where it is put at each reset (pc.c). */
static void shadow_init(struct machine *m, struct pc *q)
{
    q->shadow = (struct region){.name = "ram-shadow",
                                .kind = REGION_RAM,
                                .size = HIGH_RAM - Q35_SHADOW,
                                .ram = q->ram,
                                .ram_offset = Q35_SHADOW};
    address_space_map(m->mem, Q35_SHADOW, &q->shadow, 2);
}

static bool chipset_init(struct machine *m, struct pc *q, const struct pam_wiring *pam,
                         GError **error)
{
    struct irq_line gsi = {.set = pc_gsi_set, .opaque = q, .n = SLOTS_GSI};

    shadow_init(m, q);
    q->virtio_mmio = virtio_mmio_bus_new(&m->env, SLOTS, &gsi);
    q->pm = acpi_pm_create(&m->env, &m->env.isa_irq[Q35_SCI_IRQ], error);
    return q->pm != NULL;
}

static bool offers_nothing(const struct pc *q)
{
    return false;
}

static bool board_init(struct machine *m, GError **error)
{
    static const struct pc_chipset chipset = {
        .init = chipset_init,
        .acpi = ACPI_MICROVM,
        .bare = true,
        .ram_hole = RAM_HOLE,
        .ram_split = RAM_SPLIT,
        .offers_s3 = offers_nothing,
        .offers_s4 = offers_nothing,
    };

    return pc_init(m, &chipset, error);
}

static void board_finish(struct machine *m)
{
    struct pc *q = m->board_data;

    if (q) {
        virtio_mmio_bus_free(q->virtio_mmio);
    }
    pc_finish(m);
}

const struct board board_microvm = {
    .name = "microvm",
    .desc = "PC without PCI, with slots for virtio devices",
    .firmware = "bios-microvm.bin",
    .max_cpus = ACPI_MAX_CPUS,
    .ram_id = "microvm.ram",
    .drives = {.interface = DRIVE_VIRTIO},
    .init = board_init,
    .reset = pc_reset,
    .power_button = pc_power_button,
    .finish = board_finish,
};
