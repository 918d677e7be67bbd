/*
 * SMBIOS 2.8 tables for firmware to put into memory (DMTF DSP0134): type 0 is the firmware's own
 * unless the user wants to say it, 2 baseboard and 11 strings are there when they were asked for,
 * and always 1 system, 3 chassis, 4 processors, 16 memory array, 17 memory devices, 19 mapped
 * addresses, 32 boot status and 127 end.
 */
#ifndef MACHINE_X86_SMBIOS_H
#define MACHINE_X86_SMBIOS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define SMBIOS_FILE_TABLES "etc/smbios/smbios-tables"
#define SMBIOS_FILE_ANCHOR "etc/smbios/smbios-anchor"

struct smbios_config {
    const char *product, *version; /* of the system: "Standard PC ...", "pc-q35-7.2" */
    const char *uuid;              /* canonical text; NULL: none */
    unsigned sockets, cores, threads;
    uint64_t processor_id;          /* CPUID leaf 1: EAX, and EDX in the upper half */
    uint64_t low_bytes, high_bytes; /* RAM below and from 4 GiB */
    const GPtrArray *fields;        /* struct smbios_field; NULL: none */
};
#define SMBIOS_MAX_BYTES   0xffe0u /* of the tables, so that 64 KiB hold them and the entry point */
#define SMBIOS_ENTRY_BYTES 32u     /* of the entry point, with its padding */

/* tables, and the entry point whose address field firmware fills in. The caller frees both. false
 * and *error: more than fits, or too many strings. */
bool smbios_build(const struct smbios_config *config, GByteArray **tables, GByteArray **anchor,
                  GError **error);
/* What firmware does to the entry point: tells it where the tables are. */
void smbios_locate(GByteArray *anchor, uint32_t tables_at);

#endif
