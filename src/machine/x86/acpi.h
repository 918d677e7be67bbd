/*
 * The ACPI tables of the PC boards: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, MCFG, HPET and an
 * SSDT with the processors (ACPI specification 5.0). The DSDT is compiled from dsdt.asl at build
 * time.
 */
#ifndef MACHINE_X86_ACPI_H
#define MACHINE_X86_ACPI_H

#include "memory/types.h"
#include <glib.h>
#include <stdbool.h>

#define ACPI_USER_TABLES 32u  /* there may be no more */
#define ACPI_MAX_CPUS    255u /* local APIC ids 0..254: what the MADT's 8-bit entries hold */

enum acpi_chipset { ACPI_Q35, ACPI_I440FX, ACPI_MICROVM };

struct acpi_memory_range {
    gpa_t base;
    uint64_t bytes;
    uint32_t node;
    bool hotplug; /* there may be memory */
};

struct acpi_config {
    enum acpi_chipset chipset;
    uint16_t pm_base;        /* of the power management block */
    unsigned n_cpus;         /* 1..ACPI_MAX_CPUS: those that there can be */
    const bool *cpu_present; /* those that there are at the start; NULL: all */
    const uint32_t *apic_id; /* of each vCPU, in order */
    bool hpet;
    bool no_pic, no_rtc, no_com1; /* microvm: what is not there */
    uint16_t pvpanic_port;        /* of the ISA panic device; 0: there is none */
    bool s3, s4;                  /* the guest may suspend to RAM, to disk */
    bool i8042;                   /* a keyboard controller that answers commands */
    bool vga;                     /* a VGA adapter */
    uint16_t pci_hotplug_port;    /* acpi-pcihp.h; 0: none */
    uint32_t pci_slots;           /* in which devices may come and go, a bit each */
    uint16_t memory_hotplug_port;
    unsigned n_memory_slots;         /* 0: none */
    uint16_t cpu_hotplug_port;       /* 0: processors stay as they are */
    const uint8_t *numa_node_of_cpu; /* NULL: nothing is told of nodes */
    unsigned n_ranges;
    const struct acpi_memory_range *range; /* of the nodes */
    unsigned n_nodes;
    const uint8_t *distance; /* n_nodes rows; NULL: not told */
    /* What tells of the machine's generation: its 16 bytes; NULL: nothing does. Where they are
     * behind base is put into *generation_at. */
    const uint8_t *generation;
    uint32_t *generation_at;
    const GPtrArray *user_tables; /* NULL, or GBytes, each a table with its sum right */
};

/* Where the firmware ACPI control structure (FACS) is behind base, and the 32-bit waking vector in
 * it: where a guest that sleeps wants to wake, in real mode. */
#define ACPI_FACS               64u
#define ACPI_FACS_WAKING_VECTOR 12u

/* All tables, one behind the other, as they will lie at base (a multiple of 64), the RSDP first. */
GByteArray *acpi_build(const struct acpi_config *config, gpa_t base);

/* The same for firmware to place: each is a fw_cfg file. It writes where the machine's generation
 * is into a fourth one. */
#define ACPI_FILE_TABLES     "etc/acpi/tables"
#define ACPI_FILE_RSDP       "etc/acpi/rsdp"
#define ACPI_FILE_LOADER     "etc/table-loader"
#define ACPI_FILE_GENERATION "etc/vmgenid_addr"

struct acpi_files {
    GByteArray *tables, *rsdp, *loader;
};

void acpi_build_files(const struct acpi_config *config, struct acpi_files *files);
void acpi_files_clear(struct acpi_files *files); /* frees what the call above made */

#endif
