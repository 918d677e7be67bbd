/*
 * A bump allocator over chunks.
 */
#include "pool.h"

#include <string.h>

/* The sanitizers' builds set 0: then each piece is its own allocation, and overruns show. */
#ifndef CHUNK_BYTES
#define CHUNK_BYTES (64 * 1024)
#endif
#define ALIGNMENT 16

struct pool {
    GPtrArray *chunks;
    char *next;
    size_t left;
};

struct pool *pool_new(void)
{
    struct pool *pool = g_new0(struct pool, 1);

    pool->chunks = g_ptr_array_new_with_free_func(g_free);
    return pool;
}

void pool_free(struct pool *pool)
{
    if (pool) {
        g_ptr_array_free(pool->chunks, TRUE);
        g_free(pool);
    }
}

void *pool_alloc(struct pool *pool, size_t size)
{
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *block;

    if (rounded > pool->left) {
        size_t chunk = MAX(rounded, CHUNK_BYTES);

        pool->next = g_malloc0(chunk);
        pool->left = chunk;
        g_ptr_array_add(pool->chunks, pool->next);
    }
    block = pool->next;
    pool->next += rounded;
    pool->left -= rounded;
    return block;
}

char *pool_strndup(struct pool *pool, const char *s, size_t n)
{
    char *copy = pool_alloc(pool, n + 1);

    memcpy(copy, s, n);
    return copy;
}

char *pool_strdup(struct pool *pool, const char *s)
{
    return pool_strndup(pool, s, strlen(s));
}

char *pool_printf(struct pool *pool, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    return pool_strdup(pool, text);
}
