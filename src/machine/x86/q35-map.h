/* Where things are on the q35 board, and but for what is said so on the pc board: one place for the
 * board's code, the ACPI tables and tests. The ASL source (dsdt.asl) repeats the numbers that it
 * needs. */
#ifndef MACHINE_X86_Q35_MAP_H
#define MACHINE_X86_Q35_MAP_H

#define Q35_LOW_RAM_END    0xa0000u    /* RAM below the VGA window */
#define Q35_EBDA           0x9fc00u    /* the last KiB, reserved as firmware would */
#define Q35_SHADOW         0xc0000u    /* RAM again: where firmware keeps ROM shadows and tables */
#define Q35_TABLES         0xe0000u    /* ACPI tables; the RSDP is first */
#define Q35_SMBIOS         0xf0000u    /* its entry point, then its tables */
#define Q35_TABLES_BYTES   0x20000u    /* of both */
#define Q35_RAM_HOLE       0xb0000000u /* RAM below 4 GiB ends here at the latest... */
#define Q35_RAM_SPLIT      0x80000000u /* ...or here when there is more RAM than that */
#define Q35_ECAM           0xb0000000u
#define Q35_ECAM_BYTES     0x10000000u
#define Q35_PCI_MMIO       0xc0000000u
#define Q35_PCI_MMIO_BYTES 0x3ec00000u
#define Q35_IOAPIC         0xfec00000u
#define Q35_HPET           0xfed00000u
#define Q35_LAPIC          0xfee00000u
#define Q35_HIGH_RAM       0x100000000ull

#define Q35_PM_BASE        0x600u /* PM1a event +0, control +4, timer +8, GPE0 +0x20 */
#define Q35_SCI_IRQ        9u
#define Q35_RESET_PORT     0xcf9u
#define Q35_RESET_VALUE    0x0fu
#define Q35_FW_CFG_PORT    0x510u

#endif
