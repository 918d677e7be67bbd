/*
 * KVM's table of interrupt routes: what it sends for a number (KVM_SET_GSI_ROUTING; Linux
 * Documentation/virt/kvm/api.rst). The whole table is written at each change.
 *
 * The kernel reports an EOI only of vectors that the table has as level-triggered, under numbers
 * below that of the I/O APIC's pins. So there the level-triggered messages are that were sent last:
 * as many as there are pins, since each pin has at most one whose EOI is outstanding. Above them
 * each irqfd has a number of its own: an eventfd that the kernel watches (KVM_IRQFD).
 */
#include "base/log.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include <string.h>

#define IRQFDS_MAX 1024

static void entry_add(struct kvm_irq_routing *table, uint32_t gsi, gpa_t addr, uint32_t data)
{
    struct kvm_irq_routing_entry *e = &table->entries[table->nr++];

    e->gsi = gsi;
    e->type = KVM_IRQ_ROUTING_MSI;
    e->u.msi.address_lo = (uint32_t)addr;
    e->u.msi.address_hi = (uint32_t)(addr >> 32);
    e->u.msi.data = data;
}

/* 0 or -errno; then the table is as it was. mutex held. */
static int routes_write(struct kvm *k)
{
    g_autofree struct kvm_irq_routing *table =
        g_malloc0(sizeof(*table) + (KVM_IOAPIC_PINS + k->irqfds->len) * sizeof(table->entries[0]));

    for (unsigned i = 0; i < KVM_IOAPIC_PINS; i++) {
        const struct kvm_level_route *r = &k->route[i];

        if (r->used) {
            entry_add(table, i, r->addr, r->data);
        }
    }
    for (guint i = 0; i < k->irqfds->len; i++) {
        const struct kvm_irqfd_route *r = &g_array_index(k->irqfds, struct kvm_irqfd_route, i);

        entry_add(table, r->gsi, r->addr, r->data);
    }
    return kvm_call(k->vm_fd, KVM_SET_GSI_ROUTING, table);
}

void kvm_route_level(struct kvm *k, gpa_t addr, uint32_t data)
{
    struct kvm_level_route *oldest = &k->route[0];
    int err;

    g_mutex_lock(&k->mutex);
    for (unsigned i = 0; i < KVM_IOAPIC_PINS; i++) {
        struct kvm_level_route *r = &k->route[i];

        if (r->used && r->addr == addr && r->data == data) {
            r->used = ++k->route_uses;
            g_mutex_unlock(&k->mutex);
            return;
        }
        oldest = r->used < oldest->used ? r : oldest;
    }
    *oldest = (struct kvm_level_route){addr, data, ++k->route_uses};
    err = routes_write(k);
    g_mutex_unlock(&k->mutex);
    if (err < 0) {
        log_error("kvm: cannot set interrupt routes: %s", strerror(-err));
    }
}

/* ---- irqfds; mutex held */

unsigned kvm_irqfds_max(const struct kvm *k)
{
    int routes = kvm_capability(k, KVM_CAP_IRQ_ROUTING);

    if (kvm_capability(k, KVM_CAP_IRQFD) == 0 || routes <= KVM_IOAPIC_PINS) {
        return 0;
    }
    return MIN((unsigned)routes - KVM_IOAPIC_PINS, IRQFDS_MAX);
}

static struct kvm_irqfd_route *irqfd_find(struct kvm *k, int fd, guint *at)
{
    for (guint i = 0; i < k->irqfds->len; i++) {
        if (g_array_index(k->irqfds, struct kvm_irqfd_route, i).fd == fd) {
            *at = i;
            return &g_array_index(k->irqfds, struct kvm_irqfd_route, i);
        }
    }
    return NULL;
}

static uint32_t free_gsi(const struct kvm *k)
{
    uint32_t gsi = KVM_IOAPIC_PINS;

    for (guint i = 0; i < k->irqfds->len; i++) {
        if (g_array_index(k->irqfds, struct kvm_irqfd_route, i).gsi == gsi) {
            gsi++;
            i = (guint)-1; /* from the start */
        }
    }
    return gsi;
}

static void irqfd_remove(struct kvm *k, guint at)
{
    const struct kvm_irqfd_route *r = &g_array_index(k->irqfds, struct kvm_irqfd_route, at);
    struct kvm_irqfd call = {
        .fd = (uint32_t)r->fd, .gsi = r->gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

    kvm_call(k->vm_fd, KVM_IRQFD, &call);
    g_array_remove_index_fast(k->irqfds, at);
}

static bool irqfd_change(struct kvm *k, guint at, gpa_t addr, uint32_t data)
{
    struct kvm_irqfd_route *r = &g_array_index(k->irqfds, struct kvm_irqfd_route, at);

    if (r->addr == addr && r->data == data) {
        return true;
    }
    r->addr = addr;
    r->data = data;
    if (routes_write(k) < 0) {
        irqfd_remove(k, at);
        return false;
    }
    return true;
}

static bool irqfd_add(struct kvm *k, int fd, gpa_t addr, uint32_t data)
{
    struct kvm_irqfd_route r = {.fd = fd, .gsi = free_gsi(k), .addr = addr, .data = data};
    struct kvm_irqfd call = {.fd = (uint32_t)fd, .gsi = r.gsi};

    if (k->irqfds->len >= k->irqfds_max) {
        return false;
    }
    g_array_append_val(k->irqfds, r);
    if (routes_write(k) < 0 || kvm_call(k->vm_fd, KVM_IRQFD, &call) < 0) {
        g_array_set_size(k->irqfds, k->irqfds->len - 1);
        return false;
    }
    return true;
}

bool kvm_irqfd_set(struct cpus *cpus, int fd, gpa_t addr, uint32_t data)
{
    struct kvm *k = cpus->accel_data;
    bool ok = false;
    guint at;

    g_mutex_lock(&k->mutex);
    if (data & MSI_DATA_LEVEL) { /* its EOI is to be told, which kvm_route_level() is for */
        if (irqfd_find(k, fd, &at)) {
            irqfd_remove(k, at);
        }
    } else {
        ok =
            irqfd_find(k, fd, &at) ? irqfd_change(k, at, addr, data) : irqfd_add(k, fd, addr, data);
    }
    g_mutex_unlock(&k->mutex);
    return ok;
}

void kvm_irqfd_clear(struct cpus *cpus, int fd)
{
    struct kvm *k = cpus->accel_data;
    guint at;

    g_mutex_lock(&k->mutex);
    if (irqfd_find(k, fd, &at)) {
        irqfd_remove(k, at);
    }
    g_mutex_unlock(&k->mutex);
}
