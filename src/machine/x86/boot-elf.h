/* Just enough of ELF for boot loaders: the header and program headers of x86 executables. */
#ifndef MACHINE_X86_BOOT_ELF_H
#define MACHINE_X86_BOOT_ELF_H

#include "machine/x86/boot.h"

#define ELF_PT_LOAD 1u
#define ELF_PT_NOTE 4u

struct elf_segment {
    uint32_t type;
    uint64_t offset, paddr, vaddr, file_bytes, mem_bytes;
};

struct elf {
    bool is64;
    uint64_t entry; /* as the header has it: a virtual address */
    unsigned n;
    struct elf_segment *segment; /* owned */
};

/* Reads and checks the headers of an executable for i386 or x86-64: class, byte order, type,
 * machine, table bounds. Segments themselves are not checked against the file. */
bool elf_open(struct elf *elf, const struct boot_file *file, GError **error);
void elf_close(struct elf *elf);

/* The physical address of the entry, by the segment that it lies in. */
uint64_t elf_entry(const struct elf *elf);

/* Makes a piece of every PT_LOAD segment with memory, at its physical address, which must be RAM.
 * *low and *high become the lowest address and the end of all of them. */
bool elf_add_segments(struct boot_image *image, const struct boot_request *request,
                      const struct elf *elf, gpa_t *low, gpa_t *high, GError **error);

#endif
