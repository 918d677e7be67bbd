/* What the targets that load a machine share: the machine, and records whose checksums are made
 * right so that what is behind them is reached. */
#ifndef TESTS_FUZZ_MACHINE_INPUT_H
#define TESTS_FUZZ_MACHINE_INPUT_H

#include "machine/machine.h"
#include "migration/crc32c.h"
#include "migration/record.h"
#include "qapi/event.h"
#include <string.h>

static void input_emit(struct event_sink *sink, unsigned event, const char *data_json)
{
}

static struct event_sink input_sink = {.emit = input_emit};
static struct machine *input_machine_made;

static void input_machine_free(void)
{
    machine_free(input_machine_made);
    input_machine_made = NULL;
}

/* Made at the first call: 2 MiB. */
static struct machine *input_machine(void)
{
    if (!input_machine_made) {
        struct machine_config *config = machine_config_new();
        g_autoptr(GError) error = NULL;

        config->machine_type = g_strdup("q35");
        config->cpu_spec = g_strdup("qemu64");
        config->ram_bytes = 2u << 20;
        config->topology = (struct cpu_topology){1, 1, 1, 1, 1, 1};
        g_ptr_array_add(config->accels, g_strdup("tcg"));
        input_machine_made = machine_new(config, loop_new, &input_sink, &error);
        g_assert_no_error(error);
        atexit(input_machine_free); /* the fuzzer's main() does not come back */
    }
    return input_machine_made;
}

/* Lengths that run over the end are cut to it. */
static void input_mend_records(uint8_t *data, size_t size)
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
        data[at + 6] = data[at + 7] = 0; /* no sum of the header */
        sum = GUINT32_TO_LE(crc32c(0, data + at, RECORD_HEADER_BYTES + bytes));
        memcpy(data + at + RECORD_HEADER_BYTES + bytes, &sum, sizeof(sum));
        at += RECORD_HEADER_BYTES + bytes + RECORD_CHECK_BYTES;
    }
}

#ifndef FUZZ
/* So many bytes, or bits of them, become others; half of them before `most` when that is not 0. */
static void input_change(GRand *rand, unsigned changes, uint8_t *data, size_t size, size_t most)
{
    for (unsigned i = 0; i < changes; i++) {
        size_t at = g_rand_int(rand) % (most && g_rand_boolean(rand) ? most : size);

        data[at] = g_rand_boolean(rand) ? (uint8_t)g_rand_int(rand)
                                        : data[at] ^ (uint8_t)(1 << g_rand_int(rand) % 8);
    }
}
#endif

#endif
