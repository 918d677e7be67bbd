/*
 * Doorbells under KVM: writes that the host's kernel answers by signalling an eventfd, so that the
 * guest is not left (KVM_IOEVENTFD; Linux Documentation/virt/kvm/api.rst).
 *
 * One that KVM does not take, there being a limit to their number, is a write like any other: it
 * leaves the guest and reaches the device (run.c).
 */
#include "cpu/x86/kvm/kvm-priv.h"

static bool bell_equal(const struct kvm_bell *a, const struct kvm_bell *b)
{
    return a->gpa == b->gpa && a->fd == b->fd && a->size == b->size &&
           a->has_value == b->has_value && a->value == b->value;
}

static bool bell_in(const GArray *bells, const struct kvm_bell *bell)
{
    for (guint i = 0; i < bells->len; i++) {
        if (bell_equal(&g_array_index(bells, struct kvm_bell, i), bell)) {
            return true;
        }
    }
    return false;
}

static bool bell_call(const struct kvm_bells *b, const struct kvm_bell *bell, uint32_t flags)
{
    struct kvm_ioeventfd call = {
        .addr = bell->gpa, .len = bell->size, .fd = bell->fd, .flags = flags};

    if (bell->has_value) {
        call.datamatch = bell->value;
        call.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    }
    if (b->as == b->kvm->cpus->io) {
        call.flags |= KVM_IOEVENTFD_FLAG_PIO;
    }
    return kvm_call(b->kvm->vm_fd, KVM_IOEVENTFD, &call) >= 0;
}

/* Where guests reach a doorbell, in as many places as it is mapped at. */
static void places(const struct kvm_bells *b, const struct doorbell *d,
                   const struct flat_view *view, GArray *out)
{
    unsigned bytes = MAX(d->size, 1u);

    for (unsigned i = 0; i < view->n; i++) {
        const struct flat_range *range = &view->range[i];
        struct kvm_bell bell = {.fd = d->fd,
                                .size = d->size || b->kvm->has_any_length ? d->size : 2,
                                .has_value = d->has_value,
                                .value = d->value};

        if (range->region == d->region && d->offset >= range->offset &&
            d->offset - range->offset + bytes - 1 <= range->last - range->start) {
            bell.gpa = range->start + (d->offset - range->offset);
            g_array_append_val(out, bell);
        }
    }
}

static void update(struct kvm_bells *b, const struct flat_view *view)
{
    g_autoptr(GArray) wanted = g_array_new(FALSE, FALSE, sizeof(struct kvm_bell));

    for (guint i = 0; i < b->as->doorbells->len; i++) {
        places(b, &g_array_index(b->as->doorbells, struct doorbell, i), view, wanted);
    }
    for (guint i = b->set->len; i-- > 0;) {
        const struct kvm_bell *bell = &g_array_index(b->set, struct kvm_bell, i);

        if (!bell_in(wanted, bell)) {
            bell_call(b, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
            g_array_remove_index_fast(b->set, i);
        }
    }
    for (guint i = 0; i < wanted->len; i++) {
        const struct kvm_bell *bell = &g_array_index(wanted, struct kvm_bell, i);

        if (!bell_in(b->set, bell) && bell_call(b, bell, 0)) {
            g_array_append_vals(b->set, bell, 1);
        }
    }
}

static struct kvm_bells *of_listener(struct map_listener *listener)
{
    return (void *)((uint8_t *)listener - offsetof(struct kvm_bells, listener));
}

static void view_changed(struct map_listener *listener, const struct flat_view *view)
{
    update(of_listener(listener), view);
}

static void doorbells_changed(struct map_listener *listener)
{
    struct kvm_bells *b = of_listener(listener);

    update(b, atomic_load(&b->as->view));
}

static void bells_init(struct kvm *k, struct kvm_bells *b, struct address_space *as)
{
    *b = (struct kvm_bells){
        .kvm = k,
        .as = as,
        .set = g_array_new(FALSE, FALSE, sizeof(struct kvm_bell)),
        .listener = {.changed = view_changed, .doorbells_changed = doorbells_changed}};
    address_space_add_listener(as, &b->listener);
}

static void bells_finish(struct kvm_bells *b)
{
    address_space_remove_listener(b->as, &b->listener);
    g_array_unref(b->set);
}

void kvm_doorbells_init(struct kvm *k)
{
    if (k->has_ioeventfd) {
        bells_init(k, &k->memory_bells, k->cpus->mem);
        bells_init(k, &k->port_bells, k->cpus->io);
    }
}

void kvm_doorbells_finish(struct kvm *k)
{
    if (k->has_ioeventfd) {
        bells_finish(&k->memory_bells);
        bells_finish(&k->port_bells);
    }
}
