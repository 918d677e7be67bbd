/* Memory asked for ahead: where filling it is slow, and only while it comes in order. */
#include "base/clock.h"
#include "memory/ram.h"
#include "migration/migration-priv.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define REGION_BYTES (2u << 20)
#define REGION_PAGES (REGION_BYTES / 4096)
#define REGIONS      24u

struct fixture {
    struct ram_block *block;
    struct ram_ahead *ahead;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->block = ram_block_new("ram", REGIONS * REGION_BYTES, NULL);
    f->ahead = ram_ahead_new();
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    ram_ahead_free(f->ahead);
    ram_block_free(f->block);
}

static bool is_there(const struct fixture *f, unsigned region)
{
    unsigned char there[REGION_PAGES];

    g_assert_cmpint(mincore(f->block->host + region * REGION_BYTES, REGION_BYTES, there), ==, 0);
    return !memchr(there, 0, sizeof(there));
}

/* Uses that much of the processor. */
static void work(int64_t ns)
{
    struct timespec begun, now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while ((now.tv_sec - begun.tv_sec) * NS_PER_SEC + now.tv_nsec - begun.tv_nsec < ns);
}

/* Fills that many pages of a region, in records of some pages each. */
static void fill(struct fixture *f, unsigned region, unsigned pages, int64_t ns)
{
    for (unsigned at = 0; at < pages; at += 96) {
        unsigned n = MIN(96, pages - at);

        ram_ahead_note(f->ahead, f->block, region * REGION_PAGES + at, n);
        memset(f->block->host + region * REGION_BYTES + at * 4096, 1, n * 4096);
    }
    work(ns);
}

static void wait_for(const struct fixture *f, unsigned region)
{
    for (unsigned i = 0; i < 10000 && !is_there(f, region); i++) {
        g_usleep(1000);
    }
    g_assert_true(is_there(f, region));
}

static void test_slow(struct fixture *f, gconstpointer unused)
{
    fill(f, 3, REGION_PAGES, 10 * NS_PER_MS);
    g_usleep(10000);
    g_assert_false(is_there(f, 4));
    fill(f, 4, 1, 0);
    for (unsigned i = 5; i < 9; i++) {
        wait_for(f, i);
    }
    g_usleep(10000);
    g_assert_false(is_there(f, 9));
    /* What was asked for is as empty as it was. */
    g_assert_cmpint(f->block->host[8 * REGION_BYTES], ==, 0);
}

/* Slow as it may be, it need not be that what follows is filled too. */
static void test_gaps(struct fixture *f, gconstpointer unused)
{
    fill(f, 0, REGION_PAGES / 4, 10 * NS_PER_MS);
    fill(f, 1, REGION_PAGES, 10 * NS_PER_MS);
    fill(f, 3, REGION_PAGES, 10 * NS_PER_MS);
    fill(f, 2, 1, 10 * NS_PER_MS);
    g_usleep(10000);
    for (unsigned i = 4; i < REGIONS; i++) {
        g_assert_false(is_there(f, i));
    }
}

/* The end of a block is the end of it. */
static void test_end(struct fixture *f, gconstpointer unused)
{
    struct ram_block *small = ram_block_new("small", 4096, NULL);

    fill(f, REGIONS - 3, REGION_PAGES, 10 * NS_PER_MS);
    fill(f, REGIONS - 2, REGION_PAGES, 10 * NS_PER_MS);
    wait_for(f, REGIONS - 1);
    fill(f, REGIONS - 1, REGION_PAGES, 10 * NS_PER_MS);
    ram_ahead_note(f->ahead, small, 0, 1);
    ram_ahead_note(NULL, small, 0, 1);
    /* With a range of several regions at once, and none at all. */
    ram_ahead_note(f->ahead, f->block, 100, 3 * REGION_PAGES);
    ram_ahead_note(f->ahead, f->block, 0, 0);
    ram_ahead_free(g_steal_pointer(&f->ahead));
    ram_block_free(small);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/ram-ahead/slow", struct fixture, NULL, set_up, test_slow, tear_down);
    g_test_add("/ram-ahead/gaps", struct fixture, NULL, set_up, test_gaps, tear_down);
    g_test_add("/ram-ahead/end", struct fixture, NULL, set_up, test_end, tear_down);
    return g_test_run();
}
