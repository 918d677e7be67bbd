/* Places for memory that is plugged in: see memory-slots.h. */
#include "devices/memory-slots.h"

#include "devices/core/object.h"
#include <inttypes.h>

#define MEMORY_KINDS                                                                               \
    (1u << OBJECT_TYPE_MEMORY_BACKEND_RAM | 1u << OBJECT_TYPE_MEMORY_BACKEND_FILE |                \
     1u << OBJECT_TYPE_MEMORY_BACKEND_MEMFD)

uint64_t memory_slots_plugged_bytes(const struct memory_slots *slots)
{
    uint64_t sum = 0;

    for (unsigned i = 0; slots && i < slots->n_ranges; i++) {
        sum += slots->range[i]->plugged;
    }
    return sum;
}

static uint64_t bytes_used(const struct memory_slots *slots)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < slots->n_ranges; i++) {
        sum += slots->range[i]->bytes;
    }
    return sum;
}

struct object *memory_take_backend(struct device_env *env, const char *memdev, GError **error)
{
    struct object *memory = object_use(env, memdev, MEMORY_KINDS, "memdev", error);

    if (memory && memory->users > 1) {
        g_set_error(error, DEVICE_ERROR, 0, "can't use already busy memdev: %s", memdev);
        object_release(memory);
        return NULL;
    }
    return memory;
}

/* Another range that these addresses meet; NULL: none. */
static const struct memory_range *in_the_way(const struct memory_slots *slots, gpa_t addr,
                                             uint64_t bytes)
{
    for (unsigned i = 0; i < slots->n_ranges; i++) {
        const struct memory_range *other = slots->range[i];

        if (addr < other->addr + other->bytes && other->addr < addr + bytes) {
            return other;
        }
    }
    return NULL;
}

static bool check_addr(const struct memory_slots *slots, const struct memory_range *range,
                       uint64_t align, GError **error)
{
    gpa_t addr = range->addr;
    const struct memory_range *other;

    if (addr % align) {
        g_set_error(error, DEVICE_ERROR, 0, "address must be aligned to 0x%" PRIx64 " bytes",
                    align);
        return false;
    }
    if (addr < slots->base || range->bytes > slots->bytes ||
        addr - slots->base > slots->bytes - range->bytes) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "can't add memory device [0x%" PRIx64 ":0x%" PRIx64
                    "], usable range for memory devices [0x%" PRIx64 ":0x%" PRIx64 "]",
                    addr, range->bytes, slots->base, slots->bytes);
        return false;
    }
    other = in_the_way(slots, addr, range->bytes);
    if (other) {
        g_set_error(error, DEVICE_ERROR, 0, "address range conflicts with memory device id='%s'",
                    other->dev->id ? other->dev->id : "(unnamed)");
        return false;
    }
    return true;
}

static bool choose_addr(const struct memory_slots *slots, struct memory_range *range,
                        uint64_t align, GError **error)
{
    gpa_t addr = (slots->base + align - 1) / align * align;
    const struct memory_range *other;

    if (range->addr) {
        return check_addr(slots, range, align, error);
    }
    while ((other = in_the_way(slots, addr, range->bytes))) {
        addr = (other->addr + other->bytes + align - 1) / align * align;
    }
    if (addr - slots->base > slots->bytes || range->bytes > slots->bytes - (addr - slots->base)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "could not find position in guest address space for memory device - memory "
                    "fragmented due to alignments");
        return false;
    }
    range->addr = addr;
    return true;
}

bool memory_place(struct memory_slots *slots, struct memory_range *range, uint64_t align,
                  GError **error)
{
    uint64_t used = bytes_used(slots);

    if (range->bytes % align) {
        g_set_error(error, DEVICE_ERROR, 0, "backend memory size must be multiple of 0x%" PRIx64,
                    align);
        return false;
    }
    if (range->bytes > slots->limit - used) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "not enough space, currently 0x%" PRIx64
                    " in use of total space for memory devices 0x%" PRIx64,
                    used, slots->limit);
        return false;
    }
    if (slots->n_ranges == MEMORY_RANGES_MAX) {
        g_set_error(error, DEVICE_ERROR, 0, "there are %u memory devices, which is the most",
                    MEMORY_RANGES_MAX);
        return false;
    }
    if (!choose_addr(slots, range, align, error)) {
        return false;
    }
    slots->range[slots->n_ranges++] = range;
    return true;
}

void memory_unplace(struct memory_slots *slots, struct memory_range *range)
{
    for (unsigned i = 0; slots && i < slots->n_ranges; i++) {
        if (slots->range[i] == range) {
            slots->range[i] = slots->range[--slots->n_ranges];
            return;
        }
    }
}
