/*
 * Where translated code leaves when the host's memory fails under an operand (base/host-fault.h):
 * before the instruction that has it, with all registers as they were, so that the machine check
 * comes where a processor would raise it.
 *
 * The generator notes each host instruction that accesses guest memory, and before which nothing of
 * its guest instruction is done. Code grows upwards until all of it is dropped, so the notes are in
 * order of their places.
 *
 * Left out: handlers of the interpreter, which complete with zeros; the machine check comes at the
 * end of the block then. So does that of a broken page that only the second access of an
 * instruction meets.
 */
#include "cpu/x86/soft/xlat-gen-priv.h"

#include "base/host-fault.h"

struct fault_point {
    uint32_t at;     /* of the host instruction, from the code's start on */
    uint16_t offset; /* of the guest's, in its page */
    bool parked;     /* flags are in xl_flags */
};

struct fault_page {
    guint first; /* of its points */
    uint64_t rip;
};

void fault_points_init(struct xlat *xl)
{
    xl->fault_points = g_array_new(FALSE, FALSE, sizeof(struct fault_point));
    xl->fault_pages = g_array_new(FALSE, FALSE, sizeof(struct fault_page));
}

void fault_points_finish(struct xlat *xl)
{
    if (xl->fault_points) {
        g_array_unref(xl->fault_points);
        g_array_unref(xl->fault_pages);
    }
}

void fault_points_drop(struct xlat *xl)
{
    g_array_set_size(xl->fault_points, 0);
    g_array_set_size(xl->fault_pages, 0);
}

void fault_points_begin(struct xlat *xl, uint64_t page_rip)
{
    struct fault_page page = {xl->fault_points->len, page_rip};

    g_array_append_val(xl->fault_pages, page);
}

void fault_point(struct gen *k)
{
    struct fault_point point = {
        .at = (uint32_t)(k->e.p - k->xl->rw),
        .offset = (uint16_t)k->x->op.ip,
        .parked = k->parked,
    };

    g_array_append_val(k->xl->fault_points, point);
}

static const struct fault_point *point_find(const struct xlat *xl, uint32_t at)
{
    guint low = 0, high = xl->fault_points->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        const struct fault_point *point =
            &g_array_index(xl->fault_points, struct fault_point, middle);

        if (point->at == at) {
            return point;
        }
        if (point->at < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static uint64_t page_of(const struct xlat *xl, guint point)
{
    guint low = 0, high = xl->fault_pages->len;

    while (high - low > 1) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(xl->fault_pages, struct fault_page, middle).first <= point) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return g_array_index(xl->fault_pages, struct fault_page, low).rip;
}

/* In the signal's handler, which has interrupted translated code or anything else of the thread. */
static uintptr_t leave_at(void *cpu, uintptr_t pc)
{
    struct cpu *c = cpu;
    const struct xlat *xl = c->xlat;
    uintptr_t start = (uintptr_t)xl->rx;
    const struct fault_point *point;
    const uint8_t *stub;

    if (pc < start || pc - start >= xl->used || c->lockstep) {
        return 0;
    }
    point = point_find(xl, (uint32_t)(pc - start));
    if (!point) {
        return 0;
    }
    c->rip =
        page_of(xl, (guint)(point - (struct fault_point *)xl->fault_points->data)) + point->offset;
    stub = point->parked ? xl->stub_leave_parked : xl->stub_leave;
    return start + (uintptr_t)(stub - xl->rw);
}

void xlat_faults_begin(struct cpu *c)
{
    host_fault_set_leave(leave_at, c);
}

void xlat_faults_end(void)
{
    host_fault_set_leave(NULL, NULL);
}
