/*
 * Between the files of the block room: nodes, their drivers, and the I/O thread.
 *
 * A driver's open() and close() run on the main thread, close() with no request under way. submit()
 * runs on the I/O thread, and ends each request by block_request_done(), at once or later.
 */
#ifndef BLOCK_BLOCK_PRIV_H
#define BLOCK_BLOCK_PRIV_H

#include "block/block.h"
#include "block/throttle.h"
#include <stdatomic.h>

#define BLOCK_MAX_NODES 1000
#define BLOCK_MAX_DEPTH 100 /* of nodes standing on nodes */

struct throttle_member;
struct uring;
struct block_status;

struct block_child { /* an edge: a user of a node */
    char *role;      /* "file", "root" */
    struct block_node *node;
    struct block_node *parent; /* NULL: a back end */
    struct block_backend *backend;
    unsigned perm, shared; /* enum block_perm */
};

struct block_flags { /* what nodes of all drivers have */
    bool read_only, auto_read_only, force_share, direct, no_flush, unmap;
    enum blockdev_detect_zeroes_options detect_zeroes;
};

struct block_driver {
    enum blockdev_driver id;
    size_t size; /* of node->state */
    /* Opens children with block_node_open_child(). node->read_only says what is wanted; with
     * node->auto_read_only the driver may set it. Sets node->bytes and filename. On failure close()
     * follows. */
    bool (*open)(struct block_node *, const struct blockdev_options *, GError **);
    void (*close)(struct block_node *); /* children are closed by the graph */
    void (*submit)(struct block_node *, struct block_request *);
    /* What the node wants of a child and lets others do with it, when its own users together want
     * perm and let others do shared. NULL: just that. */
    void (*child_perm)(const struct block_node *, const struct block_child *, unsigned perm,
                       unsigned shared, unsigned *child_perm, unsigned *child_shared);
    /* Users now want and share this; false: the host refuses (locks). NULL: fine. */
    bool (*set_perm)(struct block_node *, unsigned perm, unsigned shared, GError **);
    /* A child may have another length now. NULL: the length is the child's. */
    void (*refresh)(struct block_node *);
    int (*resize)(struct block_node *, uint64_t bytes, GError **); /* drained; NULL: can't be */
    /* Has what was just added behind `from`, which reads as zeroes, take its place on the host.
     * NULL: as the functions above do by writing. */
    int (*preallocate)(struct block_node *, uint64_t from, enum prealloc_mode mode);
    /* Forgets all data; not from the I/O thread, with no request under way. NULL: can't. */
    int (*clear)(struct block_node *);
    int64_t (*allocated_bytes)(
        struct block_node *); /* on the host; NULL: the child's; -1 unknown */
    /* What a format does to the node: block_node_debug(). NULL: that is nothing to it. */
    void (*debug)(struct block_node *, enum blkdebug_event event);
    /* Drained; NULL: can't. The new child has no other user. */
    bool (*add_child)(struct block_node *, struct block_node *child, GError **);
    /* Drained. Writes all metadata: another process is to use the image. NULL: there is none. */
    int (*inactivate)(struct block_node *);
    /* Drained, children first. The image may be another than it was. NULL: nothing is remembered.
     */
    bool (*reload)(struct block_node *, GError **);
    bool (*delete_child)(struct block_node *, struct block_child *, GError **);
    void (*image_info)(struct block_node *, struct image_info *); /* NULL: nothing special */
    struct block_stats_specific *(*stats)(struct block_node *);   /* NULL: none; to be freed */
    /* Of the image; NULL: none. Main thread. */
    struct block_dirty_info_list *(*dirty_bitmaps)(struct block_node *);
    /* As block_node_status(); *status says "data" already. NULL: that is so. */
    int (*status)(struct block_node *, uint64_t offset, uint64_t bytes, struct block_status *);
    /* blockdev-reopen. changeable: options that may change, NULL: none; configure() has the node
     * follow them and may fail. reopen(): read_only or direct has changed, and when that can't be
     * all is as it was. file_option(): its option "file", if that may name another node. */
    const char *const *changeable;
    bool (*configure)(struct block_node *, const struct blockdev_options *, GError **);
    bool (*reopen)(struct block_node *, GError **);
    const struct blockdev_ref *(*file_option)(const struct blockdev_options *);
    bool has_backing; /* it can stand on a child "backing" */
    /* Drained: a child of that role is another node now, or there is none, or one more. NULL: the
     * driver looks at the edge each time. */
    void (*child_changed)(struct block_node *, const char *role);
};

