/*
 * Linux bzImage, as the kernel's Documentation/x86/boot.rst (protocol 2.10 and later) says.
 *
 * A kernel that has the 64-bit entry point (XLF_KERNEL_64) is entered there, in long mode on
 * identity page tables; any other at the 32-bit entry. The real-mode part of the file is not run:
 * what it would find out (memory map, ACPI) is put into boot_params. screen_info stays zero (no
 * VGA), there is no EFI, and no EDD. Kernels before protocol 2.10 (Linux 2.6.31) are refused.
 */
#include "machine/x86/boot-priv.h"

#include <string.h>

/* Offsets in boot_params ("zero page"); the setup header lies at the same ones in the file. */
#define BP_RSDP           0x070
#define BP_E820_COUNT     0x1e8
#define BP_SETUP_SECTS    0x1f1
#define BP_SYSSIZE        0x1f4
#define BP_BOOT_FLAG      0x1fe
#define BP_JUMP           0x200
#define BP_HEADER         0x202
#define BP_VERSION        0x206
#define BP_LOADER         0x210
#define BP_LOADFLAGS      0x211
#define BP_CODE32_START   0x214
#define BP_INITRD         0x218
#define BP_INITRD_SIZE    0x21c
#define BP_HEAP_END       0x224
#define BP_CMDLINE        0x228
#define BP_INITRD_MAX     0x22c
#define BP_XLOADFLAGS     0x236
#define BP_CMDLINE_SIZE   0x238
#define BP_PREF_ADDRESS   0x258
#define BP_INIT_SIZE      0x260
#define BP_HEADER_END     0x290
#define BP_E820_TABLE     0x2d0
#define BP_SIZE           0x1000

#define LOADFLAG_HIGH     0x01
#define LOADFLAG_CAN_HEAP 0x80
#define XLF_KERNEL_64     0x01

#define PAGE_TABLES_BYTES (6 * 4096u) /* PML4, PDPT, four page directories of 2 MiB pages */

struct linux_header {
    uint64_t setup_bytes, payload_bytes;
    uint32_t version;
    gpa_t load_addr;
    uint64_t init_size; /* RAM that the kernel uses from load_addr on before it reads the map */
    gpa_t initrd_max;   /* highest address of the initrd's last byte */
    uint32_t cmdline_max;
    bool entry64;
};

bool boot_is_linux(const uint8_t *head, size_t head_bytes)
{
    return head_bytes >= BP_HEADER + 4 && memcmp(head + BP_HEADER, "HdrS", 4) == 0;
}

static bool header_parse(struct linux_header *h, const struct boot_file *file, const uint8_t *head,
                         size_t head_bytes, GError **error)
{
    if (head_bytes < BP_HEADER_END || get_le16(head + BP_BOOT_FLAG) != 0xaa55) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': truncated or damaged Linux setup header (%" G_GUINT64_FORMAT
                    " bytes)",
                    file->path, file->size);
        return false;
    }
    h->version = get_le16(head + BP_VERSION);
    if (h->version < 0x20a || !(head[BP_LOADFLAGS] & LOADFLAG_HIGH)) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': boot protocol %u.%u%s is too old (2.10, Linux 2.6.31, and a "
                    "bzImage is the least)",
                    file->path, h->version >> 8, h->version & 0xff,
                    head[BP_LOADFLAGS] & LOADFLAG_HIGH ? "" : " (a zImage)");
        return false;
    }
    h->setup_bytes = 512u * ((head[BP_SETUP_SECTS] ? head[BP_SETUP_SECTS] : 4) + 1u);
    h->payload_bytes = 16ull * get_le32(head + BP_SYSSIZE);
    if (h->payload_bytes == 0 || h->setup_bytes + h->payload_bytes > file->size + 15) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': truncated: its header announces %" G_GUINT64_FORMAT
                    " bytes, the file has %" G_GUINT64_FORMAT,
                    file->path, h->setup_bytes + h->payload_bytes, file->size);
        return false;
    }
    h->payload_bytes = MIN(h->payload_bytes, file->size - h->setup_bytes);
    h->load_addr = get_le64(head + BP_PREF_ADDRESS);
    h->init_size = MAX(get_le32(head + BP_INIT_SIZE), h->payload_bytes);
    h->initrd_max = get_le32(head + BP_INITRD_MAX);
    h->cmdline_max = get_le32(head + BP_CMDLINE_SIZE);
    h->entry64 = h->version >= 0x20c && (get_le16(head + BP_XLOADFLAGS) & XLF_KERNEL_64);
    return true;
}

