/*
 * Multiboot 1 (GNU Multiboot Specification 0.6.96): ELF32 executables, or any file whose header
 * gives the load addresses itself (bit 16, the "a.out kludge").
 *
 * The guest gets memory sizes, boot loader name, memory map, the command line ("FILE ARGS"), and
 * modules: -initrd is a list of them, "FILE ARGS,FILE ARGS", in which a comma of a name is doubled.
 * What is between commas is the module's string. No drives, no APM, no VBE, no symbols. A kernel
 * that requires a feature of bits 2 (video) or 3..15 is refused, as the specification wants.
 */
#include "machine/x86/boot-priv.h"

#include "machine/x86/boot-elf.h"
#include <string.h>

#define MB_MAGIC           0x1badb002u
#define MB_ENTRY_MAGIC     0x2badb002u

/* header */
#define MBH_FLAGS          4
#define MBH_HEADER_ADDR    12
#define MBH_LOAD_ADDR      16
#define MBH_LOAD_END_ADDR  20
#define MBH_BSS_END_ADDR   24
#define MBH_ENTRY_ADDR     28
#define MBH_BYTES          32 /* with the address fields */

#define MBH_FLAG_ADDRESSES (1u << 16)
#define MBH_FLAGS_REFUSED  0xfffcu /* required features: all but page alignment and memory map */

/* information structure */
#define MBI_FLAGS          0
#define MBI_MEM_LOWER      4
#define MBI_MEM_UPPER      8
#define MBI_CMDLINE        16
#define MBI_MODS_COUNT     20
#define MBI_MODS_ADDR      24
#define MBI_MMAP_LENGTH    44
#define MBI_MMAP_ADDR      48
#define MBI_LOADER_NAME    64
#define MBI_BYTES          96 /* 88, and what makes the memory map begin at a paragraph */
#define MBI_MODULE         16 /* bytes of one module entry */
#define MBI_MMAP           24 /* bytes of one memory map entry, size field included */
#define MBI_MMAP_ROOM      32 /* entries: as many as firmware may put there */

struct module {
    struct boot_file file;
    char *string; /* path and arguments */
    gpa_t addr;
};

#define MBI_HAS_MEMORY  (1u << 0)
#define MBI_HAS_CMDLINE (1u << 2)
#define MBI_HAS_MODULES (1u << 3)
#define MBI_HAS_MMAP    (1u << 6)
#define MBI_HAS_LOADER  (1u << 9)

int boot_find_multiboot(const uint8_t *head, size_t head_bytes)
{
    for (size_t at = 0; at + 12 <= head_bytes; at += 4) {
        if (get_le32(head + at) == MB_MAGIC &&
            get_le32(head + at) + get_le32(head + at + 4) + get_le32(head + at + 8) == 0) {
            return (int)at;
        }
    }
    return -1;
}

static bool load_by_header(struct boot_image *image, const struct boot_request *request,
                           const uint8_t *head, size_t head_bytes, int at, gpa_t *high,
                           GError **error)
{
    const struct boot_file *file = &image->kernel;

    if ((size_t)at + MBH_BYTES > head_bytes) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT, "kernel '%s': truncated Multiboot header",
                    file->path);
        return false;
    }
    uint64_t header = get_le32(head + at + MBH_HEADER_ADDR);
    uint64_t load = get_le32(head + at + MBH_LOAD_ADDR);
    uint64_t load_end = get_le32(head + at + MBH_LOAD_END_ADDR);
    uint64_t bss_end = get_le32(head + at + MBH_BSS_END_ADDR);
    uint64_t offset = (uint64_t)at - (header - load);

    if (load > header || header - load > (uint64_t)at) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': Multiboot load address 0x%" G_GINT64_MODIFIER
                    "x does not fit header address 0x%" G_GINT64_MODIFIER "x at file offset %d",
                    file->path, load, header, at);
        return false;
    }
    if (load_end == 0) { /* the whole file */
        load_end = load + (file->size - offset);
    }
    if (load_end < load || (bss_end != 0 && bss_end < load_end)) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': Multiboot addresses out of order", file->path);
        return false;
    }
    *high = MAX(load_end, bss_end);
    image->regs.rip = get_le32(head + at + MBH_ENTRY_ADDR);
    return boot_add_file(image, request, "kernel", file, offset, load_end - load, load,
                         *high - load, error);
}

