/*
 * A guest that moves: it is stopped on one accelerator, its vCPUs and devices are written out as a
 * stream, and it goes on in another machine, on another accelerator, in the middle of a
 * computation. guests/move.c computes and counts. Its memory is copied while it runs, and what it
 * dirties meanwhile once more.
 *
 * Two machines in one process; the test thread runs their main loops by turns.
 */
#include "base/state.h"
#include "cpu/x86/state-fields.h"
#include "cpu/x86/state.h"
#include "machine/machine.h"
#include "memory/dirty.h"
#include "migration/crc32c.h"
#include "migration/vmstate.h"
#include "qapi/event.h"
#include <string.h>
#include <unistd.h>

#define RAM_BYTES (16u << 20)
#define PROGRESS  0x200000u

struct progress { /* as in guests/move.c */
    uint32_t round, sum, pit, apic, nmi, ipi;
    uint32_t other_sum, other_laps, faults, done;
};

static void emit(struct event_sink *sink, unsigned event, const char *data_json)
{
}

static struct event_sink sink = {.emit = emit};

/* ---- machines */

/* How long the guest computes, and how often it moves meanwhile. */
struct course {
    unsigned rounds, moves;
    bool far; /* see test_trip() */
};

static struct machine *machine_for(const char *accel, unsigned cpus, const struct course *course,
                                   GError **error)
{
    struct machine_config *config = machine_config_new();
    struct machine *m;

    config->machine_type = g_strdup("q35");
    config->cpu_spec = g_strdup("qemu64,-pni"); /* not every KVM has it */
    config->ram_bytes = RAM_BYTES;
    config->topology = (struct cpu_topology){cpus, cpus, 1, 1, cpus, 1};
    config->kernel =
        g_build_filename(g_getenv("GUESTS"), course->far ? "guest-move-far" : "guest-move", NULL);
    config->append = g_strdup_printf("%s%u", cpus > 1 ? "+" : "", course->rounds);
    g_ptr_array_add(config->accels, g_strdup(accel));
    m = machine_new(config, loop_new, &sink, error);
    if (!m) {
        machine_config_free(config);
    }
    return m;
}

static struct progress progress_of(struct machine *m)
{
    struct progress p;

    g_assert_true(address_space_read(m->mem, PROGRESS, &p, sizeof(p)));
    return p;
}

struct watch {
    struct machine *m;
    uint32_t round, nmis;
    unsigned extra_us;
    gint64 end_us;
};

static gboolean look(gpointer watch)
{
    struct watch *w = watch;
    struct progress p = progress_of(w->m);

    if (!w->end_us && (p.done || p.round >= w->round) && p.nmi >= w->nmis) {
        w->end_us = g_get_monotonic_time() + w->extra_us;
    }
    if (w->end_us && g_get_monotonic_time() >= w->end_us) {
        loop_quit(w->m->loop);
    }
    return G_SOURCE_CONTINUE;
}

static void run_watched(struct machine *m, struct watch watch)
{
    GSource *timer = g_timeout_source_new(1);

    g_source_set_callback(timer, look, &watch, NULL);
    g_source_attach(timer, m->loop->context);
    loop_run(m->loop);
    g_source_destroy(timer);
    g_source_unref(timer);
}

/* Runs until the guest has come to that round, and a while longer. */
static void run_to(struct machine *m, uint32_t round, unsigned extra_us)
{
    run_watched(m, (struct watch){.m = m, .round = round, .extra_us = extra_us});
}

/* Until it is done; the last NMI may find it done already. */
static void run_to_end(struct machine *m, unsigned nmis)
{
    run_watched(m, (struct watch){.m = m, .round = UINT32_MAX, .nmis = nmis});
}

/* ---- moving */

static struct ram_block *ram_of(struct machine *m)
{
    return address_space_find(m->mem, PROGRESS)->region->ram;
}

/* As much of guest memory as two machines have in common: their firmware areas are their own. */
static void copy_page(struct machine *from, struct machine *to, uint64_t page)
{
    uint64_t at = page * GUEST_PAGE_SIZE;

    memcpy(ram_of(to)->host + at, ram_of(from)->host + at, GUEST_PAGE_SIZE);
}

/* Memory goes over while the guest runs; later, when it stands, what it has written to since. */
static void copy_ram(struct machine *from, struct machine *to)
{
    for (uint64_t page = 0; page < RAM_BYTES / GUEST_PAGE_SIZE; page++) {
        copy_page(from, to, page);
    }
}