static bool kernel_place(const struct linux_header *h, struct boot_image *image,
                         const struct boot_request *request, GError **error)
{
    if (h->load_addr < HIGH_RAM || h->load_addr >= 1ull << 32) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': impossible load address 0x%" G_GINT64_MODIFIER "x",
                    image->kernel.path, h->load_addr);
        return false;
    }
    if (h->load_addr + h->init_size > request->low_top) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "kernel '%s': needs %" G_GUINT64_FORMAT
                    " MiB of RAM, the machine has %" G_GUINT64_FORMAT " MiB below 4 GiB",
                    image->kernel.path, (h->load_addr + h->init_size + 0xfffff) >> 20,
                    request->low_top >> 20);
        return false;
    }
    return boot_add_file(image, request, "kernel", &image->kernel, h->setup_bytes, h->payload_bytes,
                         h->load_addr, h->payload_bytes, error);
}

static bool initrd_place(const struct linux_header *h, struct boot_image *image,
                         const struct boot_request *request, uint8_t *params, GError **error)
{
    const struct boot_file *file = &image->initrd;
    gpa_t floor = h->load_addr + h->init_size;
    gpa_t limit = MIN(request->low_top, h->initrd_max + 1);

    if (!request->initrd || file->size == 0) {
        return true;
    }
    gpa_t addr = boot_place_high(image, file->size, floor, limit);
    if (!addr) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "initrd '%s': %" G_GUINT64_FORMAT " bytes do not fit between the kernel's end "
                    "at 0x%" G_GINT64_MODIFIER "x and 0x%" G_GINT64_MODIFIER "x",
                    file->path, file->size, floor, limit);
        return false;
    }
    put_le32(params + BP_INITRD, (uint32_t)addr);
    put_le32(params + BP_INITRD_SIZE, (uint32_t)file->size);
    return boot_add_file(image, request, "initrd", file, 0, file->size, addr, file->size, error);
}

static bool cmdline_place(const struct linux_header *h, struct boot_image *image,
                          const struct boot_request *request, uint8_t *params, GError **error)
{
    const char *text = request->append ? request->append : "";
    size_t length = strlen(text);
    gpa_t addr;

    if (length > h->cmdline_max) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "-append: %zu characters, kernel '%s' takes %u", length, image->kernel.path,
                    h->cmdline_max);
        return false;
    }
    if (!boot_place_table(image, "the command line", length + 1, 16, &addr, error)) {
        return false;
    }
    boot_add_bytes(image, addr, text, length + 1);
    put_le32(params + BP_CMDLINE, (uint32_t)addr);
    return true;
}

static void e820_fill(const struct boot_request *request, uint8_t *params)
{
    params[BP_E820_COUNT] = (uint8_t)request->n_e820;
    for (unsigned i = 0; i < request->n_e820; i++) {
        uint8_t *entry = params + BP_E820_TABLE + 20 * i;
        put_le64(entry, request->e820[i].base);
        put_le64(entry + 8, request->e820[i].size);
        put_le32(entry + 16, request->e820[i].type);
    }
}

/* The first 4 GiB, identity-mapped by 2 MiB pages. */
static bool page_tables_place(struct boot_image *image, GError **error)
{
    g_autofree uint8_t *tables = g_malloc0(PAGE_TABLES_BYTES);
    gpa_t base;

    if (!boot_place_table(image, "page tables", PAGE_TABLES_BYTES, 4096, &base, error)) {
        return false;
    }
    put_le64(tables, (base + 0x1000) | 3); /* present, writable */
    for (unsigned gib = 0; gib < 4; gib++) {
        uint64_t directory = 0x2000 + 0x1000ull * gib;
        put_le64(tables + 0x1000 + 8 * gib, (base + directory) | 3);
        for (unsigned i = 0; i < 512; i++) {
            put_le64(tables + directory + 8 * i, (uint64_t)gib << 30 | (uint64_t)i << 21 | 0x83);
        }
    }
    boot_add_bytes(image, base, tables, PAGE_TABLES_BYTES);
    image->cr3 = base;
    return true;
}

static void params_fill(const struct linux_header *h, const struct boot_request *request,
                        const uint8_t *head, uint8_t *params)
{
    size_t header_end = MIN(0x202u + head[BP_JUMP + 1], BP_HEADER_END);

    if (header_end > BP_SETUP_SECTS) {
        memcpy(params + BP_SETUP_SECTS, head + BP_SETUP_SECTS, header_end - BP_SETUP_SECTS);
    }
    params[BP_LOADER] = 0xff;                            /* a loader without an assigned number */
    params[BP_LOADFLAGS] &= (uint8_t)~LOADFLAG_CAN_HEAP; /* the real-mode heap is not set up */
    put_le32(params + BP_CODE32_START, (uint32_t)h->load_addr);
    put_le32(params + BP_INITRD, 0);
    put_le32(params + BP_INITRD_SIZE, 0);
    put_le64(params + BP_RSDP, request->rsdp);
    e820_fill(request, params);
}

/* ---------------------------------------------------------------- for firmware */

#define ITEMS_RESERVED 0x28000u /* what firmware keeps for itself at the top of RAM */

