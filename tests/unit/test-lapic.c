/*
 * Local APICs of three parked vCPUs on a clock that the test steps: priorities, end of interrupt,
 * destinations, start-up messages, the timer's modes, mode changes, the 8259's line, the register
 * page.
 */
#include "cpu/x86/cpuid.h"
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/sys-priv.h"

enum { N = 3 };

enum { /* register offsets */
       ID = 0x20,
       TPR = 0x80,
       PPR = 0xa0,
       EOI = 0xb0,
       LDR = 0xd0,
       DFR = 0xe0,
       SVR = 0xf0,
       ISR = 0x100,
       IRR = 0x200,
       ESR = 0x280,
       ICR = 0x300,
       ICR2 = 0x310,
       LVT_TIMER = 0x320,
       LINT0 = 0x350,
       LINT1 = 0x360,
       LVT_ERROR = 0x370,
       INITIAL = 0x380,
       CURRENT = 0x390,
       DIVIDE = 0x3e0,
};

struct fixture {
    struct big_lock lock;
    struct vclock *clock;
    struct address_space *mem, *io;
    struct cpu_model *model;
    struct cpus *cpus;
    unsigned n_eoi;
    uint8_t last_eoi;
    int pic_vector;
};

static int pic_ack(void *opaque)
{
    struct fixture *f = opaque;
    g_assert_true(big_lock_held(&f->lock));
    f->cpus->accel->set_extint(f->cpus, false);
    return f->pic_vector;
}

static void eoi(void *opaque, uint8_t vector)
{
    struct fixture *f = opaque;
    g_assert_true(big_lock_held(&f->lock));
    f->n_eoi++;
    f->last_eoi = vector;
}

static const struct cpus_hooks hooks = {.pic_ack = pic_ack, .eoi = eoi};

static void setup(struct fixture *f, gconstpointer data)
{
    static const struct cpu_topology topology = {
        .cpus = N, .max_cpus = N, .sockets = 1, .dies = 1, .cores = N, .threads = 1};
    g_autoptr(GError) error = NULL;
    big_lock_init(&f->lock);
    f->clock = vclock_new(NULL, data == NULL);
    f->mem = address_space_new("memory", UINT64_MAX);
    f->io = address_space_new("I/O", 0xffff);
    f->model = cpu_model_new(NULL, &topology, &error);
    g_assert_no_error(error);
    big_lock_acquire(&f->lock);
    f->cpus = cpus_new(&accel_soft, NULL, &topology, f->model, f->mem, f->io, f->clock, &f->lock,
                       &hooks, f, &error);
    g_assert_no_error(error);
    /* as if each vCPU's own thread called, which never holds the machine lock */
    big_lock_release(&f->lock);
}

static void teardown(struct fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < N; i++) {
        /* taking the machine lock for a device access put it there, as on the vCPU's thread */
        atomic_store(&f->cpus->vcpu[i]->in_guest, false);
    }
    big_lock_acquire(&f->lock);
    cpus_free(f->cpus);
    big_lock_release(&f->lock);
    cpu_model_free(f->model);
    address_space_free(f->mem);
    address_space_free(f->io);
    vclock_free(f->clock);
}

static struct lapic *apic(struct fixture *f, unsigned i)
{
    return ((struct cpu *)f->cpus->vcpu[i]->accel)->lapic;
}

static void enable_all(struct fixture *f)
{
    for (unsigned i = 0; i < N; i++) {
        lapic_write(apic(f, i), SVR, 0x1ff);
    }
}

/* The events requested of a vCPU since the last call. */
static uint32_t requests(struct fixture *f, unsigned i)
{
    uint32_t events = VCPU_REQ_INTR | VCPU_REQ_NMI | VCPU_REQ_INIT | VCPU_REQ_SIPI;
    return atomic_fetch_and(&f->cpus->vcpu[i]->req, ~events) & events;
}

