/*
 * The q35 board: a PC with PCI Express, after Intel's Q35 (MCH) and ICH9. What it has in common
 * with other PCs is in pc.c.
 */
#include "machine/x86/pc-priv.h"

#include "devices/acpi-cpuhp.h"
#include "devices/acpi-pm.h"
#include "devices/ide/ahci.h"
#include "devices/pci/ich9-lpc.h"
#include "devices/pci/ich9-smb.h"
#include "devices/pci/q35-host.h"

static bool q35_chipset_init(struct machine *m, struct pc *q, const struct pam_wiring *pam,
                             GError **error)
{
    struct device_env *env = &m->env;
    struct irq_line gsi = {.set = pc_gsi_set, .opaque = q};

    return q35_host_create(env, pam, error) &&
           (q->pm = acpi_pm_create(env, &env->isa_irq[Q35_SCI_IRQ], error)) &&
           (q->lpc = ich9_lpc_create(env, q->pm, &gsi, error)) && ahci_create(env, error) &&
           (m->config->no_smbus || ich9_smb_create(env, m->config->ram_bytes, error));
}

static bool q35_offers_s3(const struct pc *q)
{
    return ich9_lpc_offers_s3(q->lpc);
}

static bool q35_offers_s4(const struct pc *q)
{
    return ich9_lpc_offers_s4(q->lpc);
}

static bool q35_init(struct machine *m, GError **error)
{
    static const struct pc_chipset chipset = {
        .init = q35_chipset_init,
        .ram_hole = Q35_RAM_HOLE,
        .ram_split = Q35_RAM_SPLIT,
        .acpi = ACPI_Q35,
        .cpu_hotplug_port = ACPI_CPUHP_Q35,
        .ecam = true,
        .offers_s3 = q35_offers_s3,
        .offers_s4 = q35_offers_s4,
    };

    return pc_init(m, &chipset, error);
}

const struct board board_q35 = {
    .name = "pc-q35-7.2",
    .alias = "q35",
    .desc = "Standard PC with PCI Express (Q35 + ICH9)",
    .firmware = "bios-256k.bin",
    .is_default = true,
    .max_cpus = ACPI_MAX_CPUS,
    .has_dies = true,
    .ram_id = "pc.ram",
    .cpu_hotplug = true,
    .wakeup_suspend = true,
    .drives = {.interface = DRIVE_IDE, .ide_units = 1},
    .init = q35_init,
    .reset = pc_reset,
    .power_button = pc_power_button,
    .asleep = pc_asleep,
    .wake = pc_wake,
    .finish = pc_finish,
};