static void copy_dirty(struct machine *from, struct machine *to, struct dirty_log *log)
{
    g_autofree uint64_t *bitmap = g_new0(uint64_t, dirty_log_words(log));
    uint64_t pages = dirty_log_take(log, bitmap);

    g_assert_cmpuint(pages, <, RAM_BYTES / GUEST_PAGE_SIZE / 2);
    for (uint64_t page = 0; page < RAM_BYTES / GUEST_PAGE_SIZE; page++) {
        if (bitmap[page / 64] >> (page % 64) & 1) {
            copy_page(from, to, page);
            pages--;
        }
    }
    g_assert_cmpuint(pages, ==, 0);
    /* No page was missed; and what nobody wrote to was not named. */
    g_assert_cmpmem(ram_of(from)->host, RAM_BYTES, ram_of(to)->host, RAM_BYTES);
    g_assert_cmpuint(dirty_log_take(log, bitmap), ==, 0);
}

static GByteArray *save(struct machine *m)
{
    GByteArray *out = g_byte_array_new();

    vmstate_save(m, runstate_get(m->run), out);
    return out;
}

static void load(struct machine *m, const GByteArray *stream)
{
    struct state_input in = {stream->data, stream->len};
    g_autoptr(GError) error = NULL;
    enum run_state run_state;

    g_assert_true(vmstate_load(m, &in, &run_state, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpint(run_state, ==, RUN_STATE_PAUSED);
    g_assert_cmpuint(in.left, ==, 0);
}

/* The same machine in another; the first is gone. press: its NMI button while it stands. */
static struct machine *move(struct machine *from, const char *accel, const struct course *course,
                            bool press, unsigned extra_us)
{
    struct dirty_log *log;
    g_autoptr(GError) error = NULL;
    struct machine *to = machine_for(accel, from->cpus->n, course, &error);
    g_autoptr(GByteArray) stream = NULL;
    g_autoptr(GByteArray) again = NULL;

    g_assert_no_error(error);
    big_lock_acquire(&from->lock);
    log = dirty_log_new(from->mem, ram_of(from), &error);
    g_assert_no_error(error);
    big_lock_release(&from->lock);
    copy_ram(from, to);
    run_to(from, progress_of(from).round + 1, extra_us);
    big_lock_acquire(&from->lock);
    vm_stop(from, RUN_STATE_PAUSED);
    if (press) {
        cpus_inject_nmi(from->cpus);
    }
    stream = save(from);
    big_lock_acquire(&to->lock);
    copy_dirty(from, to, log);
    load(to, stream);
    if (to->cpus->accel == &accel_soft && from->cpus->accel == &accel_soft) {
        /* Nothing was lost on the way. (KVM's clocks go on.) */
        again = g_byte_array_new();
        vmstate_save(to, RUN_STATE_PAUSED, again);
        g_assert_cmpmem(again->data, again->len, stream->data, stream->len);
    }
    dirty_log_free(log);
    big_lock_release(&from->lock);
    machine_free(from);
    g_assert_true(vm_start(to, NULL));
    big_lock_release(&to->lock);
    return to;
}

static uint32_t mix(uint32_t sum, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        sum ^= sum << 13;
        sum ^= sum >> 17;
        sum ^= sum << 5;
        sum += i;
    }
    return sum;
}

static uint32_t expected_sum(const struct course *course)
{
    const double pi = 3.14159265358979323846;
    uint64_t bits;
    uint32_t sum = 1;

    memcpy(&bits, &pi, sizeof(bits));
    for (unsigned round = 0; round < course->rounds; round++) {
        for (unsigned part = 0; part < 10; part++) {
            sum = mix(sum, 300);
        }
        sum ^= course->far ? 0 : (uint32_t)(bits >> 32) ^ (uint32_t)bits;
    }
    return sum;
}

struct trip {
    const char *first, *second; /* accelerators, in turns */
    unsigned cpus;
};

static void check(const struct progress *p, const struct trip *trip, const struct course *course,
                  unsigned nmis)
{
    g_assert_cmpuint(p->done, ==, 1);
    g_assert_cmpuint(p->round, ==, course->rounds);
    g_assert_cmphex(p->sum, ==, expected_sum(course));
    g_assert_cmpuint(p->apic, ==, course->rounds);
    g_assert_cmpuint(p->ipi, ==, trip->cpus > 1 ? course->rounds : 0);
    g_assert_cmpuint(p->faults, ==, 0);
    g_assert_cmpuint(p->nmi, ==, nmis);
    g_assert_cmpuint(p->pit, >, 0);
    if (trip->cpus > 1) {
        uint32_t sum = 0;

        g_assert_cmpuint(p->other_laps, >, 0);
        for (uint32_t i = 0; i < p->other_laps; i++) {
            sum = mix(sum, 100);
        }
        g_assert_cmphex(p->other_sum, ==, sum);
    }
}

static bool has_virtualisation(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) &&
           (strstr(text, " vmx ") || strstr(text, " svm "));
}

