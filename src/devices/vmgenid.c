/*
 * vmgenid: 16 bytes in the guest's memory that change when the machine goes on from an earlier
 * state (Microsoft's "Virtual Machine Generation ID"; QEMU's docs/specs/vmgenid). A guest that two
 * machines go on from would else use the same random numbers twice.
 *
 * The ACPI tables have the bytes, and a device (compatible with VM_Gen_Counter) whose method ADDR
 * tells where they are. A change is told by general purpose event 5. Firmware that places the
 * tables writes their address into the file "etc/vmgenid_addr" of fw_cfg (8 bytes, little-endian).
 */
#include "devices/vmgenid.h"

#include "devices/acpi-pm.h"
#include "devices/fw-cfg.h"
#include <string.h>
#include <sys/random.h>

#define FILE_NAME "etc/vmgenid_addr"

struct vmgenid_state {
    uint64_t addr; /* 0: not placed yet */
    uint8_t id[VMGENID_BYTES];
};

static const struct state_field vmgenid_fields[] = {
    STATE(struct vmgenid_state, addr), STATE_ARRAY(struct vmgenid_state, id), {0}};

static const struct state_desc vmgenid_state = {
    .name = "vmgenid",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct vmgenid_state),
    .fields = vmgenid_fields,
};

struct vmgenid {
    struct device dev;
    struct {
        char *guid;
        uint8_t id[VMGENID_BYTES]; /* that, if it is given */
        bool given;
    } cfg;
    struct vmgenid_state s;
};

const uint8_t *vmgenid_bytes(const struct device *dev)
{
    return ((const struct vmgenid *)dev)->s.id;
}

/* The first three fields of the text form are numbers, which memory has little-endian. */
static const uint8_t text_order[VMGENID_BYTES] = {3, 2, 1,  0,  5,  4,  7,  6,
                                                  8, 9, 10, 11, 12, 13, 14, 15};

char *vmgenid_text(const struct device *dev)
{
    const uint8_t *id = vmgenid_bytes(dev);
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < VMGENID_BYTES; i++) {
        g_string_append_printf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                               id[text_order[i]]);
    }
    return g_string_free(text, FALSE);
}

static bool parse(const char *text, uint8_t id[VMGENID_BYTES])
{
    unsigned n = 0;

    for (const char *p = text; *p; p++) {
        if (*p == '-' && (p - text == 8 || p - text == 13 || p - text == 18 || p - text == 23)) {
            continue;
        }
        if (n == VMGENID_BYTES || !g_ascii_isxdigit(p[0]) || !g_ascii_isxdigit(p[1])) {
            return false;
        }
        id[text_order[n++]] =
            (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p++;
    }
    return n == VMGENID_BYTES && strlen(text) == 36;
}

/* Version 4, RFC 4122. */
static void make(uint8_t id[VMGENID_BYTES])
{
    if (getrandom(id, VMGENID_BYTES, 0) != VMGENID_BYTES) {
        for (unsigned i = 0; i < VMGENID_BYTES; i++) {
            id[i] = (uint8_t)g_random_int();
        }
    }
    id[7] = (uint8_t)((id[7] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

/* The address is the guest's: what is not memory there stays as it is. */
static void tell(struct vmgenid *d)
{
    if (d->s.addr) {
        address_space_write(d->dev.env->mem, d->s.addr, d->s.id, VMGENID_BYTES);
    }
}

static void change(struct vmgenid *d, const uint8_t id[VMGENID_BYTES])
{
    struct device *pm = devices_find_class(d->dev.env, &acpi_pm_class);

    memcpy(d->s.id, id, VMGENID_BYTES);
    tell(d);
    if (pm) {
        acpi_pm_set_gpe(pm, VMGENID_GPE);
    }
}

void vmgenid_place(struct device *dev, gpa_t addr)
{
    struct vmgenid *d = (struct vmgenid *)dev;

    d->s.addr = addr;
    tell(d);
}

void vmgenid_renew(struct device *dev)
{
    struct vmgenid *d = (struct vmgenid *)dev;
    uint8_t id[VMGENID_BYTES];

    if (!d->cfg.given) {
        make(id);
        change(d, id);
    }
}

static void written(void *opaque, const uint8_t *data, size_t length)
{
    struct vmgenid *d = opaque;
    uint64_t addr = 0;

    memcpy(&addr, data, MIN(length, sizeof(addr)));
    if (addr) { /* zero: it was reset; a board without firmware places it itself */
        vmgenid_place(&d->dev, GUINT64_FROM_LE(addr));
    }
}

static bool vmgenid_realize(struct device *dev, GError **error)
{
    static const uint8_t nowhere[8];
    struct vmgenid *d = (struct vmgenid *)dev;
    struct device *fw = devices_find_class(dev->env, &fw_cfg_class);

    if (devices_find_class(dev->env, &vmgenid_class)) {
        g_set_error(error, DEVICE_ERROR, 0, "at most one vmgenid device is permitted");
        return false;
    }
    if (!fw) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "vmgenid requires fw_cfg, which this machine does not have");
        return false;
    }
    d->cfg.given = d->cfg.guid && strcmp(d->cfg.guid, "auto") != 0;
    if (d->cfg.given && !parse(d->cfg.guid, d->cfg.id)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "vmgenid: guid '%s' is neither 'auto' nor like "
                    "00112233-4455-6677-8899-aabbccddeeff",
                    d->cfg.guid);
        return false;
    }
    if (d->cfg.given) {
        memcpy(d->s.id, d->cfg.id, VMGENID_BYTES);
    } else {
        make(d->s.id);
    }
    return fw_cfg_add_writable_file(fw, FILE_NAME, nowhere, sizeof(nowhere), written, d, error);
}

static void vmgenid_reset(struct device *dev, enum reset_kind kind)
{
    if (kind != RESET_WAKE) { /* who places it does so again */
        ((struct vmgenid *)dev)->s.addr = 0;
    }
}

/* A generation that its user gave holds for what was loaded, too. */
static bool vmgenid_post_load(struct device *dev, GError **error)
{
    struct vmgenid *d = (struct vmgenid *)dev;

    if (d->cfg.given && memcmp(d->s.id, d->cfg.id, VMGENID_BYTES) != 0) {
        change(d, d->cfg.id);
    }
    return true;
}

static const struct property vmgenid_props[] = {
    {"guid", PROP_STRING, offsetof(struct vmgenid, cfg.guid),
     .help = "the identifier, or auto: a new one for each generation"},
    {0},
};

const struct device_class vmgenid_class = {
    .name = "vmgenid",
    .help = "tells the guest when it goes on from an earlier state",
    .bus = BUS_NONE,
    .size = sizeof(struct vmgenid),
    .props = vmgenid_props,
    .state = &vmgenid_state,
    .state_offset = offsetof(struct vmgenid, s),
    .realize = vmgenid_realize,
    .reset = vmgenid_reset,
    .post_load = vmgenid_post_load,
};
