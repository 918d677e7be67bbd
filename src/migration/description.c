/*
 * What a machine consists of, as far as a stream depends on it: making the description, and
 * comparing another machine's with this one. Every difference that matters is an error with both
 * sides' values.
 */
#include "migration/vmstate.h"

#include "base/log.h"
#include "cpu/vcpu-stream.h"
#include "devices/memory-slots.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio-mem.h"
#include "migration/record.h"
#include "qapi/json.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#define MAX_BYTES (4u << 20) /* of JSON */
#define MAX_DEPTH 8

/* ---- memory */

static void ram_free(gpointer data)
{
    struct vmstate_ram *ram = data;

    g_free(ram->name);
    g_free(ram);
}

static bool has_block(const GPtrArray *list, const struct ram_block *block)
{
    for (guint i = 0; i < list->len; i++) {
        if (((struct vmstate_ram *)list->pdata[i])->block == block) {
            return true;
        }
    }
    return false;
}

static bool has_name(const GPtrArray *list, const char *name)
{
    for (guint i = 0; i < list->len; i++) {
        if (strcmp(((struct vmstate_ram *)list->pdata[i])->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes name over; a number tells blocks of the same name apart. */
static void ram_add(GPtrArray *list, char *name, struct ram_block *block)
{
    struct vmstate_ram *ram = g_new(struct vmstate_ram, 1);
    g_autofree char *base = name;

    ram->block = block;
    ram->name = g_strdup(base);
    for (unsigned i = 1; has_name(list, ram->name); i++) {
        g_free(ram->name);
        ram->name = g_strdup_printf("%s#%u", base, i);
    }
    g_ptr_array_add(list, ram);
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    const struct vmstate_ram *one = *(const struct vmstate_ram *const *)a;
    const struct vmstate_ram *two = *(const struct vmstate_ram *const *)b;

    return strcmp(one->name, two->name);
}

GPtrArray *vmstate_ram_blocks(struct machine *m)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(ram_free);
    GHashTable *keys = devices_keys(&m->env);
    const struct flat_view *view = atomic_load(&m->mem->view);

    for (guint i = 0; m->env.ram && i < m->env.ram->len; i++) {
        const struct device_ram *ram = m->env.ram->pdata[i];

        ram_add(list,
                g_strdup_printf("%s/%s", (char *)g_hash_table_lookup(keys, ram->owner),
                                ram->block->name),
                ram->block);
    }
    for (unsigned i = 0; i < view->n; i++) { /* the board's own */
        struct ram_block *block = view->range[i].region->ram;

        if (block && !has_block(list, block)) {
            ram_add(list, g_strdup(block->name), block);
        }
    }
    g_hash_table_unref(keys);
    g_ptr_array_sort(list, by_name); /* not in the order in which it was plugged in */
    return list;
}

/* ---- making it */

static struct godwit_stream_device *describe_device(const struct device *dev, const char *key)
{
    struct godwit_stream_device *d = g_new0(struct godwit_stream_device, 1);

    d->name = g_strdup(key);
    d->class = g_strdup(dev->class->name);
    d->version = dev->class->state->version;
    if (dev->class->bus == BUS_PCI) {
        const struct pci_device *pci = (const struct pci_device *)dev;
        bool behind = pci->bus && pci->bus->bridge;

        d->address = g_strdup_printf("%02x.%x%s%s", pci->devfn >> 3, pci->devfn & 7,
                                     behind ? " on " : "", behind ? pci->bus->name : "");
    }
    if (device_is(dev, &pc_dimm_class)) {
        struct dimm_info dimm;

        pc_dimm_info(dev, &dimm);
        d->address = g_strdup_printf("0x%" PRIx64 " in slot %u", dimm.addr, dimm.slot);
    }
    if (device_is(dev, &virtio_mem_pci_class)) {
        struct virtio_mem_info mem;
        g_autofree char *slot = d->address;

        virtio_mem_info(dev, &mem);
        d->address = g_strdup_printf("%s, memory at 0x%" PRIx64 " in blocks of 0x%" PRIx64, slot,
                                     mem.addr, mem.block_bytes);
    }
    return d;
}

struct device_walk {
    GHashTable *keys;
    struct godwit_stream_device_list *list;
};

static void add_device(struct device *dev, void *opaque)
{
    struct device_walk *w = opaque;

    godwit_stream_device_list_append(w->list,
                                     describe_device(dev, g_hash_table_lookup(w->keys, dev)));
}

static struct godwit_stream_device_list *describe_devices(struct machine *m)
{
    struct device_walk w = {devices_keys(&m->env), godwit_stream_device_list_new()};

    devices_foreach(&m->env, add_device, &w);
    g_hash_table_unref(w.keys);
    return w.list;
}

static struct godwit_stream_memory_list *describe_memory(struct machine *m)
{
    struct godwit_stream_memory_list *list = godwit_stream_memory_list_new();
    g_autoptr(GPtrArray) blocks = vmstate_ram_blocks(m);

    for (guint i = 0; i < blocks->len; i++) {
        const struct vmstate_ram *ram = blocks->pdata[i];
        struct godwit_stream_memory *memory = g_new0(struct godwit_stream_memory, 1);

        memory->name = g_strdup(ram->name);
        memory->bytes = ram->block->size;
        godwit_stream_memory_list_append(list, memory);
    }
    return list;
}

static struct godwit_stream_description *describe(struct machine *m)
{
    struct godwit_stream_description *d = g_new0(struct godwit_stream_description, 1);
    uint32_t words[CPUS_FEATURE_WORDS_MAX];
    unsigned n = m->cpus ? cpus_feature_words(m->cpus, words) : 0;

    d->program = g_strdup("godwit " GODWIT_VERSION);
    d->machine = g_strdup(m->board->name);
    d->accelerator = g_strdup(m->cpus ? m->cpus->accel->name : "none");
    d->uuid = g_strdup(m->config->uuid);
    d->cpu_model = g_strdup(m->cpus ? cpus_model_name(m->cpus) : "none");
    d->cpu_features = uint32_list_new();
    for (unsigned i = 0; i < n; i++) {
        uint32_list_append(d->cpu_features, words[i]);
    }
    d->cpus = m->cpus ? m->cpus->n : 0;
    d->memory = describe_memory(m);
    d->devices = describe_devices(m);
    return d;
}

void vmstate_put_description(struct machine *m, GByteArray *out)
{
    struct godwit_stream_description *d = describe(m);
    g_autoptr(GString) json = g_string_new(NULL);
    size_t start = record_begin(out, "desc", 1);

    qapi_object_write(&godwit_stream_description_type, d, json);
    g_byte_array_append(out, (const uint8_t *)json->str, (guint)json->len);
    record_end(out, start);
    godwit_stream_description_free(d);
}

/* ---- comparing */

static struct godwit_stream_description *parse(const uint8_t *json, size_t bytes, GError **error)
{
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    struct json_object *object = NULL;
    struct godwit_stream_description *d = NULL;

    if (tokener && bytes && bytes <= MAX_BYTES) {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, (const char *)json, (int)bytes);
    }
    if (!object || json_tokener_get_parse_end(tokener) != bytes) {
        migration_refuse(error, "stream: its description is no JSON object of at most %u bytes",
                         MAX_BYTES);
    } else {
        d = qapi_object_read(&godwit_stream_description_type, QAPI_READ_JSON, object, error);
        if (!d) {
            g_prefix_error(error, "stream: its description: ");
        }
    }
    json_object_put(object);
    if (tokener) {
        json_tokener_free(tokener);
    }
    return d;
}

static const struct godwit_stream_memory *find_memory(const struct godwit_stream_memory_list *list,
                                                      const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(list->v[i]->name, name) == 0) {
            return list->v[i];
        }
    }
    return NULL;
}