struct block_node {
    const struct block_driver *driver;
    struct block_graph *graph;
    char *name;
    char *filename; /* for people */
    void *state;    /* the driver's */
    bool owned;     /* by the monitor: counts as a use */
    bool held;      /* for a moment, as if it was used */
    struct blockdev_options *options;
    struct block_node *inherits; /* the node that it was defined inside of; NULL: none, or gone */
    bool visible;                /* in the graph's list */
    bool read_only, auto_read_only, force_share, direct, no_flush, unmap;
    enum blockdev_detect_zeroes_options detect_zeroes;
    GPtrArray *children;   /* struct block_child, owned */
    GPtrArray *parents;    /* struct block_child of those above */
    _Atomic unsigned perm; /* all parents' together, as set_perm() has last seen them */
    unsigned shared;
    unsigned depth; /* the longest way down */
    _Atomic uint64_t bytes;
    _Atomic uint64_t highest; /* end of the farthest write */
};

struct block_graph {
    struct event_sink *events;
    struct loop *main, *io;
    GThread *thread;
    GPtrArray *nodes;    /* visible ones, in order of making */
    GPtrArray *backends; /* all */
    GPtrArray *drives;   /* struct drive, owned */
    unsigned next_name;
    bool repairing;          /* what is opened may be damaged */
    bool inactive;           /* block_inactivate() */
    unsigned opening;        /* nodes that are being opened, one inside the other */
    block_failed_fn *failed; /* NULL: nobody asks */
    void *failed_opaque;
    /* the I/O thread's */
    struct uring *uring; /* NULL: not allowed by the host */
    unsigned plugged;
    GThreadPool *workers; /* NULL until needed; I/O thread */
    GThreadPool *serial;  /* made with the I/O thread */
    /* limits; throttle-group.c */
    GPtrArray *throttle_groups; /* changed by the main thread on the I/O thread */
    struct throttle_clock throttle_clock;
    GSource *throttle_timer;    /* I/O thread */
    _Atomic unsigned throttles; /* members of groups */
    _Atomic unsigned hurry;     /* who can't wait: block_hurry_begin() */
    /* any thread, under mutex */
    GMutex mutex;
    GCond idle;
    unsigned in_flight;                            /* requests of back ends */
    unsigned drained;                              /* depth of drained sections */
    struct block_request *waiting, **waiting_tail; /* until the drained section ends */
    GQueue reports;                                /* backend-request.c: errors to be told */
};

extern const struct block_driver block_blkdebug, block_file, block_host_device, block_nbd,
    block_null, block_qcow2, block_quorum, block_raw, block_throttle;

/* raw.c: the format of this raw node was guessed. */
void block_raw_set_guessed(struct block_node *node);

/* ---- backend.c */

/* Forgets the errors that were not told in time. The main and the I/O thread have ended. */
void block_reports_drop(struct block_graph *graph);

/* ---- graph.c */

/* Opens a node; ref as BlockdevRef. NULL and *error. The caller makes an edge to it, or frees it by
 * block_node_unref(). */
struct block_node *block_node_open(struct block_graph *graph,
                                   const struct blockdev_options *options,
                                   struct block_node *parent, GError **error);
struct block_child *block_node_open_child(struct block_node *parent, const char *role,
                                          const struct blockdev_ref *ref, GError **error);
/* What a node with those options, defined inside one with the flags `parent` (or NULL), has. */
bool block_flags_of(const struct blockdev_options *options, const struct block_flags *parent,
                    struct block_flags *flags, GError **error);
