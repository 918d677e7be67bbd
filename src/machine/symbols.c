/*
 * Reading symbols: the symbol tables of ELF (System V gABI, chapter 4), 32 and 64 bits,
 * little-endian, and lines "ADDRESS TYPE NAME" with types T, t, W and w for functions.
 *
 * The file is the user's, yet may be anything: every offset and count is checked against its size.
 *
 * Left out: debug information, so no inlined functions and no line numbers.
 */
#include "machine/symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_MAX_BYTES (256u << 20) /* of a symbol table, of its names, of a list */
#define SECTIONS_MAX    65536u
#define NAME_MAX_BYTES  512u
/* A function of unknown size ends where the next begins, or here. */
#define REACH_BYTES     (1u << 20)

struct symbol {
    uint64_t addr, size; /* size 0: not known */
    const char *name;
};

struct symbols {
    GArray *items; /* struct symbol, by address */
    GStringChunk *names;
};

struct file {
    int fd;
    uint64_t size;
    const char *path;
};

GQuark symbols_error_quark(void)
{
    return g_quark_from_static_string("symbols-error");
}

/* ---- files */

static bool fail(const struct file *f, GError **error, const char *why)
{
    g_set_error(error, SYMBOLS_ERROR, 0, "symbols '%s': %s", f->path, why);
    return false;
}

static bool file_read(const struct file *f, uint64_t offset, void *buf, uint64_t length,
                      GError **error)
{
    uint8_t *to = buf;

    if (offset > f->size || length > f->size - offset) {
        return fail(f, error, "what it refers to lies beyond its end");
    }
    while (length) {
        ssize_t n = pread(f->fd, to, length, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return fail(f, error, n ? g_strerror(errno) : "it ends too early");
        }
        to += n;
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return true;
}

/* A table of the file, with a NUL after it; NULL and *error. */
static char *table_read(const struct file *f, uint64_t offset, uint64_t length, GError **error)
{
    char *table;

    if (length > TABLE_MAX_BYTES) {
        fail(f, error, "a table of it has more than 256 MiB");
        return NULL;
    }
    table = g_try_malloc(length + 1);
    if (!table) {
        fail(f, error, "there is no memory for it");
        return NULL;
    }
    if (!file_read(f, offset, table, length, error)) {
        g_free(table);
        return NULL;
    }
    table[length] = '\0';
    return table;
}

static void add(struct symbols *s, uint64_t addr, uint64_t size, const char *name)
{
    if (*name && strlen(name) <= NAME_MAX_BYTES) {
        struct symbol symbol = {addr, size, g_string_chunk_insert(s->names, name)};

        g_array_append_val(s->items, symbol);
    }
}

/* ---- ELF */

struct section {
    uint32_t type, link;
    uint64_t flags, offset, size, entry_size;
};

struct elf {
    struct file *f;
    bool is64;
    GArray *sections; /* struct section */
};

static struct section section_from(const struct elf *elf, const uint8_t *bytes)
{
    Elf64_Shdr wide;
    Elf32_Shdr narrow;

    if (elf->is64) {
        memcpy(&wide, bytes, sizeof(wide));
        return (struct section){wide.sh_type,   wide.sh_link, wide.sh_flags,
                                wide.sh_offset, wide.sh_size, wide.sh_entsize};
    }
    memcpy(&narrow, bytes, sizeof(narrow));
    return (struct section){narrow.sh_type,   narrow.sh_link, narrow.sh_flags,
                            narrow.sh_offset, narrow.sh_size, narrow.sh_entsize};
}

static bool sections_read(struct elf *elf, const uint8_t *header, GError **error)
{
    Elf64_Ehdr wide;
    Elf32_Ehdr narrow;
    uint64_t offset, n, entry;
    uint64_t least = elf->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    g_autofree char *table = NULL;

    memcpy(&wide, header, sizeof(wide));
    memcpy(&narrow, header, sizeof(narrow));
    offset = elf->is64 ? wide.e_shoff : narrow.e_shoff;
    n = elf->is64 ? wide.e_shnum : narrow.e_shnum;
    entry = elf->is64 ? wide.e_shentsize : narrow.e_shentsize;
    if (n == 0 || n > SECTIONS_MAX || entry < least) {
        return fail(elf->f, error, "it has no section headers");
    }
    table = table_read(elf->f, offset, n * entry, error);
    for (uint64_t i = 0; table && i < n; i++) {
        struct section section = section_from(elf, (uint8_t *)table + i * entry);

        g_array_append_val(elf->sections, section);
    }
    return table != NULL;
}

static bool is_code(const struct elf *elf, unsigned type, uint32_t section)
{
    return (type == STT_FUNC || type == STT_NOTYPE) && section < elf->sections->len &&
           (g_array_index(elf->sections, struct section, section).flags & SHF_EXECINSTR);
}

static bool table_add(const struct elf *elf, const struct section *table, struct symbols *s,
                      GError **error)
{
    uint64_t least = elf->is64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
    const struct section *strings;
    g_autofree char *entries = NULL, *names = NULL;

    if (table->link >= elf->sections->len || table->entry_size < least) {
        return fail(elf->f, error, "its symbol table is broken");
    }
    strings = &g_array_index(elf->sections, struct section, table->link);
    entries = table_read(elf->f, table->offset, table->size, error);
    names = entries ? table_read(elf->f, strings->offset, strings->size, error) : NULL;
    if (!names) {
        return false;
    }
    for (uint64_t at = 0; at + least <= table->size; at += table->entry_size) {
        Elf64_Sym sym = {0};

        if (elf->is64) {
            memcpy(&sym, entries + at, sizeof(sym));
        } else {
            Elf32_Sym narrow;

            memcpy(&narrow, entries + at, sizeof(narrow));
            sym = (Elf64_Sym){narrow.st_name,  narrow.st_info,  narrow.st_other,
                              narrow.st_shndx, narrow.st_value, narrow.st_size};
        }
        if (is_code(elf, ELF64_ST_TYPE(sym.st_info), sym.st_shndx) && sym.st_name < strings->size) {
            add(s, sym.st_value, sym.st_size, names + sym.st_name);
        }
    }
    return true;
}

static bool elf_load(struct file *f, const uint8_t *header, struct symbols *s, GError **error)
{
    struct elf elf = {.f = f, .is64 = header[EI_CLASS] == ELFCLASS64};
    bool ok;

    if (header[EI_DATA] != ELFDATA2LSB) {
        return fail(f, error, "it is an ELF file, but of another byte order");
    }
    elf.sections = g_array_new(FALSE, FALSE, sizeof(struct section));
    ok = sections_read(&elf, header, error);
    for (guint i = 0; ok && i < elf.sections->len; i++) {
        const struct section *section = &g_array_index(elf.sections, struct section, i);

        if (section->type == SHT_SYMTAB) {
            ok = table_add(&elf, section, s, error);
        }
    }
    g_array_unref(elf.sections);
    return ok;
}

/* ---- a list */

static void line_add(struct symbols *s, char *line)
{
    char *end, *name;
    uint64_t addr = g_ascii_strtoull(line, &end, 16);

    if (end == line || end[0] != ' ' || !end[1] || !strchr("TtWw", end[1]) || end[2] != ' ') {
        return;
    }
    name = end + 3;
    name[strcspn(name, " \t\r")] = '\0'; /* kallsyms goes on with the module */
    add(s, addr, 0, name);
}

static bool list_load(const struct file *f, struct symbols *s, GError **error)
{
    g_autofree char *text = table_read(f, 0, f->size, error);
    char *next;

    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        line_add(s, line);
    }
    return text != NULL;
}

