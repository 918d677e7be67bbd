/*
 * Memory of the host asked for before it is written to: see migration-priv.h. A host that is a
 * guest itself may have to fetch memory from its own host, which takes ten times as long as to
 * clear it, but can be done for several pages at once. Where that is so helpers do it for the
 * regions that are next, when regions come in order and are mostly full. What was asked for in vain
 * is given back with the zeroes that come then. Memory that is at hand is best cleared by who
 * writes to it.
 */
#include "migration/migration-priv.h"

#include "base/threads.h"
#include <time.h>

#define REGION_PAGES  512u /* a large page of the host */
#define FULL_PAGES    (REGION_PAGES / 2)
#define AHEAD_REGIONS 4u
#define HELPERS       2u
#define NO_REGION     UINT64_MAX
/* Who fills a region has used so much of the processor, or who asks for one so much time; with
 * memory at hand it is a quarter. */
#define SLOW_FILL_NS  (2 * NS_PER_MS)
#define SLOW_ASK_NS   (NS_PER_MS / 2)

struct helper {
    struct ram_ahead *ahead;
    GThread *thread;
    uint64_t region; /* that it asks for */
};

struct ram_ahead {
    GMutex mutex;
    GCond work, done;
    struct helper helper[HELPERS];
    struct ram_block *block;
    uint64_t next, end; /* regions to be asked for */
    bool ends;
    _Atomic bool slow; /* the host, when it was last asked */
    /* the reader's */
    uint64_t region, pages; /* so many were put there */
    int64_t entered_ns;     /* by the thread's clock */
};

/* How much of the processor the calling thread has used. */
static int64_t used_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

/* Whether that is slow. */
static bool ask_for(struct ram_block *block, uint64_t region)
{
    uint64_t at = region * REGION_PAGES * GUEST_PAGE_SIZE;
    int64_t begun_us = g_get_monotonic_time();

    /* Where the kernel can't, it is done when the memory is written to. */
    ram_block_populate(block, at, MIN(REGION_PAGES * GUEST_PAGE_SIZE, block->size - at), NULL);
    return (g_get_monotonic_time() - begun_us) * NS_PER_US > SLOW_ASK_NS;
}

static gpointer help(gpointer arg)
{
    struct helper *h = arg;
    struct ram_ahead *a = h->ahead;

    thread_begin("ram ahead", THREAD_OTHER);
    g_mutex_lock(&a->mutex);
    while (!a->ends) {
        struct ram_block *block = a->block;

        if (a->next >= a->end) {
            g_cond_wait(&a->work, &a->mutex);
            continue;
        }
        h->region = a->next++;
        g_mutex_unlock(&a->mutex);
        a->slow = ask_for(block, h->region);
        g_mutex_lock(&a->mutex);
        h->region = NO_REGION;
        g_cond_signal(&a->done);
    }
    g_mutex_unlock(&a->mutex);
    thread_end();
    return NULL;
}

struct ram_ahead *ram_ahead_new(void)
{
    struct ram_ahead *a = g_new0(struct ram_ahead, 1);

    g_mutex_init(&a->mutex);
    g_cond_init(&a->work);
    g_cond_init(&a->done);
    for (unsigned i = 0; i < HELPERS; i++) {
        a->helper[i] = (struct helper){.ahead = a, .region = NO_REGION};
    }
    return a;
}

void ram_ahead_free(struct ram_ahead *a)
{
    if (!a) {
        return;
    }
    g_mutex_lock(&a->mutex);
    a->ends = true;
    g_cond_broadcast(&a->work);
    g_mutex_unlock(&a->mutex);
    for (unsigned i = 0; i < HELPERS; i++) {
        if (a->helper[i].thread) {
            g_thread_join(a->helper[i].thread);
        }
    }
    g_mutex_clear(&a->mutex);
    g_cond_clear(&a->work);
    g_cond_clear(&a->done);
    g_free(a);
}

static bool is_asked_for(const struct ram_ahead *a, uint64_t region)
{
    for (unsigned i = 0; i < HELPERS; i++) {
        if (a->helper[i].region == region) {
            return true;
        }
    }
    return false;
}

/* A region is full. */
static void look_whether_slow(struct ram_ahead *a)
{
    if (used_ns() - a->entered_ns < SLOW_FILL_NS) {
        return;
    }
    a->slow = true;
    for (unsigned i = 0; i < HELPERS && !a->helper[i].thread; i++) {
        a->helper[i].thread = g_thread_new("ram ahead", help, &a->helper[i]);
    }
}

/* Waits where it is asked for just now: to clear it twice would take longer. */
static void enter(struct ram_ahead *a, struct ram_block *block, uint64_t region)
{
    uint64_t regions = (block->size / GUEST_PAGE_SIZE + REGION_PAGES - 1) / REGION_PAGES;
    bool follows = block == a->block && region == a->region + 1 && a->pages >= FULL_PAGES;

    if (follows) {
        look_whether_slow(a);
    }
    g_mutex_lock(&a->mutex);
    follows &= a->slow;
    a->next = follows ? MAX(a->next, region + 1) : 0;
    a->end = follows && block->anonymous && block->forgets
                 ? MIN(region + 1 + AHEAD_REGIONS, regions)
                 : 0;
    a->block = block;
    g_cond_broadcast(&a->work);
    while (is_asked_for(a, region)) {
        g_cond_wait(&a->done, &a->mutex);
    }
    g_mutex_unlock(&a->mutex);
    a->region = region;
    a->pages = 0;
    a->entered_ns = used_ns();
}

void ram_ahead_note(struct ram_ahead *a, struct ram_block *block, uint64_t first, uint64_t n)
{
    while (a && n) {
        uint64_t region = first / REGION_PAGES, here = MIN(n, REGION_PAGES - first % REGION_PAGES);

        if (block != a->block || region != a->region) {
            enter(a, block, region);
        }
        a->pages += here;
        first += here;
        n -= here;
    }
}
