/*
 * Buckets live only while their period runs: they are made by an event that goes out, and end when
 * a period passed with nothing held.
 */
#include "monitor/rate-limit.h"

#include "qapi/json.h"
#include <json-c/json.h>
#include <string.h>

/* QUORUM_FAILURE has a bucket per reference, where QEMU has one: failures of two quorums in the
 * same second are both worth telling. */
const struct rate_rule rate_rules[] = {
    {"BALLOON_CHANGE", NULL, RATE_LIMIT_PERIOD_US},
    {"MEMORY_DEVICE_SIZE_CHANGE", "qom-path", RATE_LIMIT_PERIOD_US},
    {"QUORUM_FAILURE", "reference", RATE_LIMIT_PERIOD_US},
    {"QUORUM_REPORT_BAD", "node-name", RATE_LIMIT_PERIOD_US},
    {"RTC_CHANGE", NULL, RATE_LIMIT_PERIOD_US},
    {"VSERPORT_CHANGE", "id", RATE_LIMIT_PERIOD_US},
    {"WATCHDOG", NULL, RATE_LIMIT_PERIOD_US},
    {NULL},
};

struct bucket {
    char *name; /* event, and the key's value */
    int64_t period_us;
    int64_t deadline_us;
    void *held; /* an item; NULL: none */
};

struct rate_limit {
    const struct rate_rule *rules;
    rate_deliver_fn deliver;
    GDestroyNotify drop;
    void *opaque;
    GPtrArray *buckets; /* few: one for each limited event of the last second */
};

static void bucket_free(void *arg)
{
    struct bucket *b = arg;

    g_free(b->name);
    g_free(b);
}

struct rate_limit *rate_limit_new(const struct rate_rule *rules, rate_deliver_fn deliver,
                                  GDestroyNotify drop, void *opaque)
{
    struct rate_limit *limit = g_new0(struct rate_limit, 1);

    limit->rules = rules;
    limit->deliver = deliver;
    limit->drop = drop;
    limit->opaque = opaque;
    limit->buckets = g_ptr_array_new_with_free_func(bucket_free);
    return limit;
}

static void drop_held(const struct rate_limit *limit, struct bucket *b)
{
    if (b->held) {
        limit->drop(g_steal_pointer(&b->held));
    }
}

void rate_limit_free(struct rate_limit *limit)
{
    if (!limit) {
        return;
    }
    for (guint i = 0; i < limit->buckets->len; i++) {
        drop_held(limit, limit->buckets->pdata[i]);
    }
    g_ptr_array_unref(limit->buckets);
    g_free(limit);
}

static const struct rate_rule *rule_find(const struct rate_limit *limit, const char *event)
{
    for (const struct rate_rule *rule = limit->rules; rule->event; rule++) {
        if (strcmp(rule->event, event) == 0) {
            return rule;
        }
    }
    return NULL;
}

static char *bucket_name(const struct rate_rule *rule, const char *data_json)
{
    GString *name = g_string_new(rule->event);
    struct json_object *data, *value;

    if (rule->key && data_json) {
        data = json_tokener_parse(data_json);
        if (json_object_object_get_ex(data, rule->key, &value)) {
            g_string_append_c(name, ' ');
            qapi_json_append_any(name, value);
        }
        json_object_put(data);
    }
    return g_string_free(name, FALSE);
}

static struct bucket *bucket_find(const struct rate_limit *limit, const char *name)
{
    for (guint i = 0; i < limit->buckets->len; i++) {
        struct bucket *b = limit->buckets->pdata[i];

        if (strcmp(b->name, name) == 0) {
            return b;
        }
    }
    return NULL;
}

void rate_limit_event(struct rate_limit *limit, const char *event, const char *data_json,
                      void *item, int64_t now_us)
{
    const struct rate_rule *rule = rule_find(limit, event);
    g_autofree char *name = NULL;
    struct bucket *b;

    if (!rule) {
        limit->deliver(limit->opaque, item);
        return;
    }
    name = bucket_name(rule, data_json);
    b = bucket_find(limit, name);
    if (!b) {
        b = g_new0(struct bucket, 1);
        b->name = g_steal_pointer(&name);
        b->period_us = rule->period_us;
        b->deadline_us = now_us + b->period_us;
        g_ptr_array_add(limit->buckets, b);
        limit->deliver(limit->opaque, item);
        return;
    }
    drop_held(limit, b);
    b->held = item;
}

int64_t rate_limit_deadline_us(const struct rate_limit *limit)
{
    int64_t next = -1;

    for (guint i = 0; i < limit->buckets->len; i++) {
        const struct bucket *b = limit->buckets->pdata[i];

        if (next < 0 || b->deadline_us < next) {
            next = b->deadline_us;
        }
    }
    return next;
}

void rate_limit_run(struct rate_limit *limit, int64_t now_us)
{
    guint i = 0;

    while (i < limit->buckets->len) {
        struct bucket *b = limit->buckets->pdata[i];

        if (b->deadline_us > now_us) {
            i++;
        } else if (b->held) {
            limit->deliver(limit->opaque, g_steal_pointer(&b->held));
            b->deadline_us = now_us + b->period_us;
            i++;
        } else {
            g_ptr_array_remove_index(limit->buckets, i);
        }
    }
}