static bool compare_memory(const struct godwit_stream_memory_list *there,
                           const struct godwit_stream_memory_list *here, GError **error)
{
    for (size_t i = 0; i < there->n; i++) {
        const struct godwit_stream_memory *a = there->v[i], *b = find_memory(here, a->name);

        if (!b) {
            return migration_refuse(
                error, "memory '%s': %" PRIu64 " bytes in the stream, none in this machine",
                a->name, a->bytes);
        }
        if (a->bytes != b->bytes) {
            return migration_refuse(
                error, "memory '%s': %" PRIu64 " bytes in the stream, %" PRIu64 " in this machine",
                a->name, a->bytes, b->bytes);
        }
        if (find_memory(there, a->name) != a) {
            return migration_refuse(error, "memory '%s' comes twice in the stream", a->name);
        }
    }
    for (size_t i = 0; i < here->n; i++) {
        if (!find_memory(there, here->v[i]->name)) {
            return migration_refuse(
                error, "memory '%s': none in the stream, %" PRIu64 " bytes in this machine",
                here->v[i]->name, here->v[i]->bytes);
        }
    }
    return true;
}

static const struct godwit_stream_device *find_device(const struct godwit_stream_device_list *list,
                                                      const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(list->v[i]->name, name) == 0) {
            return list->v[i];
        }
    }
    return NULL;
}

