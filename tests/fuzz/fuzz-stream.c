/*
 * Streams from hostile sources: a machine's state is loaded, its memory taken, and the stream
 * printed. An input is a sequence of records; their lengths and checksums are made right first, so
 * that what is behind them is reached.
 *
 * Without libFuzzer (-DFUZZ) it changes a good stream at random: fuzz-stream [ROUNDS]; with a path
 * instead it writes the good one there, as a seed.
 */
#include "migration/crc32c.h"
#include "migration/migration-priv.h"
#include "migration/stream-print.h"
#include "migration/vmstate.h"
#include "qapi/event.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void emit(struct event_sink *sink, unsigned event, const char *data_json)
{
}

static struct event_sink sink = {.emit = emit};
static struct machine *machine;
static FILE *nowhere;

static struct machine *the_machine(void)
{
    if (!machine) {
        struct machine_config *config = machine_config_new();
        g_autoptr(GError) error = NULL;

        config->machine_type = g_strdup("q35");
        config->cpu_spec = g_strdup("qemu64");
        config->ram_bytes = 2u << 20;
        config->topology = (struct cpu_topology){1, 1, 1, 1, 1, 1};
        g_ptr_array_add(config->accels, g_strdup("tcg"));
        machine = machine_new(config, loop_new, &sink, &error);
        g_assert_no_error(error);
        nowhere = fopen("/dev/null", "we");
        g_assert_nonnull(nowhere);
    }
    return machine;
}

/* Lengths that run over the end are cut to it. */
static void mend(uint8_t *data, size_t size)
{
    for (size_t at = 0; size - at >= RECORD_HEADER_BYTES + RECORD_CHECK_BYTES;) {
        size_t room = size - at - RECORD_HEADER_BYTES - RECORD_CHECK_BYTES, bytes = 0;
        uint32_t sum;

        for (unsigned i = 0; i < 4; i++) {
            bytes |= (size_t)data[at + 8 + i] << (8 * i);
        }
        bytes = MIN(bytes, room);
        for (unsigned i = 0; i < 4; i++) {
            data[at + 8 + i] = (uint8_t)(bytes >> (8 * i));
        }
        sum = GUINT32_TO_LE(crc32c(0, data + at, RECORD_HEADER_BYTES + bytes));
        memcpy(data + at + RECORD_HEADER_BYTES + bytes, &sum, sizeof(sum));
        at += RECORD_HEADER_BYTES + bytes + RECORD_CHECK_BYTES;
    }
}

static void load(struct machine *m, const uint8_t *data, size_t size)
{
    struct state_input in = {data, size};
    g_autoptr(GError) error = NULL;
    enum run_state run_state;

    g_assert(vmstate_load(m, &in, &run_state, NULL, &error) == !error);
}

static void take_memory(struct machine *m, const uint8_t *data, size_t size)
{
    g_autoptr(GPtrArray) blocks = vmstate_ram_blocks(m);
    struct state_input in = {data, size};
    struct record record;

    while (record_take(&in, &record, NULL)) {
        g_autoptr(GError) error = NULL;

        g_assert(ram_in_take(blocks, &record, &error) == !error);
    }
}

static void print(uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    FILE *in = fmemopen(data, size, "r");

    g_assert(stream_print(in, nowhere, &error) == !error);
    fclose(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = the_machine();
    g_autofree uint8_t *copy = g_memdup2(data, MAX(size, 1));

    if (size == 0) {
        return 0;
    }
    mend(copy, size);
    big_lock_acquire(&m->lock);
    load(m, copy, size);
    take_memory(m, copy, size);
    print(copy, size);
    big_lock_release(&m->lock);
    return 0;
}

#ifndef FUZZ
/* A record of memory, and a saved machine. */
static GByteArray *good_stream(struct machine *m)
{
    GByteArray *out = g_byte_array_new();
    size_t start;

    big_lock_acquire(&m->lock);
    vmstate_save(m, RUN_STATE_PAUSED, out);
    big_lock_release(&m->lock);
    start = record_begin(out, "ram ", 1);
    state_put_number(out, 0, 4);
    state_put_number(out, 2, 4);
    state_put_number(out, 3, 8);
    state_put_number(out, 2, 4);
    state_put_number(out, 0, 4);
    state_put_number(out, 9, 8);
    state_put_number(out, 1, 4);
    state_put_number(out, 1, 4);
    g_byte_array_set_size(out, out->len + GUEST_PAGE_SIZE);
    memset(out->data + out->len - GUEST_PAGE_SIZE, 7, GUEST_PAGE_SIZE);
    record_end(out, start);
    return out;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 3000;
    g_autoptr(GByteArray) good = good_stream(the_machine());

    if (argc > 1 && !rounds) {
        g_assert_true(g_file_set_contents(argv[1], (char *)good->data, good->len, NULL));
    }
    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);
        unsigned changes = 1 + g_rand_int(rand) % 4;

        for (unsigned i = 0; i < changes; i++) {
            size_t at = g_rand_int(rand) % good->len;

            bad[at] = g_rand_boolean(rand) ? (uint8_t)g_rand_int(rand)
                                           : bad[at] ^ (uint8_t)(1 << g_rand_int(rand) % 8);
        }
        LLVMFuzzerTestOneInput(bad, good->len - (round % 5 ? 0 : g_rand_int(rand) % good->len));
    }
    machine_free(machine);
    fclose(nowhere);
    return 0;
}
#endif
