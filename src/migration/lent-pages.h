/*
 * Pages that are lent to a reader: put into a pipe as they are instead of copied (vmsplice(2)).
 * Whoever reads from it may pass them on the same way and look at them much later, so nobody writes
 * to a page again that was lent: it is let go, and another takes its place.
 */
#ifndef MIGRATION_LENT_PAGES_H
#define MIGRATION_LENT_PAGES_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lent_pages { /* zeroes: none yet */
    uint8_t *pages;
    size_t used;
    bool off;
};

/* Room for so many bytes that were never lent, on a page boundary; at most LENT_PAGES_BYTES. NULL:
 * there is none to be had. Valid until the next call. */
#define LENT_PAGES_BYTES (2u << 20)
uint8_t *lent_pages_room(struct lent_pages *l, size_t bytes);
/* So many bytes of it are lent. */
void lent_pages_lend(struct lent_pages *l, size_t bytes);
void lent_pages_finish(struct lent_pages *l);

#endif
