/*
 * The source's side: see migration.h for what goes over the channel and who owns the guest when.
 *
 * Memory is sent while the guest runs, in passes: all of it, then what was written to meanwhile,
 * and so on. When what is left can be sent within the downtime that is allowed, by the speed seen
 * so far, the guest is stopped and the rest is sent. A look at the dirty logs that leads straight
 * to that is not counted as a pass: the last look, with the guest stopped, is.
 */
#include "migration/multi.h"

#include "base/log.h"
#include "base/threads.h"
#include "qapi-events.h"
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#define WINDOW_NS  (100 * NS_PER_MS) /* over which speed is measured and limited */
#define BATCH_PART 10 /* a record is at most this part of what may be sent in a window */

struct outgoing {
    struct migration *mig;
    struct machine *machine;
    struct channel *channel;
    struct stream_out stream;
    struct ram_out ram;
    struct multi_out *multi; /* NULL: all goes over the one channel */
    struct main_call call;
    struct throttle *throttle;
    GThread *thread;
    bool answers; /* the destination is asked */
    bool garbled; /* what it answers can't be read any more */

    /* under mutex */
    GMutex mutex;
    GCond cond;
    bool go_on;
    _Atomic bool cancelled;

    /* the main thread's, or its thread's while that waits for the main thread */
    bool memory_begun, switches, stopped, handed_over, outcome_unknown;
    uint64_t stopped_bytes; /* sent before the guest was stopped */
    enum run_state old_state;
    GByteArray *records; /* made by the main thread for the channel */
    unsigned parts_gone; /* the machine's when it was described to the other side */
    GError *error;

    _Atomic int64_t begun_ns, setup_ns, stopped_ns, ended_ns;
    _Atomic uint64_t bandwidth; /* bytes a second, of the last window; 0: not known */
    _Atomic uint64_t pages_per_second;
    /* the main thread's */
    uint64_t sync_sent;  /* bytes sent at the last sync */
    uint64_t page_bytes; /* what a page of the next pass will make of the stream */
    unsigned busy_syncs;
};

static int64_t now_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

static uint64_t bytes_sent(const struct outgoing *o)
{
    return o->stream.bytes + multi_out_bytes(o->multi);
}

static bool set_error(struct outgoing *o, const char *text)
{
    g_set_error_literal(&o->error, MIGRATION_ERROR, 0, text);
    return false;
}

static void note_pass(struct outgoing *o)
{
    uint64_t pass = ++o->ram.numbers.dirty_syncs;

    if (o->mig->capability[MIGRATION_CAPABILITY_EVENTS]) {
        qapi_event_send_migration_pass(o->machine->events, (int64_t)pass);
    }
}

/* ---- steps on the main thread */

static void put_head(struct outgoing *o)
{
    size_t start = record_begin(o->records, "gdwt", 1);
    bool check = o->mig->capability[MIGRATION_CAPABILITY_VALIDATE_UUID];

    state_put_number(o->records,
                     (o->answers ? STREAM_WANTS_ANSWERS : 0) | (o->multi ? STREAM_MULTI : 0) |
                         (check ? STREAM_CHECK_UUID : 0),
                     4);
    if (o->multi) {
        multi_out_put_head(o->multi, o->records);
    }
    record_end(o->records, start);
    vmstate_put_description(o->machine, o->records);
}

static void begin_on_main(void *arg)
{
    struct outgoing *o = arg;

    if (o->cancelled) {
        return;
    }
    o->memory_begun = true;
    if (!ram_out_begin(&o->ram, o->machine, &o->error)) {
        return;
    }
    put_head(o);
    o->parts_gone = o->machine->parts_gone;
    note_pass(o);
    o->setup_ns = now_ns() - o->begun_ns;
    migration_set_status(o->mig, MIGRATION_STATUS_ACTIVE);
}

