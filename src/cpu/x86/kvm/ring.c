/*
 * Dirty rings: pages of logged memory that a vCPU wrote, in the order in which it did (Linux
 * Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING). By -accel kvm,dirty-ring-size=; else KVM
 * keeps a bitmap of each slot, which costs as much as the guest has memory, not as it writes.
 *
 * An entry is ours from when KVM has set its flag DIRTY until KVM_RESET_DIRTY_RINGS, by which the
 * pages are guarded again. A vCPU whose ring fills up leaves the guest and has all rings emptied.
 *
 * It does so with room to spare. A KVM that emulates many of a guest's instructions at once may
 * overrun the ring nonetheless: what was in it first is lost, so that all memory counts as written
 * to, and where KVM goes on is to be found out.
 */
#include "base/log.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include "memory/dirty.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull

bool kvm_rings_enable(struct kvm *k, unsigned entries, GError **error)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING};
    int most = kvm_call(k->fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap.cap), err;

    if (entries == 0) {
        return true;
    }
    if (most <= 0) {
        log_info("kvm: this host's KVM lacks KVM_CAP_DIRTY_LOG_RING: bitmaps are used");
        return true;
    }
    if (entries * sizeof(struct kvm_dirty_gfn) > (unsigned)most) {
        g_set_error(error, KVM_ERROR, 0,
                    "accelerator 'kvm': dirty-ring-size %u: this host's KVM has at most %zu",
                    entries, (size_t)most / sizeof(struct kvm_dirty_gfn));
        return false;
    }
    cap.args[0] = entries * sizeof(struct kvm_dirty_gfn);
    err = kvm_call(k->vm_fd, KVM_ENABLE_CAP, &cap);
    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "accelerator 'kvm': dirty-ring-size %u: %s", entries,
                    strerror(-err));
        return false;
    }
    k->ring_entries = entries;
    return true;
}

bool kvm_ring_map(struct kvm_vcpu *v)
{
    size_t bytes = v->kvm->ring_entries * sizeof(struct kvm_dirty_gfn);
    void *ring;

    if (!bytes) {
        return true;
    }
    ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                (off_t)(PAGE * KVM_DIRTY_LOG_PAGE_OFFSET));
    v->dirty = ring == MAP_FAILED ? NULL : ring;
    return v->dirty;
}

static struct kvm_dirty_gfn *ring_entry(const struct kvm_vcpu *v, unsigned n)
{
    return &v->dirty[(v->dirty_at + n) % v->kvm->ring_entries];
}

static bool is_new(const struct kvm_dirty_gfn *gfn)
{
    return __atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY;
}

/* By how many entries KVM is ahead after an overrun; 0 also if it has not gone on yet. Entries come
 * in order: when a later one is seen, those before it are. */
static unsigned ring_gap(const struct kvm_vcpu *v)
{
    for (unsigned n = 1; n < v->kvm->ring_entries; n++) {
        if (is_new(ring_entry(v, n))) {
            return is_new(ring_entry(v, 0)) ? 0 : n;
        }
    }
    return 0;
}

static void ring_give_back(struct kvm_vcpu *v)
{
    __atomic_store_n(&ring_entry(v, 0)->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    v->dirty_at++;
}

static void entry_mark(const struct kvm *k, const struct kvm_dirty_gfn *gfn)
{
    if (gfn->slot < k->n_slots && gfn->offset < k->slot[gfn->slot].bytes / PAGE) {
        const struct kvm_slot *s = &k->slot[gfn->slot];

        dirty_mark(s->ram, s->offset + gfn->offset * PAGE, PAGE);
    }
}

/* What of a ring is new; how many entries. */
static unsigned ring_empty(struct kvm *k, struct kvm_vcpu *v)
{
    unsigned n = 0;

    while (n < k->ring_entries) {
        unsigned gap = v->overrun && !is_new(ring_entry(v, 0)) ? ring_gap(v) : 0;

        for (unsigned i = 0; i < gap; i++) { /* KVM wants them back, although they were read */
            ring_give_back(v);
        }
        if (!is_new(ring_entry(v, 0))) {
            break;
        }
        entry_mark(k, ring_entry(v, 0));
        ring_give_back(v);
        n += gap + 1;
    }
    if (n >= k->ring_entries) {
        v->overrun = k->overrun = true;
    }
    return n;
}

static void rings_reset(struct kvm *k)
{
    kvm_call(k->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
    if (k->overrun) {
        if (!k->overrun_told) {
            log_warn("kvm: this host's KVM writes more into dirty rings than fits: all memory is "
                     "taken to be dirty then; a larger dirty-ring-size helps");
        }
        k->overrun_told = true;
        k->overrun = false;
        kvm_slots_log_anew(k);
    }
}

/* NULL is fine: no such vCPU. */
static unsigned vcpu_ring_empty(struct kvm *k, const struct vcpu *vcpu)
{
    struct kvm_vcpu *v = vcpu ? vcpu->accel : NULL;

    return v && v->dirty ? ring_empty(k, v) : 0;
}

/* Those of vCPUs that were taken out, too: they have written before. */
void kvm_rings_collect(struct kvm *k)
{
    unsigned n = 0;

    for (unsigned i = 0; i < k->cpus->n; i++) {
        n += vcpu_ring_empty(k, k->cpus->vcpu[i]);
    }
    for (unsigned i = 0; i < k->cpus->max; i++) {
        n += vcpu_ring_empty(k, k->cpus->spare[i]);
    }
    if (n) {
        rings_reset(k);
    }
}

void kvm_ring_unmap(struct kvm_vcpu *v)
{
    if (v->dirty) {
        if (ring_empty(v->kvm, v)) {
            rings_reset(v->kvm);
        }
        munmap(v->dirty, v->kvm->ring_entries * sizeof(struct kvm_dirty_gfn));
        v->dirty = NULL;
    }
}