static GBytes *file_part(const struct boot_file *file, uint64_t offset, uint64_t length,
                         GError **error)
{
    g_autofree uint8_t *bytes = g_try_malloc(MAX(length, 1u));

    if (!bytes) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "'%s': no memory for %" G_GUINT64_FORMAT " bytes", file->path, length);
        return NULL;
    }
    if (!boot_file_read(file, offset, bytes, length, error)) {
        return NULL;
    }
    return g_bytes_new_take(g_steal_pointer(&bytes), length);
}

/* Firmware may put it lower. */
static bool item_initrd(const struct boot_request *request, const struct linux_header *h,
                        struct boot_items *items, GError **error)
{
    struct boot_file file = {.fd = -1};
    uint64_t top = MIN(request->low_top - MIN(request->low_top, ITEMS_RESERVED), h->initrd_max + 1);
    bool ok = true;

    if (!request->initrd) {
        items->initrd = g_bytes_new_static("", 0);
        return true;
    }
    ok = boot_file_open(&file, "initrd", request->initrd, error);
    if (ok && (file.size > top || ((top - file.size) & GUEST_PAGE_MASK) < HIGH_RAM)) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "initrd '%s': %" G_GUINT64_FORMAT
                    " bytes do not fit below 0x%" G_GINT64_MODIFIER "x",
                    file.path, file.size, top);
        ok = false;
    }
    ok = ok && (items->initrd = file_part(&file, 0, file.size, error));
    items->initrd_addr = ok ? (uint32_t)((top - file.size) & GUEST_PAGE_MASK) : 0;
    boot_file_close(&file);
    return ok;
}

static bool item_cmdline(const struct boot_request *request, const struct linux_header *h,
                         struct boot_items *items, GError **error)
{
    const char *text = request->append ? request->append : "";
    size_t length = strlen(text);

    if (length > h->cmdline_max) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "-append: %zu characters, kernel '%s' takes %u", length, request->kernel,
                    h->cmdline_max);
        return false;
    }
    items->cmdline = g_bytes_new(text, length + 1);
    return true;
}

/* The real-mode part, with what a boot loader writes into its header. */
static bool item_setup(const struct boot_file *file, const struct linux_header *h,
                       struct boot_items *items, GError **error)
{
    g_autofree uint8_t *setup = g_malloc(h->setup_bytes);

    if (!boot_file_read(file, 0, setup, h->setup_bytes, error)) {
        return false;
    }
    setup[BP_LOADER] = 0xff;
    setup[BP_LOADFLAGS] |= LOADFLAG_CAN_HEAP;
    put_le16(setup + BP_HEAP_END, BOOT_ITEM_CMDLINE - BOOT_ITEM_SETUP - 0x200);
    put_le32(setup + BP_CMDLINE, BOOT_ITEM_CMDLINE);
    put_le32(setup + BP_INITRD, items->initrd_addr);
    put_le32(setup + BP_INITRD_SIZE, (uint32_t)g_bytes_get_size(items->initrd));
    items->setup = g_bytes_new_take(g_steal_pointer(&setup), h->setup_bytes);
    return true;
}

bool boot_linux_items(const struct boot_request *request, const struct boot_file *file,
                      const uint8_t *head, size_t head_bytes, struct boot_items *items,
                      GError **error)
{
    struct linux_header h = {0};

    items->kernel_addr = HIGH_RAM;
    items->rom = "linuxboot_dma.bin";
    return header_parse(&h, file, head, head_bytes, error) &&
           item_initrd(request, &h, items, error) && item_cmdline(request, &h, items, error) &&
           item_setup(file, &h, items, error) &&
           (items->kernel = file_part(file, h.setup_bytes, h.payload_bytes, error));
}

/* ---------------------------------------------------------------- without firmware */

bool boot_linux(struct boot_image *image, const struct boot_request *request, const uint8_t *head,
                size_t head_bytes, GError **error)
{
    struct linux_header h;
    uint8_t params[BP_SIZE] = {0};
    gpa_t addr;

    if (!header_parse(&h, &image->kernel, head, head_bytes, error)) {
        return false;
    }
    image->protocol = "linux";
    image->mode = h.entry64 ? BOOT_LONG64 : BOOT_FLAT32;
    params_fill(&h, request, head, params);
    if (!kernel_place(&h, image, request, error) ||
        !initrd_place(&h, image, request, params, error) ||
        (h.entry64 && !page_tables_place(image, error)) || !boot_add_gdt(image, error) ||
        !cmdline_place(&h, image, request, params, error) ||
        !boot_place_table(image, "boot_params", BP_SIZE, 4096, &addr, error)) {
        return false;
    }
    boot_add_bytes(image, addr, params, BP_SIZE);
    image->regs.rip = h.load_addr + (h.entry64 ? 0x200 : 0);
    image->regs.rsi = addr;
    return true;
}
