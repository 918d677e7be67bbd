/*
 * vhost: virtqueues that the host's kernel serves (linux/vhost.h; Linux
 * drivers/vhost). The kernel reads and writes rings and buffers by itself; doorbells and interrupts
 * are eventfds, which KVM passes on without this process.
 *
 * A device of the kernel's serves a few neighbouring queues of a virtio device, between
 * vhost_start() and vhost_stop(), which are called from virtio_ops.lend and .recall. Where the
 * kernel has got to is read back with each stop, so that a stopped queue is like any other: it can
 * be saved, served here, or started again.
 *
 * The kernel is told of the guest's memory, as the map changes, and of nothing else: a ring that is
 * not in it, or moves away while it is served, breaks the virtio device, and so does what the
 * kernel itself finds wrong in a ring. What the kernel writes is told to whoever wants to know:
 * dirty logs, and processors that keep decoded code.
 *
 * Main thread or machine lock throughout.
 */
#ifndef DEVICES_VIRTIO_VHOST_H
#define DEVICES_VIRTIO_VHOST_H

#include "devices/virtio/vhost-memory.h"
#include "devices/virtio/virtio.h"

struct vhost;

/* Features that the kernel has to have for the guest to be offered them, beyond the device's own.
 */
#define VHOST_CORE_FEATURES                                                                        \
    (VIRTIO_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                   \
     VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_VERSION_1))

/* Sets the device of the kernel's to work, or stops it: when it returns the rings are still. A stop
 * does not fail. */
typedef bool (*vhost_run_fn)(struct vhost *h, bool on, void *opaque, GError **error);

/* A descriptor of that file of /dev; -1 and *error, which says what is missing. */
int vhost_open(const char *path, GError **error);
/* fd: of vhost_open() or from the user; taken over also on failure. path: what it is, for messages;
 * constant. The queues are v->queue[first] and those after it; n at most 2. v is initialised, and
 * finished after vhost_free(). */
struct vhost *vhost_new(struct virtio *v, int fd, const char *path, unsigned first, unsigned n,
                        vhost_run_fn run, void *opaque, GError **error);
void vhost_free(struct vhost *h); /* stopped; NULL is fine */
uint64_t vhost_features(const struct vhost *h);
/* Of what is to be offered, what can be with the kernel: `own`, the device's own features that it
 * needs to have, VHOST_CORE_FEATURES, and neither packed rings nor resets of single queues. */
uint64_t vhost_offer(const struct vhost *h, uint64_t offered, uint64_t own);
/* An ioctl(2) of the kernel's device, repeated after signals: -errno on failure. */
int vhost_call(const struct vhost *h, unsigned long request, const void *arg);

/* Lends the queues. features: the kernel's, of those that the guest accepted and others. Nothing
 * when it runs already, or a queue is not enabled. false: the queues are back already, and *error
 * says what the kernel would not do. */
bool vhost_start(struct vhost *h, uint64_t features, GError **error);
/* All is as if the queues had been served here; nothing when it does not run. */
void vhost_stop(struct vhost *h);
bool vhost_is_running(const struct vhost *h);

#endif
