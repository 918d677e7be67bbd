/*
 * Printing a stream: see stream-print.h. The stream is hostile: it is read record by record, and a
 * record whose inside is not what it should be is told as such and passed over.
 */
#include "migration/stream-print.h"

#include "migration/record.h"
#include <inttypes.h>
#include <string.h>

#define DEPTH_MAX   16 /* of structs in structs */
#define COLUMNS_MAX 96 /* columns */
#define STEP_BYTES  (4u << 20)

struct printer {
    FILE *in, *out;
    uint64_t ram_records, ram_pages, ram_zeroes; /* not told yet */
};

static void indent(const struct printer *p, unsigned depth)
{
    fprintf(p->out, "%*s", (int)(2 * depth), "");
}

/* ---- fields */

static unsigned kind_bytes(uint64_t kind)
{
    static const uint8_t bytes[] = {
        [STATE_KIND_BOOL] = 1, [STATE_KIND_U8] = 1,  [STATE_KIND_U16] = 2,
        [STATE_KIND_U32] = 4,  [STATE_KIND_U64] = 8, [STATE_KIND_I64] = 8,
    };

    return kind < sizeof(bytes) ? bytes[kind] : 0;
}

static void print_value(const struct printer *p, uint64_t kind, uint64_t value)
{
    if (kind == STATE_KIND_BOOL) {
        fputs(value ? "true" : "false", p->out);
    } else if (kind == STATE_KIND_I64) {
        fprintf(p->out, "%" PRId64, (int64_t)value);
    } else {
        fprintf(p->out, value < 10 ? "%" PRIu64 : "0x%" PRIx64, value);
    }
}

/* Equal values that follow one another are told once. */
static bool print_values(const struct printer *p, uint64_t kind, uint64_t count,
                         struct state_input *in)
{
    uint64_t value, last = 0, same = 0;

    fputs(" =", p->out);
    for (uint64_t i = 0; i <= count; i++) {
        if (i < count && !state_take_number(in, kind_bytes(kind), &value)) {
            return false;
        }
        if (same && (i == count || value != last)) {
            fputc(' ', p->out);
            print_value(p, kind, last);
            if (same > 1) {
                fprintf(p->out, " x%" PRIu64, same);
            }
            same = 0;
        }
        last = value;
        same++;
    }
    fputc('\n', p->out);
    return true;
}

static bool print_fields(const struct printer *p, struct state_input *in, unsigned depth);

