/*
 * The kernel of a Linux guest, seen from outside: what its vmcoreinfo note says of it, and its
 * memory by its own virtual addresses. Everything comes from the guest and may be a lie: each
 * length, address and number is checked, no work is unbounded, and reading changes nothing.
 *
 * Any thread that may read the guest's memory; the guest is parked, or the result may be torn.
 */
#ifndef MACHINE_GUEST_KERNEL_H
#define MACHINE_GUEST_KERNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define GUEST_KERNEL_ERROR (guest_kernel_error_quark())
GQuark guest_kernel_error_quark(void);

/* Guest-physical memory; read() gives false when part of it is not RAM. */
struct phys_reader {
    bool (*read)(void *opaque, uint64_t addr, void *buf, size_t length);
    void *opaque;
};

struct guest_kernel;

/* By the ELF note at that guest-physical address (the word of the device vmcoreinfo). The reader is
 * copied. NULL and *error when it describes no 64-bit x86 kernel. */
struct guest_kernel *guest_kernel_open(const struct phys_reader *reader, uint64_t note_addr,
                                       uint32_t note_size, GError **error);
void guest_kernel_free(struct guest_kernel *k); /* NULL is fine */

/* uname -r of the guest, printable ASCII; NULL when the note lacks it. */
const char *guest_kernel_release(const struct guest_kernel *k);
/* By how much the kernel runs away from the addresses that it was linked for (KASLR); 0: not. */
uint64_t guest_kernel_offset(const struct guest_kernel *k);

/* A value of the note: "SYMBOL(prb)" in base 16, "SIZE(prb_desc)" in base 10. false: not there, or
 * not a number. */
bool guest_kernel_value(const struct guest_kernel *k, const char *key, unsigned base,
                        uint64_t *value);

/* By kernel virtual address, through the kernel's own page tables: whatever address space a vCPU is
 * in. false when something of it is not mapped, or not RAM. */
bool guest_kernel_read(const struct guest_kernel *k, uint64_t addr, void *buf, size_t length);

/* The end of the kernel's log (the ring of printk since Linux 5.10) as dmesg prints it, at most
 * max_bytes, whole records. What is not printable is escaped as \xNN. NULL and *error when there is
 * no such ring, or it makes no sense. Owned by the caller. */
char *guest_kernel_log_tail(const struct guest_kernel *k, size_t max_bytes, GError **error);

#endif
