/*
 * Streams from hostile sources: a machine's state is loaded, its memory taken, and the stream
 * printed. An input is a sequence of records; their lengths and checksums are made right first, so
 * that what is behind them is reached.
 *
 * Without libFuzzer (-DFUZZ) it changes a good stream at random: fuzz-stream [ROUNDS]; with a path
 * instead it writes the good one there, as a seed.
 */
#include "machine-input.h"
#include "migration/migration-priv.h"
#include "migration/page-compress.h"
#include "migration/stream-print.h"
#include "migration/vmstate.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *nowhere;

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

/* The same from a channel, where pages go to their places as they come. */
static void receive(struct machine *m, const uint8_t *data, size_t size)
{
    g_autoptr(GPtrArray) blocks = vmstate_ram_blocks(m);
    struct channel_uri uri = {.kind = CHANNEL_FD};
    int fd = memfd_create("stream", MFD_CLOEXEC);
    struct stream_in in = {0};
    struct record record;

    g_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    in.channel = channel_new_in(&uri, fd, NULL);
    g_assert_nonnull(in.channel);
    while (stream_in_begin(&in, &record, NULL)) {
        g_autoptr(GError) error = NULL;
        bool ok = record_is(&record, "ram ") ? ram_in_receive(blocks, &in, &record, &error)
                                             : stream_in_rest(&in, &record, 0, &error);

        g_assert(ok == !error);
        if (!ok) {
            break;
        }
    }
    stream_in_finish(&in);
    channel_free(in.channel);
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
    struct machine *m = input_machine();
    g_autofree uint8_t *copy = g_memdup2(data, MAX(size, 1));

    if (!nowhere) {
        nowhere = fopen("/dev/null", "we");
        g_assert_nonnull(nowhere);
    }
    if (size == 0) {
        return 0;
    }
    input_mend_records(copy, size);
    big_lock_acquire(&m->lock);
    load(m, copy, size);
    take_memory(m, copy, size);
    receive(m, copy, size);
    print(copy, size);
    big_lock_release(&m->lock);
    return 0;
}

#ifndef FUZZ
static void put_run(GByteArray *out, uint64_t first, uint32_t n, uint32_t kind)
{
    state_put_number(out, first, 8);
    state_put_number(out, n, 4);
    state_put_number(out, kind, 4);
}

/* A record of memory, and a saved machine. */
static GByteArray *good_stream(struct machine *m)
{
    GByteArray *out = g_byte_array_new();
    uint8_t page[GUEST_PAGE_SIZE], small[PAGE_COMPRESS_ROOM];
    size_t start;

    memset(page, 7, sizeof(page));
    big_lock_acquire(&m->lock);
    vmstate_save(m, RUN_STATE_PAUSED, out);
    big_lock_release(&m->lock);
    for (unsigned compressed = 0; compressed < 2; compressed++) {
        unsigned data = compressed ? (unsigned)page_compress(page, small) : GUEST_PAGE_SIZE;

        start = record_begin(out, "ram ", RAM_VERSION);
        state_put_number(out, 0, 4);
        state_put_number(out, 2, 4);
        put_run(out, 3, 2, RAM_RUN_ZERO);
        put_run(out, 9, 1, compressed ? RAM_RUN_COMPRESSED : RAM_RUN_DATA);
        g_byte_array_append(out, compressed ? small : page, data);
        record_end(out, start);
    }
    return out;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 3000;
    g_autoptr(GByteArray) good = good_stream(input_machine());

    if (argc > 1 && !rounds) {
        g_assert_true(g_file_set_contents(argv[1], (char *)good->data, good->len, NULL));
    }
    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);

        input_change(rand, 1 + g_rand_int(rand) % 4, bad, good->len, 0);
        LLVMFuzzerTestOneInput(bad, good->len - (round % 5 ? 0 : g_rand_int(rand) % good->len));
    }
    if (nowhere) {
        fclose(nowhere);
    }
    return 0;
}
#endif
