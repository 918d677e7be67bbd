/*
 * State tables: coverage, saving and loading (see state.h).
 *
 * A stream is hostile. Loading fills a copy of the struct, which replaces it when all of the
 * section was found right; what bounds the work is the table, not the stream.
 */
#include "base/state.h"
#include <inttypes.h>
#include <string.h>

#define FIELDS_MAX 256 /* of one struct */

static const struct state_field no_fields[] = {{.kind = STATE_KIND_END}};

const struct state_desc state_none = {
    .name = "none",
    .version = 1,
    .min_version = 1,
    .size = 0,
    .fields = no_fields,
};

/* Marks the bytes of `base`.. that the table covers. A nested struct's own gaps stay unmarked. */
static void state_mark(const struct state_field *fields, uint32_t base, uint8_t *covered,
                       uint32_t size)
{
    for (const struct state_field *f = fields; f->kind != STATE_KIND_END; f++) {
        for (uint32_t i = 0; i < f->count; i++) {
            uint32_t at = base + f->offset + i * f->elem_size;

            if (f->kind == STATE_KIND_STRUCT) {
                state_mark(f->nested, at, covered, size);
                continue;
            }
            for (uint32_t j = at; j < at + f->elem_size && j < size; j++) {
                covered[j] = 1;
            }
        }
    }
}

uint32_t state_first_uncovered(const struct state_desc *desc)
{
    g_autofree uint8_t *covered = g_malloc0(desc->size + 1);

    state_mark(desc->fields, 0, covered, desc->size);
    for (uint32_t i = 0; i < desc->size; i++) {
        if (!covered[i]) {
            return i;
        }
    }
    return desc->size;
}

/* ---------------------------------------------------------------- pieces */

void state_put_number(GByteArray *out, uint64_t value, unsigned bytes)
{
    uint8_t buf[8];

    for (unsigned i = 0; i < bytes; i++) {
        buf[i] = (uint8_t)(value >> (8 * i));
    }
    g_byte_array_append(out, buf, bytes);
}

void state_put_name(GByteArray *out, const char *name)
{
    size_t length = strlen(name);

    g_assert(length > 0 && length <= UINT8_MAX);
    state_put_number(out, length, 1);
    g_byte_array_append(out, (const uint8_t *)name, (guint)length);
}

bool state_take_number(struct state_input *in, unsigned bytes, uint64_t *value)
{
    if (in->left < bytes) {
        return false;
    }
    *value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        *value |= (uint64_t)in->data[i] << (8 * i);
    }
    in->data += bytes;
    in->left -= bytes;
    return true;
}

/* "" where a list of fields ends. */
static bool take_name_or_end(struct state_input *in, char name[256])
{
    uint64_t length;

    if (!state_take_number(in, 1, &length) || in->left < length) {
        return false;
    }
    memcpy(name, in->data, length);
    name[length] = '\0';
    in->data += length;
    in->left -= length;
    return strlen(name) == length;
}

bool state_take_name(struct state_input *in, char name[256])
{
    return take_name_or_end(in, name) && *name;
}

/* ---------------------------------------------------------------- saving */

static uint64_t value_get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    switch (bytes) { /* as the host has it */
    case 1:
        return *at;
    case 2:
        return *(const uint16_t *)(const void *)at;
    case 4:
        return *(const uint32_t *)(const void *)at;
    default:
        memcpy(&value, at, sizeof(value));
        return value;
    }
}

static void fields_save(const struct state_field *fields, const uint8_t *state, GByteArray *out)
{
    for (const struct state_field *f = fields; f->kind != STATE_KIND_END; f++) {
        if (f->kind == STATE_KIND_PAD) {
            continue;
        }
        state_put_name(out, f->name);
        state_put_number(out, f->kind, 1);
        state_put_number(out, f->count, 4);
        for (uint32_t i = 0; i < f->count; i++) {
            const uint8_t *at = state + f->offset + (size_t)i * f->elem_size;

            if (f->kind == STATE_KIND_STRUCT) {
                fields_save(f->nested, at, out);
            } else {
                state_put_number(out, value_get(at, f->elem_size), f->elem_size);
            }
        }
    }
    state_put_number(out, 0, 1);
}

void state_save(const struct state_desc *desc, const void *state, GByteArray *out)
{
    state_put_name(out, desc->name);
    state_put_number(out, desc->version, 2);
    fields_save(desc->fields, state, out);
}

/* ---------------------------------------------------------------- loading */

struct loader {
    struct state_input *in;
    const char *who;
    uint16_t version;
    GError **error;
};

static bool refuse(const struct loader *l, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool refuse(const struct loader *l, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_set_error(l->error, STATE_ERROR, 0, "%s: %s", l->who, text);
    return false;
}

static bool value_set(const struct loader *l, const struct state_field *f, uint8_t *at,
                      uint64_t value)
{
    bool negative = f->kind == STATE_KIND_I64 && (int64_t)value < 0;
    uint64_t max = f->kind == STATE_KIND_BOOL ? MIN(f->max, 1) : f->max;

    if (value > max || (negative && f->max != UINT64_MAX)) {
        return refuse(l, "field '%s': the value %" PRIu64 " exceeds %" PRIu64, f->name, value, max);
    }
    switch (f->elem_size) {
    case 1:
        *at = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)(void *)at = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)(void *)at = (uint32_t)value;
        break;
    default:
        memcpy(at, &value, sizeof(value));
        break;
    }
    return true;
}

static bool fields_load(const struct loader *l, const struct state_field *fields, uint8_t *state,
                        const char *within);

