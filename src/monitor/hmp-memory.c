/*
 * The human monitor's commands about numbers, addresses, ports and memory.
 *
 * Left out: forms and sizes are not remembered from one command to the next.
 */
#include "monitor/hmp-priv.h"

#include "cpu/x86/disas.h"
#include "monitor/monitor-priv.h"
#include <inttypes.h>
#include <string.h>

/* The longest dump of x and xp, in bytes of guest memory. */
#define DUMP_MAX_BYTES (1u << 20)
#define SUM_MAX_BYTES  (1u << 30)

/* ---- numbers */

static void print_character(GString *out, unsigned char c)
{
    static const char escaped[] = "'\\\n\r", letters[] = "'\\nr";
    const char *found = c ? strchr(escaped, c) : NULL;

    if (found) {
        g_string_append_printf(out, "'\\%c'", letters[found - escaped]);
    } else if (c >= 32 && c <= 126) {
        g_string_append_printf(out, "'%c'", c);
    } else {
        g_string_append_printf(out, "'\\x%02x'", c);
    }
}

static void run_print(struct hmp *h, struct json_object *args)
{
    uint64_t value = hmp_number(args, "val");

    switch (hmp_format(args, "fmt").form) {
    case 'o':
        hmp_print(h, "%#" PRIo64, value);
        break;
    case 'u':
        hmp_print(h, "%" PRIu64, value);
        break;
    case 'd':
        hmp_print(h, "%" PRId64, (int64_t)value);
        break;
    case 'c':
        print_character(h->out, (unsigned char)value);
        break;
    default:
        hmp_print(h, "%#" PRIx64, value);
        break;
    }
    hmp_print(h, "\n");
}

/* ---- ports */

/* A port is /b, /h or /w wide. */
static unsigned port_size(const struct json_object *args)
{
    return MIN(hmp_format(args, "fmt").size, 4);
}

static void run_in(struct hmp *h, struct json_object *args)
{
    unsigned size = port_size(args);
    uint64_t port = hmp_number(args, "addr") & 0xffff, value;

    machine_park_begin(h->m);
    value = address_space_io_read(h->m->io, port, size);
    machine_park_end(h->m);
    hmp_print(h, "port%c[0x%04" PRIx64 "] = 0x%0*" PRIx64 "\n",
              size == 1   ? 'b'
              : size == 2 ? 'w'
                          : 'l',
              port, (int)size * 2, value);
}

static void run_out(struct hmp *h, struct json_object *args)
{
    machine_park_begin(h->m);
    address_space_io_write(h->m->io, hmp_number(args, "addr") & 0xffff, hmp_number(args, "val"),
                           port_size(args));
    machine_park_end(h->m);
}

/* ---- memory */

static void print_item(GString *out, const struct hmp_format *f, unsigned size,
                       const uint8_t *bytes)
{
    unsigned bits = size * 8;
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    g_string_append_c(out, ' ');
    switch (f->form) {
    case 'o':
        g_string_append_printf(out, "%#*" PRIo64, (bits + 2) / 3, value);
        break;
    case 'x':
        g_string_append_printf(out, "0x%0*" PRIx64, bits / 4, value);
        break;
    case 'u':
        g_string_append_printf(out, "%*" PRIu64, (bits * 10 + 32) / 33, value);
        break;
    case 'd':
        g_string_append_printf(out, "%*" PRId64, (bits * 10 + 32) / 33, (int64_t)value);
        break;
    default:
        print_character(out, (unsigned char)value);
        break;
    }
}

typedef bool (*read_fn)(struct hmp *, uint64_t addr, void *buf, size_t length);

static bool read_linear(struct hmp *h, uint64_t addr, void *buf, size_t length)
{
    return h->vcpu->ops->read_linear(h->vcpu, addr, buf, length);
}

static bool read_physical(struct hmp *h, uint64_t addr, void *buf, size_t length)
{
    return address_space_read(h->m->mem, addr, buf, length);
}

static void dump(struct hmp *h, const struct hmp_format *f, uint64_t addr, read_fn read)
{
    unsigned size = f->form == 'c' ? 1 : f->size;
    unsigned line_size = f->size == 1 ? 8 : 16;
    uint64_t left = f->count * f->size;
    uint8_t line[16];

    while (left) {
        size_t n = MIN(left, line_size);

        hmp_print(h, "%016" PRIx64 ":", addr);
        if (!read(h, addr, line, n)) {
            hmp_print(h, " Cannot access memory\n");
            return;
        }
        for (size_t i = 0; i < n; i += size) {
            print_item(h->out, f, size, line + i);
        }
        hmp_print(h, "\n");
        addr += n;
        left -= n;
    }
}

#define CODE_LINE_BYTES 8

/* One instruction: its address and bytes, eight on a line, and what it is. */
static void print_insn(struct hmp *h, uint64_t addr, const uint8_t *bytes, unsigned n,
                       const char *text)
{
    for (unsigned at = 0; at < n; at += CODE_LINE_BYTES) {
        g_autoptr(GString) hex = g_string_new(NULL);

        for (unsigned i = at; i < MIN(n, at + CODE_LINE_BYTES); i++) {
            g_string_append_printf(hex, "%02x ", bytes[i]);
        }
        if (at == 0) {
            hmp_print(h, "0x%08" PRIx64 ":  %-*s %s\n", addr, 3 * CODE_LINE_BYTES, hex->str, text);
        } else {
            g_string_truncate(hex, hex->len - 1);
            hmp_print(h, "0x%08" PRIx64 ":  %s\n", addr + at, hex->str);
        }
    }
}

