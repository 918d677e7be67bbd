/*
 * vCPU threads with the software CPU on real memory: starting by INIT and SIPI, pausing under load,
 * exclusive sections against each other, changes of the memory map and of code under running vCPUs,
 * sleeping and waking, running a function on a vCPU.
 */
#include "cpu/x86/cpuid.h"
#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/state.h"

enum {
    N = 4,
    RAM_BYTES = 1 << 20,
    CODE = 0x1000,
    COUNTER = 0x8ffe, /* crosses a page: LOCK needs an exclusive section */
    PLAIN = 0xa000,
    FLAG = 0xb000,
    PORT_POKE = 0x80,
};

struct fixture {
    struct big_lock lock;
    struct vclock *clock;
    struct address_space *mem, *io;
    struct ram_block *ram;
    struct region region, extra, port;
    struct cpu_model *model;
    struct cpus *cpus;
    unsigned n_pokes, n_faults;
};

static void triple_fault(void *opaque, struct vcpu *vcpu)
{
    struct fixture *f = opaque;
    __atomic_fetch_add(&f->n_faults, 1, __ATOMIC_SEQ_CST);
}

static const struct cpus_hooks hooks = {.triple_fault = triple_fault};

static uint64_t port_read(void *opaque, gpa_t offset, unsigned size)
{
    return 0;
}

/* A device that changes the memory map when it is written. */
static void port_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct fixture *f = opaque;
    g_assert_true(big_lock_held(&f->lock));
    f->n_pokes++;
    if (f->n_pokes & 1) {
        address_space_map(f->mem, 0x80000000, &f->extra, 0);
    } else {
        address_space_unmap(f->mem, &f->extra);
    }
}

static const struct region_ops port_ops = {port_read, port_write, 1, 4};

static void setup(struct fixture *f, gconstpointer data)
{
    static const struct cpu_topology topology = {
        .cpus = N, .max_cpus = N, .sockets = 1, .dies = 1, .cores = N, .threads = 1};
    g_autoptr(GError) error = NULL;
    big_lock_init(&f->lock);
    f->clock = vclock_new(NULL, true);
    f->mem = address_space_new("memory", UINT64_MAX);
    f->io = address_space_new("I/O", 0xffff);
    f->ram = ram_block_new("ram", RAM_BYTES, &error);
    g_assert_no_error(error);
    f->region =
        (struct region){.name = "ram", .kind = REGION_RAM, .size = RAM_BYTES, .ram = f->ram};
    f->extra = (struct region){.name = "extra", .kind = REGION_RAM, .size = 0x1000, .ram = f->ram};
    f->port = (struct region){
        .name = "poke", .kind = REGION_IO, .size = 4, .ops = &port_ops, .opaque = f};
    f->model = cpu_model_new(NULL, &topology, &error);
    g_assert_no_error(error);
    big_lock_acquire(&f->lock);
    address_space_map(f->mem, 0, &f->region, 0);
    address_space_map(f->io, PORT_POKE, &f->port, 0);
    f->cpus = cpus_new(&accel_soft, NULL, &topology, f->model, f->mem, f->io, f->clock, &f->lock,
                       &hooks, f, &error);
    g_assert_no_error(error);
    vcpus_reset_all(f->cpus);
}

static void teardown(struct fixture *f, gconstpointer data)
{
    vcpus_pause_all(f->cpus);
    cpus_free(f->cpus);
    big_lock_release(&f->lock);
    cpu_model_free(f->model);
    address_space_free(f->mem);
    address_space_free(f->io);
    ram_block_free(f->ram);
    vclock_free(f->clock);
}

