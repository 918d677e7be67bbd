/*
 * The vmcoreinfo note (Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst) and a walk of the
 * kernel's page tables (Intel SDM volume 3, chapter "Paging", 4- and 5-level).
 *
 * The note is an ELF note named VMCOREINFO; its description is lines of KEY=VALUE. The top-level
 * page table is a symbol of the kernel's image, which is mapped from phys_base on at a fixed
 * virtual address.
 *
 * Left out: kernels of 32 bits, and memory that the guest encrypts.
 */
#include "machine/guest-kernel.h"

#include <string.h>

#define NOTE_MAX_BYTES (64u << 10)
#define NOTE_NAME      "VMCOREINFO"
#define KERNEL_MAP     0xffffffff80000000ull /* where phys_base is mapped */

#define ENTRY_PRESENT  1u
#define ENTRY_LARGE    (1u << 7)
#define ENTRY_ADDRESS  0x000ffffffffff000ull

struct guest_kernel {
    struct phys_reader reader;
    char *text; /* the note's description, ended by NUL */
    char *release;
    uint64_t offset;
    uint64_t top; /* guest-physical address of the top-level page table */
    unsigned levels;
};

GQuark guest_kernel_error_quark(void)
{
    return g_quark_from_static_string("guest-kernel-error");
}

/* ---- the note */

static uint32_t get_le32(const uint8_t *bytes)
{
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* The description as text, owned by the caller; NULL and *error. */
static char *note_read(const struct phys_reader *reader, uint64_t addr, uint32_t size,
                       GError **error)
{
    g_autofree uint8_t *note = g_malloc(NOTE_MAX_BYTES);
    uint32_t name_size, text_size, text_at;

    size = MIN(size, NOTE_MAX_BYTES);
    if (size < 12 || addr > UINT64_MAX - size || !reader->read(reader->opaque, addr, note, size)) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "vmcoreinfo: the note is not in memory");
        return NULL;
    }
    name_size = get_le32(note);
    text_size = get_le32(note + 4);
    if (name_size != sizeof(NOTE_NAME) || size < 24 ||
        memcmp(note + 12, NOTE_NAME, sizeof(NOTE_NAME)) != 0) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "vmcoreinfo: the note is none of that name");
        return NULL;
    }
    text_at = 12 + (name_size + 3) / 4 * 4;
    return g_strndup((const char *)note + text_at, MIN(text_size, size - text_at));
}

/* The value of a key, and its length; NULL when it is not there. */
static const char *note_find(const struct guest_kernel *k, const char *key, size_t *length)
{
    size_t n = strlen(key);

    for (const char *line = k->text; *line;) {
        const char *end = strchrnul(line, '\n');

        if (strncmp(line, key, n) == 0 && line[n] == '=') {
            *length = (size_t)(end - line) - n - 1;
            return line + n + 1;
        }
        line = *end ? end + 1 : end;
    }
    return NULL;
}

bool guest_kernel_value(const struct guest_kernel *k, const char *key, unsigned base,
                        uint64_t *value)
{
    size_t length;
    const char *found = note_find(k, key, &length);
    char text[32], *end;

    if (!found || length == 0 || length >= sizeof(text)) {
        return false;
    }
    memcpy(text, found, length);
    text[length] = '\0';
    /* Numbers are printed as signed longs: phys_base may be below zero. */
    *value = text[0] == '-' ? (uint64_t)g_ascii_strtoll(text, &end, base)
                            : g_ascii_strtoull(text, &end, base);
    return end == text + length;
}

static char *release_copy(const struct guest_kernel *k)
{
    size_t length;
    const char *found = note_find(k, "OSRELEASE", &length);
    char *copy = found ? g_strndup(found, MIN(length, 128)) : NULL;

    for (char *p = copy; p && *p; p++) {
        if (!g_ascii_isprint(*p)) {
            *p = '?';
        }
    }
    return copy;
}

static bool page_tables_find(struct guest_kernel *k, GError **error)
{
    uint64_t top, phys_base, five_levels = 0;

    if (!guest_kernel_value(k, "SYMBOL(init_top_pgt)", 16, &top) &&
        !guest_kernel_value(k, "SYMBOL(swapper_pg_dir)", 16, &top)) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "vmcoreinfo: no page table is named");
        return false;
    }
    if (!guest_kernel_value(k, "NUMBER(phys_base)", 10, &phys_base) || top < KERNEL_MAP) {
        g_set_error(error, GUEST_KERNEL_ERROR, 0, "vmcoreinfo: this is no 64-bit x86 kernel");
        return false;
    }
    guest_kernel_value(k, "NUMBER(pgtable_l5_enabled)", 10, &five_levels);
    k->levels = five_levels == 1 ? 5 : 4;
    k->top = (top - KERNEL_MAP + phys_base) & ENTRY_ADDRESS;
    return true;
}

struct guest_kernel *guest_kernel_open(const struct phys_reader *reader, uint64_t note_addr,
                                       uint32_t note_size, GError **error)
{
    struct guest_kernel *k = g_new0(struct guest_kernel, 1);

    k->reader = *reader;
    k->text = note_read(reader, note_addr, note_size, error);
    if (!k->text || !page_tables_find(k, error)) {
        guest_kernel_free(k);
        return NULL;
    }
    k->release = release_copy(k);
    guest_kernel_value(k, "KERNELOFFSET", 16, &k->offset);
    return k;
}

void guest_kernel_free(struct guest_kernel *k)
{
    if (k) {
        g_free(k->text);
        g_free(k->release);
        g_free(k);
    }
}

const char *guest_kernel_release(const struct guest_kernel *k)
{
    return k->release;
}

uint64_t guest_kernel_offset(const struct guest_kernel *k)
{
    return k->offset;
}

/* ---- memory */

/* To a guest-physical address; *left: how many bytes follow it in the same page. */
static bool translate(const struct guest_kernel *k, uint64_t addr, uint64_t *phys, uint64_t *left)
{
    uint64_t table = k->top;

    for (unsigned level = k->levels; level > 0; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t mask = (1ull << shift) - 1, entry;
        uint8_t bytes[8];

        if (!k->reader.read(k->reader.opaque, table + (addr >> shift & 511) * 8, bytes, 8)) {
            return false;
        }
        entry = get_le32(bytes) | (uint64_t)get_le32(bytes + 4) << 32;
        if (!(entry & ENTRY_PRESENT)) {
            return false;
        }
        if (level == 1 || ((entry & ENTRY_LARGE) && level <= 3)) {
            *phys = (entry & ENTRY_ADDRESS & ~mask) | (addr & mask);
            *left = mask + 1 - (addr & mask);
            return true;
        }
        table = entry & ENTRY_ADDRESS;
    }
    return false;
}

bool guest_kernel_read(const struct guest_kernel *k, uint64_t addr, void *buf, size_t length)
{
    uint8_t *to = buf;

    while (length) {
        uint64_t phys, left;
        size_t n;

        if (!translate(k, addr, &phys, &left)) {
            return false;
        }
        n = MIN(length, left);
        if (!k->reader.read(k->reader.opaque, phys, to, n)) {
            return false;
        }
        to += n;
        addr += n;
        length -= n;
    }
    return true;
}
