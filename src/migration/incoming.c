/*
 * The destination's side: see migration.h. Memory goes to its place as it comes; everything else is
 * collected and put into the machine when all is there. A stream that is not good ends the program:
 * what it has done to the machine can't be told.
 */
#include "migration/multi.h"

#include "base/log.h"
#include "base/threads.h"
#include "net/net.h"
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

struct incoming {
    struct migration *mig;
    struct machine *machine;
    struct channel *channel;
    struct stream_in stream;
    struct main_call call;
    struct vmstate_loader *loader;
    GPtrArray *blocks;              /* struct vmstate_ram; NULL before the description */
    struct multi_in *_Atomic multi; /* made by the thread; NULL: there are no other channels */
    GThread *thread;
    const struct record *record; /* for the main thread */
    bool answers, loaded, checks_uuid;
    enum run_state state;
    GError *error;
    struct socket_address_list *addresses; /* where it listens, or NULL */
};

static bool fail(struct incoming *in, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool fail(struct incoming *in, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    in->error = g_error_new_valist(MIGRATION_ERROR, 0, format, ap);
    va_end(ap);
    return false;
}

/* ---- steps on the main thread */

static void begin_on_main(void *arg)
{
    struct incoming *in = arg;

    migration_set_status(in->mig, MIGRATION_STATUS_ACTIVE);
}

/* Most of it is about to be written: large pages save the host a fault for each small one. */
static void expect_memory(const struct incoming *in)
{
    for (guint i = 0; i < in->blocks->len; i++) {
        const struct ram_block *block = ((struct vmstate_ram *)in->blocks->pdata[i])->block;

        if (block->forgets) {
            madvise(block->host, block->size, MADV_HUGEPAGE); /* a hint: it may fail */
        }
    }
}

static void check_on_main(void *arg)
{
    struct incoming *in = arg;

    if (vmstate_check_description(in->machine, in->record->payload, in->record->bytes,
                                  in->checks_uuid, &in->error)) {
        in->blocks = vmstate_ram_blocks(in->machine);
        expect_memory(in);
        in->stream.ahead = in->multi ? NULL : ram_ahead_new();
        in->loader = vmstate_loader_new(in->machine);
    }
}

static void load_on_main(void *arg)
{
    struct incoming *in = arg;

    for (guint i = 0; i < in->blocks->len; i++) { /* displays and the like see it */
        struct ram_block *block = ((struct vmstate_ram *)in->blocks->pdata[i])->block;

        address_space_block_written(in->machine->mem, block, 0, block->size);
    }
    in->loaded = vmstate_loader_finish(in->loader, &in->state, NULL, &in->error);
}

/* The cards are behind other ports of the network's switches now. */
static void announce(struct migration *mig)
{
    const struct migration_announce *a = &mig->announce;
    struct announce_parameters how = {.initial = (int64_t)a->initial_ms,
                                      .max = (int64_t)a->max_ms,
                                      .rounds = (int64_t)a->rounds,
                                      .step = (int64_t)a->step_ms};
    g_autoptr(GError) error = NULL;

    if (a->rounds && !net_announce(mig->machine->net, &how, &error)) {
        log_warn("migration: %s", error->message);
    }
}

/* All has come, and the source has let go. */
static void arrive_on_main(void *arg)
{
    struct incoming *in = arg;
    struct machine *m = in->machine;
    bool runs = in->state == RUN_STATE_RUNNING && vm_will_run(m);
    bool late = in->mig->capability[MIGRATION_CAPABILITY_LATE_BLOCK_ACTIVATE] && !runs;
    g_autoptr(GError) why = NULL;
    bool ours = late || block_activate(m->block, &why);

    if (!ours && in->answers) {
        in->error = g_steal_pointer(&why); /* the source takes the guest back */
        return;
    }
    if (!ours) {
        log_error("the guest has come, but not its disks: %s", why->message);
    }
    vm_arrive(m, in->state, ours);
    announce(in->mig);
    migration_set_status(in->mig, MIGRATION_STATUS_COMPLETED);
}

static void fail_on_main(void *arg)
{
    struct incoming *in = arg;

    log_error("load of migration failed: %s", in->error->message);
    migration_set_error(in->mig, in->error->message);
    migration_set_status(in->mig, MIGRATION_STATUS_FAILED);
    machine_request_exit(in->machine, 1);
}

/* ---- the thread */

static bool on_main(struct incoming *in, void (*fn)(void *))
{
    return main_call(&in->call, fn, in) ? !in->error : fail(in, "the program ends");
}

static bool answer(struct incoming *in, const char kind[4], const char *text)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t start = record_begin(out, kind, 1);

    if (text) {
        g_byte_array_append(out, (const uint8_t *)text, (guint)strlen(text));
    }
    record_end(out, start);
    return channel_write(in->channel, out->data, out->len, NULL);
}

static bool take_multi(struct incoming *in, struct state_input *input)
{
    if (!in->mig->capability[MIGRATION_CAPABILITY_MULTIFD]) {
        return fail(in, "the source sends memory over connections of its own, and the capability "
                        "'multifd' is off here");
    }
    if (!channel_is_plural(in->channel)) {
        return fail(in, "memory comes over connections of its own (multifd), and the channel here "
                        "is none that can have more");
    }
    in->multi = multi_in_new(in->channel, input, &in->error);
    return in->multi;
}