static bool load_by_elf(struct boot_image *image, const struct boot_request *request, gpa_t *high,
                        GError **error)
{
    struct elf elf;
    gpa_t low;

    bool ok = elf_open(&elf, &image->kernel, error);
    if (ok && elf.is64) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': a 64-bit ELF file with a Multiboot header (Multiboot 1 loads "
                    "32-bit ones)",
                    image->kernel.path);
        ok = false;
    }
    ok = ok && elf_add_segments(image, request, &elf, &low, high, error);
    image->regs.rip = (uint32_t)elf_entry(&elf);
    elf_close(&elf);
    return ok;
}

/* ---------------------------------------------------------------- modules */

void boot_module_free(gpointer module)
{
    struct module *m = module;
    boot_file_close(&m->file);
    g_free(m->string);
    g_free(m);
}

/* Takes what stands before the next single comma off *list, which becomes NULL behind the last. */
static char *module_string(const char **list)
{
    GString *text = g_string_new(NULL);
    const char *p = *list;

    for (; *p && (*p != ',' || p[1] == ','); p++) {
        p += *p == ',';
        g_string_append_c(text, *p);
    }
    *list = *p ? p + 1 : NULL;
    return g_string_free(text, FALSE);
}

/* Behind the kernel or the module before; *high becomes its end. */
static bool module_place(struct boot_image *image, const struct boot_request *request,
                         struct module *m, gpa_t *high, GError **error)
{
    const struct boot_file *file = &m->file;

    m->addr = MAX((*high + 4095) & GUEST_PAGE_MASK, HIGH_RAM);
    if (file->size > request->low_top || m->addr > request->low_top - file->size) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "initrd '%s': %" G_GUINT64_FORMAT " bytes do not fit between the kernel's end "
                    "at 0x%" G_GINT64_MODIFIER "x and 0x%" G_GINT64_MODIFIER "x",
                    file->path, file->size, m->addr, request->low_top);
        return false;
    }
    *high = m->addr + file->size;
    return boot_add_file(image, request, "initrd", file, 0, file->size, m->addr, file->size, error);
}

static bool modules_place(struct boot_image *image, const struct boot_request *request, gpa_t high,
                          GError **error)
{
    for (const char *list = request->initrd; list;) {
        struct module *m = g_new0(struct module, 1);

        m->file.fd = -1;
        m->string = module_string(&list);
        g_ptr_array_add(image->modules, m);
        g_autofree char *path = g_strndup(m->string, strcspn(m->string, " "));
        if (!boot_file_open(&m->file, "initrd", path, error) ||
            !module_place(image, request, m, &high, error)) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the information structure */

static uint32_t append_string(GByteArray *info, gpa_t base, const char *text)
{
    uint32_t addr = (uint32_t)(base + info->len);
    g_byte_array_append(info, (const guint8 *)text, (guint)strlen(text) + 1);
    return addr;
}

/* The information structure, memory map, module entries and strings for address base. */
static GByteArray *info_build(const struct boot_image *image, const struct boot_request *request,
                              gpa_t base)
{
    GByteArray *info = g_byte_array_new();
    size_t mmap_at = MBI_BYTES;
    size_t module_at = mmap_at + MBI_MMAP * MBI_MMAP_ROOM;
    uint32_t flags = MBI_HAS_MEMORY | MBI_HAS_CMDLINE | MBI_HAS_MMAP | MBI_HAS_LOADER;

    g_byte_array_set_size(info, (guint)(module_at + MBI_MODULE * image->modules->len));
    memset(info->data, 0, info->len);
    for (unsigned i = 0; i < request->n_e820; i++) {
        uint8_t *entry = info->data + mmap_at + MBI_MMAP * i;
        put_le32(entry, MBI_MMAP - 4);
        put_le64(entry + 4, request->e820[i].base);
        put_le64(entry + 12, request->e820[i].size);
        put_le32(entry + 20, request->e820[i].type);
    }
    g_autofree char *cmdline = request->append
                                   ? g_strconcat(image->kernel.path, " ", request->append, NULL)
                                   : g_strdup(image->kernel.path);
    uint32_t cmdline_addr = append_string(info, base, cmdline);
    uint32_t loader_addr = append_string(info, base, "godwit");
    for (guint i = 0; i < image->modules->len; i++) {
        const struct module *m = g_ptr_array_index(image->modules, i);
        uint32_t string = append_string(info, base, m->string);
        uint8_t *entry = info->data + module_at + MBI_MODULE * i;

        put_le32(entry, (uint32_t)m->addr);
        put_le32(entry + 4, (uint32_t)(m->addr + m->file.size));
        put_le32(entry + 8, string);
    }

    uint8_t *p = info->data; /* stable from here on */
    put_le32(p + MBI_MEM_LOWER, 639);
    put_le32(p + MBI_MEM_UPPER, (uint32_t)((request->low_top - HIGH_RAM) >> 10));
    put_le32(p + MBI_CMDLINE, cmdline_addr);
    put_le32(p + MBI_MMAP_LENGTH, MBI_MMAP * request->n_e820);
    put_le32(p + MBI_MMAP_ADDR, (uint32_t)(base + mmap_at));
    put_le32(p + MBI_LOADER_NAME, loader_addr);
    if (image->modules->len > 0) {
        flags |= MBI_HAS_MODULES;
        put_le32(p + MBI_MODS_COUNT, image->modules->len);
        put_le32(p + MBI_MODS_ADDR, (uint32_t)(base + module_at));
    }
    put_le32(p + MBI_FLAGS, flags);
    return info;
}

static bool info_place(struct boot_image *image, const struct boot_request *request, GError **error)
{
    g_autoptr(GByteArray) sized = info_build(image, request, 0);
    gpa_t addr;

    if (!boot_place_table(image, "the Multiboot information", sized->len, 16, &addr, error)) {
        return false;
    }
    g_autoptr(GByteArray) info = info_build(image, request, addr);
    boot_add_bytes(image, addr, info->data, info->len);
    image->regs.rbx = addr;
    return true;
}

bool boot_multiboot(struct boot_image *image, const struct boot_request *request,
                    const uint8_t *head, size_t head_bytes, GError **error)
{
    int at = boot_find_multiboot(head, head_bytes);
    uint32_t flags = get_le32(head + at + MBH_FLAGS);
    gpa_t high = 0;

    image->protocol = "multiboot";
    image->mode = BOOT_FLAT32;
    if (flags & MBH_FLAGS_REFUSED) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': requires Multiboot features 0x%x, of which 0x%x are not there",
                    image->kernel.path, flags & 0xffff, flags & MBH_FLAGS_REFUSED);
        return false;
    }
    bool ok = flags & MBH_FLAG_ADDRESSES
                  ? load_by_header(image, request, head, head_bytes, at, &high, error)
                  : load_by_elf(image, request, &high, error);
    if (!ok || !modules_place(image, request, high, error)) {
        return false;
    }
    image->regs.rax = MB_ENTRY_MAGIC;
    return boot_add_gdt(image, error) && info_place(image, request, error);
}

