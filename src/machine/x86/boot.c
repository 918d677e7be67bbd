/*
 * Boot images: opening the files, choosing the protocol, placing pieces, start state.
 *
 * All offsets and sizes that come from a file are checked against the file and against RAM before a
 * piece is made of them; see boot.h.
 */
#include "machine/x86/boot-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

G_DEFINE_QUARK(boot - error - quark, boot_error)

/* ---------------------------------------------------------------- files */

bool boot_file_open(struct boot_file *file, const char *what, const char *path, GError **error)
{
    struct stat st;

    file->path = g_strdup(path);
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0 || fstat(file->fd, &st) < 0) {
        int err = errno;
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err), "%s '%s': %s", what, path,
                    g_strerror(err));
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT, "%s '%s': not a regular file", what,
                    path);
        return false;
    }
    file->size = (uint64_t)st.st_size;
    return true;
}

void boot_file_close(struct boot_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    g_free(file->path);
}

bool boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, size_t length,
                    GError **error)
{
    uint8_t *p = buf;

    while (length > 0) {
        ssize_t n = pread(file->fd, p, length, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int err = errno;
            g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err), "'%s': %s", file->path,
                        g_strerror(err));
            return false;
        }
        if (n == 0) {
            g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                        "'%s': truncated: nothing at byte %" G_GUINT64_FORMAT, file->path, offset);
            return false;
        }
        p += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

/* ---------------------------------------------------------------- pieces */

static bool range_is_ram(const struct boot_request *request, gpa_t addr, uint64_t bytes)
{
    gpa_t end = addr + bytes;
    if (end < addr) {
        return false;
    }
    return end <= MIN(LOW_RAM_TOP, request->low_top) ||
           (addr >= HIGH_RAM && end <= request->low_top);
}

bool boot_add_file(struct boot_image *image, const struct boot_request *request, const char *what,
                   const struct boot_file *file, uint64_t offset, uint64_t data_bytes, gpa_t addr,
                   uint64_t mem_bytes, GError **error)
{
    mem_bytes = MAX(mem_bytes, data_bytes);
    if (data_bytes > file->size || offset > file->size - data_bytes) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "%s '%s': truncated: needs %" G_GUINT64_FORMAT " bytes at offset "
                    "%" G_GUINT64_FORMAT ", the file has %" G_GUINT64_FORMAT,
                    what, file->path, data_bytes, offset, file->size);
        return false;
    }
    if (!range_is_ram(request, addr, mem_bytes)) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "%s '%s': wants %" G_GUINT64_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                    "x, which is not all RAM (RAM ends at 0x%" G_GINT64_MODIFIER "x)",
                    what, file->path, mem_bytes, addr, request->low_top);
        return false;
    }
    struct boot_piece piece = {
        .addr = addr,
        .mem_bytes = mem_bytes,
        .data_bytes = data_bytes,
        .file = file,
        .file_offset = offset,
    };
    g_array_append_val(image->pieces, piece);
    return true;
}

void boot_add_bytes(struct boot_image *image, gpa_t addr, const void *bytes, size_t length)
{
    struct boot_piece piece = {
        .addr = addr,
        .mem_bytes = length,
        .data_bytes = length,
        .bytes = g_memdup2(bytes, length),
    };
    g_array_append_val(image->pieces, piece);
}

/* The piece that overlaps [addr, addr + length), or NULL. */
static const struct boot_piece *piece_at(const struct boot_image *image, gpa_t addr,
                                         uint64_t length)
{
    for (guint i = 0; i < image->pieces->len; i++) {
        const struct boot_piece *p = &g_array_index(image->pieces, struct boot_piece, i);
        if (p->addr < addr + length && addr < p->addr + p->mem_bytes) {
            return p;
        }
    }
    return NULL;
}

gpa_t boot_place_low(const struct boot_image *image, uint64_t length, uint64_t align)
{
    gpa_t addr = BOOT_AREA;
    const gpa_t top = 0x9f000; /* the EBDA page is the guest firmware's */

    while (length <= top && addr <= top - length) {
        const struct boot_piece *p = piece_at(image, addr, length);
        if (!p) {
            return addr;
        }
        addr = (p->addr + p->mem_bytes + align - 1) & ~(align - 1);
    }
    return 0;
}

