/* Pages made smaller and large again: the same bytes come back, cut or not, from all ways of doing
 * it, also while somebody writes to the page. */
#include "migration/page-compress.h"

#include "memory/types.h"
#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define WORDS (GUEST_PAGE_SIZE / 4)

static const struct page_compressor *way[4];
static unsigned n_ways;

/* What it becomes is the same in all ways, no byte can be missed, and none beyond it is looked at.
 */
static void check_page(const uint32_t *page, size_t expected)
{
    uint8_t out[G_N_ELEMENTS(way)][PAGE_COMPRESS_ROOM], back[GUEST_PAGE_SIZE];

    for (unsigned i = 0; i < n_ways; i++) {
        size_t n = way[i]->compress((const uint8_t *)page, out[i]);

        g_assert_cmpuint(n, ==, expected);
        if (n) {
            g_assert_cmpmem(out[i], n, out[0], n);
            for (unsigned j = 0; j < n_ways; j++) {
                g_autofree uint8_t *exact = g_memdup2(out[i], n);

                memset(back, 0xaa, sizeof(back));
                g_assert_cmpuint(way[j]->expand(exact, n, back), ==, n);
                g_assert_cmpmem(back, sizeof(back), page, GUEST_PAGE_SIZE);
                g_assert_cmpuint(way[j]->expand(exact, n - 1, back), ==, 0);
                g_assert_cmpuint(way[j]->expand(exact, g_random_int() % n, back), ==, 0);
            }
        }
    }
}

static void clear_words(uint32_t *page, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        page[i] = 0;
    }
}

static void test_known(void)
{
    uint32_t page[WORDS] = {0};

    check_page(page, 128);
    page[5] = 1; /* and it is gone again 64 bytes later */
    check_page(page, 128 + 8);
    for (unsigned i = 0; i < WORDS; i++) {
        page[i] = i % 16 + 7;
    }
    check_page(page, 128 + 64);
    page[WORDS - 1] ^= 1;
    check_page(page, 128 + 68);
    for (unsigned i = 0; i < WORDS; i++) {
        page[i] = 0x9e3779b9u * (i + 1);
    }
    check_page(page, 0);
    clear_words(page, 256); /* 768 words are left, 3072 bytes and the masks */
    check_page(page, 0);
    clear_words(page, 288);
    check_page(page, PAGE_COMPRESS_MAX);
}

static size_t expected_bytes(const uint32_t *page)
{
    size_t bytes = 128;

    for (unsigned i = 0; i < WORDS; i++) {
        bytes += page[i] != (i < 16 ? 0 : page[i - 16]) ? 4 : 0;
        if (i == 255 && bytes > 128 + 896) {
            return 0;
        }
    }
    return bytes <= PAGE_COMPRESS_MAX ? bytes : 0;
}

static void test_random(void)
{
    uint32_t page[WORDS];

    for (unsigned round = 0; round < 3000; round++) {
        unsigned share = g_random_int() % 100;

        for (unsigned i = 0; i < WORDS; i++) {
            page[i] = (unsigned)g_random_int() % 100 < share ? g_random_int()
                      : round % 2 && i >= 16                 ? page[i - 16]
                                                             : 0;
        }
        check_page(page, expected_bytes(page));
    }
}

/* Any bytes: all of the page is written, or nothing is, and no more than left is read. */
static void test_hostile(void)
{
    uint8_t first[GUEST_PAGE_SIZE], second[GUEST_PAGE_SIZE];

    for (unsigned round = 0; round < 3000; round++) {
        size_t left = g_random_int() % (GUEST_PAGE_SIZE + 256);
        g_autofree uint8_t *in = g_malloc(MAX(left, 1));

        for (size_t i = 0; i < left; i++) {
            in[i] = (uint8_t)(g_random_int() >> (i < 128 ? round % 8 : 0));
        }
        for (unsigned i = 1; i < n_ways; i++) {
            size_t n = way[0]->expand(in, left, first);

            g_assert_cmpuint(way[i]->expand(in, left, second), ==, n);
            g_assert_cmpmem(first, n ? sizeof(first) : 0, second, n ? sizeof(second) : 0);
        }
    }
}

struct writer {
    _Atomic uint32_t *page;
    _Atomic bool end;
};

static gpointer write_on(gpointer arg)
{
    struct writer *w = arg;

    for (unsigned n = 0; !w->end; n++) {
        w->page[n * 7 % 256] = n & 1 ? 0 : 0x01010101u;
    }
    return NULL;
}

/* Each word is what it was at some time. */
static void test_written_to(void)
{
    g_autofree uint32_t *page = g_malloc0(GUEST_PAGE_SIZE);
    struct writer writer = {.page = (_Atomic uint32_t *)page};
    GThread *thread = g_thread_new("writer", write_on, &writer);
    uint8_t out[PAGE_COMPRESS_ROOM];
    uint32_t back[WORDS];

    for (unsigned round = 0; round < 20000; round++) {
        const struct page_compressor *w = way[round % n_ways];
        size_t n = w->compress((const uint8_t *)page, out);

        g_assert_cmpuint(w->expand(out, n, (uint8_t *)back), ==, n);
        for (unsigned i = 0; n && i < WORDS; i++) {
            g_assert_true(back[i] == 0 || (i < 256 && back[i] == 0x01010101u));
        }
    }
    writer.end = true;
    g_thread_join(thread);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    while (n_ways < G_N_ELEMENTS(way) && (way[n_ways] = page_compressor(n_ways))) {
        n_ways++;
    }
    g_test_add_func("/page-compress/known", test_known);
    g_test_add_func("/page-compress/random", test_random);
    g_test_add_func("/page-compress/hostile", test_hostile);
    g_test_add_func("/page-compress/written-to", test_written_to);
    return g_test_run();
}
