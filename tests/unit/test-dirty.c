/* Dirty logs without a vCPU: what is written is named, to each client by itself. */
#include "memory/dirty.h"
#include <string.h>

#define PAGES 130

struct fixture {
    struct address_space *as;
    struct ram_block *ram;
    struct region region;
    struct map_listener listener;
    unsigned changed, collected, parked;
    bool logged;
};

static void park(void *f)
{
    ((struct fixture *)f)->parked++;
}

static void unpark(void *f)
{
    ((struct fixture *)f)->parked--;
}

static struct fixture *of(struct map_listener *l)
{
    return (void *)((uint8_t *)l - offsetof(struct fixture, listener));
}

static void map_changed(struct map_listener *l, const struct flat_view *view)
{
}

static void log_changed(struct map_listener *l, struct ram_block *ram)
{
    of(l)->changed++;
    of(l)->logged = dirty_logged(ram);
    g_assert_cmpuint(of(l)->parked, ==, 1);
}

/* An accelerator that has noted page 7. */
static void log_collect(struct map_listener *l, struct ram_block *ram)
{
    of(l)->collected++;
    g_assert_cmpuint(of(l)->parked, ==, 1);
    dirty_mark(ram, 7 * 4096 + 5, 1);
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->as = address_space_new("memory", UINT64_MAX);
    f->ram = ram_block_new("ram", PAGES * 4096, NULL);
    f->region =
        (struct region){.name = "ram", .kind = REGION_RAM, .size = PAGES * 4096, .ram = f->ram};
    address_space_map(f->as, 0x10000, &f->region, 0);
    f->listener.changed = map_changed;
    f->listener.log_changed = log_changed;
    f->listener.log_collect = log_collect;
    address_space_add_listener(f->as, &f->listener);
    f->as->guard = (struct map_guard){park, unpark, f};
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    g_assert_false(f->logged);
    address_space_remove_listener(f->as, &f->listener);
    f->as->guard = (struct map_guard){0};
    address_space_free(f->as);
    ram_block_free(f->ram);
}

static bool named(const uint64_t *bitmap, unsigned page)
{
    return bitmap[page / 64] >> (page % 64) & 1;
}

static void test_writes(struct fixture *f, gconstpointer unused)
{
    struct dirty_log *log;
    uint64_t bitmap[3] = {0};

    address_space_write(f->as, 0x10000, "x", 1); /* before anybody asks */
    log = dirty_log_new(f->as, f->ram, NULL);
    g_assert_true(f->logged);
    g_assert_cmpuint(dirty_log_words(log), ==, 3);
    address_space_write(f->as, 0x10000 + 2 * 4096 - 1, "xy", 2);
    address_space_io_write(f->as, 0x10000 + 129 * 4096, 1, 4);
    dirty_mark(f->ram, 64 * 4096, 1);
    dirty_mark(f->ram, PAGES * 4096, 1); /* behind the end */
    dirty_mark(f->ram, 0, 0);
    g_assert_cmpuint(dirty_log_take(log, bitmap), ==, 5);
    for (unsigned page = 0; page < PAGES; page++) {
        bool wanted = page == 1 || page == 2 || page == 129 || page == 64 || page == 7;

        g_assert_true(named(bitmap, page) == wanted);
    }
    g_assert_cmpuint(dirty_log_take(log, bitmap), ==, 1); /* page 7 again */
    g_assert_true(named(bitmap, 129));                    /* it only adds */
    dirty_log_free(log);
    g_assert_cmpuint(f->changed, ==, 2);
    g_assert_cmpuint(f->collected, ==, 2);
}

static void test_clients(struct fixture *f, gconstpointer unused)
{
    struct dirty_log *log[DIRTY_LOGS_MAX];
    g_autoptr(GError) error = NULL;
    uint64_t bitmap[3] = {0};

    for (unsigned i = 0; i < DIRTY_LOGS_MAX; i++) {
        log[i] = dirty_log_new(f->as, f->ram, NULL);
    }
    g_assert_null(dirty_log_new(f->as, f->ram, &error));
    g_assert_nonnull(strstr(error->message, "'ram'"));
    dirty_mark(f->ram, 4096, 4096);
    g_assert_cmpuint(dirty_log_take(log[0], bitmap), ==, 2);
    g_assert_cmpuint(dirty_log_take(log[1], bitmap), ==, 2); /* its own */
    dirty_log_free(log[0]);
    dirty_mark(f->ram, 8192, 1);
    g_assert_cmpuint(dirty_log_take(log[1], bitmap), ==, 2); /* 2 and 7 */
    g_assert_cmpuint(dirty_log_take(log[3], bitmap), ==, 3); /* and 1 */
    for (unsigned i = 1; i < DIRTY_LOGS_MAX; i++) {
        dirty_log_free(log[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dirty/writes", struct fixture, NULL, set_up, test_writes, tear_down);
    g_test_add("/dirty/clients", struct fixture, NULL, set_up, test_clients, tear_down);
    return g_test_run();
}