static void msi(struct fixture *f, uint32_t dest, bool logical, uint32_t data)
{
    f->cpus->accel->send_msi(f->cpus, 0xfee00000 | dest << 12 | (logical ? 4 : 0), data);
}

static void test_priorities(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    msi(f, 0, false, 0x31); /* software-disabled: dropped */
    g_assert_false(lapic_has_interrupt(l));
    enable_all(f);
    g_assert_cmphex(requests(f, 0), ==, 0);
    msi(f, 0, false, 0x31);
    g_assert_cmphex(requests(f, 0), ==, VCPU_REQ_INTR);
    msi(f, 0, false, 0x45);
    msi(f, 0, false, 0x38);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x45);
    g_assert_cmphex(lapic_read(l, PPR), ==, 0x40);
    g_assert_cmphex(lapic_read(l, ISR + 0x20), ==, 1 << 5);
    g_assert_false(lapic_has_interrupt(l));
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    msi(f, 0, false, 0x50); /* nests */
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x50);
    lapic_write(l, EOI, 0);
    g_assert_cmphex(lapic_read(l, PPR), ==, 0x40);
    lapic_write(l, TPR, 0x30);
    requests(f, 0);
    lapic_write(l, EOI, 0);
    g_assert_cmphex(lapic_read(l, PPR), ==, 0x30);
    g_assert_false(lapic_has_interrupt(l)); /* 0x38 is of the same class */
    g_assert_cmphex(requests(f, 0), ==, 0);
    lapic_set_cr8(l, 2);
    g_assert_cmphex(lapic_read(l, TPR), ==, 0x20);
    g_assert_cmphex(requests(f, 0), ==, VCPU_REQ_INTR);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x38);
    lapic_write(l, EOI, 0);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x31);
    lapic_write(l, EOI, 0);
    lapic_write(l, EOI, 0); /* one too many */
    g_assert_cmphex(lapic_read(l, PPR), ==, 0x20);
    g_assert_cmpuint(f->n_eoi, ==, 0); /* all were edges */
}

static void test_level(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    enable_all(f);
    msi(f, 0, false, 0x71 | 1 << 15);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x71);
    g_assert_cmpuint(f->n_eoi, ==, 0);
    lapic_write(l, EOI, 0);
    g_assert_cmpuint(f->n_eoi, ==, 1);
    g_assert_cmphex(f->last_eoi, ==, 0x71);
    msi(f, 0, false, 0x71); /* the same vector as an edge */
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x71);
    lapic_write(l, EOI, 0);
    g_assert_cmpuint(f->n_eoi, ==, 1);
}

/* Which APICs got the vector: a bit each. */
static unsigned receivers(struct fixture *f, uint8_t vector)
{
    unsigned got = 0;
    for (unsigned i = 0; i < N; i++) {
        if (lapic_take_interrupt(apic(f, i)) == vector) {
            got |= 1u << i;
            lapic_write(apic(f, i), EOI, 0);
        }
        requests(f, i);
    }
    return got;
}