/* ---------------------------------------------------------------- by firmware */

#define FIRMWARE_BYTES_MAX (512u << 20)

/* First and last byte of what the files give; false: more than can be handed over. */
static bool file_span(const struct boot_image *image, gpa_t *start, gpa_t *end, GError **error)
{
    *start = UINT64_MAX;
    *end = 0;
    for (guint i = 0; i < image->pieces->len; i++) {
        const struct boot_piece *p = &g_array_index(image->pieces, struct boot_piece, i);

        if (p->file) {
            *start = MIN(*start, p->addr);
            *end = MAX(*end, p->addr + p->mem_bytes);
        }
    }
    if (*end <= *start || *end - *start > FIRMWARE_BYTES_MAX) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "kernel '%s': its parts must lie within %u MiB for firmware to start it",
                    image->kernel.path, FIRMWARE_BYTES_MAX >> 20);
        return false;
    }
    return true;
}

/* Kernel and module as they will lie in RAM, and the information structure, whose memory sizes and
 * map the ROM fills in. */
static bool items_fill(const struct boot_image *image, struct boot_items *items, GError **error)
{
    g_autofree uint8_t *bytes = NULL;
    gpa_t start, end;

    if (!file_span(image, &start, &end, error)) {
        return false;
    }
    bytes = g_malloc0(end - start);
    for (guint i = 0; i < image->pieces->len; i++) {
        const struct boot_piece *p = &g_array_index(image->pieces, struct boot_piece, i);

        if (p->file &&
            !boot_piece_read(p, 0, bytes + (p->addr - start), (size_t)p->mem_bytes, error)) {
            return false;
        }
        if (p->addr == image->regs.rbx) {
            items->initrd = g_bytes_new(p->bytes, (gsize)p->data_bytes);
        }
    }
    items->initrd_addr = (uint32_t)image->regs.rbx;
    items->kernel = g_bytes_new_take(g_steal_pointer(&bytes), (gsize)(end - start));
    items->kernel_addr = (uint32_t)start;
    items->entry = (uint32_t)image->regs.rip;
    items->setup = g_bytes_new(NULL, 0);
    items->cmdline = g_bytes_new(NULL, 0);
    items->rom = "multiboot_dma.bin";
    return true;
}

bool boot_multiboot_items(const struct boot_request *request, struct boot_items *items,
                          GError **error)
{
    struct boot_image *image = boot_image_new(request, error);
    bool ok = image && items_fill(image, items, error);

    boot_image_free(image);
    return ok;
}
