/*
 * The block layer: a graph of named nodes, and the back ends through which devices use it.
 *
 * A node is storage or a view of it: "file" reaches a host file, "raw" stands on another node.
 * Nodes are made by -blockdev, blockdev-add and -drive. A device attaches a back end to one node;
 * the back end counts, applies the error policy (rerror, werror) and keeps failed requests until
 * the machine goes on.
 *
 * Threads: the graph belongs to the main thread, under the machine lock. Requests run on the
 * graph's own I/O thread, which never takes the machine lock; so whoever holds it may wait for that
 * thread. A request may be submitted from any thread; its completion is called on the loop that the
 * back end was given.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/loop.h"
#include "qapi-types.h"
#include "qapi/event.h"
#include <sys/uio.h>

#define BLOCK_ERROR (block_error_quark())
GQuark block_error_quark(void);

#define BLOCK_SECTOR_BYTES 512u
/* The longest read or write; longer requests are refused with -EINVAL. */
#define BLOCK_MAX_BYTES    (1u << 30)

struct block_graph;
struct block_node;
struct block_backend;

/* What a user of a node does, and what it lets others do. The numbers are those of the bytes that
 * are locked in image files (100 + bit, 200 + bit), which other programs know. */
enum block_perm {
    BLOCK_PERM_CONSISTENT_READ = 1 << 0,
    BLOCK_PERM_WRITE = 1 << 1,
    BLOCK_PERM_WRITE_UNCHANGED = 1 << 2, /* writes what is there already */
    BLOCK_PERM_RESIZE = 1 << 3,
    BLOCK_PERM_ALL = 15,
};

/* ---- requests */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD, BLOCK_FLUSH };

enum block_request_flags {
    BLOCK_MAY_UNMAP = 1 << 0, /* write-zeroes: the storage may be given back */
    BLOCK_FUA = 1 << 1,       /* write, write-zeroes: done when it is on stable storage */
};

/* Owned by whoever submits it, and not touched by it from submission to done(). */
struct block_request {
    enum block_op op;
    unsigned flags;         /* enum block_request_flags */
    uint64_t offset, bytes; /* flush: both 0 */
    struct iovec *iov;      /* read, write: n_iov pieces of `bytes` bytes together */
    int n_iov;
    /* 0 or -errno. May be called before the submitting function returns. */
    void (*done)(struct block_request *, int result);
    void *opaque; /* the submitter's */
    /* private to the layer that has the request */
    struct block_request *next;
    struct block_backend *backend;
    void (*user_done)(struct block_request *, int result);
    int64_t begun_ns;
    int result;
    enum block_op user_op;
};

/* ---- the graph; main thread with the machine lock */

/* events: where BLOCK_IO_ERROR and others go; main: the loop of the machine's main thread. The I/O
 * thread is started when the first node is made. */
struct block_graph *block_graph_new(struct event_sink *events, struct loop *main);
/* Closes what -blockdev and -drive made. The devices must be gone. NULL is fine. */
void block_graph_free(struct block_graph *graph);
/* The loop of the I/O thread; starts it. */
struct loop *block_graph_loop(struct block_graph *graph);
/* The same, NULL while there is none. Main thread. */
struct loop *block_graph_running_loop(const struct block_graph *graph);

/* A request failed, of whom (a device's id or path, or a drive's name): tell(arg) sends the event,
 * and with `stop` the machine stops in io-error because of it. Called on the main thread. */
typedef void block_failed_fn(void *opaque, const char *whose, bool stop, void (*tell)(void *arg),
                             void *arg);
void block_graph_on_failure(struct block_graph *graph, block_failed_fn *failed, void *opaque);

/* Waits until no request is under way and lets none begin until the matching end; they nest.
 * Requests that are submitted meanwhile wait. */
void block_drain_begin(struct block_graph *graph);
void block_drain_end(struct block_graph *graph);
/* Tries requests again that were held for an error with the action stop: the machine goes on. */
void block_resume_all(struct block_graph *graph);