void block_node_get_flags(const struct block_node *node, struct block_flags *flags);
void block_node_set_flags(struct block_node *node, const struct block_flags *flags);
void block_node_set_options(struct block_node *node, const struct blockdev_options *options);
void block_child_close(struct block_child *child);
/* An edge from a back end. NULL and *error when permissions conflict; the node is still there. */
struct block_child *block_child_attach(struct block_backend *backend, struct block_node *node,
                                       unsigned perm, unsigned shared, GError **error);
/* The id of the -drive whose medium the node is; NULL: none. To be freed. */
char *block_node_device(const struct block_node *node);
/* What opens a path of the host's: host_device, or file, also where there is nothing yet. */
enum blockdev_driver block_driver_for_path(const char *path);
/* ---- filename.c: names of files, with a protocol or as paths */

/* The options of the name's node: key, value, key, ..., to be freed. NULL and *error. */
GPtrArray *block_filename_options(const char *name, GError **error);
struct blockdev_options *block_options_of_filename(const char *name, GError **error);
/* ---- filename-json.c: names like json:{...} */

bool block_filename_is_json(const char *name);
/* What it says: key, value, key, ... with dots in keys, to be freed. NULL and *error. */
GPtrArray *block_json_pairs(const char *name, GError **error);
const char *block_pair(const GPtrArray *pairs, const char *key); /* NULL: not there */
/* The node that it describes; driver: instead of the one that it says, NULL: that. */
struct blockdev_options *block_options_of_json(const char *name, const char *driver,
                                               GError **error);
/* What it says of the node below: where the image is whose format is not said. */
struct blockdev_options *block_json_file_options(const char *name, GError **error);

/* Adds key=value to key=value text. */
void block_option_add(GString *text, const char *key, const char *value);

/* ---- graph.c */

/* Closes the node if nothing uses it. */
void block_node_unref(struct block_node *node);
void block_node_refresh(
    struct block_node *node); /* its length and that of all above; main thread */
struct block_node *block_node_below(const struct block_node *node, const char *role);  /* or NULL */
struct block_child *block_node_child(const struct block_node *node, const char *role); /* or NULL */
/* Whether one is the other or stands on it. */
bool block_node_is_below(const struct block_node *node, const struct block_node *wanted);
/* The node in the drive of that id (device), or else the one of that name; either may be NULL. NULL
 * and *error when there is none. */
struct block_node *block_find_one(struct block_graph *graph, const char *device,
                                  const char *node_name, GError **error);
/* The next three: drained. The edge's user uses another node from now on. When permissions conflict
 * nothing has changed; moving back what was just moved can't fail. The old node is not closed even
 * if nobody uses it any more: block_node_unref(). */
bool block_child_move(struct block_child *child, struct block_node *to, GError **error);
bool block_node_add_backing(struct block_node *node, struct block_node *backing, GError **error);
void block_node_remove_backing(struct block_node *node);

/* ---- perm.c */

/* Another wish of an edge's user; on failure all is as before. */
bool block_child_set_perm(struct block_child *child, unsigned perm, unsigned shared,
                          GError **error);
/* Has the permissions of the node's children follow its own. */
bool block_node_update_perm(struct block_node *node, GError **error);
/* Whether the edge's wish and those of the node's other users agree. */
bool block_edge_check(const struct block_child *edge, GError **error);
/* *error: `perm` is what `needs` (NULL: somebody for a moment) wants, and `denies` does not share.
 */
void block_perm_conflict(GError **error, const struct block_node *node, unsigned perm,
                         const struct block_child *needs, const struct block_child *denies);

/* ---- filter.c: functions of drivers whose nodes stand on one child and are as long as it */

void block_filter_refresh(struct block_node *node);
int block_filter_resize(struct block_node *node, uint64_t bytes, GError **error);
int block_filter_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                        struct block_status *status);
int block_filter_clear(struct block_node *node);
int64_t block_filter_allocated(struct block_node *node);

/* ---- request.c: I/O thread */

void block_node_submit(struct block_node *node, struct block_request *request);
static inline void block_request_done(struct block_request *request, int result)
{
    request->done(request, result);
}
/* A format tells the node below what it is about to do there; NONE: that it is one that tells. Any
 * thread. */
