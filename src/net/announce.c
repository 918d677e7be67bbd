/*
 * Announcements: a reverse ARP request (RFC 903) that asks for nothing, by broadcast from a card's
 * address, shows every switch on its way which port the card is behind.
 */
#include "net/announce.h"

#include <string.h>

#define FRAME_BYTES 60 /* the shortest there is */
#define MAX_ROUNDS  1000
#define MAX_MS      100000

struct series {
    struct announcer *announcer;
    struct announce_parameters *how;
    int64_t left;
    GSource *timer; /* NULL: not set */
};

struct announcer {
    struct loop *main;
    const GPtrArray *cards;
    void (*send)(struct net_card *, const uint8_t *, size_t);
    GHashTable *series; /* by name */
};

static void series_free(gpointer data)
{
    struct series *s = data;

    if (s->timer) {
        g_source_destroy(s->timer);
        g_source_unref(s->timer);
    }
    announce_parameters_free(s->how);
    g_free(s);
}

struct announcer *announcer_new(struct loop *main, const GPtrArray *cards,
                                void (*send)(struct net_card *, const uint8_t *, size_t))
{
    struct announcer *a = g_new0(struct announcer, 1);

    a->main = main;
    a->cards = cards;
    a->send = send;
    a->series = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, series_free);
    return a;
}

void announcer_free(struct announcer *a)
{
    if (a) {
        g_hash_table_unref(a->series);
        g_free(a);
    }
}

static void make_frame(const uint8_t mac[6], uint8_t frame[FRAME_BYTES])
{
    static const uint8_t head[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3}; /* type; request reverse */

    memset(frame, 0, FRAME_BYTES);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, head, sizeof(head));
    memcpy(frame + 22, mac, 6); /* who asks, and of whom */
    memcpy(frame + 32, mac, 6);
}

static bool is_listed(const struct str_list *list, const char *name)
{
    for (size_t i = 0; list && i < list->n; i++) {
        if (strcmp(list->v[i], name) == 0) {
            return true;
        }
    }
    return !list;
}

static void announce(struct series *s)
{
    const GPtrArray *cards = s->announcer->cards;

    for (guint i = 0; i < cards->len; i++) {
        struct net_card *card = cards->pdata[i];
        uint8_t mac[6], frame[FRAME_BYTES];

        if (is_listed(s->how->interfaces, card->name)) {
            net_card_mac(card, mac);
            make_frame(mac, frame);
            s->announcer->send(card, frame, sizeof(frame));
            card->ops->announce(card->opaque);
        }
    }
}

/* Announces and sets the time of the next; false: that was the last one. */
static bool series_step(struct series *s)
{
    int64_t wait_ms = s->how->initial + (s->how->rounds - s->left) * s->how->step;

    announce(s);
    if (--s->left == 0) {
        return false;
    }
    g_source_set_ready_time(s->timer, g_get_monotonic_time() + 1000 * MIN(wait_ms, s->how->max));
    return true;
}

static const char *series_name(const struct series *s)
{
    return s->how->id ? s->how->id : "";
}

static gboolean timer_fired(gpointer data)
{
    struct series *s = data;

    if (!series_step(s)) {
        g_hash_table_remove(s->announcer->series, series_name(s));
    }
    return G_SOURCE_CONTINUE;
}

static gboolean timer_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    g_source_set_ready_time(source, -1);
    return fn(data);
}

static GSourceFuncs timer_funcs = {.dispatch = timer_dispatch};

static bool check_range(const char *name, int64_t value, int64_t min, int64_t max, GError **error)
{
    if (value < min || value > max) {
        g_set_error(error, NET_ERROR, 0,
                    "Parameter '%s' expects a value between %" G_GINT64_FORMAT
                    " and %" G_GINT64_FORMAT,
                    name, min, max);
        return false;
    }
    return true;
}

bool announcer_start(struct announcer *a, const struct announce_parameters *how, GError **error)
{
    struct series *s;

    if (!check_range("initial", how->initial, 0, MAX_MS, error) ||
        !check_range("max", how->max, 0, MAX_MS, error) ||
        !check_range("rounds", how->rounds, 0, MAX_ROUNDS, error) ||
        !check_range("step", how->step, 0, MAX_MS, error)) {
        return false;
    }
    if (how->rounds == 0) {
        g_hash_table_remove(a->series, how->id ? how->id : "");
        return true;
    }
    s = g_new0(struct series, 1);
    s->announcer = a;
    s->how = announce_parameters_clone(how);
    s->left = how->rounds;
    s->timer = g_source_new(&timer_funcs, sizeof(GSource));
    g_source_set_callback(s->timer, timer_fired, s, NULL);
    g_source_attach(s->timer, a->main->context);
    g_hash_table_replace(a->series, g_strdup(series_name(s)), s);
    if (!series_step(s)) {
        g_hash_table_remove(a->series, series_name(s));
    }
    return true;
}