static uint64_t speed(const struct outgoing *o)
{
    int64_t passed = now_ns() - o->begun_ns - o->setup_ns;

    return o->bandwidth ? o->bandwidth
                        : (uint64_t)((double)bytes_sent(o) * 1e9 / (double)MAX(passed, 1));
}

static uint64_t threshold(const struct outgoing *o)
{
    return (uint64_t)((double)speed(o) * (double)o->mig->downtime_limit_ms / 1000);
}

static uint64_t stream_bytes(const struct outgoing *o, uint64_t pages)
{
    return pages * o->page_bytes;
}

/* The guest has written so much since the last look that it will not end: twice is once too often.
 */
static void converge(struct outgoing *o, uint64_t sent, uint64_t pages)
{
    bool busy = stream_bytes(o, pages) > sent / 100 * o->mig->throttle_trigger;

    o->busy_syncs = busy ? o->busy_syncs + 1 : 0;
    if (!o->mig->capability[MIGRATION_CAPABILITY_AUTO_CONVERGE] || o->busy_syncs < 2) {
        return;
    }
    o->busy_syncs = 0;
    if (!o->throttle) {
        o->throttle = throttle_new(o->machine);
        throttle_set(o->throttle, o->mig->throttle_initial);
    } else {
        throttle_set(o->throttle, MIN(throttle_get(o->throttle) + o->mig->throttle_increment,
                                      o->mig->throttle_max));
    }
}

static void stop_guest(struct outgoing *o)
{
    throttle_free(g_steal_pointer(&o->throttle));
    o->stopped_ns = now_ns();
    o->stopped_bytes = bytes_sent(o);
    o->old_state = vm_stop_to_move(o->machine);
    o->stopped = true;
    /* What the guest has asked for before it was stopped is part of what goes; what anybody asks
     * for now waits. */
    machine_run_requests(o->machine);
    machine_freeze(o->machine, "Migration is not finalized yet");
    /* A reset before its state is taken goes with it, where that leaves what the guest was in. */
    machine_freeze_but_resets(o->machine, o->old_state != RUN_STATE_SUSPENDED &&
                                              o->old_state != RUN_STATE_SHUTDOWN &&
                                              o->old_state != RUN_STATE_INTERNAL_ERROR);
}

/* Clients may not take devices out meanwhile, but a guest that was asked before gives them back
 * when it likes. The other side has them still. */
static bool same_parts(struct outgoing *o)
{
    return o->machine->parts_gone == o->parts_gone ||
           set_error(o, "the guest gave a device or CPU back while it was moved");
}

/* Everything was sent once more: what was written to since? */
static void sync_on_main(void *arg)
{
    struct outgoing *o = arg;
    uint64_t sent, pages;

    if (o->cancelled || !same_parts(o)) {
        return;
    }
    sent = bytes_sent(o) - o->sync_sent;
    o->sync_sent += sent;
    pages = ram_out_sync(&o->ram);
    o->page_bytes = ram_out_page_bytes(&o->ram);
    o->switches = !runstate_is_running(o->machine->run) || stream_bytes(o, pages) <= threshold(o) ||
                  pages == 0;
    if (!o->switches) {
        converge(o, sent, pages);
        note_pass(o);
        return;
    }
    stop_guest(o);
    if (o->mig->capability[MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER]) {
        migration_set_status(o->mig, MIGRATION_STATUS_PRE_SWITCHOVER);
    }
}

static void final_on_main(void *arg)
{
    struct outgoing *o = arg;

    if (o->cancelled) {
        return;
    }
    if (o->mig->status == MIGRATION_STATUS_PRE_SWITCHOVER) {
        migration_set_status(o->mig, MIGRATION_STATUS_DEVICE);
    }
    ram_out_sync(&o->ram);
    note_pass(o);
}

static bool hand_over_disks(struct outgoing *o)
{
    o->handed_over = block_inactivate(o->machine->block, &o->error);
    return o->handed_over;
}

