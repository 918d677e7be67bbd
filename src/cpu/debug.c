/* Breakpoints, watchpoints, steps and memory for the host's debugger: see debug.h. */
#include "cpu/debug.h"

#include "cpu/vcpu.h"
#include <inttypes.h>
#include <string.h>

#define DEBUG_ERROR (g_quark_from_static_string("debug-error"))
#define INT3        0xcc

static bool is_break(enum debug_kind kind)
{
    return kind == DEBUG_BREAK_SOFT || kind == DEBUG_BREAK_HARD;
}

/* ---------------------------------------------------------------- points */

static struct debug_point *point_find(struct cpus *cpus, enum debug_kind kind, gva_t addr,
                                      uint64_t length)
{
    for (unsigned i = 0; i < cpus->debug.n; i++) {
        struct debug_point *p = &cpus->debug.list[i];

        if (p->kind == kind && p->addr == addr && (is_break(kind) || p->length == length)) {
            return p;
        }
    }
    return NULL;
}

static void points_count(struct debug_points *d)
{
    d->n_breaks = d->n_watches = 0;
    for (unsigned i = 0; i < d->n; i++) {
        if (is_break(d->list[i].kind)) {
            d->n_breaks++;
        } else {
            d->n_watches++;
        }
    }
}

/* Tells the accelerator. */
static bool points_changed(struct cpus *cpus, GError **error)
{
    points_count(&cpus->debug);
    for (unsigned i = 0; i < cpus->n; i++) {
        if (!cpus->accel->vcpu->debug_points(cpus->vcpu[i], error)) {
            return false;
        }
    }
    return true;
}

static bool patch(struct vcpu *vcpu, struct debug_point *p, GError **error)
{
    const uint8_t int3 = INT3;

    if (!vcpu->ops->translate(vcpu, p->addr, &p->gpa) ||
        !address_space_read(vcpu->cpus->mem, p->gpa, &p->original, 1) ||
        !address_space_write_rom(vcpu->cpus->mem, p->gpa, &int3, 1)) {
        g_set_error(error, DEBUG_ERROR, 0, "there is no memory at 0x%" PRIx64, p->addr);
        return false;
    }
    p->patched = true;
    return true;
}

/* The guest may have written something else there since. */
static void unpatch(struct cpus *cpus, struct debug_point *p)
{
    uint8_t now;

    if (p->patched && address_space_read(cpus->mem, p->gpa, &now, 1) && now == INT3) {
        address_space_write_rom(cpus->mem, p->gpa, &p->original, 1);
    }
    p->patched = false;
}

static void point_drop(struct cpus *cpus, struct debug_point *p)
{
    struct debug_points *d = &cpus->debug;

    unpatch(cpus, p);
    *p = d->list[--d->n];
}

static bool check(const struct cpus *cpus, enum debug_kind kind, gva_t addr, uint64_t length,
                  GError **error)
{
    if (!cpus->accel->vcpu->debug_points) {
        g_set_error(error, DEBUG_ERROR, 0, "accelerator '%s' executes nothing", cpus->accel->name);
    } else if (cpus->debug.n == DEBUG_POINTS_MAX) {
        g_set_error(error, DEBUG_ERROR, 0, "there are %u breakpoints already", DEBUG_POINTS_MAX);
    } else if (!is_break(kind) &&
               (length == 0 || length > DEBUG_WATCH_MAX_BYTES || addr + (length - 1) < addr)) {
        g_set_error(error, DEBUG_ERROR, 0, "%" PRIu64 " bytes cannot be watched", length);
    } else {
        return true;
    }
    return false;
}

bool debug_insert(struct vcpu *vcpu, enum debug_kind kind, gva_t addr, uint64_t length,
                  GError **error)
{
    struct cpus *cpus = vcpu->cpus;
    struct debug_points *d = &cpus->debug;
    struct debug_point *p;

    if (!check(cpus, kind, addr, length, error)) {
        return false;
    }
    if (point_find(cpus, kind, addr, length)) {
        return true;
    }
    if (!d->list) {
        d->list = g_new0(struct debug_point, DEBUG_POINTS_MAX);
    }
    p = &d->list[d->n++];
    *p = (struct debug_point){.kind = kind, .addr = addr, .length = is_break(kind) ? 1 : length};
    if ((kind == DEBUG_BREAK_SOFT && cpus->accel->patches_code && !patch(vcpu, p, error)) ||
        !points_changed(cpus, error)) {
        point_drop(cpus, p);
        points_changed(cpus, NULL);
        return false;
    }
    return true;
}

bool debug_remove(struct vcpu *vcpu, enum debug_kind kind, gva_t addr, uint64_t length)
{
    struct debug_point *p = point_find(vcpu->cpus, kind, addr, length);

    if (!p) {
        return false;
    }
    point_drop(vcpu->cpus, p);
    return points_changed(vcpu->cpus, NULL);
}

void debug_remove_all(struct cpus *cpus)
{
    if (cpus->debug.n) {
        while (cpus->debug.n) {
            point_drop(cpus, &cpus->debug.list[cpus->debug.n - 1]);
        }
        points_changed(cpus, NULL);
    }
}

void debug_set_step(struct vcpu *vcpu, unsigned flags)
{
    vcpu->hit = (struct debug_hit){DEBUG_NONE, 0};
    vcpu->step = flags;
    vcpu->step_from = vcpu->step_to = 0;
    if (vcpu->ops->debug_step) {
        vcpu->ops->debug_step(vcpu);
    }
}

