/*
 * The buckets of limits: see throttle.h.
 *
 * What is used fills a bucket, and it runs out at the rate of the limit. A request may go while the
 * bucket has no more in it than it is meant to hold; it is put in whole then, so that the longest
 * request goes too and those behind it wait the longer. Without bursts a bucket holds a tenth of a
 * second's worth. With them it holds what a burst of full length uses, and a second one, which runs
 * out at the rate of the burst, sees to it that the burst goes no faster.
 */
#include "block/throttle.h"

#include <inttypes.h>

#define NS_IN_S      1000000000.0
#define TENTH(value) ((double)(value) / 10)

static bool is_ops(unsigned kind)
{
    return kind >= THROTTLE_IOPS_TOTAL;
}

void throttle_config_init(struct throttle_config *config)
{
    *config = (struct throttle_config){0};
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        config->limit[i].burst = 1;
    }
}

bool throttle_config_is_on(const struct throttle_config *config)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        if (config->limit[i].avg) {
            return true;
        }
    }
    return false;
}

/* A total beside what is for reads or writes alone, of average or burst. */
static bool contradicts(const struct throttle_limit *total)
{
    return (total[0].avg && (total[1].avg || total[2].avg)) ||
           (total[0].max && (total[1].max || total[2].max));
}

static const char *limit_problem(const struct throttle_limit *limit)
{
    return !limit->burst                     ? "the burst length cannot be 0"
           : limit->burst > 1 && !limit->max ? "burst length set without burst rate"
           : limit->max && limit->burst > THROTTLE_MAX_VALUE / limit->max
               ? "burst length too high for this burst rate"
           : limit->max && !limit->avg ? "bps_max/iops_max require corresponding bps/iops values"
           : limit->max && limit->max < limit->avg
               ? "bps_max/iops_max cannot be lower than bps/iops"
               : NULL;
}

bool throttle_config_check(const struct throttle_config *config, GError **error)
{
    const struct throttle_limit *limit = config->limit;

    if (contradicts(&limit[THROTTLE_BPS_TOTAL]) || contradicts(&limit[THROTTLE_IOPS_TOTAL])) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "bps/iops/max total values and read/write values cannot be used at the same "
                    "time");
        return false;
    }
    if (config->op_bytes && !limit[THROTTLE_IOPS_TOTAL].avg && !limit[THROTTLE_IOPS_READ].avg &&
        !limit[THROTTLE_IOPS_WRITE].avg) {
        g_set_error(error, BLOCK_ERROR, 0, "iops size requires an iops value to be set");
        return false;
    }
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        const char *problem = limit_problem(&limit[i]);

        if (limit[i].avg > THROTTLE_MAX_VALUE || limit[i].max > THROTTLE_MAX_VALUE) {
            g_set_error(error, BLOCK_ERROR, 0,
                        "bps/iops/max values must be within [0, %" PRIu64 "]",
                        (uint64_t)THROTTLE_MAX_VALUE);
            return false;
        }
        if (problem) {
            g_set_error(error, BLOCK_ERROR, 0, "%s", problem);
            return false;
        }
    }
    return true;
}

void throttle_state_init(struct throttle_state *state, const struct throttle_config *config,
                         int64_t now_ns)
{
    *state = (struct throttle_state){.config = *config, .leaked_ns = now_ns};
}

static void run_out(struct throttle_state *state, int64_t now_ns)
{
    double seconds = (double)(now_ns - state->leaked_ns) / NS_IN_S;

    if (seconds <= 0) {
        return;
    }
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        const struct throttle_limit *limit = &state->config.limit[i];
        struct throttle_bucket *bucket = &state->bucket[i];

        bucket->level = MAX(bucket->level - (double)limit->avg * seconds, 0);
        bucket->burst_level = MAX(bucket->burst_level - (double)limit->max * seconds, 0);
    }
    state->leaked_ns = now_ns;
}

static double bucket_wait_s(const struct throttle_bucket *bucket,
                            const struct throttle_limit *limit)
{
    double holds = limit->max ? (double)limit->max * (double)limit->burst : TENTH(limit->avg);

    if (!limit->avg) {
        return 0;
    }
    if (bucket->level > holds) {
        return (bucket->level - holds) / (double)limit->avg;
    }
    if (limit->burst > 1 && bucket->burst_level > TENTH(limit->max)) {
        return (bucket->burst_level - TENTH(limit->max)) / (double)limit->max;
    }
    return 0;
}

/* The buckets that a read or a write goes into. */
static void kinds_of(bool write, enum throttle_kind kinds[4])
{
    kinds[0] = THROTTLE_BPS_TOTAL;
    kinds[1] = THROTTLE_IOPS_TOTAL;
    kinds[2] = write ? THROTTLE_BPS_WRITE : THROTTLE_BPS_READ;
    kinds[3] = write ? THROTTLE_IOPS_WRITE : THROTTLE_IOPS_READ;
}

int64_t throttle_wait_ns(struct throttle_state *state, bool write, int64_t now_ns)
{
    enum throttle_kind kinds[4];
    double wait = 0;

    run_out(state, now_ns);
    kinds_of(write, kinds);
    for (unsigned i = 0; i < 4; i++) {
        wait = MAX(wait, bucket_wait_s(&state->bucket[kinds[i]], &state->config.limit[kinds[i]]));
    }
    /* Rounded up: who comes back then need not wait again. The longest fits an int64_t. */
    return wait > 0 ? (int64_t)MIN(wait * NS_IN_S, 9e18) + 1 : 0;
}

void throttle_account(struct throttle_state *state, bool write, uint64_t bytes)
{
    uint64_t op_bytes = state->config.op_bytes;
    double requests = op_bytes && bytes > op_bytes ? (double)bytes / (double)op_bytes : 1;
    enum throttle_kind kinds[4];

    kinds_of(write, kinds);
    for (unsigned i = 0; i < 4; i++) {
        const struct throttle_limit *limit = &state->config.limit[kinds[i]];
        double units = is_ops(kinds[i]) ? requests : (double)bytes;

        state->bucket[kinds[i]].level += limit->avg ? units : 0;
        state->bucket[kinds[i]].burst_level += limit->burst > 1 ? units : 0;
    }
}