static bool field_load(const struct loader *l, const struct state_field *f, uint8_t *state)
{
    uint64_t kind, count, value;

    if (!state_take_number(l->in, 1, &kind) || !state_take_number(l->in, 4, &count)) {
        return refuse(l, "the stream ends within field '%s'", f->name);
    }
    if (kind != f->kind || count != f->count) {
        return refuse(l, "field '%s': %" PRIu64 " of type %" PRIu64 ", not %u of type %u", f->name,
                      count, kind, f->count, (unsigned)f->kind);
    }
    for (uint32_t i = 0; i < f->count; i++) {
        uint8_t *at = state + f->offset + (size_t)i * f->elem_size;

        if (f->kind == STATE_KIND_STRUCT) {
            if (!fields_load(l, f->nested, at, f->name)) {
                return false;
            }
        } else if (!state_take_number(l->in, f->elem_size, &value)) {
            return refuse(l, "the stream ends within field '%s'", f->name);
        } else if (!value_set(l, f, at, value)) {
            return false;
        }
    }
    return true;
}

/* The index of a field that is saved, or -1. */
static int field_find(const struct state_field *fields, const char *name)
{
    for (int i = 0; fields[i].kind != STATE_KIND_END; i++) {
        if (fields[i].kind != STATE_KIND_PAD && strcmp(fields[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static bool fields_complete(const struct loader *l, const struct state_field *fields,
                            const bool *seen)
{
    for (int i = 0; fields[i].kind != STATE_KIND_END; i++) {
        const struct state_field *f = &fields[i];

        if (f->kind != STATE_KIND_PAD && !seen[i] && f->since <= l->version) {
            return refuse(l, "field '%s' is missing", f->name);
        }
    }
    return true;
}

static bool fields_load(const struct loader *l, const struct state_field *fields, uint8_t *state,
                        const char *within)
{
    bool seen[FIELDS_MAX] = {false};
    char name[256];

    for (;;) {
        int i;

        if (!take_name_or_end(l->in, name)) {
            return refuse(l, "the stream ends within '%s'", within);
        }
        if (!*name) {
            return fields_complete(l, fields, seen);
        }
        i = field_find(fields, name);
        if (i < 0 || i >= FIELDS_MAX) {
            return refuse(l, "'%s' has no field '%s'", within, name);
        }
        if (seen[i]) {
            return refuse(l, "field '%s' comes twice", name);
        }
        seen[i] = true;
        if (!field_load(l, &fields[i], state)) {
            return false;
        }
    }
}

/* Padding has no say in what a state is, and is zero. */
static void clear_padding(const struct state_field *fields, uint8_t *state)
{
    for (const struct state_field *f = fields; f->kind != STATE_KIND_END; f++) {
        for (uint32_t i = 0; i < f->count; i++) {
            uint8_t *at = state + f->offset + (size_t)i * f->elem_size;

            if (f->kind == STATE_KIND_STRUCT) {
                clear_padding(f->nested, at);
            } else if (f->kind == STATE_KIND_PAD) {
                memset(at, 0, f->elem_size);
            }
        }
    }
}

bool state_load(const struct state_desc *desc, void *state, struct state_input *in, const char *who,
                GError **error)
{
    g_autofree uint8_t *fresh = g_malloc0(MAX(desc->size, 1));
    struct loader l = {.in = in, .who = who, .error = error};
    char name[256];
    uint64_t version;

    if (!state_take_name(in, name) || !state_take_number(in, 2, &version)) {
        return refuse(&l, "the stream ends before '%s'", desc->name);
    }
    if (strcmp(name, desc->name) != 0) {
        return refuse(&l, "its state is of '%s', not of '%s'", name, desc->name);
    }
    if (version > desc->version || version < desc->min_version) {
        return refuse(&l, "version %u of '%s': this program takes %u to %u", (unsigned)version,
                      name, desc->min_version, desc->version);
    }
    l.version = (uint16_t)version;
    if (desc->size) {
        memcpy(fresh, state, desc->size);
    }
    if (!fields_load(&l, desc->fields, fresh, desc->name)) {
        return false;
    }
    clear_padding(desc->fields, fresh);
    if (desc->size) {
        memcpy(state, fresh, desc->size);
    }
    return true;
}

/* ---------------------------------------------------------------- passing over */

#define SKIP_DEPTH 16

static bool skip_bytes(struct state_input *in, uint64_t bytes)
{
    if (bytes > in->left) {
        return false;
    }
    in->data += bytes;
    in->left -= bytes;
    return true;
}

static bool skip_fields(struct state_input *in, unsigned depth)
{
    static const uint8_t bytes[] = {
        [STATE_KIND_BOOL] = 1, [STATE_KIND_U8] = 1,  [STATE_KIND_U16] = 2,
        [STATE_KIND_U32] = 4,  [STATE_KIND_U64] = 8, [STATE_KIND_I64] = 8,
    };
    char name[256];
    uint64_t kind, count;

    for (;;) {
        if (!take_name_or_end(in, name)) {
            return false;
        }
        if (!*name) {
            return true;
        }
        if (!state_take_number(in, 1, &kind) || !state_take_number(in, 4, &count)) {
            return false;
        }
        if (kind < G_N_ELEMENTS(bytes) && bytes[kind]) {
            if (!skip_bytes(in, count * bytes[kind])) {
                return false;
            }
            continue;
        }
        if (kind != STATE_KIND_STRUCT || depth == SKIP_DEPTH) {
            return false;
        }
        while (count--) { /* each is a byte at least */
            if (!skip_fields(in, depth + 1)) {
                return false;
            }
        }
    }
}

bool state_skip(struct state_input *in)
{
    char name[256];
    uint64_t version;

    return state_take_name(in, name) && state_take_number(in, 2, &version) && skip_fields(in, 0);
}