/*
 * Images that another process has the use of: those of a machine whose guest has moved away, or has
 * not come yet. Nothing is locked and nothing written, and devices have no requests.
 *
 * block_inactivate() writes what is in memory, flushes, and lets go of the images; on failure false
 * and *error, and they are in use as before. block_activate() locks them and reads anew what
 * somebody else may have changed; on failure *error says why, and they stay as they were. Both do
 * nothing where there is nothing to do.
 */
bool block_inactivate(struct block_graph *graph, GError **error);
bool block_activate(struct block_graph *graph, GError **error);
bool block_is_inactive(const struct block_graph *graph); /* main thread */

/* Flushes every back end that can be written; the first error, logged, as -errno. */
int block_flush_all(struct block_graph *graph);

/* Makes a node and those defined inside it. It stays until block_node_delete(). */
bool block_node_add(struct block_graph *graph, const struct blockdev_options *options,
                    GError **error);
bool block_node_delete(struct block_graph *graph, const char *name, GError **error);
struct block_node *block_node_find(struct block_graph *graph, const char *name); /* NULL: none */
const char *block_node_name(const struct block_node *node);
bool block_node_read_only(const struct block_node *node);
uint64_t block_node_bytes(const struct block_node *node); /* any thread */

/* From any thread but the I/O thread: waits for the result. offset and bytes as a request's. */
int block_node_pread(struct block_node *node, uint64_t offset, void *buf, uint64_t bytes);
int block_node_pwrite(struct block_node *node, uint64_t offset, const void *buf, uint64_t bytes);
int block_node_sync(struct block_node *node, enum block_op op, uint64_t offset, uint64_t bytes,
                    unsigned flags);

/* x-blockdev-change: exactly one of child (a role) and node (a name) is given. */
bool block_change_children(struct block_graph *graph, const char *parent, const char *child,
                           const char *node, GError **error);

/* Gives the image behind a -drive's id or a node's name (one of them) another size; devices are
 * told. */
bool block_resize(struct block_graph *graph, const char *device, const char *node_name,
                  int64_t bytes, GError **error);

/* The same of a node. */
bool block_node_resize(struct block_node *node, uint64_t bytes, GError **error);

struct block_device_info_list *block_query_nodes(struct block_graph *graph, bool flat);
struct block_info_list *block_query_backends(struct block_graph *graph);
struct block_stats_list *block_query_stats(struct block_graph *graph, bool nodes);

/* ---- -drive */

enum drive_interface { DRIVE_NONE, DRIVE_VIRTIO, DRIVE_IDE, DRIVE_PFLASH };

struct drive {
    char *id; /* of -drive, or made: "virtio0", "ide0-hd0", "pflash1" */
    enum drive_interface interface;
    int bus, unit; /* where on its interface; unit counts within a bus for ide, else bus is 0 */
    bool cdrom;    /* media=cdrom */
    struct block_backend *backend; /* never NULL; without file= it has no medium */
    bool taken;                    /* a device uses it */
};

/* What a board says of drives that do not say where they belong. */
struct drive_rules {
    enum drive_interface interface;
    unsigned ide_units; /* on one bus: 2, or 1 where an IDE bus is a port of an AHCI */
    bool snapshot;      /* what drives that do not say have for snapshot= */
};

/* One -drive, from its text. Makes its nodes and back end. Errors name what is not supported. */
bool block_drive_add(struct block_graph *graph, const char *text, const struct drive_rules *rules,
                     GError **error);
/* Takes the drive away: its id is free again. Its device, if it has one, has no medium any more. */
bool block_drive_delete(struct block_graph *graph, const char *id, GError **error);
/* The drive at that place; NULL: none. */
struct drive *block_drive_at(struct block_graph *graph, enum drive_interface interface, int bus,
                             int unit);
/* The nth drive in order of the command line; NULL: no more. */
struct drive *block_drive_nth(struct block_graph *graph, unsigned n);

/* ---- back ends */