/* The guest stands, and all its memory was sent; unless somebody has reset it meanwhile. */
static void state_on_main(void *arg)
{
    struct outgoing *o = arg;

    if (o->cancelled || !same_parts(o) || ram_out_sync(&o->ram)) {
        return;
    }
    machine_freeze_but_resets(o->machine, false);
    vmstate_put_state(o->machine, o->old_state, o->records);
    if (o->answers) {
        record_end(o->records, record_begin(o->records, "ask ", 1));
    } else {
        hand_over_disks(o);
    }
}

static void commit_on_main(void *arg)
{
    struct outgoing *o = arg;

    if (o->cancelled) {
        return;
    }
    if (ram_out_sync(&o->ram)) {
        set_error(o, "the machine was reset while its guest was handed over");
        return;
    }
    hand_over_disks(o);
}

static void end_on_main(void *arg)
{
    struct outgoing *o = arg;
    struct migration *mig = o->mig;
    struct machine *m = o->machine;
    bool stays = o->stopped && o->error && !o->outcome_unknown;

    if (o->memory_begun) {
        ram_out_end(&o->ram);
    }
    throttle_free(g_steal_pointer(&o->throttle));
    o->ended_ns = now_ns();
    if (!o->error || o->outcome_unknown) {
        runstate_set(m->run, RUN_STATE_POSTMIGRATE);
    }
    /* A reset that has waited comes before a guest that ran goes on. One that did not run is what
     * it was before, and the reset makes that prelaunch. */
    if (stays && o->old_state != RUN_STATE_RUNNING) {
        vm_stay(m, o->old_state);
    }
    if (o->stopped && !machine_thaw(m)) {
        return; /* a client has ended it */
    }
    if (!o->error) {
        migration_set_status(mig, MIGRATION_STATUS_COMPLETED);
        return;
    }
    if (o->cancelled && !o->outcome_unknown) {
        if (stays) {
            vm_stay(m, o->old_state);
        }
        migration_set_status(mig, MIGRATION_STATUS_CANCELLED);
        return;
    }
    log_warn("migration: %s", o->error->message);
    migration_set_error(mig, o->error->message);
    migration_set_status(mig, MIGRATION_STATUS_FAILED);
    if (stays) {
        vm_stay(m, o->old_state);
    }
}

/* ---- the migration's thread */

/* false: o->error is set. */
static bool on_main(struct outgoing *o, void (*fn)(void *))
{
    if (!main_call(&o->call, fn, o)) {
        return set_error(o, "the program ends");
    }
    if (!o->error && o->cancelled) {
        return set_error(o, "cancelled");
    }
    return !o->error;
}

/* Writes what the main thread has left. */
static bool write_records(struct outgoing *o)
{
    bool ok = stream_out_write(&o->stream, o->records->data, o->records->len, &o->error);

    g_byte_array_set_size(o->records, 0);
    o->ram.numbers.transferred = bytes_sent(o);
    return ok;
}

struct pace {
    int64_t window_ns; /* when it began */
    uint64_t window_bytes, window_pages;
    int64_t last_ns;
    double tokens; /* bytes that may be sent; below 0: a debt */
};

static uint64_t pages_sent(const struct outgoing *o)
{
    return o->ram.numbers.pages + o->ram.numbers.zero_pages;
}

static void measure(struct outgoing *o, struct pace *p)
{
    int64_t now = now_ns(), passed = now - p->window_ns;

    if (passed >= WINDOW_NS) {
        o->bandwidth = (uint64_t)((double)(bytes_sent(o) - p->window_bytes) * 1e9 / (double)passed);
        o->pages_per_second =
            (uint64_t)((double)(pages_sent(o) - p->window_pages) * 1e9 / (double)passed);
        *p = (struct pace){now, bytes_sent(o), pages_sent(o), p->last_ns, p->tokens};
    }
}

