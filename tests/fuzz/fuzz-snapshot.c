/*
 * Snapshots of machines from hostile files: the header is read, the state checked and loaded,
 * memory taken. An input is a header and what follows it; the checksums of the header and of the
 * state's records are made right first, so that what is behind them is reached. Beyond the input
 * the file is zero, as far as the header says that it goes.
 *
 * Without libFuzzer (-DFUZZ) it changes a good snapshot at random: fuzz-snapshot [ROUNDS]; with a
 * path instead it writes the good one there, as a seed.
 */
#include "machine-input.h"
#include "migration/snapshot-image.h"
#include <string.h>

#define HEADER_BYTES 4096u
#define STATE_AT     16
#define STATE_BYTES  24
#define TOTAL_AT     40
#define LENGTH_MAX   (1ull << 40) /* of a sparse file */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t number(const uint8_t *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof(value));
    return GUINT64_FROM_LE(value);
}

/* ---- making checksums right */

static void mend(uint8_t *data, size_t size)
{
    uint32_t sum;

    if (size >= HEADER_BYTES) {
        uint64_t at = number(data + STATE_AT), bytes = number(data + STATE_BYTES);

        sum = GUINT32_TO_LE(crc32c(0, data, HEADER_BYTES - 4));
        memcpy(data + HEADER_BYTES - 4, &sum, sizeof(sum));
        if (at >= HEADER_BYTES && at < size) {
            input_mend_records(data + at, (size_t)MIN(bytes, size - at));
        }
    }
}

/* ---- the file */

struct input {
    const uint8_t *data;
    size_t size;
    uint64_t length;
};

static bool input_read(void *opaque, uint64_t offset, void *data, uint64_t bytes, GError **error)
{
    const struct input *in = opaque;
    uint64_t there = offset < in->size ? MIN(bytes, in->size - offset) : 0;

    g_assert(offset <= in->length && bytes <= in->length - offset);
    if (there) {
        memcpy(data, in->data + offset, there);
    }
    memset((uint8_t *)data + there, 0, bytes - there);
    return true;
}

static uint64_t input_extent(void *opaque, uint64_t offset, uint64_t bytes, bool *zero)
{
    const struct input *in = opaque;

    *zero = offset >= in->size;
    return *zero ? bytes : MIN(bytes, in->size - offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = input_machine();
    g_autofree uint8_t *copy = g_memdup2(data, MAX(size, 1));
    struct input in = {copy, size, size};
    struct snapshot_source source = {.read = input_read, .extent = input_extent, .opaque = &in};
    g_autoptr(GError) error = NULL;
    struct snapshot_image *image;
    enum run_state run_state;

    if (size == 0) {
        return 0;
    }
    mend(copy, size);
    if (size >= HEADER_BYTES) {
        in.length = MAX(size, MIN(number(copy + TOTAL_AT), LENGTH_MAX));
    }
    source.bytes = in.length;
    big_lock_acquire(&m->lock);
    image = snapshot_image_open(m, &source, &error);
    g_assert(!image == !!error);
    if (image) {
        g_assert(snapshot_image_load(m, image, true, &run_state, &error) == !error);
    }
    snapshot_image_free(image);
    big_lock_release(&m->lock);
    return 0;
}

#ifndef FUZZ
/* Header and state; memory is left out. */
static bool keep(void *opaque, uint64_t offset, const void *data, uint64_t bytes, GError **error)
{
    GByteArray *out = opaque;

    if (offset < 1u << 20) {
        size_t old = out->len;

        if (offset + bytes > out->len) {
            g_byte_array_set_size(out, (guint)(offset + bytes));
            memset(out->data + old, 0, out->len - old);
        }
        memcpy(out->data + offset, data, bytes);
    }
    return true;
}

static GByteArray *good_snapshot(struct machine *m)
{
    GByteArray *out = g_byte_array_new();
    struct snapshot_sink to = {4096, keep, out};
    g_autoptr(GError) error = NULL;
    uint64_t bytes;

    big_lock_acquire(&m->lock);
    g_assert_true(snapshot_image_write(m, &to, &bytes, &error));
    big_lock_release(&m->lock);
    return out;
}

int main(int argc, char **argv)
{
    g_autoptr(GByteArray) good = good_snapshot(input_machine());
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 2000;

    if (argc > 1 && !rounds) {
        g_assert_true(g_file_set_contents(argv[1], (char *)good->data, good->len, NULL));
    }
    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);

        /* No change: the good one is loaded. Else mostly where something is. */
        input_change(rand, g_rand_int(rand) % 4, bad, good->len, 1024);
        LLVMFuzzerTestOneInput(bad, good->len - (round % 5 ? 0 : g_rand_int(rand) % good->len));
    }
    return 0;
}
#endif
