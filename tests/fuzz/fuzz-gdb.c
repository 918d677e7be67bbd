/*
 * libFuzzer target: what a peer may send to the gdb stub. Registers, memory and breakpoints are
 * those of a real vCPU that never runs; "continue" stops at once.
 *
 * The input is cut into lines. A line that begins with '=' goes in as it is; any other becomes the
 * body of a packet, with the right checksum.
 *
 * Without FUZZ it is a test: packets from a fixed seed, most of them nearly right.
 */
#include "cpu/gdb-packet.h"
#include "cpu/gdbstub.h"
#include "cpu/vcpu.h"
#include "cpu/x86/cpuid.h"
#include <stdlib.h>
#include <string.h>

#define N         2
#define RAM_BYTES (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fixture {
    struct big_lock lock;
    struct vclock *clock;
    struct address_space *mem, *io;
    struct ram_block *ram;
    struct region region, device;
    struct cpu_model *model;
    struct cpus *cpus;
    struct gdbstub *stub;
    struct chardev chr;
    size_t written;
};

/* ---- a machine that stands still */

static bool running(void *opaque)
{
    return false;
}

static void stop(void *opaque)
{
}

static bool start(void *opaque, bool hold_timers, GError **error)
{
    struct fixture *f = opaque;

    gdbstub_stopped(f->stub);
    return true;
}

static void kill_guest(void *opaque)
{
}

static int stop_signal(void *opaque)
{
    return GDB_SIGNAL_TRAP;
}

static char *command(void *opaque, struct vcpu *vcpu, const char *line)
{
    return g_strdup(line);
}

static const struct gdb_hooks gdb_hooks = {running, stop, start, kill_guest, stop_signal, command};

static uint64_t device_read(void *opaque, gpa_t offset, unsigned size)
{
    return offset;
}

static void device_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
}

static const struct region_ops device_ops = {device_read, device_write, 1, 4};
static const struct cpus_hooks cpus_hooks = {0};

/* ---- the peer */

/* Everything that the stub sends is packets with the right checksum. */
static size_t chr_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct fixture *f = (struct fixture *)((uint8_t *)chr - offsetof(struct fixture, chr));

    f->written += length;
    return length;
}

static const struct chardev_ops chr_ops = {.name = "test", .write = chr_write};

static void fixture_init(struct fixture *f)
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
    f->device = (struct region){
        .name = "device", .kind = REGION_IO, .size = 0x1234, .ops = &device_ops, .opaque = f};
    f->model = cpu_model_new(NULL, &topology, &error);
    g_assert_no_error(error);
    big_lock_acquire(&f->lock);
    address_space_map(f->mem, 0, &f->region, 0);
    address_space_map(f->mem, 0x800000, &f->device, 0);
    f->cpus = cpus_new(&accel_soft, NULL, &topology, f->model, f->mem, f->io, f->clock, &f->lock,
                       &cpus_hooks, f, &error);
    g_assert_no_error(error);
    vcpus_reset_all(f->cpus);
    f->chr = (struct chardev){.ops = &chr_ops, .id = (char *)"test"};
    f->stub = gdbstub_new(f->cpus, &f->chr, &gdb_hooks, f, &error);
    g_assert_no_error(error);
}

static void fixture_finish(struct fixture *f)
{
    gdbstub_free(f->stub);
    cpus_free(f->cpus);
    address_space_unmap(f->mem, &f->region);
    address_space_unmap(f->mem, &f->device);
    big_lock_release(&f->lock);
    cpu_model_free(f->model);
    address_space_free(f->mem);
    address_space_free(f->io);
    ram_block_free(f->ram);
    vclock_free(f->clock);
}

static void receive(struct fixture *f, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        int room = f->chr.frontend->can_receive(f->chr.frontend->opaque);
        size_t n = MIN(length, (size_t)room);

        g_assert_cmpint(room, >, 0); /* all output was taken */
        f->chr.frontend->receive(f->chr.frontend->opaque, bytes, n);
        bytes += n;
        length -= n;
    }
}

static void take_line(struct fixture *f, const uint8_t *line, size_t length)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    size_t before = f->written;

    if (length > 0 && line[0] == '=') {
        receive(f, line + 1, length - 1);
        return;
    }
    receive(f, (const uint8_t *)"#00", 3); /* ends what is open */
    gdb_packet_append(packet, line, length);
    receive(f, packet->data, packet->len);
    if (length != 1 || line[0] != 'k') { /* that has no answer */
        g_assert_cmpuint(f->written, >, before);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fixture f = {0};
    const uint8_t *end = data + size;

    fixture_init(&f);
    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *stop_at = newline ? newline : end;

        take_line(&f, data, (size_t)(stop_at - data));
        data = newline ? newline + 1 : end;
    }
    fixture_finish(&f);
    return 0;
}

#ifndef FUZZ
static const char *const starts[] = {
    "g",
    "G",
    "p",
    "P",
    "m",
    "M",
    "X",
    "Z0,",
    "z0,",
    "Z1,",
    "Z2,",
    "z2,",
    "Z3,",
    "Z4,",
    "vCont;s:p1.",
    "vCont;c",
    "c",
    "s",
    "C05;",
    "Hg",
    "Hc",
    "T",
    "qXfer:features:read:target.xml:",
    "qRcmd,",
    "qSupported:",
    "qThreadExtraInfo,",
    "QStartNoAckMode",
    "Qqemu.PhyMemMode:",
    "Qqemu.sstep=",
    "?",
    "D",
    "vAttach;",
    "k",
    "vKill;",
    "",
    "=$",
    "=\x03",
    "=-",
    "=}",
};

static void append_random(GRand *rand, GString *line)
{
    static const char digits[] = "0123456789abcdef,:;=.-p*}#$";

    for (int n = g_rand_int_range(rand, 0, 40); n > 0; n--) {
        if (g_rand_int_range(rand, 0, 20) == 0) {
            char c = (char)g_rand_int(rand);

            g_string_append_c(line, c == '\n' ? 'x' : c);
        } else {
            g_string_append_c(line, digits[g_rand_int_range(rand, 0, sizeof(digits) - 1)]);
        }
    }
}

/* Numbers that make sense: in RAM, in the device, past both; small lengths. */
static void append_range(GRand *rand, GString *line)
{
    static const uint32_t bases[] = {0, 0x1000, 0x3fffff, 0x800000, 0x801230, 0xfffffff0, 0xfff};

    g_string_append_printf(line, "%x,%x", bases[g_rand_int_range(rand, 0, G_N_ELEMENTS(bases))],
                           g_rand_int_range(rand, 0, 33));
    if (g_rand_boolean(rand)) {
        g_string_append_c(line, ':');
        for (int n = g_rand_int_range(rand, 0, 33); n > 0; n--) {
            g_string_append_printf(line, "%02x", g_rand_int_range(rand, 0, 256));
        }
    }
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 20;

    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        g_autoptr(GString) input = g_string_new(NULL);

        for (unsigned i = 0; i < 1000; i++) {
            g_string_append(input, starts[g_rand_int_range(rand, 0, G_N_ELEMENTS(starts))]);
            if (g_rand_boolean(rand)) {
                append_range(rand, input);
            } else {
                append_random(rand, input);
            }
            g_string_append_c(input, '\n');
        }
        LLVMFuzzerTestOneInput((const uint8_t *)input->str, input->len);
    }
    return 0;
}
#endif