/* What is mapped of the bytes at addr: at most an instruction's. */
static unsigned read_code(struct hmp *h, uint64_t addr, uint8_t *bytes, read_fn read)
{
    unsigned n = DISAS_INSN_MAX;

    while (n && !read(h, addr, bytes, n)) {
        n--;
    }
    return n;
}

static void disassemble(struct hmp *h, const struct hmp_format *f, uint64_t addr, read_fn read)
{
    enum disas_mode mode = disas_mode_of(h->vcpu);

    for (uint64_t i = 0; i < f->count; i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        uint8_t bytes[DISAS_INSN_MAX];
        unsigned there = read_code(h, addr, bytes, read), n;

        if (there == 0) {
            hmp_print(h, "0x%08" PRIx64 ": unable to read memory\n", addr);
            return;
        }
        n = disas_insn(mode, addr, bytes, there, text);
        if (n == 0) {
            n = 1;
            g_string_printf(text, "%-8s 0x%02x", ".byte", bytes[0]);
        }
        print_insn(h, addr, bytes, n, text->str);
        addr += n;
    }
}

static void run_disassemble(struct hmp *h, const struct hmp_format *f, uint64_t addr, read_fn read)
{
    if (!disas_available()) {
        hmp_print(h, "disassembly is not available: this Godwit was built without Zydis\n");
    } else if (!h->vcpu) {
        hmp_print(h, "No CPU available\n");
    } else if (f->count > DUMP_MAX_BYTES / DISAS_INSN_MAX) {
        hmp_print(h, "count is too large: at most %u instructions are shown\n",
                  DUMP_MAX_BYTES / DISAS_INSN_MAX);
    } else {
        machine_park_begin(h->m);
        disassemble(h, f, addr, read);
        machine_park_end(h->m);
    }
}

static void run_dump(struct hmp *h, struct json_object *args, read_fn read)
{
    struct hmp_format f = hmp_format(args, "fmt");

    if (f.form == 'i') {
        run_disassemble(h, &f, hmp_number(args, "addr"), read);
    } else if (f.count > DUMP_MAX_BYTES / f.size) {
        hmp_print(h, "count is too large: at most %u bytes are shown\n", DUMP_MAX_BYTES);
    } else {
        machine_park_begin(h->m);
        dump(h, &f, hmp_number(args, "addr"), read);
        machine_park_end(h->m);
    }
}

static void run_x(struct hmp *h, struct json_object *args)
{
    if (h->vcpu) {
        run_dump(h, args, read_linear);
    } else {
        hmp_print(h, "No CPU available\n");
    }
}

static void run_xp(struct hmp *h, struct json_object *args)
{
    run_dump(h, args, read_physical);
}

/* The checksum of BSD's sum(1) over physical memory. */
static void run_sum(struct hmp *h, struct json_object *args)
{
    uint64_t start = hmp_number(args, "start"), size = hmp_number(args, "size");
    uint8_t bytes[4096];
    uint16_t sum = 0;

    if (size > SUM_MAX_BYTES) {
        hmp_print(h, "size is too large: at most %u bytes are added up\n", SUM_MAX_BYTES);
        return;
    }
    machine_park_begin(h->m);
    while (size) {
        size_t n = MIN(size, sizeof(bytes));

        memset(bytes, 0, n);
        address_space_read(h->m->mem, start, bytes, n);
        for (size_t i = 0; i < n; i++) {
            sum = (uint16_t)(sum >> 1 | sum << 15);
            sum = (uint16_t)(sum + bytes[i]);
        }
        start += n;
        size -= n;
    }
    machine_park_end(h->m);
    hmp_print(h, "%05d\n", sum);
}

static void run_translate(struct hmp *h, struct json_object *args)
{
    gpa_t gpa;
    bool ok;

    if (!h->vcpu) {
        hmp_print(h, "No cpu\n");
        return;
    }
    machine_park_begin(h->m);
    ok = h->vcpu->ops->translate(h->vcpu, hmp_number(args, "addr"), &gpa);
    machine_park_end(h->m);
    if (ok) {
        hmp_print(h, "gpa: %#" PRIx64 "\n", (uint64_t)gpa);
    } else {
        hmp_print(h, "Unmapped\n");
    }
}

const struct hmp_command hmp_memory_commands[] = {
    {"gva2gpa", NULL, "addr", "the physical address of a virtual one", "addr:l",
     .run = run_translate},
    {"i", NULL, "/fmt addr", "read an I/O port [/b, /h, /w: its size]", "fmt:/ addr:i",
     .run = run_in},
    {"memsave", NULL, "addr size file", "keep virtual memory in a file", "val:l size:i filename:s",
     "memsave"},
    {"o", NULL, "/fmt addr value", "write an I/O port [/b, /h, /w: its size]", "fmt:/ addr:i val:i",
     .run = run_out},
    {"pmemsave", NULL, "addr size file", "keep physical memory in a file",
     "val:l size:i filename:s", "pmemsave"},
    {"print", "p", "/fmt expr", "the value of an expression", "fmt:/ val:l", .run = run_print},
    {"sum", NULL, "addr size", "a checksum of physical memory, as BSD's sum", "start:i size:i",
     .run = run_sum},
    {"x", NULL, "/fmt addr", "show memory at a virtual address", "fmt:/ addr:l", .run = run_x},
    {"xp", NULL, "/fmt addr", "show memory at a physical address", "fmt:/ addr:l", .run = run_xp},
    {0}};
