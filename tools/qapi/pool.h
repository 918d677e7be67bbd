/*
 * Memory that lives until the end of one run over one schema. Everything that the compiler learns
 * from a schema points at everything else, so it is all freed at once.
 */
#ifndef QAPI_POOL_H
#define QAPI_POOL_H

#include <glib.h>
#include <stddef.h>

struct pool;

struct pool *pool_new(void);
void pool_free(struct pool *pool);

/* Zeroed memory, aligned for any type. Never NULL. */
void *pool_alloc(struct pool *pool, size_t size);
char *pool_strndup(struct pool *pool, const char *s, size_t n);
char *pool_strdup(struct pool *pool, const char *s);
char *pool_printf(struct pool *pool, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