/* What a back end tells its device; main thread with the machine lock. NULL functions are fine. */
struct block_dev_ops {
    void (*resized)(void *opaque);
    void (*medium_changed)(void *opaque, bool loaded); /* in or out of a drive */
    bool (*tray_is_open)(void *opaque);                /* NULL: there is no tray */
    bool (*medium_is_locked)(void *opaque);            /* NULL: never */
    void (*eject_request)(void *opaque, bool force);   /* somebody pressed the button */
};

struct block_attach {
    const struct block_dev_ops *ops;
    void *opaque;
    /* Where completions are called: the main loop, block_graph_loop() or one of a thread that never
     * takes the machine lock. */
    struct loop *loop;
    const char *qdev;    /* the device's path in query-block; copied */
    bool read_only;      /* the device never writes: a CD-ROM */
    bool share_rw;       /* others may write too */
    bool removable;      /* a drive whose medium can be taken out; it may be empty */
    bool no_write_cache; /* writes are done when they are on stable storage */
    /* auto: what -drive said, else enospc and report */
    enum blockdev_on_error rerror, werror;
};

/*
 * Attaches a device to what its property drive=NAME names: a -drive's id or a node. Fails when
 * there is none, when it is in use, when the device would write a read-only node (it asks
 * block_backend_read_only() first if that is no error for it), or when permissions conflict.
 * name NULL: an empty removable drive.
 */
struct block_backend *block_backend_attach(struct block_graph *graph, const char *name,
                                           const struct block_attach *attach, GError **error);
/* Cancels held requests with -ECANCELED, waits for those under way. NULL is fine. */
void block_backend_detach(struct block_backend *backend);

/* Whether drive=NAME is read-only; false when there is no such thing. */
bool block_name_is_read_only(struct block_graph *graph, const char *name);

bool block_backend_has_medium(const struct block_backend *backend); /* main thread */
/* The next four: any thread. */
uint64_t block_backend_bytes(const struct block_backend *backend); /* 0 without a medium */
bool block_backend_read_only(const struct block_backend *backend);
void block_backend_set_write_cache(struct block_backend *backend, bool enabled);
bool block_backend_write_cache(const struct block_backend *backend);
/* The id of -drive, else the node's name; for messages. Main thread. */
const char *block_backend_name(const struct block_backend *backend);

/*
 * Submits a request; any thread. done() is called on the attached loop: for the main loop with the
 * machine lock held. Result: -ENOMEDIUM without a medium, -EINVAL beyond its end, -EROFS for a
 * write where nothing may be written, else what the nodes say. With the error action `stop` done()
 * is not called: the request is held and tried again by block_resume_all(). With `ignore` a
 * write's result is 0, and so is a read's.
 */
void block_backend_submit(struct block_backend *backend, struct block_request *request);

/* Calls fn for each held request, in their order. Drained, main thread. */
void block_backend_foreach_held(struct block_backend *backend,
                                void (*fn)(struct block_request *, void *), void *opaque);
/* Completes held requests with -ECANCELED and waits for those under way: from the device's reset().
 * done() has been called for all requests when this returns, unless the attached loop is the
 * main one: then they come with its next turn. */
void block_backend_cancel(struct block_backend *backend);
/* The guest has moved the tray of its drive: tells clients. Any thread. */
void block_backend_tray_moved(struct block_backend *backend, bool open);
/* A request that made no sense, for the statistics. Any thread. */
void block_backend_account_invalid(struct block_backend *backend, enum block_op op);

/* Between these two, requests of the calling I/O thread are gathered and reach the host together.
 */
void block_graph_plug(struct block_graph *graph);
void block_graph_unplug(struct block_graph *graph);

/* Reads all of a small medium now (firmware images); main thread, blocks. */
int block_backend_read(struct block_backend *backend, uint64_t offset, void *buf, uint64_t bytes);
int block_backend_write(struct block_backend *backend, uint64_t offset, const void *buf,
                        uint64_t bytes);

#endif
