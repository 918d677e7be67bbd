/*
 * Connections that can be yanked: broken by a client because the other end does not answer any
 * more, while whoever waits for it still does. After QEMU's yank (qapi/yank.json of 7.2).
 *
 * Whoever has a connection lists it here, for as long as it can be broken from outside. The list is
 * the program's; any thread.
 */
#ifndef BASE_YANK_H
#define BASE_YANK_H

#include <stdbool.h>

enum yank_kind { YANK_BLOCK_NODE, YANK_CHARDEV, YANK_MIGRATION };

/* One entry. Several may have the same kind and id: they are one instance to clients. */
struct yank;

/* Lists a connection. id is copied; NULL for a migration. fn(opaque) breaks it, on any thread, with
 * the list locked: it must not wait, nor use the list. NULL: there is nothing to break just now,
 * but the instance exists. */
struct yank *yank_add(enum yank_kind kind, const char *id, void (*fn)(void *opaque), void *opaque);
/* The same for a connected socket, which is shut down. It must stay open until yank_remove(). */
struct yank *yank_add_socket(enum yank_kind kind, const char *id, int fd);
/* When it is back nobody breaks the connection any more. NULL is fine. */
void yank_remove(struct yank *yank);

/* Whether there is such an instance. */
bool yank_exists(enum yank_kind kind, const char *id);
/* Breaks what belongs to it. */
void yank_break(enum yank_kind kind, const char *id);
/* Each instance once, the oldest first. id: valid during the call. */
void yank_foreach(void (*each)(void *opaque, enum yank_kind kind, const char *id), void *opaque);

#endif
