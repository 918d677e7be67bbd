/* Between the files of a migration: settings, numbers, and the way to the main thread. */
#ifndef MIGRATION_MIGRATION_PRIV_H
#define MIGRATION_MIGRATION_PRIV_H

#include "migration/channel.h"
#include "migration/migration.h"
#include "migration/record.h"
#include "migration/vmstate.h"
#include <stdatomic.h>

#define STREAM_WANTS_ANSWERS 1u /* flags of "gdwt" */
#define STREAM_MULTI         2u /* memory goes over channels of its own (multi.h) */
#define STREAM_CHECK_UUID    4u /* it is only for a machine with the source's UUID */
#define STREAM_FLAGS         (STREAM_WANTS_ANSWERS | STREAM_MULTI | STREAM_CHECK_UUID)

/* ---- calls of the main thread by a migration's thread */

struct main_call {
    struct machine *machine;
    struct cause *cause; /* of what is done there; the last call's events included */
    GMutex mutex;
    GCond cond;
    enum { CALL_IDLE, CALL_POSTED, CALL_RUNS, CALL_ABANDONED } state;
    bool abandoned; /* no further call is made */
    void (*fn)(void *arg);
    void *arg;
};
/* Who asks now is the cause of all that is called; if nobody does, the machine itself, with `what`.
 */
void main_call_init(struct main_call *call, struct machine *m, const char *what);
void main_call_finish(struct main_call *call);
/* Runs fn(arg) on the main thread, lock held, and waits. false: the machine is ending, and it was
 * not run. */
bool main_call(struct main_call *call, void (*fn)(void *arg), void *arg);
/* Main thread: calls that have not begun are not made any more. */
void main_call_abandon(struct main_call *call);

/* ---- memory on its way out; the migration's thread, but for what is said */

struct ram_numbers { /* read by the main thread */
    _Atomic uint64_t transferred, zero_pages, pages, dirty_syncs, remaining_pages;
    _Atomic uint64_t dirty_pages_rate; /* a second */
};

struct ram_out_block {
    struct ram_block *block;
    struct dirty_log *log;
    uint64_t *bitmap; /* pages to be sent */
    uint64_t words;
};

struct ram_out {
    struct machine *machine;
    struct ram_numbers numbers;
    unsigned n;
    struct ram_out_block *block;
    unsigned at;      /* block */
    uint64_t at_word; /* the next to look at */
    uint64_t total_bytes;
    int64_t synced_ns;
    GByteArray *head; /* of a record: runs */
    uint8_t *pages;   /* and its data */
};

/* Main thread. All pages are to be sent. */
bool ram_out_begin(struct ram_out *r, struct machine *m, GError **error);
void ram_out_end(struct ram_out *r);
/* Main thread: adds what was written since the last time; how many pages are to be sent then. */
uint64_t ram_out_sync(struct ram_out *r);
/* The same thread, while nothing is sent: what a page that is to be sent will make of the stream,
 * by those of them that it tries. */
uint64_t ram_out_page_bytes(struct ram_out *r);
uint64_t ram_out_remaining(const struct ram_out *r);

/* ---- a stream being written */

struct stream_out {
    struct channel *channel;
    uint64_t records;
    uint32_t sum; /* of the checksums of all records */
    uint64_t bytes;
};
/* Appends whole records to the channel. */
bool stream_out_write(struct stream_out *s, const uint8_t *records, size_t bytes, GError **error);
/* A record made of two pieces. */
bool stream_out_record(struct stream_out *s, const char kind[4], uint16_t version,
                       const GByteArray *head, const uint8_t *tail, size_t tail_bytes,
                       GError **error);
bool stream_out_fin(struct stream_out *s, GError **error);

/* Of "ram " records: see ram-out.c. Version 1 had no compressed pages. */
#define RAM_VERSION        2u
#define RAM_RUN_ZERO       0u
#define RAM_RUN_DATA       1u
#define RAM_RUN_COMPRESSED 2u

/* What the processor's cache holds: a page is copied, summed up and sent. */
#define RAM_BATCH_PAGES    96u
/* Sends a record of at most that many pages, and of zeroes; *bytes is what went out, 0 when there
 * are none to be sent. */
bool ram_out_send(struct ram_out *r, struct stream_out *s, unsigned pages, size_t *bytes,
                  GError **error);