static void test_destinations(struct fixture *f, gconstpointer data)
{
    enable_all(f);
    for (unsigned i = 0; i < N; i++) {
        lapic_write(apic(f, i), LDR, 1u << (24 + i));
    }
    static const struct {
        uint8_t dest;
        bool logical;
        unsigned got;
    } flat[] = {{1, false, 2}, {0xff, false, 7}, {9, false, 0}, {5, true, 5}, {0, true, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(flat); i++) {
        msi(f, flat[i].dest, flat[i].logical, 0x60);
        g_assert_cmphex(receivers(f, 0x60), ==, flat[i].got);
        lapic_write(apic(f, 0), ICR2, (uint32_t)flat[i].dest << 24);
        lapic_write(apic(f, 0), ICR, 0x61 | (flat[i].logical ? 1 << 11 : 0));
        g_assert_cmphex(receivers(f, 0x61), ==, flat[i].got);
    }
    for (unsigned i = 0; i < N; i++) { /* clusters 1, 1, 2 */
        lapic_write(apic(f, i), DFR, 0x0fffffff);
        lapic_write(apic(f, i), LDR, (i < 2 ? 0x10u + (1u << i) : 0x21u) << 24);
    }
    msi(f, 0x13, true, 0x62);
    g_assert_cmphex(receivers(f, 0x62), ==, 3);
    msi(f, 0x21, true, 0x62);
    g_assert_cmphex(receivers(f, 0x62), ==, 4);
    /* shorthands: self, all, all but self */
    lapic_write(apic(f, 1), ICR, 0x63 | 1 << 18);
    g_assert_cmphex(receivers(f, 0x63), ==, 2);
    lapic_write(apic(f, 1), ICR, 0x63 | 2 << 18);
    g_assert_cmphex(receivers(f, 0x63), ==, 7);
    lapic_write(apic(f, 1), ICR, 0x63 | 3 << 18);
    g_assert_cmphex(receivers(f, 0x63), ==, 5);
    /* lowest priority: one of them, the one with the lowest TPR */
    lapic_write(apic(f, 0), TPR, 0x40);
    lapic_write(apic(f, 1), TPR, 0x30);
    msi(f, 0x13, true, 0x64 | 1 << 8);
    g_assert_cmphex(receivers(f, 0x64), ==, 2);
}

static void test_startup_messages(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    enable_all(f);
    lapic_write(l, ICR2, 1u << 24);
    lapic_write(l, ICR, 5 << 8 | 1 << 14 | 1 << 15);
    g_assert_cmphex(requests(f, 1), ==, VCPU_REQ_INIT);
    lapic_write(l, ICR, 5 << 8 | 1 << 15); /* de-assert: nothing */
    g_assert_cmphex(requests(f, 1), ==, 0);
    lapic_write(l, ICR, 6 << 8 | 0x9a);
    g_assert_cmphex(requests(f, 1), ==, VCPU_REQ_SIPI);
    g_assert_cmphex(atomic_load(&f->cpus->vcpu[1]->sipi_vector), ==, 0x9a);
    lapic_write(l, ICR, 4 << 8);
    lapic_write(l, ICR, 4 << 8);
    g_assert_cmphex(requests(f, 1), ==, VCPU_REQ_NMI);
    g_assert_cmpuint(atomic_load(&f->cpus->vcpu[1]->nmis), ==, 2);
    g_assert_cmphex(requests(f, 0) | requests(f, 2), ==, 0);
    /* the NMI button */
    lapic_write(apic(f, 1), LINT1, 4 << 8 | 1 << 16);
    lapic_write(apic(f, 2), LINT1, 4 << 8);
    cpus_inject_nmi(f->cpus);
    g_assert_cmphex(requests(f, 2), ==, VCPU_REQ_NMI);
    g_assert_cmphex(requests(f, 1), ==, 0); /* masked there */
    g_assert_true(lapic_set_base(apic(f, 1), lapic_get_base(apic(f, 1)) & ~(uint64_t)0x800));
    atomic_store(&f->cpus->vcpu[1]->nmis, 0);
    cpus_inject_nmi(f->cpus); /* switched off it lets the pin through */
    g_assert_cmphex(requests(f, 1), ==, VCPU_REQ_NMI);
    g_assert_cmpuint(atomic_load(&f->cpus->vcpu[1]->nmis), ==, 1);
}

static void test_errors(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    enable_all(f);
    lapic_write(l, LVT_ERROR, 0x90);
    lapic_write(l, ICR, 5 | 1 << 18); /* vectors below 16 are illegal */
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x90);
    g_assert_cmphex(lapic_read(l, ESR), ==, 0); /* shown after a write */
    lapic_write(l, ESR, 0);
    g_assert_cmphex(lapic_read(l, ESR), ==, 1 << 5);
    lapic_write(l, ESR, 0);
    g_assert_cmphex(lapic_read(l, ESR), ==, 0);
}

