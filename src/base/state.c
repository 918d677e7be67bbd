/*
 * State tables: the checks that need no stream.
 */
#include "base/state.h"
#include <glib.h>

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