/* ---- both */

static int by_address(gconstpointer a, gconstpointer b)
{
    const struct symbol *left = a, *right = b;

    return left->addr < right->addr ? -1 : left->addr > right->addr;
}

static bool load(struct file *f, struct symbols *s, GError **error)
{
    uint8_t header[sizeof(Elf64_Ehdr)] = {0};
    bool is_elf, ok;

    if (!file_read(f, 0, header, MIN(f->size, sizeof(header)), error)) {
        return false;
    }
    is_elf = f->size >= sizeof(header) && memcmp(header, ELFMAG, SELFMAG) == 0;
    ok = is_elf ? elf_load(f, header, s, error) : list_load(f, s, error);
    if (ok && s->items->len == 0) {
        return fail(f, error,
                    is_elf ? "it has no symbol table with functions in it (stripped?)"
                           : "it is neither an ELF file nor a list like System.map with functions "
                             "in it");
    }
    g_array_sort(s->items, by_address);
    return ok;
}

struct symbols *symbols_load(const char *path, GError **error)
{
    struct file f = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .path = path};
    struct symbols *s = g_new0(struct symbols, 1);
    struct stat st;
    bool ok = false;

    s->items = g_array_new(FALSE, FALSE, sizeof(struct symbol));
    s->names = g_string_chunk_new(65536);
    if (f.fd < 0 || fstat(f.fd, &st) < 0) {
        fail(&f, error, g_strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        fail(&f, error, "it is no regular file");
    } else {
        f.size = (uint64_t)st.st_size;
        ok = load(&f, s, error);
    }
    if (f.fd >= 0) {
        close(f.fd);
    }
    if (!ok) {
        symbols_free(s);
        return NULL;
    }
    return s;
}

void symbols_free(struct symbols *s)
{
    if (s) {
        g_array_unref(s->items);
        g_string_chunk_free(s->names);
        g_free(s);
    }
}

static const struct symbol *symbol_find(const struct symbols *s, uint64_t addr)
{
    guint low = 0, high = s->items->len; /* the first symbol beyond the address */
    const struct symbol *found;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(s->items, struct symbol, middle).addr <= addr) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return NULL;
    }
    found = &g_array_index(s->items, struct symbol, low - 1);
    return addr - found->addr < (found->size ? found->size : REACH_BYTES) ? found : NULL;
}

static char *describe(const struct symbol *symbol, uint64_t addr)
{
    return symbol
               ? g_strdup_printf("%s+0x%" G_GINT64_MODIFIER "x", symbol->name, addr - symbol->addr)
               : NULL;
}

char *symbols_describe(const struct symbols *s, uint64_t addr)
{
    return describe(symbol_find(s, addr), addr);
}

char *symbols_describe_return(const struct symbols *s, uint64_t addr)
{
    return describe(symbol_find(s, addr - 1), addr);
}
