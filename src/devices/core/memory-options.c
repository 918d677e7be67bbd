/*
 * What the options of a memory back end say: of which size, from where, and where on the host.
 */
#include "devices/core/object.h"

#include "qapi-visit.h"
#include "qapi/keyval.h"
#include <linux/mempolicy.h>
#include <string.h>

/* The members that all kinds have; the generated structs have no common part. */
#define COMMON(backing, p)                                                                         \
    do {                                                                                           \
        (backing)->prealloc = (p)->has_prealloc && (p)->prealloc;                                  \
        (backing)->prealloc_threads = (p)->has_prealloc_threads ? (p)->prealloc_threads : 1;       \
        (backing)->no_merge = (p)->has_merge && !(p)->merge;                                       \
        (backing)->no_dump = (p)->has_dump && !(p)->dump;                                          \
        (backing)->no_reserve = (p)->has_reserve && !(p)->reserve;                                 \
        (backing)->place.mode = (p)->has_policy ? (unsigned)(p)->policy : MPOL_DEFAULT;            \
        add_nodes(&(backing)->place, (p)->host_nodes);                                             \
    } while (0)

G_STATIC_ASSERT((int)HOST_MEM_POLICY_DEFAULT == MPOL_DEFAULT);
G_STATIC_ASSERT((int)HOST_MEM_POLICY_PREFERRED == MPOL_PREFERRED);
G_STATIC_ASSERT((int)HOST_MEM_POLICY_BIND == MPOL_BIND);
G_STATIC_ASSERT((int)HOST_MEM_POLICY_INTERLEAVE == MPOL_INTERLEAVE);

static void add_nodes(struct ram_place *place, const struct uint16_list *nodes)
{
    for (size_t i = 0; nodes && i < nodes->n; i++) {
        if (nodes->v[i] < RAM_HOST_NODES) {
            place->nodes[nodes->v[i] / 64] |= 1ull << nodes->v[i] % 64;
        }
    }
}

bool object_options_memory(const struct object_options *options, uint64_t *bytes,
                           struct ram_backing *backing)
{
    const struct memory_backend_file_properties *file = &options->u.memory_backend_file;
    const struct memory_backend_memfd_properties *memfd = &options->u.memory_backend_memfd;
    const struct memory_backend_properties *p = &options->u.memory_backend_ram;

    switch (options->qom_type) {
    case OBJECT_TYPE_MEMORY_BACKEND_FILE:
        *bytes = file->size;
        *backing =
            (struct ram_backing){.path = file->mem_path,
                                 .align = file->has_align ? file->align : 0,
                                 .discard_data = file->has_discard_data && file->discard_data,
                                 .share = file->has_share && file->share};
        COMMON(backing, file);
        return true;
    case OBJECT_TYPE_MEMORY_BACKEND_MEMFD:
        *bytes = memfd->size;
        *backing =
            (struct ram_backing){.memfd = true,
                                 .hugetlb = memfd->has_hugetlb && memfd->hugetlb,
                                 .hugetlb_bytes = memfd->has_hugetlbsize ? memfd->hugetlbsize : 0,
                                 .seal = !memfd->has_seal || memfd->seal,
                                 .share = !memfd->has_share || memfd->share};
        COMMON(backing, memfd);
        return true;
    case OBJECT_TYPE_MEMORY_BACKEND_RAM:
        *bytes = p->size;
        *backing = (struct ram_backing){.share = p->has_share && p->share};
        COMMON(backing, p);
        return true;
    default:
        return false;
    }
}

#define COMPLETE(p, member, value)                                                                 \
    do {                                                                                           \
        (p)->has_##member = true;                                                                  \
        (p)->member = (value);                                                                     \
    } while (0)

#define COMPLETE_COMMON(p, backing)                                                                \
    do {                                                                                           \
        COMPLETE(p, dump, !(backing)->no_dump);                                                    \
        COMPLETE(p, merge, !(backing)->no_merge);                                                  \
        COMPLETE(p, policy, (enum host_mem_policy)(backing)->place.mode);                          \
        COMPLETE(p, prealloc, (backing)->prealloc);                                                \
        COMPLETE(p, prealloc_threads, (backing)->prealloc_threads);                                \
        COMPLETE(p, reserve, !(backing)->no_reserve);                                              \
        COMPLETE(p, share, (backing)->share);                                                      \
        COMPLETE(p, x_use_canonical_path_for_ramblock_id,                                          \
                 (p)->has_x_use_canonical_path_for_ramblock_id &&                                  \
                     (p)->x_use_canonical_path_for_ramblock_id);                                   \
        (p)->host_nodes = (p)->host_nodes ? (p)->host_nodes : uint16_list_new();                   \
    } while (0)

struct object_options *object_options_complete(const struct object_options *options)
{
    struct object_options *o = object_options_clone(options);
    struct memory_backend_file_properties *file = &o->u.memory_backend_file;
    struct memory_backend_memfd_properties *memfd = &o->u.memory_backend_memfd;
    struct memory_backend_properties *ram = &o->u.memory_backend_ram;
    struct ram_backing b;
    uint64_t bytes;