/* Where KVM emulates the guest's kernel mode, its interrupts return without IRET, so that it takes
 * one NMI only; and there is no x87. */
static struct course course_of(const struct trip *trip)
{
    bool kvm = strcmp(trip->first, "kvm") == 0 || strcmp(trip->second, "kvm") == 0;

    if (kvm && !has_virtualisation()) {
        return (struct course){12, 5, true}; /* some rounds a second */
    }
    return (struct course){60, 8, false};
}

static void test_trip(gconstpointer data)
{
    const struct trip *trip = data;
    const struct course course = course_of(trip);
    g_autoptr(GError) error = NULL;
    struct machine *m;
    struct progress p;
    unsigned nmis = 0;

    if (strstr(trip->first, "kvm") || strstr(trip->second, "kvm")) {
        if (access("/dev/kvm", R_OK | W_OK) != 0) {
            g_test_skip("/dev/kvm cannot be used");
            return;
        }
    }
    m = machine_for(trip->first, trip->cpus, &course, &error);
    g_assert_no_error(error);
    machine_start(m);
    for (unsigned i = 0; i < course.moves; i++) {
        bool press = !course.far || i == 0;

        run_to(m, (i + 1) * (course.rounds - 2) / course.moves - 1, 0);
        m = move(m, i % 2 ? trip->first : trip->second, &course, press, i * 170);
        nmis += press; /* the boot CPU alone has programmed LINT1 */
    }
    run_to_end(m, nmis);
    p = progress_of(m);
    big_lock_acquire(&m->lock);
    vm_stop(m, RUN_STATE_PAUSED);
    big_lock_release(&m->lock);
    machine_free(m);
    check(&p, trip, &course, nmis);
}

/* ---- hostile streams */

static bool try_load(struct machine *m, const uint8_t *data, size_t bytes, GError **error)
{
    struct state_input in = {data, bytes};
    enum run_state run_state;

    return vmstate_load(m, &in, &run_state, NULL, error);
}

/* The checksums are made right again, so that what they guard is looked at as well. */
static void mend(uint8_t *data, size_t bytes)
{
    size_t at = 0;

    while (at + 16 <= bytes) {
        size_t length = data[at + 8] | data[at + 9] << 8 | data[at + 10] << 16;
        uint32_t sum;

        if (data[at + 11] || length > bytes - at - 16) {
            return;
        }
        sum = crc32c(0, data + at, length + 12);
        memcpy(data + at + 12 + length, &sum, 4);
        at += length + 16;
    }
}

static void test_damaged(struct machine *m, const GByteArray *good, bool mended)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (unsigned i = 0; i < 3000; i++) {
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);
        g_autoptr(GError) why = NULL;

        for (int n = g_rand_int_range(rand, 1, 4); n > 0; n--) {
            bad[g_rand_int_range(rand, 0, (gint32)good->len)] ^= 1u << g_rand_int_range(rand, 0, 8);
        }
        if (mended) {
            mend(bad, good->len);
            try_load(m, bad, good->len, &why); /* refused or not, but no more than that */
        } else if (memcmp(bad, good->data, good->len) != 0) {
            g_assert_false(try_load(m, bad, good->len, &why));
            g_assert_nonnull(why);
        }
    }
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    struct machine *m = machine_for("tcg", 1, &(struct course){1, 0, false}, &error);
    g_autoptr(GByteArray) good = NULL;

    g_assert_no_error(error);
    g_assert_cmpuint(state_first_uncovered(&cpu_state_desc), ==, sizeof(struct cpu_state));
    big_lock_acquire(&m->lock);
    good = save(m);
    for (unsigned cut = 0; cut < good->len; cut += 7) {
        g_autoptr(GError) why = NULL;

        g_assert_false(try_load(m, good->data, cut, &why));
        g_assert_nonnull(why);
    }
    test_damaged(m, good, false);
    test_damaged(m, good, true);
    g_assert_true(try_load(m, good->data, good->len, &error));
    g_assert_no_error(error);
    big_lock_release(&m->lock);
    machine_free(m);
}