static void test_timer(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    int64_t t = vclock_now(f->clock);
    enable_all(f);
    lapic_write(l, DIVIDE, 3); /* by 16 */
    lapic_write(l, LVT_TIMER, 0x40);
    lapic_write(l, INITIAL, 1000000);
    vclock_step(f->clock, t + 4000000);
    g_assert_cmpuint(lapic_read(l, CURRENT), ==, 750000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    vclock_step(f->clock, t + 16000000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x40);
    lapic_write(l, EOI, 0);
    g_assert_cmpuint(lapic_read(l, CURRENT), ==, 0);
    vclock_step(f->clock, t + 100000000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1); /* once */
    /* periodic */
    lapic_write(l, LVT_TIMER, 0x41 | 1 << 17);
    lapic_write(l, INITIAL, 1000000);
    t = vclock_now(f->clock);
    for (unsigned i = 1; i <= 5; i++) {
        vclock_step(f->clock, t + i * 16000000 - 1);
        g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
        vclock_step(f->clock, t + i * 16000000);
        g_assert_cmpint(lapic_take_interrupt(l), ==, 0x41);
        lapic_write(l, EOI, 0);
    }
    /* masked: it runs on silently; 0 stops it */
    lapic_write(l, LVT_TIMER, 0x41 | 1 << 17 | 1 << 16);
    vclock_step(f->clock, t + 96000000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    lapic_write(l, INITIAL, 0);
    g_assert_cmpint(vclock_deadline(f->clock), ==, -1);
}

/* A guest that reads the count sees it start anew even when the timer's thread is late, and periods
 * that were missed do not shift the next ones. */
static void test_timer_late(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    int64_t t = vclock_now(f->clock);

    enable_all(f);
    lapic_write(l, DIVIDE, 3); /* by 16 */
    lapic_write(l, LVT_TIMER, 0x41 | 1 << 17);
    lapic_write(l, INITIAL, 1000000);
    vclock_set(f->clock, t + 20000000);
    g_assert_cmpuint(lapic_read(l, CURRENT), ==, 750000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x41);
    lapic_write(l, EOI, 0);
    vclock_set(f->clock, t + 3 * 16000000 + 12000000); /* the one at 2 * 16 ms is lost */
    g_assert_cmpuint(lapic_read(l, CURRENT), ==, 250000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x41);
    lapic_write(l, EOI, 0);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    vclock_step(f->clock, t + 4 * 16000000);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x41);
}

/* On a clock that runs: the vCPU watches for what is due in a moment; no timer of the clock does.
 */
static void test_near(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    _Atomic uint32_t *req = &f->cpus->vcpu[0]->req;
    int vector;

    vclock_start(f->clock);
    enable_all(f);
    lapic_write(l, DIVIDE, 0xb); /* by 1 */
    lapic_write(l, LVT_TIMER, 0x40);
    lapic_write(l, INITIAL, 4000000000u);
    g_assert_cmphex(atomic_load(req) & VCPU_REQ_TIMER, ==, 0);
    g_assert_cmpint(vclock_deadline(f->clock), >, 0);
    lapic_write(l, INITIAL, 2000);
    g_assert_cmphex(atomic_load(req) & VCPU_REQ_TIMER, !=, 0);
    g_assert_cmpint(vclock_deadline(f->clock), ==, -1);
    while ((vector = lapic_take_interrupt(l)) < 0) {
        lapic_timer_watch(l, true);
    }
    g_assert_cmpint(vector, ==, 0x40);
    g_assert_cmphex(atomic_load(req) & VCPU_REQ_TIMER, ==, 0);
    lapic_write(l, EOI, 0);
    lapic_timer_watch(l, true);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1); /* once */
    /* held back by the debugger */
    lapic_write(l, INITIAL, 2000);
    vclock_hold_timers(f->clock, true);
    int64_t now = vclock_now(f->clock);
    while (vclock_now(f->clock) < now + 10000) {
        lapic_timer_watch(l, true);
    }
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    vclock_hold_timers(f->clock, false);
    lapic_timer_watch(l, true);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x40);
    lapic_write(l, EOI, 0);
    /* stopped, and put off */
    lapic_write(l, INITIAL, 2000);
    lapic_write(l, INITIAL, 0);
    lapic_timer_watch(l, true);
    g_assert_cmphex(atomic_load(req) & VCPU_REQ_TIMER, ==, 0);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
}