/* Waits until more may be sent. */
static bool keep_pace(struct outgoing *o, struct pace *p, size_t sent)
{
    p->tokens -= (double)sent;
    for (;;) {
        double limit = (double)o->mig->max_bandwidth;
        int64_t now = now_ns();

        measure(o, p);
        if (limit <= 0) {
            p->tokens = 0;
            p->last_ns = now;
            return true;
        }
        p->tokens += limit * (double)(now - p->last_ns) / 1e9;
        p->tokens = MIN(p->tokens, limit * WINDOW_NS / 1e9);
        p->last_ns = now;
        if (p->tokens >= 0) {
            return true;
        }
        if (!channel_rest(o->channel,
                          (int64_t)MIN(-p->tokens / limit * 1e9 + 1e5, (double)WINDOW_NS),
                          &o->error)) {
            return false;
        }
    }
}

static unsigned batch_pages(const struct outgoing *o)
{
    uint64_t limit = o->mig->max_bandwidth;

    return limit ? (unsigned)CLAMP(limit / 10 / BATCH_PART / GUEST_PAGE_SIZE, 1, RAM_BATCH_PAGES)
                 : RAM_BATCH_PAGES;
}

/* Sends at most so many pages, or has them sent. *any: there were some; *bytes: what has gone since
 * the last time. */
static bool send_some(struct outgoing *o, unsigned pages, bool *any, size_t *bytes)
{
    uint64_t before = o->ram.numbers.transferred;
    struct ram_pick pick;

    if (!o->multi) {
        bool ok = ram_out_send(&o->ram, &o->stream, pages, bytes, &o->error);

        *any = *bytes != 0;
        return ok;
    }
    *any = ram_out_pick(&o->ram, pages, &pick);
    if (!(*any ? multi_out_send(o->multi, &pick, &o->error)
               : multi_out_sync(o->multi, &o->stream, &o->error))) {
        return false;
    }
    o->ram.numbers.transferred = bytes_sent(o);
    *bytes = (size_t)(o->ram.numbers.transferred - before);
    return true;
}

static bool send_live(struct outgoing *o)
{
    int64_t now = now_ns();
    struct pace pace = {.window_ns = now, .last_ns = now};

    while (!o->switches) {
        size_t bytes;
        bool any;

        if (!send_some(o, batch_pages(o), &any, &bytes) || (bytes && !keep_pace(o, &pace, bytes)) ||
            (!any && !on_main(o, sync_on_main))) {
            return false;
        }
    }
    return true;
}

static bool send_rest(struct outgoing *o)
{
    size_t bytes;
    bool any;

    do {
        if (!send_some(o, RAM_BATCH_PAGES, &any, &bytes)) {
            return false;
        }
    } while (any);
    return true;
}

/* Until migrate-continue. */
static bool wait_switchover(struct outgoing *o)
{
    if (!o->mig->capability[MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER]) {
        return true;
    }
    /* All that is there already can go. */
    if (!send_rest(o)) {
        return false;
    }
    g_mutex_lock(&o->mutex);
    while (!o->go_on && !o->cancelled) {
        g_cond_wait(&o->cond, &o->mutex);
    }
    g_mutex_unlock(&o->mutex);
    return o->go_on || set_error(o, "cancelled");
}

/* ok: the answer that is hoped for. Any other is an error; *refused: the other side said no. */
static bool take_answer(struct outgoing *o, const char *ok, bool *refused)
{
    struct stream_in in = {.channel = o->channel};
    struct record record;
    bool done = stream_in_next(&in, &record, &o->error);

    *refused = false;
    o->garbled |= !done;
    if (done && record_is(&record, "fail")) {
        g_autofree char *text = g_strndup((const char *)record.payload, MIN(record.bytes, 1000));
        g_autofree char *plain = g_str_to_ascii(text, "C");

        *refused = true;
        g_set_error(&o->error, MIGRATION_ERROR, 0, "the destination says: %s", plain);
        done = false;
    } else if (done && (!record_is(&record, ok) || !record_version(&record, 1, NULL))) {
        g_set_error(&o->error, MIGRATION_ERROR, 0,
                    "the destination answered '%s' where '%s' was due", record.kind, ok);
        done = false;
    }
    stream_in_finish(&in);
    return done;
}