void debug_set_range(struct vcpu *vcpu, gva_t from, gva_t to)
{
    vcpu->step_from = from;
    vcpu->step_to = to;
}

/* ---------------------------------------------------------------- what vCPUs meet */

const struct debug_point *debug_break_at(const struct cpus *cpus, gva_t addr)
{
    for (unsigned i = 0; i < cpus->debug.n; i++) {
        const struct debug_point *p = &cpus->debug.list[i];

        if (is_break(p->kind) && p->addr == addr) {
            return p;
        }
    }
    return NULL;
}

const struct debug_point *debug_watch_match(const struct cpus *cpus, gva_t addr, uint64_t length,
                                            bool write)
{
    for (unsigned i = 0; i < cpus->debug.n; i++) {
        const struct debug_point *p = &cpus->debug.list[i];
        bool wanted = p->kind == DEBUG_WATCH_ACCESS ||
                      p->kind == (write ? DEBUG_WATCH_WRITE : DEBUG_WATCH_READ);

        if (wanted && addr <= p->addr + (p->length - 1) && p->addr <= addr + (length - 1)) {
            return p;
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- memory */

/* Puts the guest's own bytes in place of INT3s in what was read at gpa. */
static void hide_patches(const struct cpus *cpus, gpa_t gpa, uint8_t *buf, size_t length)
{
    for (unsigned i = 0; i < cpus->debug.n; i++) {
        const struct debug_point *p = &cpus->debug.list[i];

        if (p->patched && p->gpa - gpa < length && buf[p->gpa - gpa] == INT3) {
            buf[p->gpa - gpa] = p->original;
        }
    }
}

/* Puts INT3s back over what was written at gpa. */
static void renew_patches(struct cpus *cpus, gpa_t gpa, const uint8_t *buf, size_t length)
{
    const uint8_t int3 = INT3;

    for (unsigned i = 0; i < cpus->debug.n; i++) {
        struct debug_point *p = &cpus->debug.list[i];

        if (p->patched && p->gpa - gpa < length) {
            p->original = buf[p->gpa - gpa];
            address_space_write_rom(cpus->mem, p->gpa, &int3, 1);
        }
    }
}

/* The size of an access to a device: natural, at most 8 bytes. */
static unsigned device_size(gpa_t gpa, size_t length)
{
    unsigned size = 8;

    while (size > length || gpa % size != 0) {
        size /= 2;
    }
    return size;
}

static bool is_device(struct address_space *as, gpa_t gpa)
{
    const struct flat_range *range = address_space_find(as, gpa);

    return range && range->region->kind == REGION_IO;
}

/* Within one page, so of one kind but for regions smaller than that. */
static bool physical_read(struct cpus *cpus, gpa_t gpa, uint8_t *buf, size_t length)
{
    if (!is_device(cpus->mem, gpa)) {
        bool ok = address_space_read(cpus->mem, gpa, buf, length);

        hide_patches(cpus, gpa, buf, length);
        return ok;
    }
    while (length > 0) {
        unsigned n = device_size(gpa, length);
        uint64_t value = address_space_io_read(cpus->mem, gpa, n);

        memcpy(buf, &value, n);
        buf += n;
        gpa += n;
        length -= n;
    }
    return true;
}

static bool physical_write(struct cpus *cpus, gpa_t gpa, const uint8_t *buf, size_t length)
{
    if (!is_device(cpus->mem, gpa)) {
        bool ok = address_space_write_rom(cpus->mem, gpa, buf, length);

        renew_patches(cpus, gpa, buf, length);
        return ok;
    }
    while (length > 0) {
        unsigned n = device_size(gpa, length);
        uint64_t value = 0;

        memcpy(&value, buf, n);
        address_space_io_write(cpus->mem, gpa, value, n);
        buf += n;
        gpa += n;
        length -= n;
    }
    return true;
}

static bool locate(struct vcpu *vcpu, uint64_t addr, bool physical, gpa_t *gpa)
{
    *gpa = addr;
    return physical || (vcpu->ops->translate && vcpu->ops->translate(vcpu, addr, gpa));
}

bool debug_read(struct vcpu *vcpu, uint64_t addr, void *buf, size_t length, bool physical)
{
    uint8_t *to = buf;
    gpa_t gpa;

    while (length > 0) {
        size_t n = MIN(length, GUEST_PAGE_SIZE - (addr & ~GUEST_PAGE_MASK));

        if (!locate(vcpu, addr, physical, &gpa) || !physical_read(vcpu->cpus, gpa, to, n)) {
            return false;
        }
        to += n;
        addr += n;
        length -= n;
    }
    return true;
}

bool debug_write(struct vcpu *vcpu, uint64_t addr, const void *buf, size_t length, bool physical)
{
    const uint8_t *from = buf;
    gpa_t gpa;

    while (length > 0) {
        size_t n = MIN(length, GUEST_PAGE_SIZE - (addr & ~GUEST_PAGE_MASK));

        if (!locate(vcpu, addr, physical, &gpa) || !physical_write(vcpu->cpus, gpa, from, n)) {
            return false;
        }
        from += n;
        addr += n;
        length -= n;
    }
    return true;
}