static bool compare_device(const struct godwit_stream_device *a,
                           const struct godwit_stream_device *b, GError **error)
{
    const char *there = a->address ? a->address : "none", *here = b->address ? b->address : "none";

    if (strcmp(a->class, b->class) != 0) {
        return migration_refuse(error, "device '%s': a %s in the stream, a %s in this machine",
                                a->name, a->class, b->class);
    }
    if (strcmp(there, here) != 0) {
        return migration_refuse(error,
                                "device '%s': its address is %s in the stream, %s in this machine",
                                a->name, there, here);
    }
    return true;
}

static bool compare_devices(const struct godwit_stream_device_list *there,
                            const struct godwit_stream_device_list *here, GError **error)
{
    for (size_t i = 0; i < there->n; i++) {
        const struct godwit_stream_device *a = there->v[i], *b = find_device(here, a->name);

        if (!b) {
            return migration_refuse(error, "device '%s': a %s in the stream, none in this machine",
                                    a->name, a->class);
        }
        if (!compare_device(a, b, error)) {
            return false;
        }
    }
    for (size_t i = 0; i < here->n; i++) {
        if (!find_device(there, here->v[i]->name)) {
            return migration_refuse(error, "device '%s': none in the stream, a %s in this machine",
                                    here->v[i]->name, here->v[i]->class);
        }
    }
    return true;
}

static bool compare_cpus(struct machine *m, const struct godwit_stream_description *there,
                         const struct godwit_stream_description *here, GError **error)
{
    g_autofree char *lacking = NULL;

    if (there->cpus != here->cpus) {
        return migration_refuse(error, "CPUs: %u in the stream, %u in this machine", there->cpus,
                                here->cpus);
    }
    if (strcmp(there->cpu_model, here->cpu_model) != 0) {
        return migration_refuse(error, "CPU model: '%s' in the stream, '%s' in this machine",
                                there->cpu_model, here->cpu_model);
    }
    lacking = m->cpus
                  ? cpus_lacking_features(m->cpus, there->cpu_features->v, there->cpu_features->n)
                  : NULL;
    return !lacking ||
           migration_refuse(error,
                            "CPU features of the stream's guest ('%s' on %s) that this machine "
                            "('%s' on %s) lacks: %s",
                            there->cpu_model, there->accelerator, here->cpu_model,
                            here->accelerator, lacking);
}

/* A machine that was given none may be any. */
static bool compare_uuids(const char *there, const char *here, GError **error)
{
    if (!there || !here) {
        if (there) {
            log_warn("migration: the source's UUID is %s, and this machine was given none", there);
        }
        return true;
    }
    return g_ascii_strcasecmp(there, here) == 0 ||
           migration_refuse(error, "UUID received is %s and local is %s", there, here);
}

static bool compare(struct machine *m, const struct godwit_stream_description *there,
                    const struct godwit_stream_description *here, bool check_uuid, GError **error)
{
    if (strcmp(there->machine, here->machine) != 0) {
        return migration_refuse(error, "machine type: '%s' in the stream, '%s' here",
                                there->machine, here->machine);
    }
    return (!check_uuid || compare_uuids(there->uuid, here->uuid, error)) &&
           compare_cpus(m, there, here, error) &&
           compare_memory(there->memory, here->memory, error) &&
           compare_devices(there->devices, here->devices, error);
}

bool vmstate_check_description(struct machine *m, const uint8_t *json, size_t bytes,
                               bool check_uuid, GError **error)
{
    struct godwit_stream_description *there = parse(json, bytes, error), *here;
    bool ok;

    if (!there) {
        return false;
    }
    here = describe(m);
    ok = compare(m, there, here, check_uuid, error);
    godwit_stream_description_free(there);
    godwit_stream_description_free(here);
    return ok;
}