static void test_tsc_deadline(struct fixture *f, gconstpointer data)
{
    struct cpu *c = f->cpus->vcpu[0]->accel;
    struct lapic *l = c->lapic;
    uint64_t value;
    enable_all(f);
    g_assert_true(msr_write(c, 0x6e0, 1000)); /* another mode: ignored */
    g_assert_true(msr_read(c, 0x6e0, &value));
    g_assert_cmpuint(value, ==, 0);
    lapic_write(l, LVT_TIMER, 0x42 | 2 << 17);
    int64_t t = vclock_now(f->clock);
    g_assert_true(msr_write(c, 0x6e0, tsc_read(c) + 5000000)); /* 5 ms at 1 GHz */
    vclock_step(f->clock, t + 4999999);
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    vclock_step(f->clock, t + 5000001);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x42);
    lapic_write(l, EOI, 0);
    g_assert_true(msr_read(c, 0x6e0, &value));
    g_assert_cmpuint(value, ==, 0);
    /* the past fires at once; a century away does not overflow; 0 disarms */
    g_assert_true(msr_write(c, 0x6e0, 1));
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x42);
    lapic_write(l, EOI, 0);
    g_assert_true(msr_write(c, 0x6e0, UINT64_MAX));
    g_assert_cmpint(lapic_take_interrupt(l), ==, -1);
    g_assert_true(msr_write(c, 0x6e0, 0));
    g_assert_cmpint(vclock_deadline(f->clock), ==, -1);
    /* a jump of the TSC moves the moment */
    g_assert_true(msr_write(c, 0x6e0, tsc_read(c) + 5000000));
    g_assert_true(msr_write(c, 0x10, tsc_read(c) + 4000000));
    vclock_step(f->clock, vclock_now(f->clock) + 1000001);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x42);
}

static void test_base(struct fixture *f, gconstpointer data)
{
    struct cpu *c = f->cpus->vcpu[1]->accel;
    struct lapic *l = c->lapic;
    uint64_t base = 0xfee00000, en = 1 << 11, x2 = 1 << 10, value;
    g_assert_cmphex(lapic_get_base(l), ==, base | en);
    g_assert_cmphex(lapic_get_base(apic(f, 0)), ==, base | en | 1 << 8);
    g_assert_true(lapic_claims(l, base));
    g_assert_false(msr_read(c, 0x802, &value)); /* not in x2APIC mode */
    g_assert_false(msr_write(c, 0x1b, base | x2));
    g_assert_false(msr_write(c, 0x1b, base | en | 1));
    g_assert_false(msr_write(c, 0x1b, base | en | 1ull << 40));
    g_assert_true(msr_write(c, 0x1b, 0x80000000 | en));
    g_assert_true(lapic_claims(l, 0x80000000));
    g_assert_true(msr_write(c, 0x1b, base | en | x2));
    g_assert_false(lapic_claims(l, base));
    g_assert_false(msr_write(c, 0x1b, base | en)); /* not straight back */
    g_assert_true(msr_read(c, 0x802, &value));
    g_assert_cmphex(value, ==, 1);
    g_assert_true(msr_read(c, 0x80d, &value));
    g_assert_cmphex(value, ==, 2);
    g_assert_true(msr_write(c, 0x80f, 0x1ff));
    g_assert_false(msr_write(c, 0x80f, 1ull << 32));
    g_assert_false(msr_write(c, 0x802, 0));
    g_assert_false(msr_write(c, 0x80b, 1)); /* EOI takes 0 only */
    g_assert_false(msr_read(c, 0x80b, &value));
    g_assert_false(msr_read(c, 0x80e, &value)); /* no DFR */
    g_assert_false(msr_write(c, 0x831, 0));
    g_assert_true(msr_write(c, 0x83f, 0x55)); /* self IPI */
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x55);
    g_assert_true(msr_write(c, 0x830, 2ull << 32 | 0x66));
    enable_all(f);
    g_assert_true(msr_write(c, 0x830, 2ull << 32 | 0x66));
    g_assert_cmphex(receivers(f, 0x66), ==, 4);
    g_assert_true(msr_write(c, 0x1b, base));
    g_assert_false(msr_write(c, 0x1b, base | en | x2));
    g_assert_true(msr_write(c, 0x1b, base | en));
    g_assert_cmphex(lapic_read(l, SVR), ==, 0xff); /* as after reset */
}