static bool take_head(struct incoming *in)
{
    struct record record;
    struct state_input input;
    uint64_t flags;

    if (!stream_in_next(&in->stream, &record, &in->error)) {
        return false;
    }
    input = (struct state_input){record.payload, record.bytes};
    if (!record_is(&record, "gdwt")) {
        return fail(in, "stream: it begins with record '%s', not with 'gdwt'", record.kind);
    }
    if (!record_version(&record, 1, &in->error)) {
        return false;
    }
    if (!state_take_number(&input, 4, &flags) || flags & ~STREAM_FLAGS) {
        return fail(in, "stream: it wants something that is not known here");
    }
    if (flags & STREAM_MULTI && !take_multi(in, &input)) {
        return false;
    }
    if (input.left) {
        return fail(in, "stream: its first record has %zu bytes too many", input.left);
    }
    in->answers = flags & STREAM_WANTS_ANSWERS;
    in->checks_uuid = flags & STREAM_CHECK_UUID;
    return !in->answers || channel_is_two_way(in->channel) ||
           fail(in, "the source waits for answers, and the channel goes one way only");
}

static bool take_description(struct incoming *in)
{
    struct record record;

    if (!stream_in_next(&in->stream, &record, &in->error)) {
        return false;
    }
    if (!record_is(&record, "desc")) {
        return fail(in, "stream: record '%s' where the description should be", record.kind);
    }
    in->record = &record;
    if (!record_version(&record, 1, &in->error) || !on_main(in, check_on_main)) {
        return false;
    }
    if (in->multi) {
        return multi_in_accept(in->multi, in->blocks, &in->error);
    }
    channel_stop_listening(in->channel);
    return true;
}

/* All memory has come: the machine's state can be put into it. */
static bool load(struct incoming *in)
{
    ram_ahead_free(g_steal_pointer(&in->stream.ahead));
    return (!in->multi || multi_in_finish(in->multi, &in->error)) && on_main(in, load_on_main);
}

/* Any but "ram " and "fin ". */
static bool take_record(struct incoming *in, const struct record *record)
{
    if (record_is(record, "sync") && in->multi) {
        return multi_in_sync(in->multi, record, &in->error);
    }
    if (record_is(record, "ask ") && in->answers) {
        if (!record_version(record, 1, &in->error) || !load(in)) {
            return false;
        }
        return answer(in, "rdy ", NULL) || fail(in, "the source does not hear any more");
    }
    return vmstate_loader_add(in->loader, record, &in->error);
}

/* What follows the header of a record. */
static bool take_next(struct incoming *in, struct record *record)
{
    bool fin = record_is(record, "fin ");

    if (in->loaded && !fin) {
        return fail(in, "stream: record '%s' after all was said to be there", record->kind);
    }
    if (record_is(record, "ram ")) {
        return ram_in_receive(in->blocks, &in->stream, record, &in->error);
    }
    return stream_in_rest(&in->stream, record, 0, &in->error) && (fin || take_record(in, record));
}

static bool take_all(struct incoming *in)
{
    struct record record;

    if (!channel_connect(in->channel, &in->error) || !on_main(in, begin_on_main) ||
        !take_head(in) || !take_description(in)) {
        return false;
    }
    do {
        if (!stream_in_begin(&in->stream, &record, &in->error) || !take_next(in, &record)) {
            return false;
        }
    } while (!record_is(&record, "fin "));
    return stream_in_check_fin(&in->stream, &record, &in->error) &&
           (in->loaded ||
            (!in->answers ? load(in) : fail(in, "stream: it ends without the question"))) &&
           on_main(in, arrive_on_main);
}

/* What went wrong on another channel comes first: this one was broken for it. */
static void blame(struct incoming *in)
{
    GError *error = NULL;

    if (in->multi && multi_in_failed(in->multi, &error)) {
        g_clear_error(&in->error);
        in->error = error;
    }
}

static gpointer run(gpointer arg)
{
    struct incoming *in = arg;
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    thread_begin("incoming", THREAD_OTHER);
    channel_keep_listening(in->channel);
    if (take_all(in)) {
        if (in->answers) {
            answer(in, "run ", NULL);
        }
    } else {
        blame(in);
        if (in->answers) {
            answer(in, "fail", in->error->message);
        }
        main_call(&in->call, fail_on_main, in);
    }
    ram_ahead_free(g_steal_pointer(&in->stream.ahead));
    stream_in_finish(&in->stream);
    channel_close(in->channel);
    if (in->multi) {
        multi_in_end(in->multi);
    }
    channel_wait_child(in->channel);
    thread_end();
    return NULL;
}

/* ---- the main thread's side */

void incoming_start(struct migration *mig, struct channel *channel)
{
    struct incoming *in = g_new0(struct incoming, 1);

    in->mig = mig;
    in->machine = mig->machine;
    in->channel = channel;
    in->stream.channel = channel;
    in->addresses = channel_listens_at(channel);
    main_call_init(&in->call, in->machine, "incoming");
    mig->in = in;
    in->thread = g_thread_new("incoming", run, in);
}

void incoming_end(struct incoming *in)
{
    if (!in) {
        return;
    }
    main_call_abandon(&in->call);
    channel_break(in->channel);
    if (in->multi) {
        multi_in_break(in->multi);
    }
    g_thread_join(in->thread);
    multi_in_free(in->multi);
    vmstate_loader_free(in->loader);
    if (in->blocks) {
        g_ptr_array_unref(in->blocks);
    }
    channel_free(in->channel);
    main_call_finish(&in->call);
    g_clear_error(&in->error);
    socket_address_list_free(in->addresses);
    g_free(in);
}

void incoming_info(struct incoming *in, struct migration_info *info)
{
    if (in->mig->status != MIGRATION_STATUS_COMPLETED && in->addresses) {
        info->socket_address = socket_address_list_clone(in->addresses);
    }
}
