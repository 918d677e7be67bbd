/*
 * The local APIC's register page out of KVM and into it (Linux Documentation/virt/kvm/api.rst), and
 * NMIs that wait for their vCPU.
 *
 * KVM's timer goes on while the vCPU rests. When it runs out then, that is in none of the
 * registers: the count is 0, as it is long after an interrupt. What was left when the vCPU went to
 * rest tells the two apart.
 *
 * The other way round, KVM lets a one-shot timer whose count is 0 fire at once when it is given the
 * page, so it must not look like one that was ever started.
 */
#include "cpu/x86/kvm/kvm-priv.h"
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

enum {
    REG_IRR = 0x200,
    REG_LVT_TIMER = 0x320,
    REG_LVT_LINT1 = 0x360,
    REG_TIMER_INITIAL = 0x380,
    REG_TIMER_CURRENT = 0x390,
};

#define LVT_VECTOR       0xffu
#define LVT_DELIVERY     (7u << 8)
#define LVT_DELIVERY_NMI (4u << 8)
#define LVT_MASKED       (1u << 16)
#define LVT_MODE         (3u << 17)
#define LVT_PERIODIC     (1u << 17)

/* By its count a timer may have run out, and the host's timer behind it be late. */
#define TIMER_LATE_US    1000

static uint32_t page_get(const uint8_t *page, unsigned at)
{
    uint32_t value;

    memcpy(&value, page + at, sizeof(value));
    return value;
}

static bool one_shot(const uint8_t *page)
{
    return !(page_get(page, REG_LVT_TIMER) & (LVT_MASKED | LVT_MODE));
}

static bool timer_requested(const uint8_t *page)
{
    uint32_t vector = page_get(page, REG_LVT_TIMER) & LVT_VECTOR;

    return page[REG_IRR + vector / 32 * 16 + vector % 32 / 8] >> (vector % 8) & 1;
}

/* KVM_RUN with a signal pending, by which a vCPU that halts executes nothing, but takes note of
 * timers that ran out. */
static void run_interrupted(struct kvm_vcpu *v)
{
    const struct timespec at_once = {0};
    uint32_t none[3] = {8}; /* struct kvm_signal_mask: 8 bytes, no signal blocked */
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, kvm_kick_signal());
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_kill(pthread_self(), kvm_kick_signal());
    if (kvm_call(v->fd, KVM_SET_SIGNAL_MASK, none) == 0) {
        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        ioctl(v->fd, KVM_RUN, NULL);
        kvm_call(v->fd, KVM_SET_SIGNAL_MASK, NULL);
    }
    sigtimedwait(&set, NULL, &at_once);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* A timer that has run out is not in IRR before KVM_RUN sees it, which a vCPU that was told to
 * leave did not do any more. */
static void timers_to_irr(struct kvm_vcpu *v)
{
    struct kvm_mp_state before, halted = {KVM_MP_STATE_HALTED};

    if (kvm_call(v->fd, KVM_GET_MP_STATE, &before) == 0 &&
        (before.mp_state == KVM_MP_STATE_RUNNABLE || before.mp_state == KVM_MP_STATE_HALTED) &&
        kvm_call(v->fd, KVM_SET_MP_STATE, &halted) == 0) {
        run_interrupted(v);
        kvm_call(v->fd, KVM_SET_MP_STATE, &before);
    }
}

void kvm_lapic_rest(struct kvm_vcpu *v)
{
    uint8_t before[sizeof(struct kvm_lapic_state)], page[sizeof(struct kvm_lapic_state)];

    v->timer_left = 0;
    if (kvm_call(v->fd, KVM_GET_LAPIC, before) < 0 || page_get(before, REG_TIMER_INITIAL) == 0) {
        return;
    }
    timers_to_irr(v);
    if (kvm_call(v->fd, KVM_GET_LAPIC, page) < 0) {
        return;
    }
    if (one_shot(page) && page_get(page, REG_TIMER_CURRENT) == 0 && !timer_requested(page)) {
        g_usleep(TIMER_LATE_US);
        timers_to_irr(v);
        if (kvm_call(v->fd, KVM_GET_LAPIC, page) < 0) {
            return;
        }
    }
    v->timer_left = page_get(page, REG_TIMER_CURRENT);
    if (v->timer_left == 0 && page_get(before, REG_TIMER_CURRENT) && !timer_requested(page)) {
        v->timer_left = 1; /* just now */
    }
}

int kvm_lapic_get(struct kvm_vcpu *v, uint8_t page[1024])
{
    int err = kvm_call(v->fd, KVM_GET_LAPIC, page);
    uint32_t vector = page_get(page, REG_LVT_TIMER) & LVT_VECTOR;

    if (err >= 0 && v->timer_left && page_get(page, REG_TIMER_CURRENT) == 0 && one_shot(page)) {
        page[REG_IRR + vector / 32 * 16 + vector % 32 / 8] |= (uint8_t)(1u << (vector % 8));
    }
    return err;
}

int kvm_lapic_set(struct kvm_vcpu *v, const uint8_t from[1024])
{
    uint8_t page[sizeof(struct kvm_lapic_state)];
    const uint32_t none = 0;

    memcpy(page, from, sizeof(page));
    if (page_get(page, REG_TIMER_CURRENT) == 0 &&
        (page_get(page, REG_LVT_TIMER) & LVT_MODE) != LVT_PERIODIC) {
        memcpy(page + REG_TIMER_INITIAL, &none, sizeof(none));
    }
    v->timer_left = 0;
    return kvm_call(v->fd, KVM_SET_LAPIC, page);
}

/* LINT1's entry of the local vector table, as a PC's NMI button meets it. */
static bool lint1_is_nmi(struct kvm_vcpu *v)
{
    uint8_t page[sizeof(struct kvm_lapic_state)];

    return kvm_call(v->fd, KVM_GET_LAPIC, page) == 0 &&
           (page_get(page, REG_LVT_LINT1) & (LVT_MASKED | LVT_DELIVERY)) == LVT_DELIVERY_NMI;
}

unsigned kvm_nmis_waiting(struct kvm_vcpu *v, bool take)
{
    unsigned n = take ? atomic_exchange(&v->vcpu->nmis, 0) : atomic_load(&v->vcpu->nmis);
    unsigned pulses = take ? atomic_exchange(&v->lint1, 0) : atomic_load(&v->lint1);

    if (pulses && lint1_is_nmi(v)) {
        n++;
    }
    return MIN(n, 2u); /* one in service, one waiting: as hardware */
}