static bool not_known(struct outgoing *o)
{
    if (o->outcome_unknown) {
        g_prefix_error(&o->error, "whether the destination runs the guest is not known: ");
    }
    return false;
}

static bool hand_over(struct outgoing *o)
{
    bool refused;

    if ((o->multi && !multi_out_finish(o->multi, &o->error)) || !write_records(o)) {
        return false;
    }
    if (o->answers && (!take_answer(o, "rdy ", &refused) || !on_main(o, commit_on_main))) {
        return false;
    }
    if (!stream_out_fin(&o->stream, &o->error)) {
        return false;
    }
    o->ram.numbers.transferred = bytes_sent(o);
    if (!o->answers) {
        return channel_finish(o->channel, &o->outcome_unknown, &o->error) || not_known(o);
    }
    if (!take_answer(o, "run ", &refused)) {
        o->outcome_unknown = !refused;
        return not_known(o);
    }
    return true;
}

/* Who can't write may find that the other side has said why before it went. */
static void ask_why(struct outgoing *o)
{
    GError *error = g_steal_pointer(&o->error);
    bool refused = false;

    if (o->answers && !o->garbled && !o->cancelled && channel_has_input(o->channel)) {
        take_answer(o, "rdy ", &refused);
    }
    if (refused) {
        g_clear_error(&error);
    } else {
        g_clear_error(&o->error);
        o->error = error;
    }
}

static bool send_all(struct outgoing *o)
{
    if (!channel_connect(o->channel, &o->error)) {
        return false;
    }
    if (o->answers && !channel_is_two_way(o->channel)) {
        return set_error(o, "return-path needs a channel that goes both ways, such as a socket");
    }
    o->stream.channel = o->channel;
    if (!on_main(o, begin_on_main) || !write_records(o) ||
        (o->multi && !multi_out_connect(o->multi, &o->error)) || !send_live(o) ||
        !wait_switchover(o) || !on_main(o, final_on_main)) {
        return false;
    }
    do {
        if (!send_rest(o) || !on_main(o, state_on_main)) {
            return false;
        }
    } while (!o->records->len);
    return hand_over(o);
}

static gpointer run(gpointer arg)
{
    struct outgoing *o = arg;
    sigset_t pipe;
    bool gone;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    thread_begin("migration", THREAD_OTHER);
    gone = send_all(o) || o->outcome_unknown;
    if (!gone) {
        ask_why(o);
    }
    channel_close(o->channel);
    multi_out_end(o->multi);
    main_call(&o->call, end_on_main, o);
    if (gone) {
        channel_leave(o->channel);
    } else {
        channel_end(o->channel);
    }
    thread_end();
    return NULL;
}

/* ---- the main thread's side */

bool outgoing_start(struct migration *mig, struct channel *channel, GError **error)
{
    struct outgoing *o = g_new0(struct outgoing, 1);

    o->mig = mig;
    o->machine = mig->machine;
    o->channel = channel;
    o->answers = mig->capability[MIGRATION_CAPABILITY_RETURN_PATH];
    o->records = g_byte_array_new();
    o->page_bytes = GUEST_PAGE_SIZE;
    if (mig->capability[MIGRATION_CAPABILITY_MULTIFD]) {
        o->multi = multi_out_new(channel, &mig->multi, &o->ram.numbers);
    }
    o->begun_ns = now_ns();
    g_mutex_init(&o->mutex);
    g_cond_init(&o->cond);
    main_call_init(&o->call, o->machine, "migrate");
    mig->out = o;
    o->thread = g_thread_new("migration", run, o);
    return true;
}

void outgoing_cancel(struct outgoing *o)
{
    g_mutex_lock(&o->mutex);
    o->cancelled = true;
    g_cond_signal(&o->cond);
    g_mutex_unlock(&o->mutex);
    channel_break(o->channel);
    if (o->multi) {
        multi_out_break(o->multi);
    }
}