/* Another machine than the stream's is told by what differs, with both sides' values. */
static void test_other_machine(void)
{
    static const struct {
        const char *machine, *cpu;
        unsigned cpus, ram_mb;
        const char *text;
    } others[] = {
        {"pc", "qemu64", 1, 16, "machine type: 'pc-q35-7.2' in the stream, 'pc-i440fx-7.2' here"},
        {"q35", "qemu64", 2, 16, "CPUs: 1 in the stream, 2 in this machine"},
        {"q35", "Nehalem", 1, 16, "CPU model: 'qemu64' in the stream, 'Nehalem' in this machine"},
        {"q35", "qemu64,-pni,-cx16", 1, 16, "lacks: cx16"},
        {"q35", "qemu64", 1, 32,
         "memory 'ram': 16777216 bytes in the stream, 33554432 in this machine"},
    };
    struct machine *m = machine_for("tcg", 1, &(struct course){1, 0, false}, NULL);
    g_autoptr(GByteArray) stream = NULL;

    g_assert_nonnull(m);
    big_lock_acquire(&m->lock);
    stream = save(m);
    big_lock_release(&m->lock);
    machine_free(m);
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        struct machine_config *config = machine_config_new();
        g_autoptr(GError) error = NULL;

        config->machine_type = g_strdup(others[i].machine);
        config->cpu_spec = g_strdup(others[i].cpu);
        config->ram_bytes = (uint64_t)others[i].ram_mb << 20;
        config->topology =
            (struct cpu_topology){others[i].cpus, others[i].cpus, 1, 1, others[i].cpus, 1};
        g_ptr_array_add(config->accels, g_strdup("tcg"));
        m = machine_new(config, loop_new, &sink, &error);
        g_assert_no_error(error);
        big_lock_acquire(&m->lock);
        g_assert_false(try_load(m, stream->data, stream->len, &error));
        if (!strstr(error->message, others[i].text)) {
            g_test_message("%s", error->message);
            g_test_fail();
        }
        big_lock_release(&m->lock);
        machine_free(m);
    }
}

static void test_crc32c(void)
{
    g_autofree uint8_t *bytes = g_malloc0(90000);
    uint32_t sum;

    /* RFC 3720, B.4 */
    g_assert_cmphex(crc32c(0, "123456789", 9), ==, 0xe3069283);
    g_assert_cmphex(crc32c(0, bytes, 32), ==, 0x8a9136aa);
    for (unsigned i = 0; i < 90000; i++) {
        bytes[i] = (uint8_t)(i * 7 ^ i >> 5);
    }
    sum = crc32c(0, bytes, 90000); /* in lanes, and in pieces too small for them */
    for (unsigned step = 1; step < 20000; step = step * 2 + 1) {
        uint32_t in_pieces = 0;

        for (unsigned at = 0; at < 90000; at += step) {
            in_pieces = crc32c(in_pieces, bytes + at, MIN(step, 90000 - at));
        }
        g_assert_cmphex(in_pieces, ==, sum);
    }
}

int main(int argc, char **argv)
{
    static const struct trip trips[] = {
        {"tcg", "tcg", 1}, {"tcg", "tcg", 2}, {"tcg", "kvm", 1}, {"tcg", "kvm", 2},
        {"kvm", "tcg", 1}, {"kvm", "tcg", 2}, {"kvm", "kvm", 1}, {"kvm", "kvm", 2},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(trips); i++) {
        g_autofree char *name =
            g_strdup_printf("/move/%s-%s/%u", trips[i].first, trips[i].second, trips[i].cpus);

        g_test_add_data_func(name, &trips[i], test_trip);
    }
    g_test_add_func("/move/refused", test_refused);
    g_test_add_func("/move/other-machine", test_other_machine);
    g_test_add_func("/move/crc32c", test_crc32c);
    return g_test_run();
}
