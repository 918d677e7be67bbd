/*
 * What a dump of guest memory says of a vCPU: ELF notes as gdb, crash and makedumpfile know them.
 */
#ifndef CPU_X86_DUMP_NOTES_H
#define CPU_X86_DUMP_NOTES_H

#include "cpu/x86/state.h"
#include <glib.h>

/* Whether the vCPU is in long mode (64-bit or compatibility). */
bool dump_state_is_long(const struct cpu_state *st);

/* Appends NT_PRSTATUS ("CORE"): Linux's struct elf_prstatus (uapi/linux/elfcore.h) of x86-64, or of
 * i386 when !wide. pid names the vCPU, from 1 on. */
void dump_note_prstatus(GByteArray *out, const struct cpu_state *st, uint32_t pid, bool wide);

/* Appends the note that QEMU makes ("QEMU", type 0; its documentation of dump-guest-memory names
 * the members): general registers, segments with their descriptors, tables and control registers,
 * from which a reader finds page tables and the kernel's place. */
void dump_note_system(GByteArray *out, const struct cpu_state *st);

/* Appends any note: name with its terminator, and both parts padded to 4 bytes. */
void dump_note_append(GByteArray *out, const char *name, uint32_t type, const void *desc,
                      uint32_t length);

#endif
