/*
 * What the driver nbd uses of libnbd, which is loaded with the first node of it (base/library.h):
 * with its own needs (TLS, XML, names of hosts in all writings) it is seventeen libraries.
 */
#ifndef BLOCK_NBD_LIBRARY_H
#define BLOCK_NBD_LIBRARY_H

#include <glib.h>

struct nbd_library;

#ifdef HAVE_LIBNBD
#include <libnbd.h>

#define NBD_FUNCTIONS(X)                                                                           \
    X(aio_connect_tcp)                                                                             \
    X(aio_connect_unix)                                                                            \
    X(aio_disconnect)                                                                              \
    X(aio_flush)                                                                                   \
    X(aio_get_direction)                                                                           \
    X(aio_get_fd)                                                                                  \
    X(aio_is_closed)                                                                               \
    X(aio_is_dead)                                                                                 \
    X(aio_is_processing)                                                                           \
    X(aio_is_ready)                                                                                \
    X(aio_notify_read)                                                                             \
    X(aio_notify_write)                                                                            \
    X(aio_pread)                                                                                   \
    X(aio_pwrite)                                                                                  \
    X(aio_trim)                                                                                    \
    X(aio_zero)                                                                                    \
    X(can_flush)                                                                                   \
    X(can_trim)                                                                                    \
    X(can_zero)                                                                                    \
    X(close)                                                                                       \
    X(create)                                                                                      \
    X(get_block_size)                                                                              \
    X(get_errno)                                                                                   \
    X(get_error)                                                                                   \
    X(get_size)                                                                                    \
    X(is_read_only)                                                                                \
    X(poll)                                                                                        \
    X(set_export_name)                                                                             \
    X(set_tls)

struct nbd_library {
#define NBD_MEMBER(name) __typeof__(nbd_##name) *name;
    NBD_FUNCTIONS(NBD_MEMBER)
#undef NBD_MEMBER
};

#endif

/* A struct nbd_library, for good; NULL: it is not there, or the program was built without it. */
const struct nbd_library *nbd_library_load(GError **error);

#endif
