/*
 * Starting a kernel without firmware: what lies where in guest RAM, and how vCPU 0 begins.
 *
 * A boot image is a plan: pieces of files and small generated tables with their guest-physical
 * addresses, and the registers at the entry point. It is made once, from the files named on the
 * command line; all checks are made then. It is laid into RAM at every reset, bulk data being read
 * from the (still open) files again, so nothing but file descriptors and tables is kept.
 *
 * Three protocols, chosen by the file's content: Linux bzImage (the kernel's
 * Documentation/x86/boot), Multiboot 1 (GNU Multiboot specification 0.6.96) and PVH (Xen's x86
 * direct boot ABI, pvh.txt).
 *
 * Owner: the main thread.
 */
#ifndef MACHINE_X86_BOOT_H
#define MACHINE_X86_BOOT_H

#include "cpu/x86/state.h"
#include "memory/types.h"
#include <glib.h>
#include <stdbool.h>

struct address_space;

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
    uint64_t base, size; /* bytes */
    uint32_t type;       /* enum e820_type */
};

#define E820_MAX 16

/* What the board knows when it asks for a plan. */
struct boot_request {
    const char *kernel; /* path; never NULL */
    const char *initrd; /* path, or NULL; of Multiboot images: boot-multiboot.c */
    const char *append; /* command line, or NULL */
    gpa_t low_top;      /* end of RAM below 4 GiB; RAM is [0, 0xa0000) and [0x100000, low_top) */
    gpa_t rsdp;         /* of the ACPI tables; 0: none */
    struct e820_entry e820[E820_MAX];
    unsigned n_e820;
};

struct boot_file {
    char *path;
    int fd; /* -1: not open */
    uint64_t size;
};

/* mem_bytes at addr: first the data, the rest zeroes. Data comes from file when it is set, else
 * from bytes. */
struct boot_piece {
    gpa_t addr;
    uint64_t mem_bytes, data_bytes;
    const struct boot_file *file;
    uint64_t file_offset;
    uint8_t *bytes; /* owned; NULL when data_bytes is 0 or file is set */
};

enum boot_mode {
    BOOT_FLAT32, /* 32-bit protected mode, paging off */
    BOOT_LONG64, /* 64-bit mode, the first 4 GiB identity-mapped */
};

struct boot_image {
    const char *protocol; /* "linux", "multiboot", "pvh" */
    enum boot_mode mode;
    struct x_regs regs; /* at entry; rflags is 2 */
    gpa_t gdt, cr3;     /* cr3 only in BOOT_LONG64 */
    struct boot_file kernel, initrd;
    GPtrArray *modules; /* of Multiboot images, instead of initrd */
    GArray *pieces;     /* struct boot_piece */
};

/* NULL and *error (domain G_FILE_ERROR or BOOT_ERROR) naming file and numbers. */
struct boot_image *boot_image_new(const struct boot_request *request, GError **error);
void boot_image_free(struct boot_image *image); /* NULL is fine */

/* Lays all pieces into RAM. fresh: RAM is still all zeroes, so zeroes are not written. Fails when a
 * file can't be read any more. */
bool boot_image_load(const struct boot_image *image, struct address_space *as, bool fresh,
                     GError **error);

/* Turns a reset state into the one at the kernel's entry point. */
void boot_image_start(const struct boot_image *image, struct cpu_state *state);

/* Up to length bytes of a piece from offset on, as they will lie in RAM; for tests. */
bool boot_piece_read(const struct boot_piece *piece, uint64_t offset, void *buf, size_t length,
                     GError **error);

/* What firmware is given of a kernel that it is to start, for the option ROM that does it. Linux
 * bzImage: the parts of the file, the setup part's header filled in. Multiboot: kernel and module
 * in one, and instead of the initrd the information structure. */
struct boot_items {
    GBytes *setup, *kernel, *initrd, *cmdline; /* empty for none */
    uint32_t kernel_addr, initrd_addr;
    uint32_t entry;  /* Multiboot */
    const char *rom; /* the file's name */
};
#define BOOT_ITEM_SETUP   0x10000u
#define BOOT_ITEM_CMDLINE 0x20000u
/* false and *error: neither a bzImage nor a Multiboot image, or as boot_image_new(). */
bool boot_items_read(const struct boot_request *request, struct boot_items *items, GError **error);
void boot_items_clear(struct boot_items *items);

#define BOOT_ERROR boot_error_quark()
GQuark boot_error_quark(void);
enum { BOOT_ERROR_FORMAT, BOOT_ERROR_SPACE };

#endif