/* Flat 32-bit protected mode at rip, ECX the loop count. */
static void start_at(struct fixture *f, unsigned i, uint32_t rip, uint32_t ecx)
{
    struct vcpu *v = f->cpus->vcpu[i];
    struct cpu_state *st = g_new0(struct cpu_state, 1);
    unsigned what = ST_REGS | ST_SREGS | ST_MP;
    g_autoptr(GError) error = NULL;
    v->ops->get(v, st, what);
    struct x_seg flat = {.limit = UINT32_MAX, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    st->sregs.ds = st->sregs.es = st->sregs.ss = st->sregs.cs = flat;
    st->sregs.cs.type = 11;
    st->sregs.cr0 |= CR0_PE;
    st->regs.rip = rip;
    st->regs.rcx = ecx;
    st->regs.rsp = 0x7000;
    st->mp_state = MP_RUNNABLE;
    g_assert_true(v->ops->set(v, st, what, &error));
    g_free(st);
}

static void put_code(struct fixture *f, uint32_t at, const void *code, size_t n)
{
    g_assert_true(address_space_write(f->mem, at, code, n));
}

static uint32_t ram32(struct fixture *f, uint32_t at)
{
    return __atomic_load_n((uint32_t *)(f->ram->host + at), __ATOMIC_SEQ_CST);
}

/* Lets the vCPUs run for a moment: real threads need real time. */
static void run_for(struct fixture *f, unsigned us)
{
    vcpus_resume_all(f->cpus);
    big_lock_release(&f->lock);
    g_usleep(us);
    big_lock_acquire(&f->lock);
    vcpus_pause_all(f->cpus);
}

static bool all_halted(struct fixture *f)
{
    for (unsigned i = 0; i < N; i++) {
        if (atomic_load(&f->cpus->vcpu[i]->mp_state) != MP_HALTED) {
            return false;
        }
    }
    return true;
}

static void run_until_halted(struct fixture *f)
{
    for (unsigned i = 0; i < 20000 && !all_halted(f); i++) {
        run_for(f, 500);
    }
    g_assert_true(all_halted(f));
}

static void test_locked_across_pages(struct fixture *f, gconstpointer data)
{
    static const uint8_t code[] = {0xf0, 0xff, 0x05, 0xfe, 0x8f, 0, 0, /* lock inc [COUNTER] */
                                   0xf0, 0xff, 0x05, 0x00, 0xa0, 0, 0, /* lock inc [PLAIN] */
                                   0xe2, 0xf0, 0xfa, 0xf4};            /* loop; cli; hlt */
    enum { TIMES = 3000 };
    put_code(f, CODE, code, sizeof(code));
    for (unsigned i = 0; i < N; i++) {
        start_at(f, i, CODE, TIMES);
    }
    run_until_halted(f);
    g_assert_cmpuint(ram32(f, COUNTER), ==, N * TIMES);
    g_assert_cmpuint(ram32(f, PLAIN), ==, N * TIMES);
}

static void test_pause_is_complete(struct fixture *f, gconstpointer data)
{
    static const uint8_t code[] = {0xf0, 0xff, 0x05, 0x00, 0xa0, 0, 0, 0xeb, 0xf7}; /* for ever */
    put_code(f, CODE, code, sizeof(code));
    for (unsigned i = 0; i < N; i++) {
        start_at(f, i, CODE, 0);
    }
    uint32_t last = 0;
    unsigned moved = 0;
    for (unsigned i = 0; i < 100; i++) {
        run_for(f, 200);
        uint32_t now = ram32(f, PLAIN);
        moved += now != last;
        for (unsigned v = 0; v < N; v++) {
            g_assert_true(f->cpus->vcpu[v]->parked);
            g_assert_false(atomic_load(&f->cpus->vcpu[v]->in_guest));
        }
        g_usleep(200);
        last = ram32(f, PLAIN);
        g_assert_cmpuint(last, ==, now);
    }
    g_assert_cmpuint(moved, >, 50);
}

static void test_map_changes(struct fixture *f, gconstpointer data)
{
    /* one vCPU makes a device change the map, the others read through it all the time */
    static const uint8_t poke[] = {0xe6, PORT_POKE, 0xe2, 0xfc, 0xfa, 0xf4};
    static const uint8_t look[] = {0xa1, 0x00, 0xa0, 0x00, 0x80, /* mov eax, [0x8000a000] */
                                   0xff, 0x05, 0x00, 0xa0, 0x00, 0x00, 0xe2, 0xf3, 0xfa, 0xf4};
    put_code(f, CODE, poke, sizeof(poke));
    put_code(f, CODE + 0x1000, look, sizeof(look));
    start_at(f, 0, CODE, 2000);
    for (unsigned i = 1; i < N; i++) {
        start_at(f, i, CODE + 0x1000, 20000);
    }
    run_until_halted(f);
    g_assert_cmpuint(f->n_pokes, ==, 2000);
    g_assert_cmpuint(f->n_faults, ==, 0);
}

static void test_code_changes(struct fixture *f, gconstpointer data)
{
    /* vCPUs 1..3 call a function until it is rewritten to end them; vCPU 0 rewrites it */
    static const uint8_t caller[] = {0xe8, 0xfb, 0x0f, 0, 0, 0xeb, 0xf9}; /* 1: call fn; jmp 1b */
    static const uint8_t fn[] = {0x90, 0x90, 0xc3};
    static const uint8_t writer[] = {0x66, 0xc7, 0x05, 0x00, 0x30, 0, 0, 0xfa, 0xf4, /* cli; hlt */
                                     0xfa, 0xf4};
    for (unsigned round = 0; round < 20; round++) {
        put_code(f, CODE + 0x1000, caller, sizeof(caller));
        put_code(f, CODE + 0x2000, fn, sizeof(fn));
        put_code(f, CODE + 0x3000, writer, sizeof(writer));
        for (unsigned i = 1; i < N; i++) {
            start_at(f, i, CODE + 0x1000, 0);
        }
        start_at(f, 0, CODE + 0x3000, 0);
        atomic_store(&f->cpus->vcpu[0]->mp_state, MP_UNINITIALIZED);
        run_for(f, 300); /* the function is decoded by all */
        start_at(f, 0, CODE + 0x3000, 0);
        run_until_halted(f);
    }
}

static void test_start_up(struct fixture *f, gconstpointer data)
{
    /* vCPU 0 starts all others at 0x2000 by INIT and SIPI; each counts itself in and halts */
    static const uint8_t boot[] = {
        0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0xc5, 0x0c, 0x00, /* [ICR] = INIT, all but self */
        0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x02, 0x06, 0x0c, 0x00, /* [ICR] = SIPI 2 */
        0xfa, 0xf4};
    static const uint8_t ap[] = {0x2e, 0xf0, 0xfe, 0x06, 0x00, 0x01, /* lock inc byte cs:[0x100] */
                                 0xfa, 0xf4};
    put_code(f, CODE, boot, sizeof(boot));
    put_code(f, 0x2000, ap, sizeof(ap));
    start_at(f, 0, CODE, 0);
    run_until_halted(f);
    g_assert_cmpuint(f->ram->host[0x2100], ==, N - 1);
}

static void nothing(struct vcpu *vcpu, void *arg)
{
    unsigned *n = arg;
    g_assert_true(pthread_equal(vcpu->thread, pthread_self()));
    (*n)++;
}

static void test_run_on(struct fixture *f, gconstpointer data)
{
    static const uint8_t code[] = {0xeb, 0xfe};
    unsigned n = 0;
    put_code(f, CODE, code, sizeof(code));
    start_at(f, 0, CODE, 0);
    big_lock_release(&f->lock);
    vcpu_run_on(f->cpus->vcpu[0], nothing, &n); /* parked */
    vcpus_resume_all(f->cpus);
    vcpu_run_on(f->cpus->vcpu[0], nothing, &n); /* running */
    vcpu_run_on(f->cpus->vcpu[1], nothing, &n); /* waiting for SIPI */
    big_lock_acquire(&f->lock);
    g_assert_cmpuint(n, ==, 3);
}

static void wait_until_asleep(struct fixture *f, struct vcpu *vcpu)
{
    big_lock_release(&f->lock);
    while (!atomic_load(&vcpu->sleeping)) {
        g_usleep(100);
    }
    big_lock_acquire(&f->lock);
}

/* A vCPU in a HLT sleeps on while the machine stops and starts; what makes it runnable meanwhile
 * wakes it, and leaves no request behind that would keep it awake. */
static void test_halted_sleeps_on(struct fixture *f, gconstpointer data)
{
    static const uint8_t halt[] = {0xfa, 0xf4}; /* cli; hlt */
    static const uint8_t mark[] = {0xc7, 0x05, 0x00, 0xb0, 0x00, 0x00,
                                   0x01, 0x00, 0x00, 0x00, 0xfa, 0xf4}; /* [FLAG] = 1 */
    struct vcpu *vcpu = f->cpus->vcpu[0];

    put_code(f, CODE, halt, sizeof(halt));
    put_code(f, CODE + 0x100, mark, sizeof(mark));
    start_at(f, 0, CODE, 0);
    vcpus_resume_all(f->cpus);
    wait_until_asleep(f, vcpu);
    for (unsigned i = 0; i < 100; i++) {
        vcpus_pause_all(f->cpus);
        g_assert_true(atomic_load(&vcpu->sleeping));
        vcpus_resume_all(f->cpus);
        g_assert_true(atomic_load(&vcpu->sleeping));
        g_assert_cmphex(atomic_load(&vcpu->req), ==, 0);
    }
    vcpus_pause_all(f->cpus);
    start_at(f, 0, CODE + 0x100, 0);
    vcpus_resume_all(f->cpus);
    big_lock_release(&f->lock);
    while (!ram32(f, FLAG)) {
        g_usleep(100);
    }
    big_lock_acquire(&f->lock);
    wait_until_asleep(f, vcpu);
    g_assert_cmphex(atomic_load(&vcpu->req), ==, 0);
}

static void test_triple_fault(struct fixture *f, gconstpointer data)
{
    static const uint8_t code[] = {0x0f, 0x0b}; /* with an IDT of zeros */
    put_code(f, CODE, code, sizeof(code));
    start_at(f, 0, CODE, 0);
    for (unsigned i = 0; i < 2000 && __atomic_load_n(&f->n_faults, __ATOMIC_SEQ_CST) == 0; i++) {
        run_for(f, 500);
    }
    run_for(f, 2000); /* once: it stays where it is until a reset */
    g_assert_cmpuint(f->n_faults, ==, 1);
    vcpus_reset_all(f->cpus);
    struct cpu_state *st = g_new0(struct cpu_state, 1);
    f->cpus->vcpu[0]->ops->get(f->cpus->vcpu[0], st, ST_REGS | ST_MP);
    g_assert_cmphex(st->regs.rip, ==, 0xfff0);
    g_assert_cmpuint(st->mp_state, ==, MP_RUNNABLE);
    g_free(st);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/vcpus/" name, struct fixture, NULL, setup, fn, teardown)
    ADD("locked-across-pages", test_locked_across_pages);
    ADD("pause-is-complete", test_pause_is_complete);
    ADD("map-changes", test_map_changes);
    ADD("code-changes", test_code_changes);
    ADD("start-up", test_start_up);
    ADD("run-on", test_run_on);
    ADD("halted-sleeps-on", test_halted_sleeps_on);
    ADD("triple-fault", test_triple_fault);
    return g_test_run();
}