    if (!object_options_memory(options, &bytes, &b)) {
        return o;
    }
    if (o->qom_type == OBJECT_TYPE_MEMORY_BACKEND_FILE) {
        COMPLETE_COMMON(file, &b);
        COMPLETE(file, align, b.align);
        COMPLETE(file, discard_data, b.discard_data);
    } else if (o->qom_type == OBJECT_TYPE_MEMORY_BACKEND_MEMFD) {
        COMPLETE_COMMON(memfd, &b);
        COMPLETE(memfd, hugetlb, b.hugetlb);
        COMPLETE(memfd, hugetlbsize, b.hugetlb_bytes);
        COMPLETE(memfd, seal, b.seal);
    } else {
        COMPLETE_COMMON(ram, &b);
    }
    return o;
}

static const struct uint16_list *host_nodes(const struct object_options *options)
{
    return options->qom_type == OBJECT_TYPE_MEMORY_BACKEND_FILE
               ? options->u.memory_backend_file.host_nodes
           : options->qom_type == OBJECT_TYPE_MEMORY_BACKEND_MEMFD
               ? options->u.memory_backend_memfd.host_nodes
               : options->u.memory_backend_ram.host_nodes;
}

bool object_options_check_memory(const struct object_options *options, GError **error)
{
    const struct uint16_list *nodes = host_nodes(options);
    const char *kind = object_type_str(options->qom_type);
    struct ram_backing b;
    uint64_t bytes;

    object_options_memory(options, &bytes, &b);
    for (size_t i = 0; nodes && i < nodes->n; i++) {
        if (nodes->v[i] >= RAM_HOST_NODES) {
            g_set_error(error, DEVICE_ERROR, 0, "Invalid host-nodes value: %u", nodes->v[i]);
            return false;
        }
    }
    if (bytes == 0) {
        g_set_error(error, DEVICE_ERROR, 0, "property 'size' of %s doesn't take value '0'", kind);
    } else if (b.prealloc_threads == 0) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "property 'prealloc-threads' of %s doesn't take value '0'", kind);
    } else if (b.prealloc && b.no_reserve) {
        g_set_error(error, DEVICE_ERROR, 0, "'prealloc=on' and 'reserve=off' are incompatible");
    } else if (b.hugetlb_bytes & (b.hugetlb_bytes - 1)) {
        g_set_error(error, DEVICE_ERROR, 0, "Hugepage size must be a power of 2");
    } else if (b.align % GUEST_PAGE_SIZE != 0) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "alignment 0x%" G_GINT64_MODIFIER "x must be multiples of page size 0x%x",
                    b.align, GUEST_PAGE_SIZE);
    } else if (b.align & (b.align - 1)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "alignment 0x%" G_GINT64_MODIFIER "x must be a power of two", b.align);
    } else if (b.place.mode == MPOL_DEFAULT && nodes && nodes->n > 0) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "host-nodes must be empty for policy default, or you should explicitly specify "
                    "a policy other than default");
    } else if (b.place.mode != MPOL_DEFAULT && (!nodes || nodes->n == 0)) {
        g_set_error(error, DEVICE_ERROR, 0, "host-nodes must be set for policy %s",
                    host_mem_policy_str((enum host_mem_policy)b.place.mode));
    } else {
        return true;
    }
    return false;
}

/* ---- host-nodes=0-3,host-nodes=5 */

/* "5" or "0-3", to the end of the text. */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    *first = *last = g_ascii_strtoull(text, &end, 0);
    if (*end == '-' && g_ascii_isdigit(end[1])) {
        *last = g_ascii_strtoull(end + 1, &end, 0);
    }
    return !*end && *first <= *last && *last <= UINT16_MAX;
}

/* The nodes as elements of a list, at which *n more than nothing are. */
static bool write_range(GString *out, const char *text, unsigned *n, GError **error)
{
    uint64_t first, last;

    if (!parse_range(text, &first, &last)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "Parameter 'host-nodes' expects a uint64 value or range");
        return false;
    }
    for (uint64_t node = first; node <= last; node++) {
        g_string_append_printf(out, "%shost-nodes.%u=%u", node == first ? "" : ",", (*n)++,
                               (unsigned)node);
    }
    return true;
}

struct object_options *object_options_parse(const char *text, GError **error)
{
    static const char key[] = "host-nodes=";
    g_autoptr(GString) out = g_string_new(NULL);
    g_auto(GStrv) items = NULL;
    unsigned n = 0;

    if (*text == '{' || !strstr(text, key)) {
        return object_options_from_keyval(text, "qom-type", error);
    }
    /* A doubled comma leaves an empty item, and comes out as it went in. */
    items = g_strsplit(text, ",", -1);
    for (unsigned i = 0; items[i]; i++) {
        bool is_value = i > 1 && !*items[i - 1]; /* goes on after such a comma */

        g_string_append(out, i ? "," : "");
        if (is_value || !g_str_has_prefix(items[i], key)) {
            g_string_append(out, items[i]);
        } else if (!write_range(out, items[i] + sizeof(key) - 1, &n, error)) {
            return NULL;
        }
    }
    return object_options_from_keyval(out->str, "qom-type", error);
}
