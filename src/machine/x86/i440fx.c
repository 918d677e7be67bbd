/*
 * The pc board: a PC without PCI Express, after Intel's 440FX, PIIX3 and the power management of
 * PIIX4. What it has in common with other PCs is in pc.c.
 */
#include "machine/x86/pc-priv.h"

#include "devices/acpi-cpuhp.h"
#include "devices/acpi-pcihp.h"
#include "devices/acpi-pm.h"
#include "devices/ide/piix-ide.h"
#include "devices/pci/i440fx.h"

#define RAM_HOLE  0xe0000000u
#define RAM_SPLIT 0xc0000000u

static bool i440fx_chipset_init(struct machine *m, struct pc *q, const struct pam_wiring *pam,
                                GError **error)
{
    struct device_env *env = &m->env;

    return i440fx_create(env, pam, error) && piix3_create(env, error) &&
           piix_ide_create(env, error) &&
           (q->pm = acpi_pm_create(env, &env->isa_irq[Q35_SCI_IRQ], error)) &&
           (q->lpc = piix4_pm_create(env, q->pm, m->config->no_smbus ? 0 : m->config->ram_bytes,
                                     error)) &&
           (!piix4_pm_offers_hotplug(q->lpc) ||
            (q->pcihp = acpi_pcihp_create(env, ACPI_PCIHP_BASE, q->pm, env->pci, error)));
}

static bool i440fx_offers_s3(const struct pc *q)
{
    return piix4_pm_offers_s3(q->lpc);
}

static bool i440fx_offers_s4(const struct pc *q)
{
    return piix4_pm_offers_s4(q->lpc);
}

static bool board_init(struct machine *m, GError **error)
{
    static const struct pc_chipset chipset = {
        .init = i440fx_chipset_init,
        .acpi = ACPI_I440FX,
        .cpu_hotplug_port = ACPI_CPUHP_PC,
        .ram_hole = RAM_HOLE,
        .ram_split = RAM_SPLIT,
        .offers_s3 = i440fx_offers_s3,
        .offers_s4 = i440fx_offers_s4,
    };

    return pc_init(m, &chipset, error);
}

const struct board board_i440fx = {
    .name = "pc-i440fx-7.2",
    .alias = "pc",
    .desc = "Standard PC (i440FX + PIIX, 1996)",
    .firmware = "bios-256k.bin",
    .max_cpus = ACPI_MAX_CPUS,
    .has_dies = true,
    .ram_id = "pc.ram",
    .cpu_hotplug = true,
    .wakeup_suspend = true,
    .drives = {.interface = DRIVE_IDE, .ide_units = 2},
    .init = board_init,
    .reset = pc_reset,
    .power_button = pc_power_button,
    .asleep = pc_asleep,
    .wake = pc_wake,
    .finish = pc_finish,
};
