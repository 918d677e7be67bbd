/* The host's TSC as a ruler: see clock-line.h. */
#include "base/clock-line.h"
#include "base/clock.h"
#include <string.h>
#include <time.h>

#define LINE_MAX_NS     (4 * NS_PER_MS)
#define BASELINE_MIN_NS (200 * NS_PER_US) /* what a slope is measured over, at least */
#define BASELINE_NS     (500 * NS_PER_MS) /* at least, later on; at most twice that */
#define LINE_SHARE      16   /* a line is this much shorter than what it was measured over */
#define SLOPE_TOLERANCE 1000 /* two slopes differ by a thousandth: the TSC jumped */

_Static_assert(LINE_MAX_NS < INT64_C(1) << 31, "below limit, products with mult fit 64 bits");

static int64_t host_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <fcntl.h>
#include <unistd.h>

static uint64_t ticks_now(void)
{
    _mm_lfence();
    return __rdtsc();
}

/* Does the kernel itself keep time by the TSC? It watches whether the processors agree. */
static bool tsc_trusted(void)
{
    static const char path[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    unsigned a, b, c, d;
    char text[8] = "";

    if (!__get_cpuid(0x80000007, &a, &b, &c, &d) || !(d & 1u << 8)) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n >= 4 && memcmp(text, "tsc\n", 4) == 0;
}

#else

static uint64_t ticks_now(void)
{
    return 0;
}

static bool tsc_trusted(void)
{
    return false;
}

#endif

void clock_line_init(struct clock_line *line)
{
    memset(line, 0, sizeof(*line));
    line->floor_ns = INT64_MIN;
    g_mutex_init(&line->mutex);
}

void clock_line_finish(struct clock_line *line)
{
    g_mutex_clear(&line->mutex);
}

static void line_write(struct clock_line *line, uint64_t ticks, int64_t ns, uint64_t mult,
                       uint64_t limit)
{
    uint32_t seq = atomic_load_explicit(&line->seq, memory_order_relaxed);

    atomic_store_explicit(&line->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&line->base_ticks, ticks, memory_order_relaxed);
    atomic_store_explicit(&line->base_ns, ns, memory_order_relaxed);
    atomic_store_explicit(&line->mult, mult, memory_order_relaxed);
    atomic_store_explicit(&line->limit, limit, memory_order_relaxed);
    atomic_store_explicit(&line->seq, seq + 2, memory_order_release);
}

/* The latest time that anybody can have read off the line until now. */
static bool line_value(struct clock_line *line, uint64_t ticks, int64_t *ns)
{
    uint64_t limit = atomic_load_explicit(&line->limit, memory_order_relaxed);
    uint64_t base = atomic_load_explicit(&line->base_ticks, memory_order_relaxed);
    uint64_t mult = atomic_load_explicit(&line->mult, memory_order_relaxed);
    uint64_t d = ticks - base;

    if (limit == 0) {
        return false;
    }
    d = (int64_t)d < 0 ? 0 : MIN(d, limit);
    *ns = atomic_load_explicit(&line->base_ns, memory_order_relaxed) +
          (int64_t)((unsigned __int128)d * mult >> 32);
    return true;
}

/* Both clocks at one moment, as far as that can be had. */
static struct clock_mark mark_now(void)
{
    struct clock_mark best = {0};
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 3; i++) {
        uint64_t before = ticks_now();
        int64_t ns = host_now();
        uint64_t took = ticks_now() - before;

        if (took < least) {
            least = took;
            best = (struct clock_mark){before + took / 2, ns};
        }
        if (took < 400) { /* not interrupted */
            break;
        }
    }
    return best;
}

/* Nanoseconds per tick, times 2^32; 0 while that is not known. */
static uint64_t measure(struct clock_line *line, const struct clock_mark *now)
{
    const struct clock_mark *from = &line->from[0];
    uint64_t last = line->slope, mult;
    int64_t ns = now->host_ns - from->host_ns;

    if (!line->measuring || now->ticks <= from->ticks || ns < 0) {
        line->measuring = true;
        line->from[0] = line->from[1] = *now;
        line->slope = 0;
        return 0;
    }
    if (ns < BASELINE_MIN_NS) {
        return 0;
    }
    mult = (uint64_t)(((unsigned __int128)ns << 32) / (now->ticks - from->ticks));
    if (last != 0 && (mult > last ? mult - last : last - mult) > last / SLOPE_TOLERANCE) {
        line->from[0] = line->from[1] = *now; /* the host slept, or a measurement was bad */
        line->slope = 0;
        return 0;
    }
    line->slope = mult;
    if (now->host_ns - line->from[1].host_ns > BASELINE_NS) {
        line->from[0] = line->from[1];
        line->from[1] = *now;
    }
    return mult;
}

int64_t clock_line_renew(struct clock_line *line, int64_t offset_ns)
{
    if (!line->known) {
        line->known = true;
        line->usable = tsc_trusted();
    }
    if (!line->usable) {
        return host_now() + offset_ns;
    }

    struct clock_mark now = mark_now();
    int64_t truth = now.host_ns + offset_ns, floor, ns = MAX(truth, line->floor_ns);
    uint64_t mult = measure(line, &now), ticks = 0;

    if (line_value(line, now.ticks, &floor)) {
        ns = MAX(ns, floor);
    }
    line->floor_ns = ns;
    if (mult != 0) {
        int64_t length = MIN((now.host_ns - line->from[0].host_ns) / LINE_SHARE, LINE_MAX_NS);

        ticks = (uint64_t)(((unsigned __int128)length << 32) / mult);
        if (ns > truth) { /* slower, to be met by the truth at the line's end */
            int64_t ahead = MIN(ns - truth, length / 2);
            uint64_t slower =
                (uint64_t)((unsigned __int128)mult * (uint64_t)(length - ahead) / (uint64_t)length);

            line_write(line, now.ticks, ns, slower, ticks);
            return ns;
        }
    }
    line_write(line, now.ticks, ns, mult, ticks);
    return ns;
}

bool clock_line_stop(struct clock_line *line, int64_t *ns)
{
    bool was;
    uint32_t seq = atomic_load_explicit(&line->seq, memory_order_relaxed);

    /* Odd first: who reads the TSC from now on finds no line. */
    atomic_store(&line->seq, seq + 1);
    was = line_value(line, ticks_now(), ns);
    if (was) {
        *ns = MAX(*ns, line->floor_ns);
    }
    line->floor_ns = INT64_MIN;
    atomic_store_explicit(&line->limit, 0, memory_order_relaxed);
    atomic_store_explicit(&line->seq, seq + 2, memory_order_release);
    return was;
}
