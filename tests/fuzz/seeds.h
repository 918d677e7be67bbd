/*
 * Without libFuzzer: a target's seeds from a folder, each as it is and damaged in a few bytes.
 */
#ifndef TESTS_FUZZ_SEEDS_H
#define TESTS_FUZZ_SEEDS_H

#include <glib.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* rounds: inputs of each seed, of which the first is the seed itself. A damaged byte is at least
 * `lowest` and below `end`. */
static inline void seeds_try(const char *folder, guint32 random_seed, unsigned rounds,
                             gint32 lowest, gint32 end)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(random_seed);
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;
    unsigned seeds = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL), *text = NULL;
        gsize n;

        g_assert_true(g_file_get_contents(path, &text, &n, NULL));
        seeds++;
        for (unsigned i = 0; i < rounds; i++) {
            g_autofree uint8_t *input = g_memdup2(text, n);

            for (unsigned k = 0; i && k < 1 + i % 6; k++) {
                input[g_rand_int_range(rand, 0, (gint32)n)] =
                    (uint8_t)g_rand_int_range(rand, lowest, end);
            }
            LLVMFuzzerTestOneInput(input, n);
        }
    }
    g_assert_cmpuint(seeds, >, 0);
    g_dir_close(dir);
}

#endif