bool boot_place_table(const struct boot_image *image, const char *what, uint64_t length,
                      uint64_t align, gpa_t *addr, GError **error)
{
    *addr = boot_place_low(image, length, align);
    if (!*addr) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "kernel '%s': no room below 636 KiB for %s (%" G_GUINT64_FORMAT " bytes)",
                    image->kernel.path, what, length);
        return false;
    }
    return true;
}

gpa_t boot_place_high(const struct boot_image *image, uint64_t length, gpa_t floor, gpa_t limit)
{
    while (limit >= floor && length <= limit - floor) {
        gpa_t addr = (limit - length) & GUEST_PAGE_MASK;
        if (addr < floor) {
            return 0;
        }
        const struct boot_piece *p = piece_at(image, addr, length);
        if (!p) {
            return addr;
        }
        limit = p->addr;
    }
    return 0;
}

bool boot_piece_read(const struct boot_piece *piece, uint64_t offset, void *buf, size_t length,
                     GError **error)
{
    if (offset > piece->mem_bytes || length > piece->mem_bytes - offset) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT, "read past the end of a piece");
        return false;
    }
    if (length == 0) {
        return true; /* buf may be NULL */
    }
    size_t have = offset < piece->data_bytes ? MIN(length, piece->data_bytes - offset) : 0;
    memset((uint8_t *)buf + have, 0, length - have);
    if (have == 0) {
        return true;
    }
    if (piece->file) {
        return boot_file_read(piece->file, piece->file_offset + offset, buf, have, error);
    }
    memcpy(buf, piece->bytes + offset, have);
    return true;
}

static void piece_clear(gpointer data)
{
    struct boot_piece *piece = data;
    g_free(piece->bytes);
}

/* ---------------------------------------------------------------- the image */

bool boot_is_elf(const uint8_t *head, size_t head_bytes)
{
    return head_bytes >= 4 && memcmp(head, "\177ELF", 4) == 0;
}

bool boot_initrd_open(struct boot_image *image, const struct boot_request *request, GError **error)
{
    return !request->initrd || boot_file_open(&image->initrd, "initrd", request->initrd, error);
}

static bool boot_image_plan(struct boot_image *image, const struct boot_request *request,
                            GError **error)
{
    uint8_t head[BOOT_HEAD_BYTES] = {0};
    size_t n = MIN(sizeof(head), image->kernel.size);

    if (!boot_file_read(&image->kernel, 0, head, n, error)) {
        g_prefix_error(error, "kernel ");
        return false;
    }
    if (boot_is_linux(head, n)) {
        return boot_initrd_open(image, request, error) &&
               boot_linux(image, request, head, n, error);
    }
    if (boot_find_multiboot(head, n) >= 0) {
        return boot_multiboot(image, request, head, n, error);
    }
    if (boot_is_elf(head, n)) {
        return boot_initrd_open(image, request, error) && boot_pvh(image, request, head, n, error);
    }
    g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                "kernel '%s': not a kernel (%" G_GUINT64_FORMAT " bytes, neither a Linux bzImage "
                "nor a Multiboot image nor an ELF file with a PVH entry)",
                image->kernel.path, image->kernel.size);
    return false;
}

struct boot_image *boot_image_new(const struct boot_request *request, GError **error)
{
    struct boot_image *image = g_new0(struct boot_image, 1);

    image->kernel.fd = -1;
    image->initrd.fd = -1;
    image->regs.rflags = RFLAGS_1;
    image->modules = g_ptr_array_new_with_free_func(boot_module_free);
    image->pieces = g_array_new(FALSE, FALSE, sizeof(struct boot_piece));
    g_array_set_clear_func(image->pieces, piece_clear);

    if (!boot_file_open(&image->kernel, "kernel", request->kernel, error) ||
        !boot_image_plan(image, request, error)) {
        boot_image_free(image);
        return NULL;
    }
    return image;
}

void boot_image_free(struct boot_image *image)
{
    if (!image) {
        return;
    }
    boot_file_close(&image->kernel);
    boot_file_close(&image->initrd);
    g_array_unref(image->pieces);
    g_ptr_array_unref(image->modules);
    g_free(image);
}