static inline void block_node_debug(struct block_node *node, enum blkdebug_event event)
{
    if (node->driver->debug) {
        node->driver->debug(node, event);
    }
}
/* Runs fn(arg) on a worker thread. It may block in the host, but not wait for another request: that
 * may need a worker itself. */
void block_worker_run(struct block_graph *graph, void (*fn)(void *arg), void *arg);
/* Runs fn(arg) on a thread that may wait for requests to nodes below. Any thread; one at a time for
 * a node, so that nodes bound their number. */
void block_serial_run(struct block_graph *graph, void (*fn)(void *arg), void *arg);

GThreadPool *block_serial_new(void); /* for block_serial_run() */

/* ---- uring.c: I/O thread */

struct uring_request {
    void (*done)(struct uring_request *, int result); /* bytes or -errno */
};

/* NULL when the host does not allow it. */
struct uring *uring_new(struct loop *loop);
void uring_free(struct uring *uring);
void uring_rw(struct uring *uring, struct uring_request *request, int fd, bool write,
              const struct iovec *iov, unsigned n_iov, uint64_t offset);
void uring_fsync(struct uring *uring, struct uring_request *request, int fd);
/* Has the host begin what was queued, and completes what is done already. */
void uring_kick(struct uring *uring);

/* ---- backend.c */

struct block_backend *block_backend_new(struct block_graph *graph, const char *name);
void block_backend_free(struct block_backend *backend);
/* Its -drive is gone: it becomes its device's own, without a medium. Main thread. */
void block_backend_disown(struct block_backend *backend);
/* The medium of a -drive. */
bool block_backend_insert(struct block_backend *backend, struct block_node *node, GError **error);
/* For a short time somebody else than a device: reads, and with `write` writes and resizes. The
 * node is closed with the back end, if nobody else uses it. */
bool block_backend_hold(struct block_backend *backend, struct block_node *node, bool write,
                        GError **error);
void block_backend_set_policy(struct block_backend *backend, enum blockdev_on_error rerror,
                              enum blockdev_on_error werror, bool writethrough, bool read_only);
/* What it wants of its node now. */
void block_backend_wishes(const struct block_backend *backend, unsigned *perm, unsigned *shared);
struct block_child *block_backend_root(const struct block_backend *backend); /* NULL: no medium */
struct block_node *block_backend_node(const struct block_backend *backend);  /* NULL: no medium */
/* A device's or a -drive's: what query-block tells of. */
bool block_backend_is_listed(const struct block_backend *backend);
struct block_info *block_backend_info(struct block_backend *backend);
struct block_stats *block_backend_stats(struct block_backend *backend);
/* I/O thread: submits what waited for the end of a drained section. */
void block_backend_start(struct block_request *request);

/* All completions that are on their way to threads of the user's are done when this returns. Main
 * thread, or whoever else holds the machine lock. */
void block_backends_settle(struct block_graph *graph);

/* Takes the medium out: nothing is under way to it then. */
void block_backend_remove(struct block_backend *backend);
/* No device uses it, or one whose medium can be taken out. */
bool block_backend_is_removable(const struct block_backend *backend);
const char *block_backend_qdev(const struct block_backend *backend); /* NULL: no device, no id */
/* NULL: no device. opaque may be NULL. */
const struct block_dev_ops *block_backend_ops(const struct block_backend *backend, void **opaque);
struct event_sink *block_backend_events(const struct block_backend *backend);

/* The node has another length. */
void block_backend_resized(struct block_backend *backend);
struct throttle_member *block_backend_throttle(struct block_backend *backend); /* never NULL */
struct block_graph *block_backend_graph(const struct block_backend *backend);
const char *block_backend_drive_id(const struct block_backend *backend); /* NULL: none */
struct block_backend *block_backend_by_name(struct block_graph *graph, const char *name);

/* The back end of a -drive's id or of a device's id or path, exactly one of them given. media.c */
struct block_backend *block_backend_find(struct block_graph *graph, const char *device,
                                         const char *id, GError **error);

/* ---- query.c */
struct block_device_info *block_node_info(struct block_node *node, bool flat);
struct block_stats *block_node_stats(struct block_node *node);

#endif