static bool print_structs(const struct printer *p, const char *name, uint64_t count,
                          struct state_input *in, unsigned depth)
{
    fputc('\n', p->out);
    for (uint64_t i = 0; i < count; i++) {
        if (count > 1) {
            indent(p, depth);
            fprintf(p->out, "%s[%" PRIu64 "]\n", name, i);
        }
        if (!print_fields(p, in, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* Up to the 0 that ends them. */
static bool print_fields(const struct printer *p, struct state_input *in, unsigned depth)
{
    char name[256];
    uint64_t kind, count;

    while (in->left && in->data[0]) {
        if (!state_take_name(in, name) || !state_take_number(in, 1, &kind) ||
            !state_take_number(in, 4, &count) || count == 0 || depth > DEPTH_MAX ||
            (kind != STATE_KIND_STRUCT && !kind_bytes(kind))) {
            return false;
        }
        indent(p, depth);
        fputs(name, p->out);
        if (!(kind == STATE_KIND_STRUCT ? print_structs(p, name, count, in, depth)
                                        : print_values(p, kind, count, in))) {
            return false;
        }
    }
    return state_take_number(in, 1, &count);
}

static bool print_section(const struct printer *p, struct state_input *in, unsigned depth)
{
    char name[256];
    uint64_t version;

    if (!state_take_name(in, name) || !state_take_number(in, 2, &version)) {
        return false;
    }
    indent(p, depth);
    fprintf(p->out, "%s, version %" PRIu64 "\n", name, version);
    return print_fields(p, in, depth + 1);
}

/* ---- records */

static bool print_machine(const struct printer *p, struct state_input *in)
{
    char name[256];

    if (!state_take_name(in, name)) {
        return false;
    }
    fprintf(p->out, "  run state: %s\n", name);
    return print_section(p, in, 1);
}

static bool print_vcpu(const struct printer *p, struct state_input *in)
{
    uint64_t index;

    if (!state_take_number(in, 4, &index)) {
        return false;
    }
    fprintf(p->out, "  CPU %" PRIu64 "\n", index);
    while (in->left) {
        if (!print_section(p, in, 1)) {
            return false;
        }
    }
    return true;
}

static bool print_devices(const struct printer *p, struct state_input *in)
{
    char name[256];
    uint64_t n;

    if (!state_take_number(in, 4, &n)) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!state_take_name(in, name)) {
            return false;
        }
        fprintf(p->out, "  %s\n", name);
        if (!print_section(p, in, 2)) {
            return false;
        }
    }
    return in->left == 0;
}

/* JSON on one line, broken after commas. */
static void print_json(const struct printer *p, const struct state_input *in)
{
    unsigned column = 0;

    for (size_t i = 0; i < in->left; i++) {
        uint8_t c = in->data[i];

        if (column == 0) {
            fputs("  ", p->out);
        }
        fputc(c >= ' ' && c <= '~' ? c : '?', p->out);
        column++;
        if (c == ',' && column > COLUMNS_MAX - 30) {
            fputc('\n', p->out);
            column = 0;
        }
    }
    fputs(column ? "\n" : "", p->out);
}

static bool count_ram(struct printer *p, struct state_input *in)
{
    uint64_t block, runs, first, n, kind;

    if (!state_take_number(in, 4, &block) || !state_take_number(in, 4, &runs) ||
        runs > in->left / 16) {
        return false;
    }
    p->ram_records++;
    for (uint64_t i = 0; i < runs; i++) {
        state_take_number(in, 8, &first);
        state_take_number(in, 4, &n);
        state_take_number(in, 4, &kind);
        *(kind ? &p->ram_pages : &p->ram_zeroes) += n;
    }
    return true;
}

static void tell_ram(struct printer *p)
{
    if (p->ram_records) {
        fprintf(p->out,
                "ram : %" PRIu64 " records with %" PRIu64 " pages and %" PRIu64 " of zeroes\n",
                p->ram_records, p->ram_pages, p->ram_zeroes);
    }
    p->ram_records = p->ram_pages = p->ram_zeroes = 0;
}

static bool print_inside(struct printer *p, const struct record *record)
{
    struct state_input in = {record->payload, record->bytes};

    if (record_is(record, "desc")) {
        print_json(p, &in);
    } else if (record_is(record, "mach")) {
        return print_machine(p, &in);
    } else if (record_is(record, "vcpu")) {
        return print_vcpu(p, &in);
    } else if (record_is(record, "devs")) {
        return print_devices(p, &in);
    }
    return true;
}

static void print_record(struct printer *p, const struct record *record)
{
    struct state_input in = {record->payload, record->bytes};

    if (record_is(record, "ram ") && count_ram(p, &in)) {
        return;
    }
    tell_ram(p);
    fprintf(p->out, "%s: version %u, %u bytes\n", record->kind, record->version, record->bytes);
    if (!print_inside(p, record)) {
        fputs("\n  (the rest of it is not as it should be)\n", p->out);
    }
}

/* ---- the stream */

/* Memory is taken as far as there are bytes. */
static uint8_t *read_payload(FILE *in, size_t bytes, GError **error)
{
    g_autofree uint8_t *data = NULL;

    for (size_t at = 0; at < bytes;) {
        size_t n = MIN(bytes - at, STEP_BYTES);
        uint8_t *bigger = g_try_realloc(data, at + n);

        if (!bigger) {
            migration_refuse(error, "stream: no memory for a record of that size");
            return NULL;
        }
        data = bigger;
        if (fread(data + at, 1, n, in) != n) {
            migration_refuse(error, "stream: it ends within a record");
            return NULL;
        }
        at += n;
    }
    return g_steal_pointer(&data);
}

static bool next(struct printer *p, bool *last, GError **error)
{
    uint8_t header[RECORD_HEADER_BYTES];
    g_autofree uint8_t *rest = NULL;
    struct record record;
    size_t got = fread(header, 1, sizeof(header), p->in);

    *last = got == 0;
    if (*last) {
        return true;
    }
    if (got != sizeof(header)) {
        return migration_refuse(error, "stream: it ends within a record");
    }
    if (!record_parse_header(header, &record, error)) {
        return false;
    }
    rest = read_payload(p->in, (size_t)record.bytes + RECORD_CHECK_BYTES, error);
    if (!rest) {
        return false;
    }
    record.payload = rest;
    if (!record_check(header, &record, rest + record.bytes, error)) {
        return false;
    }
    print_record(p, &record);
    *last = record_is(&record, "fin ") || record_is(&record, "end ");
    return true;
}

bool stream_print(FILE *in, FILE *out, GError **error)
{
    struct printer p = {.in = in, .out = out};
    bool last = false, ok = true;

    while (ok && !last) {
        ok = next(&p, &last, error);
    }
    tell_ram(&p);
    return ok;
}
