/* Between the files of the PC boards: pc.c, pc-firmware.c and one file per chipset. */
#ifndef MACHINE_X86_PC_PRIV_H
#define MACHINE_X86_PC_PRIV_H

#include "devices/memory-slots.h"
#include "devices/pci/pam.h"
#include "machine/x86/acpi.h"
#include "machine/x86/boards.h"
#include "machine/x86/boot-priv.h"
#include "machine/x86/q35-map.h"

struct pc;

/* What a chipset is to the rest of its board. */
struct pc_chipset {
    /* Makes host bridge, ISA or LPC bridge and power management: sets q->pm. */
    bool (*init)(struct machine *m, struct pc *q, const struct pam_wiring *pam, GError **error);
    uint64_t ram_hole;  /* RAM below 4 GiB ends here at the latest... */
    uint64_t ram_split; /* ...or here when there is more RAM than that */
    enum acpi_chipset acpi;
    bool bare; /* no HPET, no keyboard controller; RAM from 768 KiB on, with the firmware in it */
    bool ecam; /* configuration space in memory, at Q35_ECAM */
    uint16_t cpu_hotplug_port; /* acpi-cpuhp.h; 0: neither CPUs nor memory come and go */
    bool (*offers_s3)(const struct pc *q);
    bool (*offers_s4)(const struct pc *q);
};

struct pc {
    const struct pc_chipset *chipset;
    struct ram_block *ram, *rom;
    struct region low, behind_vga, extended,
        high; /* of ram; between low and extended is the chipset's */
    struct region rom_top, rom_alias;
    struct region shadow;                /* of a bare board */
    struct virtio_mmio_bus *virtio_mmio; /* the same */
    gpa_t rom_alias_base;                /* 0: the ROM is not seen below 1 MiB */
    uint64_t low_bytes, high_bytes;
    struct device *ioapic, *pm, *lpc, *fw_cfg, *ferr;
    struct device *pic, *pit, *rtc; /* NULL: a microvm without */
    struct device *pcihp;           /* NULL: devices on the root bus stay */
    struct memory_slots memory;
    struct irq_line pic_intr;
    uint32_t generation_at; /* in the ACPI tables, with -device vmgenid */
    GByteArray *tables;     /* ACPI; NULL with firmware */
    GByteArray *smbios;     /* the same */
    struct boot_image *image;
    uint16_t told_pm_base;  /* what the ACPI files say */
    unsigned told_cpus;     /* the same */
    bool cpu_hotplug;       /* there are places for more vCPUs */
    bool has_flash;         /* firmware is in flash memory */
    bool has_bootorder;     /* the file bootorder */
    bool has_geometries;    /* the file bios-geometry */
    const char *kernel_rom; /* by which SeaBIOS starts the kernel; NULL: none */
    bool laid_out;          /* a start before has written to RAM */
};

/* For struct board. */
bool pc_init(struct machine *m, const struct pc_chipset *chipset, GError **error);
bool pc_reset(struct machine *m, GError **error);
void pc_power_button(struct machine *m);
void pc_asleep(struct machine *m, bool asleep);
bool pc_wake(struct machine *m, GError **error);
void pc_finish(struct machine *m);

bool pc_has_firmware(const struct machine *m);

/* A byte of the clock's memory, where there is a clock. */
void pc_cmos_set(const struct pc *q, uint8_t index, uint8_t value);

/* An interrupt line for a chipset; opaque: struct pc. */
void pc_gsi_set(void *opaque, int n, bool level);

/* pc-firmware.c: fw_cfg and CMOS. pc_firmware_finish() comes at the first reset, when all devices
 * are there, pc_boot_again() at each later one. */
bool pc_firmware_init(struct machine *m, GError **error);
bool pc_firmware_finish(struct machine *m, GError **error);
bool pc_boot_again(struct machine *m, GError **error);
GByteArray *pc_tables_make(struct machine *m, GError **error); /* NULL: they do not fit */

#endif