/* ---------------------------------------------------------------- for firmware */

bool boot_items_read(const struct boot_request *request, struct boot_items *items, GError **error)
{
    struct boot_file file = {.fd = -1};
    uint8_t head[BOOT_HEAD_BYTES] = {0};
    size_t n;
    bool ok;

    *items = (struct boot_items){0};
    ok = boot_file_open(&file, "kernel", request->kernel, error);
    n = MIN(sizeof(head), file.size);
    ok = ok && boot_file_read(&file, 0, head, n, error);
    if (ok && boot_is_linux(head, n)) {
        ok = boot_linux_items(request, &file, head, n, items, error);
    } else if (ok && boot_find_multiboot(head, n) >= 0) {
        ok = boot_multiboot_items(request, items, error);
    } else if (ok) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': firmware starts Linux bzImages and Multiboot images only",
                    file.path);
        ok = false;
    }
    boot_file_close(&file);
    if (!ok) {
        boot_items_clear(items);
    }
    return ok;
}

void boot_items_clear(struct boot_items *items)
{
    g_clear_pointer(&items->setup, g_bytes_unref);
    g_clear_pointer(&items->kernel, g_bytes_unref);
    g_clear_pointer(&items->initrd, g_bytes_unref);
    g_clear_pointer(&items->cmdline, g_bytes_unref);
}

/* ---------------------------------------------------------------- start state */

static const uint64_t boot_gdt_long[] = {
    0,
    0,
    0x00af9b000000ffff, /* BOOT_CS: 64-bit code */
    0x00cf93000000ffff, /* BOOT_DS */
    0x00008b0000000067, /* TSS at 0; busy */
    0,                  /* its upper half in long mode */
};
static const uint64_t boot_gdt_flat[] = {
    0,
    0,
    0x00cf9b000000ffff, /* BOOT_CS: 32-bit code */
    0x00cf93000000ffff, /* BOOT_DS */
    0x00008b0000000067,
};

bool boot_add_gdt(struct boot_image *image, GError **error)
{
    bool is_long = image->mode == BOOT_LONG64;
    const uint64_t *gdt = is_long ? boot_gdt_long : boot_gdt_flat;
    size_t n = is_long ? G_N_ELEMENTS(boot_gdt_long) : G_N_ELEMENTS(boot_gdt_flat);
    uint8_t bytes[sizeof(boot_gdt_long)];

    if (!boot_place_table(image, "the start-up GDT", 8 * n, 16, &image->gdt, error)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        put_le64(bytes + 8 * i, gdt[i]);
    }
    boot_add_bytes(image, image->gdt, bytes, 8 * n);
    return true;
}

void boot_image_start(const struct boot_image *image, struct cpu_state *state)
{
    struct x_sregs *s = &state->sregs;
    bool is_long = image->mode == BOOT_LONG64;
    const struct x_seg data = {
        .limit = 0xffffffff,
        .selector = BOOT_DS,
        .type = 3,
        .present = 1,
        .db = 1,
        .s = 1,
        .g = 1,
    };

    state->regs = image->regs;
    state->mp_state = 0; /* MP_RUNNABLE */
    s->cs = data;
    s->cs.selector = BOOT_CS;
    s->cs.type = 11;
    s->cs.db = !is_long;
    s->cs.l = is_long;
    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->tr = (struct x_seg){.limit = 0x67, .selector = 0x20, .type = 11, .present = 1};
    s->ldt = (struct x_seg){.type = 2, .unusable = 1};
    s->gdt.base = image->gdt;
    s->gdt.limit = (uint16_t)((is_long ? sizeof(boot_gdt_long) : sizeof(boot_gdt_flat)) - 1);
    s->idt.base = 0;
    s->idt.limit = 0;
    s->cr0 = CR0_PE | CR0_ET;
    s->cr4 = 0;
    s->efer = 0;
    if (is_long) {
        s->cr0 |= CR0_PG;
        s->cr3 = image->cr3;
        s->cr4 = CR4_PAE;
        s->efer = EFER_LME | EFER_LMA;
    }
}
