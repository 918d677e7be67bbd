/*
 * The driver blkdebug: a filter that makes requests fail, to show what becomes of errors.
 *
 * Events are what a format above tells that it is about to do (qcow2: reading a table, taking a
 * cluster, and many more), and each request itself (pwritev and the like). Where nobody above
 * tells, reads, writes and flushes are the events read_aio, write_aio and flush_to_disk. An event
 * in the state that a rule asks for makes the rule active, in place of those that were, or changes
 * the state. Active rules make matching requests fail: of that kind, at that sector, once or
 * always. Rules with the event none are active from the start. Rules come with the options and from
 * the file that `config` names.
 *
 * Formats tell from their workers, requests come on the I/O thread: so the rules have a mutex.
 */
#include "block/block-priv.h"

#include "qapi-visit.h"
#include "qapi/ini.h"
#include <errno.h>
#include <string.h>

struct rule {
    const struct blkdebug_inject_error_options *options;
    bool active, spent;
};

struct blkdebug {
    struct block_child *image;
    struct blockdev_options *options; /* rules point into it */
    struct rule *rule;
    size_t n_rules;
    GMutex mutex;  /* of the rest */
    int64_t state; /* 1 at the start */
    bool told;     /* a format above tells what it does */
};

/* The rule of one section. */
static bool section_add(struct blockdev_options_blkdebug *o, const struct ini_section *s,
                        GError **error)
{
    if (s->id) {
        g_set_error(error, BLOCK_ERROR, 0, "a rule has no id");
        return false;
    }
    if (strcmp(s->group, "inject-error") == 0) {
        struct blkdebug_inject_error_options *rule =
            blkdebug_inject_error_options_from_keyval(s->text->str, NULL, error);

        if (rule) {
            blkdebug_inject_error_options_list_append(o->inject_error, rule);
        }
        return rule != NULL;
    }
    if (strcmp(s->group, "set-state") == 0) {
        struct blkdebug_set_state_options *rule =
            blkdebug_set_state_options_from_keyval(s->text->str, NULL, error);

        if (rule) {
            blkdebug_set_state_options_list_append(o->set_state, rule);
        }
        return rule != NULL;
    }
    g_set_error(error, BLOCK_ERROR, 0, "only inject-error and set-state are rules");
    return false;
}

static bool config_read(struct blockdev_options_blkdebug *o, GError **error)
{
    g_autoptr(GPtrArray) sections = o->config && *o->config ? ini_read(o->config, error) : NULL;

    if (!sections) {
        return !o->config || !*o->config;
    }
    if (!o->inject_error) {
        o->inject_error = blkdebug_inject_error_options_list_new();
    }
    if (!o->set_state) {
        o->set_state = blkdebug_set_state_options_list_new();
    }
    for (guint i = 0; i < sections->len; i++) {
        const struct ini_section *s = sections->pdata[i];

        if (!section_add(o, s, error)) {
            g_prefix_error(error, "'%s', line %u: [%s]: ", o->config, s->line, s->group);
            return false;
        }
    }
    return true;
}

static bool blkdebug_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    struct blkdebug *d = node->state;
    const struct blockdev_options_blkdebug *opt;

    g_mutex_init(&d->mutex);
    d->image = block_node_open_child(node, "image", o->u.blkdebug.image, error);
    if (!d->image) {
        return false;
    }
    node->filename = g_strdup(d->image->node->filename);
    d->options = blockdev_options_clone(o);
    if (!config_read(&d->options->u.blkdebug, error)) {
        return false;
    }
    opt = &d->options->u.blkdebug;
    d->state = 1;
    d->n_rules = opt->inject_error ? opt->inject_error->n : 0;
    d->rule = g_new0(struct rule, d->n_rules);
    for (size_t i = 0; i < d->n_rules; i++) {
        const struct blkdebug_inject_error_options *r = opt->inject_error->v[i];

        if (r->has_q_errno && (r->q_errno < 0 || r->q_errno > 4095)) {
            g_set_error(error, BLOCK_ERROR, 0, "errno %" G_GINT64_FORMAT " is none", r->q_errno);
            return false;
        }
        d->rule[i].options = r;
        d->rule[i].active = r->event == BLKDEBUG_EVENT_NONE;
    }
    node->driver->refresh(node);
    return true;
}

static void blkdebug_close(struct block_node *node)
{
    struct blkdebug *d = node->state;

    blockdev_options_free(d->options);
    g_free(d->rule);
    g_mutex_clear(&d->mutex);
}

static void happened(struct blkdebug *d, enum blkdebug_event event)
{
    const struct blkdebug_set_state_options_list *sets = d->options->u.blkdebug.set_state;
    int64_t state = d->state;
    bool first = true;

    for (size_t i = 0; i < d->n_rules; i++) {
        const struct blkdebug_inject_error_options *r = d->rule[i].options;

        if (r->event == event && !d->rule[i].spent &&
            (!r->has_state || !r->state || r->state == state)) {
            for (size_t k = 0; first && k < d->n_rules; k++) {
                d->rule[k].active = false; /* the event's rules take the place of those before */
            }
            first = false;
            d->rule[i].active = true;
        }
    }
    for (size_t i = 0; sets && i < sets->n; i++) {
        const struct blkdebug_set_state_options *s = sets->v[i];

        if (s->event == event && (!s->has_state || !s->state || s->state == state)) {
            d->state = s->new_state;
        }
    }
}

