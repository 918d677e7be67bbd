/*
 * A ring of bytes in memory that both ends of a Unix socket share, which spares each byte a way
 * through the kernel.
 *
 * Who writes makes the ring and passes its descriptor along with the first bytes over the socket
 * (SCM_RIGHTS, unix(7)). Who reads and knows what it is takes it, and says so in the ring. Then who
 * writes goes on in the ring, and says there after how many bytes of the socket. Where somebody
 * stands between them and passes on only bytes, nobody takes the ring, and nothing is different.
 *
 * Neither side trusts the other: what is read is copied out before anybody looks at it, and indices
 * are checked at each use. The memory can't shrink (F_SEAL_SHRINK, fcntl(2)).
 *
 * One thread uses a ring on each side.
 */
#ifndef MIGRATION_CHANNEL_RING_H
#define MIGRATION_CHANNEL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct channel_ring;

/* For who writes. NULL: the host can't. */
struct channel_ring *channel_ring_new(void);
/* What is to be passed; -1 after channel_ring_passed(). */
int channel_ring_fd(const struct channel_ring *r);
void channel_ring_passed(struct channel_ring *r);
/* Whether it was taken. */
bool channel_ring_is_taken(const struct channel_ring *r);
/* All bytes after so many are in the ring. */
void channel_ring_switch(struct channel_ring *r, uint64_t bytes);

/* For who reads: what came, which is taken over. NULL: it is no such ring. */
struct channel_ring *channel_ring_take(int fd);
/* Whether the bytes after so many are in the ring. */
bool channel_ring_is_switched(const struct channel_ring *r, uint64_t bytes);

/* NULL is fine. */
void channel_ring_free(struct channel_ring *r);

/* As writev(2) and readv(2) of a descriptor that does not block. EAGAIN: it is full, or empty.
 * EPROTO: the other side has written nonsense. */
ssize_t channel_ring_write(struct channel_ring *r, const struct iovec *iov, int n);
ssize_t channel_ring_read(struct channel_ring *r, const struct iovec *iov, int n);
/* Until there is room, or something to be read, at most so long; may also return early. */
void channel_ring_wait_room(struct channel_ring *r, int64_t ns);
void channel_ring_wait_data(struct channel_ring *r, int64_t ns);
/* How many bytes are in it; all there can be, if that is nonsense. */
size_t channel_ring_unread(const struct channel_ring *r);

#endif