static void test_extint(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    f->pic_vector = 0x28;
    f->cpus->accel->set_extint(f->cpus, true);
    g_assert_cmphex(requests(f, 0), ==, VCPU_REQ_INTR);
    g_assert_cmphex(requests(f, 1), ==, 0);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x28);
    g_assert_false(lapic_has_interrupt(l));
    enable_all(f);
    lapic_write(l, LINT0, 7 << 8 | 1 << 16);
    f->cpus->accel->set_extint(f->cpus, true);
    g_assert_false(lapic_has_interrupt(l));
    requests(f, 0);
    lapic_write(l, LINT0, 7 << 8);
    g_assert_cmphex(requests(f, 0), ==, VCPU_REQ_INTR);
    g_assert_true(lapic_has_interrupt(l));
}

static void test_page(struct fixture *f, gconstpointer data)
{
    struct lapic *l = apic(f, 0);
    uint8_t a[1024], b[1024];
    g_autoptr(GError) error = NULL;
    enable_all(f);
    lapic_write(l, DIVIDE, 0xb);
    lapic_write(l, LVT_TIMER, 0x40);
    lapic_write(l, INITIAL, 1000000);
    vclock_step(f->clock, vclock_now(f->clock) + 400000);
    msi(f, 0, false, 0x45);
    msi(f, 0, false, 0x33 | 1 << 15);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x45);
    lapic_get_page(l, a);
    uint64_t base = lapic_get_base(l);
    lapic_reset(l, false);
    g_assert_true(lapic_set_page(l, a, base, &error));
    lapic_get_page(l, b);
    g_assert_cmpmem(a, sizeof(a), b, sizeof(b));
    g_assert_cmphex(requests(f, 0) & VCPU_REQ_INTR, ==, VCPU_REQ_INTR);
    lapic_write(l, EOI, 0);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x33);
    lapic_write(l, EOI, 0);
    g_assert_cmpuint(f->n_eoi, ==, 1);
    vclock_step(f->clock, vclock_now(f->clock) + 600001);
    g_assert_cmpint(lapic_take_interrupt(l), ==, 0x40);
    g_assert_false(lapic_set_page(l, a, 0xfee00400, &error));
    g_assert_nonnull(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/lapic/" name, struct fixture, NULL, setup, fn, teardown)
    ADD("priorities", test_priorities);
    ADD("level", test_level);
    ADD("destinations", test_destinations);
    ADD("startup-messages", test_startup_messages);
    ADD("errors", test_errors);
    ADD("timer", test_timer);
    ADD("late-timer", test_timer_late);
    g_test_add("/lapic/near", struct fixture, "running", setup, test_near, teardown);
    ADD("tsc-deadline", test_tsc_deadline);
    ADD("base", test_base);
    ADD("extint", test_extint);
    ADD("page", test_page);
    return g_test_run();
}
