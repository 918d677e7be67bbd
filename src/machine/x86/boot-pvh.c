/*
 * PVH: an ELF file (32 or 64 bits) whose note XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit entry point,
 * as in an uncompressed Linux vmlinux (Xen's docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h).
 *
 * The guest gets an hvm_start_info of version 1: command line, the initrd as the one module, memory
 * map and RSDP. flags (dom0 bits) is zero.
 */
#include "machine/x86/boot-priv.h"

#include "machine/x86/boot-elf.h"
#include <string.h>

#define PVH_NOTE_TYPE       18u /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PVH_NOTES_MAX_BYTES 65536u
#define PVH_START_MAGIC     0x336ec578u

/* hvm_start_info, version 1 */
#define SI_MAGIC            0
#define SI_VERSION          4
#define SI_NR_MODULES       12
#define SI_MODLIST          16
#define SI_CMDLINE          24
#define SI_RSDP             32
#define SI_MEMMAP           40
#define SI_MEMMAP_COUNT     48
#define SI_BYTES            56
#define SI_MODULE_BYTES     32
#define SI_MEMMAP_BYTES     24

#define ALIGN4(n)           (((n) + 3u) & ~3u)

/* Looks through one note segment; *entry is set and true returned when the note is there. */
static bool notes_find_entry(const uint8_t *notes, size_t length, uint32_t *entry)
{
    size_t at = 0;

    while (length - at >= 12) {
        uint32_t name_bytes = get_le32(notes + at);
        uint32_t desc_bytes = get_le32(notes + at + 4);
        uint32_t type = get_le32(notes + at + 8);
        size_t left = length - at - 12;

        if (name_bytes > left || ALIGN4((size_t)name_bytes) > left ||
            desc_bytes > left - ALIGN4((size_t)name_bytes)) {
            return false;
        }
        const uint8_t *name = notes + at + 12;
        const uint8_t *desc = name + ALIGN4(name_bytes);
        if (type == PVH_NOTE_TYPE && name_bytes == 4 && memcmp(name, "Xen", 4) == 0 &&
            desc_bytes >= 4) {
            *entry = get_le32(desc);
            return true;
        }
        at += 12 + MIN(ALIGN4((size_t)name_bytes) + ALIGN4((size_t)desc_bytes), left);
    }
    return false;
}

static bool elf_find_entry(const struct elf *elf, const struct boot_file *file, uint32_t *entry,
                           GError **error)
{
    for (unsigned i = 0; i < elf->n; i++) {
        const struct elf_segment *seg = &elf->segment[i];
        if (seg->type != ELF_PT_NOTE) {
            continue;
        }
        if (seg->file_bytes > PVH_NOTES_MAX_BYTES || seg->offset > file->size ||
            seg->file_bytes > file->size - seg->offset) {
            g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                        "kernel '%s': truncated or oversized ELF notes (%" G_GUINT64_FORMAT
                        " bytes at %" G_GUINT64_FORMAT ")",
                        file->path, seg->file_bytes, seg->offset);
            return false;
        }
        g_autofree uint8_t *notes = g_malloc(seg->file_bytes);
        if (!boot_file_read(file, seg->offset, notes, seg->file_bytes, error)) {
            return false;
        }
        if (notes_find_entry(notes, seg->file_bytes, entry)) {
            return true;
        }
    }
    g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                "kernel '%s': an ELF file without a PVH entry note and without a Multiboot header",
                file->path);
    return false;
}

/* The initrd as high as possible below 2 GiB, as Linux likes it. */
static bool module_place(struct boot_image *image, const struct boot_request *request, gpa_t floor,
                         gpa_t *addr, GError **error)
{
    const struct boot_file *file = &image->initrd;
    gpa_t limit = MIN(request->low_top, 0x80000000u);

    *addr = boot_place_high(image, file->size, MAX(floor, HIGH_RAM), limit);
    if (!*addr) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "initrd '%s': %" G_GUINT64_FORMAT " bytes do not fit between the kernel's end "
                    "at 0x%" G_GINT64_MODIFIER "x and 0x%" G_GINT64_MODIFIER "x",
                    file->path, file->size, floor, limit);
        return false;
    }
    return boot_add_file(image, request, "initrd", file, 0, file->size, *addr, file->size, error);
}

/* start_info, memory map, module list and command line, one behind the other. */
static bool start_info_place(struct boot_image *image, const struct boot_request *request,
                             gpa_t module, GError **error)
{
    const char *cmdline = request->append ? request->append : "";
    size_t memmap_at = SI_BYTES + SI_MODULE_BYTES;
    size_t cmdline_at = memmap_at + SI_MEMMAP_BYTES * (size_t)request->n_e820;
    size_t total = cmdline_at + strlen(cmdline) + 1;
    g_autofree uint8_t *info = g_malloc0(total);
    gpa_t addr;

    if (!boot_place_table(image, "the start info and command line", total, 16, &addr, error)) {
        return false;
    }
    put_le32(info + SI_MAGIC, PVH_START_MAGIC);
    put_le32(info + SI_VERSION, 1);
    put_le64(info + SI_CMDLINE, addr + cmdline_at);
    put_le64(info + SI_RSDP, request->rsdp);
    put_le64(info + SI_MEMMAP, addr + memmap_at);
    put_le32(info + SI_MEMMAP_COUNT, request->n_e820);
    if (module) {
        put_le32(info + SI_NR_MODULES, 1);
        put_le64(info + SI_MODLIST, addr + SI_BYTES);
        put_le64(info + SI_BYTES, module);
        put_le64(info + SI_BYTES + 8, image->initrd.size);
    }
    for (unsigned i = 0; i < request->n_e820; i++) {
        uint8_t *entry = info + memmap_at + SI_MEMMAP_BYTES * i;
        put_le64(entry, request->e820[i].base);
        put_le64(entry + 8, request->e820[i].size);
        put_le32(entry + 16, request->e820[i].type);
    }
    memcpy(info + cmdline_at, cmdline, strlen(cmdline) + 1);
    boot_add_bytes(image, addr, info, total);
    image->regs.rbx = addr;
    return true;
}

bool boot_pvh(struct boot_image *image, const struct boot_request *request, const uint8_t *head,
              size_t head_bytes, GError **error)
{
    struct elf elf;
    uint32_t entry = 0;
    gpa_t low, high, module = 0;

    image->protocol = "pvh";
    image->mode = BOOT_FLAT32;
    bool ok = elf_open(&elf, &image->kernel, error) &&
              elf_find_entry(&elf, &image->kernel, &entry, error) &&
              elf_add_segments(image, request, &elf, &low, &high, error);
    elf_close(&elf);
    if (!ok) {
        return false;
    }
    if (image->initrd.size > 0 && !module_place(image, request, high, &module, error)) {
        return false;
    }
    image->regs.rip = entry;
    return boot_add_gdt(image, error) && start_info_place(image, request, module, error);
}
