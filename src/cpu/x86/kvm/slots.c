/*
 * Guest memory under KVM: slots, dirty logs, and writes that nobody waits for (Linux
 * Documentation/virt/kvm/api.rst).
 *
 * RAM that a dirty log wants to know of is in slots with KVM_MEM_LOG_DIRTY_PAGES; their bitmaps are
 * collected when the log is read, and before such a slot goes.
 *
 * Where nothing is mapped a write has no effect, but guests write there: port 80H is how a PC waits
 * a microsecond. KVM can gather such writes in a ring (coalesced MMIO) instead of leaving the guest
 * for each; the ring is emptied unread.
 */
#include "base/log.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include "memory/dirty.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PAGE 4096ull

/* ---------------------------------------------------------------- slots */

static bool slot_write(struct kvm *k, unsigned n, const struct kvm_slot *s)
{
    struct kvm_userspace_memory_region region = {
        .slot = n,
        .guest_phys_addr = s->gpa,
        .memory_size = s->bytes,
        .userspace_addr = (uintptr_t)(s->ram->host + s->offset),
    };
    int err;

    if (s->read_only) {
        region.flags |= KVM_MEM_READONLY;
    } else if (s->logged) {
        region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    }
    err = kvm_call(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
    if (err < 0) {
        log_error("kvm: cannot map memory at 0x%" PRIx64 " (%" PRIu64 " bytes): %s", s->gpa,
                  s->bytes, strerror(-err));
    }
    return err >= 0;
}

/* The whole pages of a range; false when there are none, or KVM could not map them. */
static bool range_slot(const struct flat_range *range, struct kvm_slot *slot)
{
    const struct region *region = range->region;
    gpa_t start = (range->start + PAGE - 1) & ~(PAGE - 1);
    gpa_t end = (range->last + 1) & ~(PAGE - 1); /* 0: at the top of the space */
    uint64_t offset;

    if (region->kind == REGION_IO || start < range->start || end <= start) {
        return false;
    }
    offset = region->ram_offset + range->offset + (start - range->start);
    if (offset % PAGE != 0) {
        return false;
    }
    *slot = (struct kvm_slot){.gpa = start,
                              .bytes = end - start,
                              .ram = region->ram,
                              .offset = offset,
                              .read_only = region->kind == REGION_ROM,
                              .logged = dirty_logged(region->ram)};
    return true;
}

static bool slot_equal(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->bytes == b->bytes && a->gpa == b->gpa && a->ram == b->ram && a->offset == b->offset &&
           a->read_only == b->read_only;
}

static bool slot_keep(struct kvm *k, const struct kvm_slot *wanted)
{
    for (unsigned i = 0; i < k->n_slots; i++) {
        if (slot_equal(&k->slot[i], wanted)) {
            k->slot[i].wanted = true;
            return true;
        }
    }
    return false;
}

static void slot_add(struct kvm *k, const struct kvm_slot *slot)
{
    for (unsigned i = 0; i < k->n_slots; i++) {
        if (k->slot[i].bytes == 0) {
            if (slot_write(k, i, slot)) {
                k->slot[i] = *slot;
            }
            return;
        }
    }
    log_error("kvm: no memory slot is left for memory at 0x%" PRIx64, slot->gpa);
}

/* ---------------------------------------------------------------- dirty logs */

/* Passes on what KVM has noted of a slot. */
static void slot_collect(struct kvm *k, unsigned n)
{
    const struct kvm_slot *s = &k->slot[n];
    size_t words = (size_t)((s->bytes / PAGE + 63) / 64);
    g_autofree uint64_t *bitmap = g_try_malloc0_n(words, sizeof(*bitmap));
    struct kvm_dirty_log log = {.slot = n, .dirty_bitmap = bitmap};
    int err = bitmap ? kvm_call(k->vm_fd, KVM_GET_DIRTY_LOG, &log) : -ENOMEM;

    if (err < 0) { /* too much rather than too little */
        log_warn("kvm: KVM_GET_DIRTY_LOG: %s", strerror(-err));
        dirty_mark(s->ram, s->offset, s->bytes);
        return;
    }
    for (size_t i = 0; i < words; i++) {
        for (uint64_t left = bitmap[i]; left; left &= left - 1) {
            uint64_t page = i * 64 + (unsigned)__builtin_ctzll(left);

            dirty_mark(s->ram, s->offset + page * PAGE, PAGE);
        }
    }
}

static struct kvm *of_listener(struct map_listener *listener)
{
    return (void *)((uint8_t *)listener - offsetof(struct kvm, listener));
}

static void log_collect(struct map_listener *listener, struct ram_block *ram)
{
    struct kvm *k = of_listener(listener);

    if (k->ring_entries) {
        kvm_rings_collect(k);
        return;
    }
    for (unsigned i = 0; i < k->n_slots; i++) {
        if (k->slot[i].bytes && k->slot[i].ram == ram && k->slot[i].logged) {
            slot_collect(k, i);
        }
    }
}

static void log_changed(struct map_listener *listener, struct ram_block *ram)
{
    struct kvm *k = of_listener(listener);

    log_collect(listener, ram); /* what others still want to know */
    for (unsigned i = 0; i < k->n_slots; i++) {
        struct kvm_slot *s = &k->slot[i];

        if (s->bytes && s->ram == ram && !s->read_only && s->logged != dirty_logged(ram)) {
            s->logged = dirty_logged(ram);
            slot_write(k, i, s);
        }
    }
}

/* Logging that begins again guards all pages. */
void kvm_slots_log_anew(struct kvm *k)
{
    for (unsigned i = 0; i < k->n_slots; i++) {
        struct kvm_slot *s = &k->slot[i];

        if (s->bytes && s->logged && !s->read_only) {
            s->logged = false;
            slot_write(k, i, s);
            s->logged = true;
            slot_write(k, i, s);
            dirty_mark(s->ram, s->offset, s->bytes);
        }
    }
}

/* ---------------------------------------------------------------- writes to nothing */

static void zone_call(struct kvm *k, unsigned long request, const struct kvm_hole *hole)
{
    struct kvm_coalesced_mmio_zone zone = {
        .addr = hole->start, .size = hole->bytes, .pio = hole->pio};

    kvm_call(k->vm_fd, request, &zone); /* refused: then such writes leave the guest */
}

static bool hole_equal(const struct kvm_hole *a, const struct kvm_hole *b)
{
    return a->start == b->start && a->bytes == b->bytes && a->pio == b->pio;
}

static bool hole_in(const GArray *holes, const struct kvm_hole *hole)
{
    for (guint i = 0; i < holes->len; i++) {
        if (hole_equal(&g_array_index(holes, struct kvm_hole, i), hole)) {
            return true;
        }
    }
    return false;
}

/* Takes `now` in place of the list. */
static void holes_replace(struct kvm *k, GArray **list, GArray *now)
{
    for (guint i = 0; i < (*list)->len; i++) {
        const struct kvm_hole *hole = &g_array_index(*list, struct kvm_hole, i);

        if (!hole_in(now, hole)) {
            zone_call(k, KVM_UNREGISTER_COALESCED_MMIO, hole);
        }
    }
    for (guint i = 0; i < now->len; i++) {
        const struct kvm_hole *hole = &g_array_index(now, struct kvm_hole, i);

        if (!hole_in(*list, hole)) {
            zone_call(k, KVM_REGISTER_COALESCED_MMIO, hole);
        }
    }
    g_array_unref(*list);
    *list = now;
}

static void hole_add(GArray *holes, gpa_t start, gpa_t end)
{
    const struct kvm_hole hole = {start, (uint32_t)(end - start), 0};

    if (end > start && holes->len < KVM_HOLES_MAX) {
        g_array_append_val(holes, hole);
    }
}

#define HOLES_END  0xfec00000ull /* from there on are APICs and firmware */
#define HOLE_START 0x100000ull

/* What is mapped nowhere below the APICs. */
static GArray *memory_holes(const struct flat_view *view)
{
    GArray *holes = g_array_new(FALSE, FALSE, sizeof(struct kvm_hole));
    gpa_t at = HOLE_START;

    for (unsigned i = 0; i < view->n && at < HOLES_END; i++) {
        const struct flat_range *range = &view->range[i];

        if (range->start > at) {
            hole_add(holes, at, MIN(range->start, HOLES_END));
        }
        at = MAX(at, range->last + 1);
    }
    if (at >= HOLE_START && at < HOLES_END) {
        hole_add(holes, at, HOLES_END);
    }
    return holes;
}

static void ports_changed(struct map_listener *listener, const struct flat_view *view)
{
    static const uint16_t idle[] = {0x80, 0xed}; /* written to for the time that takes */
    struct kvm *k = (void *)((uint8_t *)listener - offsetof(struct kvm, io_listener));
    GArray *holes = g_array_new(FALSE, FALSE, sizeof(struct kvm_hole));

    for (size_t i = 0; i < G_N_ELEMENTS(idle); i++) {
        const struct kvm_hole hole = {idle[i], 1, 1};
        bool taken = false;

        for (unsigned j = 0; j < view->n; j++) {
            taken |= view->range[j].start <= idle[i] && view->range[j].last >= idle[i];
        }
        if (!taken) {
            g_array_append_val(holes, hole);
        }
    }
    holes_replace(k, &k->port_holes, holes);
}

/* ---------------------------------------------------------------- the memory map */

/* Slots that stay are left alone; the others go before new ones come, for slots never overlap. */
static void map_changed(struct map_listener *listener, const struct flat_view *view)
{
    struct kvm *k = of_listener(listener);
    g_autofree struct kvm_slot *fresh = g_new(struct kvm_slot, view->n + 1);
    unsigned n = 0;

    kvm_rings_collect(k); /* what they hold goes by slots */
    for (unsigned i = 0; i < k->n_slots; i++) {
        k->slot[i].wanted = false;
    }
    for (unsigned i = 0; i < view->n; i++) {
        if (range_slot(&view->range[i], &fresh[n]) && !slot_keep(k, &fresh[n])) {
            n++;
        }
    }
    for (unsigned i = 0; i < k->n_slots; i++) {
        struct kvm_slot *s = &k->slot[i];

        if (s->bytes != 0 && !s->wanted) {
            if (s->logged && !k->ring_entries) {
                slot_collect(k, i);
            }
            s->bytes = 0;
            slot_write(k, i, s);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        slot_add(k, &fresh[i]);
    }
    if (k->coalesced_page) {
        holes_replace(k, &k->memory_holes, memory_holes(view));
    }
}

void kvm_slots_init(struct kvm *k, unsigned n)
{
    k->n_slots = n;
    k->slot = g_new0(struct kvm_slot, n);
    k->memory_holes = g_array_new(FALSE, FALSE, sizeof(struct kvm_hole));
    k->port_holes = g_array_new(FALSE, FALSE, sizeof(struct kvm_hole));
    k->listener.changed = map_changed;
    k->listener.log_changed = log_changed;
    k->listener.log_collect = log_collect;
    address_space_add_listener(k->cpus->mem, &k->listener);
    if (k->coalesced_page && k->has_coalesced_pio) {
        k->io_listener.changed = ports_changed;
        address_space_add_listener(k->cpus->io, &k->io_listener);
    }
}

void kvm_slots_finish(struct kvm *k)
{
    address_space_remove_listener(k->cpus->mem, &k->listener);
    if (k->io_listener.changed) {
        address_space_remove_listener(k->cpus->io, &k->io_listener);
    }
    g_array_unref(k->memory_holes);
    g_array_unref(k->port_holes);
    g_free(k->slot);
}
