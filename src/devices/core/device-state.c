/*
 * The state of a machine's devices as a stream: see device.h and base/state.h.
 *
 *   devices := number of devices (32 bits), device...
 *   device  := key, section, number of sections (32 bits), section...
 *
 * The sections that are counted are requests that the device had under way.
 *
 * A key is "/ID" for a device that its user named, else its class and its number among those of its
 * class that have no name: "isa-serial#0".
 */
#include "devices/core/device.h"
#include <inttypes.h>
#include <string.h>

#define KEY_MAX 255

struct walk {
    GPtrArray *all;    /* struct device */
    GHashTable *class; /* name -> how many without an id so far, plus 1 */
};

static char *device_key(struct walk *w, const struct device *dev)
{
    unsigned n;

    if (dev->id) {
        char *key = g_strdup_printf("/%s", dev->id);

        if (strlen(key) > KEY_MAX) {
            key[KEY_MAX] = '\0';
        }
        return key;
    }
    n = GPOINTER_TO_UINT(g_hash_table_lookup(w->class, dev->class->name));
    g_hash_table_insert(w->class, (char *)dev->class->name, GUINT_TO_POINTER(n + 1));
    return g_strdup_printf("%s#%u", dev->class->name, n);
}

static void collect(struct device *dev, void *opaque)
{
    struct walk *w = opaque;

    g_ptr_array_add(w->all, dev);
}

static struct walk walk_new(struct device_env *env)
{
    struct walk w = {g_ptr_array_new(), g_hash_table_new(g_str_hash, g_str_equal)};

    devices_foreach(env, collect, &w);
    return w;
}

static void walk_free(struct walk *w)
{
    g_ptr_array_unref(w->all);
    g_hash_table_unref(w->class);
}

GHashTable *devices_keys(struct device_env *env)
{
    GHashTable *keys = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    struct walk w = walk_new(env);

    for (guint i = 0; i < w.all->len; i++) {
        g_hash_table_insert(keys, w.all->pdata[i], device_key(&w, w.all->pdata[i]));
    }
    walk_free(&w);
    return keys;
}

static void *device_state(struct device *dev)
{
    return (uint8_t *)dev + dev->class->state_offset;
}

static void save_requests(struct device *dev, GByteArray *out)
{
    g_autoptr(GByteArray) sections = g_byte_array_new();
    unsigned n = dev->class->save_requests ? dev->class->save_requests(dev, sections) : 0;

    state_put_number(out, n, 4);
    g_byte_array_append(out, sections->data, sections->len);
}

void devices_save(struct device_env *env, GByteArray *out)
{
    struct walk w = walk_new(env);

    state_put_number(out, w.all->len, 4);
    for (guint i = 0; i < w.all->len; i++) {
        struct device *dev = w.all->pdata[i];
        g_autofree char *key = device_key(&w, dev);

        state_put_name(out, key);
        state_save(dev->class->state, device_state(dev), out);
        save_requests(dev, out);
    }
    walk_free(&w);
}

/* The devices by key. */
static GHashTable *devices_by_key(struct walk *w)
{
    GHashTable *table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; i < w->all->len; i++) {
        g_hash_table_insert(table, device_key(w, w->all->pdata[i]), w->all->pdata[i]);
    }
    return table;
}

/* What is loaded of a device when all have their state. */
struct requests {
    struct device *dev;
    unsigned n;
    struct state_input in;
};

/* Passes over sections, which are read later. */
static bool skip_requests(struct requests *r, struct state_input *in, const char *who,
                          GError **error)
{
    uint64_t n;

    if (!state_take_number(in, 4, &n) || n > in->left) {
        g_set_error(error, STATE_ERROR, 0, "%s: the stream ends within its requests", who);
        return false;
    }
    if (n && !r->dev->class->load_requests) {
        g_set_error(error, STATE_ERROR, 0, "%s: %u requests, and it never has any", who,
                    (unsigned)n);
        return false;
    }
    r->n = (unsigned)n;
    r->in = *in;
    for (uint64_t i = 0; i < n; i++) {
        if (!state_skip(in)) {
            g_set_error(error, STATE_ERROR, 0, "%s: its requests can't be read", who);
            return false;
        }
    }
    r->in.left -= in->left;
    return true;
}

static bool load_one(GHashTable *table, struct state_input *in, struct requests *r, GError **error)
{
    g_autofree char *who = NULL;
    char key[256];

    if (!state_take_name(in, key)) {
        g_set_error(error, STATE_ERROR, 0, "devices: the stream ends before all have come");
        return false;
    }
    r->dev = g_hash_table_lookup(table, key);
    if (!r->dev) {
        g_set_error(error, STATE_ERROR, 0, "devices: this machine has no '%s', or it comes twice",
                    key);
        return false;
    }
    who = g_strdup_printf("device '%s'", key);
    g_hash_table_remove(table, key);
    return state_load(r->dev->class->state, device_state(r->dev), in, who, error) &&
           skip_requests(r, in, who, error);
}

static bool finish_one(struct requests *r, GError **error)
{
    struct device *dev = r->dev;
    bool ok = !dev->class->post_load || dev->class->post_load(dev, error);

    ok = ok && (!dev->class->load_requests || dev->class->load_requests(dev, &r->in, r->n, error));
    if (!ok) {
        g_prefix_error(error, "device '%s': ", dev->id ? dev->id : dev->class->name);
    }
    return ok;
}

static bool load_all(struct walk *w, GHashTable *table, struct state_input *in, GError **error)
{
    g_autofree struct requests *requests = g_new0(struct requests, w->all->len + 1);
    uint64_t n;

    if (!state_take_number(in, 4, &n) || n != w->all->len) {
        g_set_error(error, STATE_ERROR, 0,
                    "devices: the stream is not of a machine with these %u devices", w->all->len);
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!load_one(table, in, &requests[i], error)) {
            return false;
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!finish_one(&requests[i], error)) {
            return false;
        }
    }
    return true;
}

bool devices_load(struct device_env *env, struct state_input *in, GError **error)
{
    struct walk w = walk_new(env);
    GHashTable *table = devices_by_key(&w);
    bool ok = load_all(&w, table, in, error);

    g_hash_table_unref(table);
    walk_free(&w);
    return ok;
}