/* The same in two steps, so that the second can be another thread's. */
#define RAM_PICK_PAGES 64u
struct ram_pick {
    const struct ram_block *block;
    unsigned index; /* of the block */
    unsigned n;
    uint64_t page[RAM_PICK_PAGES];
};
/* Takes at most that many pages out of the bitmap; false: there are none. */
bool ram_out_pick(struct ram_out *r, unsigned pages, struct ram_pick *pick);
/* Room for the data of so many pages; g_free(). */
uint8_t *ram_pages_new(unsigned n);
/* Any thread: copies what is picked, to the head of a "ram " record and to ram_pages_new() of
 * RAM_PICK_PAGES, and counts it. How many bytes of pages there are. */
size_t ram_pick_copy(const struct ram_pick *pick, bool compress, GByteArray *head, uint8_t *pages,
                     struct ram_numbers *numbers);

/* ---- a stream being read */

/* Asks the host for memory that will soon be written to. */
struct ram_ahead;
struct ram_ahead *ram_ahead_new(void);
void ram_ahead_free(struct ram_ahead *a); /* NULL is fine */
/* The one thread that writes memory: those pages are next. NULL is fine. */
void ram_ahead_note(struct ram_ahead *a, struct ram_block *block, uint64_t first, uint64_t n);

struct stream_in {
    struct channel *channel;
    uint64_t records;
    uint32_t sum;
    uint8_t *buffer; /* RECORD_MAX_BYTES are never all used: grows as records need */
    size_t capacity;
    struct ram_ahead *ahead; /* or NULL */
};
/* The next record, valid until the next call. */
bool stream_in_next(struct stream_in *s, struct record *record, GError **error);
/* The same in two steps: its header, which is then in the buffer, and what follows it, of which so
 * many bytes were had by stream_in_part(). */
bool stream_in_begin(struct stream_in *s, struct record *record, GError **error);
bool stream_in_rest(struct stream_in *s, struct record *record, size_t had, GError **error);
/* For who reads what follows a header himself: the next so many bytes of the channel into the
 * buffer from there on, and that the record was whole. */
bool stream_in_part(struct stream_in *s, size_t at, size_t bytes, GError **error);
void stream_in_note(struct stream_in *s, const uint8_t check[RECORD_CHECK_BYTES]);
void stream_in_finish(struct stream_in *s);
/* "fin " against what came. */
bool stream_in_check_fin(const struct stream_in *s, const struct record *fin, GError **error);

/* Any thread: puts the pages of a "ram " record into the blocks (struct vmstate_ram). */
bool ram_in_take(const GPtrArray *blocks, const struct record *record, GError **error);
/* The same for one of which the header has been read: pages go from the channel to their places,
 * and only then is it seen whether the record was damaged. */
bool ram_in_receive(const GPtrArray *blocks, struct stream_in *s, struct record *record,
                    GError **error);

/* ---- the machine's migration; main thread, but for what is said */

struct outgoing;
struct incoming;

struct multi_settings {
    unsigned channels;
    enum multi_fd_compression compression;
    unsigned zlib_level, zstd_level;
};

struct migration_announce {
    uint64_t initial_ms, max_ms, rounds, step_ms;
};

struct migration {
    struct machine *machine;
    /* Also while another machine's guest is waited for, by the incoming thread. */
    _Atomic bool capability[MIGRATION_CAPABILITY__MAX];
    /* Read by the outgoing thread while the main thread may write. */
    _Atomic uint64_t max_bandwidth, downtime_limit_ms;
    _Atomic unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
    struct migration_announce announce;
    struct multi_settings multi;
    enum migration_status status;
    bool has_status;
    char *error; /* of the last one, or NULL */
    struct outgoing *out;
    struct incoming *in;
    bool incoming_allowed, incoming_started;
};

void migration_set_status(struct migration *mig, enum migration_status status);
void migration_set_error(struct migration *mig, const char *text); /* NULL: none */

/* parameters.c */
void parameters_init(struct migration *mig);

/* outgoing.c */
bool outgoing_start(struct migration *mig, struct channel *channel, GError **error);
void outgoing_cancel(struct outgoing *o);
void outgoing_go_on(struct outgoing *o);
void outgoing_end(struct outgoing *o); /* waits for its thread; NULL is fine */
void outgoing_info(struct outgoing *o, struct migration_info *info);

/* incoming.c */
void incoming_start(struct migration *mig, struct channel *channel);
void incoming_end(struct incoming *in); /* the same */
void incoming_info(struct incoming *in, struct migration_info *info);

/* throttle.c: vCPUs run for only a part of the time. percent 0: all of it. */
struct throttle;
struct throttle *throttle_new(struct machine *m);
void throttle_set(struct throttle *t, unsigned percent); /* any thread */
unsigned throttle_get(const struct throttle *t);         /* any thread */
void throttle_free(struct throttle *t);                  /* main thread; NULL is fine */

#endif