static enum blkdebug_io_type type_of(enum block_op op)
{
    static const enum blkdebug_io_type types[] = {
        [BLOCK_READ] = BLKDEBUG_IO_TYPE_READ,
        [BLOCK_WRITE] = BLKDEBUG_IO_TYPE_WRITE,
        [BLOCK_WRITE_ZEROES] = BLKDEBUG_IO_TYPE_WRITE_ZEROES,
        [BLOCK_DISCARD] = BLKDEBUG_IO_TYPE_DISCARD,
        [BLOCK_FLUSH] = BLKDEBUG_IO_TYPE_FLUSH,
    };

    return types[op];
}

static bool rule_fits(const struct rule *rule, const struct block_request *r)
{
    const struct blkdebug_inject_error_options *o = rule->options;
    int64_t first = (int64_t)(r->offset / 512), end = (int64_t)((r->offset + r->bytes + 511) / 512);

    return rule->active && (!o->has_iotype || o->iotype == type_of(r->op)) &&
           (!o->has_sector || o->sector == -1 || (o->sector >= first && o->sector < end));
}

/* The request's error, 0: none, as a rule with errno 0 has it: later ones do not count then. */
static int judge(struct blkdebug *d, const struct block_request *r)
{
    for (size_t i = 0; i < d->n_rules; i++) {
        struct rule *rule = &d->rule[i];

        if (rule_fits(rule, r)) {
            if (rule->options->has_once && rule->options->once) {
                rule->active = false;
                rule->spent = true;
            }
            return rule->options->has_q_errno ? -(int)rule->options->q_errno : -EIO;
        }
    }
    return 0;
}

static void blkdebug_debug(struct block_node *node, enum blkdebug_event event)
{
    struct blkdebug *d = node->state;

    g_mutex_lock(&d->mutex);
    if (event == BLKDEBUG_EVENT_NONE) {
        d->told = true;
    } else {
        happened(d, event);
    }
    g_mutex_unlock(&d->mutex);
}

/* The events that a request itself is. */
static void request_comes(struct blkdebug *d, enum block_op op)
{
    if (op == BLOCK_FLUSH && !d->told) {
        happened(d, BLKDEBUG_EVENT_FLUSH_TO_OS);
        happened(d, BLKDEBUG_EVENT_FLUSH_TO_DISK);
    } else if (op != BLOCK_FLUSH && !d->told) {
        happened(d, op == BLOCK_READ ? BLKDEBUG_EVENT_READ_AIO : BLKDEBUG_EVENT_WRITE_AIO);
    }
    if (op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES) {
        happened(d, op == BLOCK_WRITE ? BLKDEBUG_EVENT_PWRITEV : BLKDEBUG_EVENT_PWRITEV_ZERO);
    }
}

struct watched {                  /* a write whose end is an event */
    struct block_request request; /* first */
    struct block_request *upper;
    struct blkdebug *d;
};

static void watched_done(struct block_request *request, int result)
{
    struct watched *w = (struct watched *)request;
    struct block_request *upper = w->upper;

    g_mutex_lock(&w->d->mutex);
    happened(w->d, BLKDEBUG_EVENT_PWRITEV_DONE);
    g_mutex_unlock(&w->d->mutex);
    g_free(w);
    block_request_done(upper, result);
}

static bool watches_ends(const struct blkdebug *d)
{
    const struct blkdebug_set_state_options_list *sets = d->options->u.blkdebug.set_state;

    for (size_t i = 0; i < d->n_rules; i++) {
        if (d->rule[i].options->event == BLKDEBUG_EVENT_PWRITEV_DONE) {
            return true;
        }
    }
    for (size_t i = 0; sets && i < sets->n; i++) {
        if (sets->v[i]->event == BLKDEBUG_EVENT_PWRITEV_DONE) {
            return true;
        }
    }
    return false;
}

static void blkdebug_submit(struct block_node *node, struct block_request *r)
{
    struct blkdebug *d = node->state;
    struct watched *w;
    int error;

    g_mutex_lock(&d->mutex);
    request_comes(d, r->op);
    error = judge(d, r);
    if (error && (r->op == BLOCK_WRITE || r->op == BLOCK_WRITE_ZEROES)) {
        happened(d, BLKDEBUG_EVENT_PWRITEV_DONE);
    }
    g_mutex_unlock(&d->mutex);
    if (error) {
        block_request_done(r, error);
    } else if ((r->op == BLOCK_WRITE || r->op == BLOCK_WRITE_ZEROES) && watches_ends(d)) {
        w = g_new0(struct watched, 1);
        w->request = *r;
        w->request.done = watched_done;
        w->upper = r;
        w->d = d;
        block_node_submit(d->image->node, &w->request);
    } else {
        block_node_submit(d->image->node, r);
    }
}

const struct block_driver block_blkdebug = {
    .id = BLOCKDEV_DRIVER_BLKDEBUG,
    .size = sizeof(struct blkdebug),
    .open = blkdebug_open,
    .close = blkdebug_close,
    .submit = blkdebug_submit,
    .debug = blkdebug_debug,
    .refresh = block_filter_refresh,
    .resize = block_filter_resize,
    .status = block_filter_status,
    .clear = block_filter_clear,
    .allocated_bytes = block_filter_allocated,
};
