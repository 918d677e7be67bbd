/*
 * A hostile guest's vmcoreinfo: the input overwrites pieces of a memory that has a note, page
 * tables and a log ring. Reading the log must end soon, within its bound, and without a fault.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() runs inputs from a fixed seed.
 */
#include "../lib/guest-kernel-memory.h"

#define LOG_BYTES 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void memory_make(struct kernel_memory *km)
{
    km_init(km);
    for (unsigned i = 0; i < 20; i++) {
        km_log(km, i * 1000000000ull, "a record with text of some length");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    struct phys_reader reader = km_reader(km);
    struct guest_kernel *k;

    memory_make(km);
    while (size > 4) { /* where: 3 bytes; how many: 1 */
        uint32_t at = (data[0] | data[1] << 8 | (uint32_t)data[2] << 16) % KM_BYTES;
        size_t n = MIN(MIN(data[3], size - 4), KM_BYTES - at);

        memcpy(km->bytes + at, data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
    k = guest_kernel_open(&reader, KM_NOTE, KM_NOTE_SIZE, NULL);
    if (k) {
        g_autofree char *log = guest_kernel_log_tail(k, LOG_BYTES, NULL);

        g_assert(!log || (strlen(log) <= LOG_BYTES && g_utf8_validate(log, -1, NULL)));
        guest_kernel_free(k);
    }
    return 0;
}

#ifndef FUZZ
/* Where a change matters most: the note, the tables, the ring, its arrays. */
static const uint32_t places[] = {KM_NOTE,         KM_NOTE + 200,   KM_TOP,  KM_TOP + 0x1000,
                                  KM_TOP + 0x2000, KM_TOP + 0x3000, KM_RING, KM_RING + 72,
                                  KM_DESCS,        KM_INFOS,        KM_DATA};

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 20000;

    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);
        uint8_t input[64];
        size_t size = 0;

        for (unsigned i = 0; i < 3; i++) {
            uint32_t at = places[g_rand_int(rand) % G_N_ELEMENTS(places)] + g_rand_int(rand) % 256;
            uint8_t n = (uint8_t)(1 + g_rand_int(rand) % 8);

            memcpy(input + size,
                   (uint8_t[]){(uint8_t)at, (uint8_t)(at >> 8), (uint8_t)(at >> 16), n}, 4);
            size += 4;
            while (n--) {
                input[size++] = (uint8_t)g_rand_int(rand);
            }
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    return 0;
}
#endif