void outgoing_go_on(struct outgoing *o)
{
    g_mutex_lock(&o->mutex);
    o->go_on = true;
    g_cond_signal(&o->cond);
    g_mutex_unlock(&o->mutex);
}

void outgoing_end(struct outgoing *o)
{
    if (!o) {
        return;
    }
    main_call_abandon(&o->call);
    outgoing_cancel(o);
    g_thread_join(o->thread);
    multi_out_free(o->multi);
    if (o->memory_begun) {
        ram_out_end(&o->ram);
    }
    throttle_free(o->throttle);
    channel_free(o->channel);
    main_call_finish(&o->call);
    g_byte_array_unref(o->records);
    g_clear_error(&o->error);
    g_mutex_clear(&o->mutex);
    g_cond_clear(&o->cond);
    g_free(o);
}

/* ---- numbers */

static struct migration_stats *stats(const struct outgoing *o, int64_t passed_ns)
{
    struct migration_stats *s = g_new0(struct migration_stats, 1);
    const struct ram_numbers *n = &o->ram.numbers;
    bool over = o->ended_ns != 0;
    uint64_t bits = 8 * (over ? n->transferred * (uint64_t)NS_PER_SEC / (uint64_t)MAX(passed_ns, 1)
                              : o->bandwidth);

    s->transferred = (int64_t)n->transferred;
    s->total = (int64_t)o->ram.total_bytes;
    s->remaining = over ? 0 : (int64_t)(n->remaining_pages * GUEST_PAGE_SIZE);
    s->duplicate = (int64_t)n->zero_pages;
    s->normal = (int64_t)n->pages;
    s->normal_bytes = (int64_t)(n->pages * GUEST_PAGE_SIZE);
    s->dirty_pages_rate = over ? 0 : (int64_t)n->dirty_pages_rate;
    s->mbps = (double)bits / 1e6;
    s->dirty_sync_count = (int64_t)n->dirty_syncs;
    s->multifd_bytes = multi_out_bytes(o->multi);
    s->page_size = GUEST_PAGE_SIZE;
    s->pages_per_second = over ? 0 : o->pages_per_second;
    s->precopy_bytes = o->stopped_ns ? o->stopped_bytes : n->transferred;
    s->downtime_bytes = n->transferred - s->precopy_bytes;
    return s;
}

static int64_t expected_ms(const struct outgoing *o)
{
    uint64_t bytes = stream_bytes(o, o->ram.numbers.remaining_pages);

    return o->bandwidth && o->ram.numbers.dirty_pages_rate
               ? (int64_t)((double)bytes * 1000 / (double)o->bandwidth)
               : (int64_t)o->mig->downtime_limit_ms;
}

void outgoing_info(struct outgoing *o, struct migration_info *info)
{
    enum migration_status status = o->mig->status;
    bool done = status == MIGRATION_STATUS_COMPLETED;
    int64_t end = o->ended_ns ? o->ended_ns : now_ns();

    if (status == MIGRATION_STATUS_SETUP || status == MIGRATION_STATUS_FAILED ||
        status == MIGRATION_STATUS_CANCELLED || status == MIGRATION_STATUS_NONE) {
        return;
    }
    info->has_total_time = info->has_setup_time = true;
    info->total_time = (end - o->begun_ns) / NS_PER_MS;
    info->setup_time = o->setup_ns / NS_PER_MS;
    info->has_downtime = done;
    info->downtime = done ? (end - o->stopped_ns) / NS_PER_MS : 0;
    info->has_expected_downtime = !done;
    info->expected_downtime = expected_ms(o);
    if (o->throttle) {
        info->has_cpu_throttle_percentage = true;
        info->cpu_throttle_percentage = throttle_get(o->throttle);
    }
    info->ram = stats(o, end - o->begun_ns);
}
