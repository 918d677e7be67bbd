/* The human monitor's commands about numbers, addresses, ports and memory in files. */
#include "monitor/hmp-priv.h"

#include "monitor/monitor-priv.h"
#include <inttypes.h>
#include <string.h>

#define SUM_MAX_BYTES (1u << 30)

/* "/fmt" at *args: letters of a value's form, of a size, or digits that say nothing here. *form and
 * *size (bytes) keep what they have when it is not told. */
static bool take_format(struct hmp *h, const struct hmp_command *command, const char **args,
                        char *form, unsigned *size)
{
    static const char forms[] = "oduxc", sizes[] = "bhwg";
    const char *p = *args;

    if (*p != '/') {
        return true;
    }
    for (p++; *p && !g_ascii_isspace(*p); p++) {
        if (strchr(forms, *p)) {
            *form = *p;
        } else if (strchr(sizes, *p)) {
            *size = 1u << (strchr(sizes, *p) - sizes);
        } else if (!g_ascii_isdigit(*p)) {
            hmp_print(h, "invalid char in format: '%c'\n", *p);
            hmp_print_try_help(h, command);
            return false;
        }
    }
    while (g_ascii_isspace(*p)) {
        p++;
    }
    *args = p;
    return true;
}

static void run_print(struct hmp *h, const struct hmp_command *command, const char *args)
{
    char form = 'x';
    unsigned size = 8;
    uint64_t value;

    if (!take_format(h, command, &args, &form, &size) || !hmp_value(h, command, &args, &value) ||
        !hmp_end(h, command, args)) {
        return;
    }
    switch (form) {
    case 'o':
        hmp_print(h, "%#" PRIo64 "\n", value);
        break;
    case 'u':
        hmp_print(h, "%" PRIu64 "\n", value);
        break;
    case 'd':
        hmp_print(h, "%" PRId64 "\n", (int64_t)value);
        break;
    case 'c':
        hmp_print(h, g_ascii_isprint((char)value) && value < 0x7f ? "'%c'\n" : "'\\x%02x'\n",
                  (unsigned)(value & 0xff));
        break;
    default:
        hmp_print(h, "%#" PRIx64 "\n", value);
        break;
    }
}

/* A port is /b, /h or /w wide. */
static void run_in(struct hmp *h, const struct hmp_command *command, const char *args)
{
    char form = 'x';
    unsigned size = 4;
    uint64_t port, value;

    if (!take_format(h, command, &args, &form, &size) || !hmp_value(h, command, &args, &port) ||
        !hmp_end(h, command, args)) {
        return;
    }
    size = MIN(size, 4);
    port &= 0xffff;
    machine_park_begin(h->m);
    value = address_space_io_read(h->m->io, port, size);
    machine_park_end(h->m);
    hmp_print(h, "port%c[0x%04" PRIx64 "] = 0x%0*" PRIx64 "\n",
              size == 1   ? 'b'
              : size == 2 ? 'w'
                          : 'l',
              port, (int)size * 2, value);
}

static void run_out(struct hmp *h, const struct hmp_command *command, const char *args)
{
    char form = 'x';
    unsigned size = 4;
    uint64_t port, value;

    if (!take_format(h, command, &args, &form, &size) || !hmp_value(h, command, &args, &port) ||
        !hmp_value(h, command, &args, &value) || !hmp_end(h, command, args)) {
        return;
    }
    machine_park_begin(h->m);
    address_space_io_write(h->m->io, port & 0xffff, value, MIN(size, 4));
    machine_park_end(h->m);
}

/* The checksum of BSD's sum(1) over physical memory. */
static void run_sum(struct hmp *h, const struct hmp_command *command, const char *args)
{
    uint8_t bytes[4096];
    uint64_t start, size;
    uint16_t sum = 0;

    if (!hmp_value(h, command, &args, &start) || !hmp_value(h, command, &args, &size) ||
        !hmp_end(h, command, args)) {
        return;
    }
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

static void run_translate(struct hmp *h, const struct hmp_command *command, const char *args)
{
    uint64_t address;
    gpa_t gpa;
    bool ok;

    if (!h->vcpu) {
        hmp_print(h, "No cpu\n");
        return;
    }
    if (!hmp_value(h, command, &args, &address) || !hmp_end(h, command, args)) {
        return;
    }
    machine_park_begin(h->m);
    ok = h->vcpu->ops->translate(h->vcpu, address, &gpa);
    machine_park_end(h->m);
    if (ok) {
        hmp_print(h, "gpa: %#" PRIx64 "\n", (uint64_t)gpa);
    } else {
        hmp_print(h, "Unmapped\n");
    }
}

const struct hmp_command hmp_memory_commands[] = {
    {"gva2gpa", NULL, "addr", "the physical address of a virtual one", true, run_translate},
    {"i", NULL, "/fmt addr", "read an I/O port [/b, /h, /w: its size]", true, run_in},
    {"memsave", NULL, "addr size file", "keep virtual memory in a file", true, hmp_run_qmp,
     "memsave", "val:i size:i filename:s"},
    {"o", NULL, "/fmt addr value", "write an I/O port [/b, /h, /w: its size]", true, run_out},
    {"pmemsave", NULL, "addr size file", "keep physical memory in a file", true, hmp_run_qmp,
     "pmemsave", "val:i size:i filename:s"},
    {"print", "p", "/fmt expr", "the value of an expression", true, run_print},
    {"sum", NULL, "addr size", "a checksum of physical memory, as BSD's sum", true, run_sum},
    {0}};
