/*
 * See lent-pages.h. The place is one large page of the host: one fault, then, for all that is
 * written to it. Without such pages copying is cheaper.
 */
#include "migration/lent-pages.h"

#include "memory/types.h"
#include <string.h>
#include <sys/mman.h>

/* Linux: Documentation/admin-guide/mm/transhuge.rst. */
static bool host_has_large_pages(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/sys/kernel/mm/transparent_hugepage/enabled", &text, NULL, NULL) &&
           !strstr(text, "[never]");
}

/* At a multiple of its size; NULL. */
static uint8_t *map(void)
{
    size_t bytes = 2 * LENT_PAGES_BYTES, before;
    uint8_t *all;

    if (!host_has_large_pages()) {
        return NULL;
    }
    all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               0);
    if (all == MAP_FAILED) {
        return NULL;
    }
    before = -(uintptr_t)all & (LENT_PAGES_BYTES - 1);
    if (before) {
        munmap(all, before);
    }
    munmap(all + before + LENT_PAGES_BYTES, bytes - before - LENT_PAGES_BYTES);
    madvise(all + before, LENT_PAGES_BYTES, MADV_HUGEPAGE);
    return all + before;
}

uint8_t *lent_pages_room(struct lent_pages *l, size_t bytes)
{
    if (l->off) {
        return NULL;
    }
    if (!l->pages) {
        l->pages = map();
        l->off = !l->pages;
    } else if (bytes > LENT_PAGES_BYTES - l->used) {
        l->off = madvise(l->pages, LENT_PAGES_BYTES, MADV_DONTNEED) != 0; /* locked memory stays */
        l->used = 0;
    }
    return l->off ? NULL : l->pages + l->used;
}

void lent_pages_lend(struct lent_pages *l, size_t bytes)
{
    l->used += (bytes + GUEST_PAGE_SIZE - 1) & ~(size_t)(GUEST_PAGE_SIZE - 1);
}

void lent_pages_finish(struct lent_pages *l)
{
    if (l->pages) {
        munmap(l->pages, LENT_PAGES_BYTES);
    }
    *l = (struct lent_pages){.off = true};
}
