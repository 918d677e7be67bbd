/*
 * The display adapters that QEMU has made: VGA (1234:1111, a whole VGA with the Bochs display
 * interface) and bochs-display (the same without VGA, for systems that need no text), after QEMU's
 * docs/specs/standard-vga.
 *
 * BAR 0 is the memory, BAR 2 has registers: at 0x400 the VGA's (ports 0x3c0 to 0x3df), at 0x500 the
 * display interface's, at 0x600 how long the block is and the byte order. VGA has its BIOS in the
 * expansion ROM. Left out: EDID (reads as zero: no monitor tells of itself).
 */
#include "devices/display/pci-display.h"

#include "devices/display/display.h"
#include "devices/display/vga.h"
#include "devices/pci/pci.h"
#include <string.h>

#define REGISTER_BYTES 4096
#define REG_VGA        0x400
#define REG_VBE        0x500
#define REG_EXTENDED   0x600
#define EXTENDED_BYTES 8
#define REG_ORDER      0x1e1e1e1eu /* little-endian */

#define VGA_BIOS       "vgabios-stdvga.bin"

struct display_state {
    struct pci_state pci;
    struct vga_state vga;
};

static const struct state_field display_fields[] = {
    STATE_STRUCT(struct display_state, pci, pci_state_fields),
    STATE_STRUCT(struct display_state, vga, vga_state_fields),
    {0},
};

struct pci_display {
    struct pci_device pci;
    struct {
        uint32_t vgamem_mb; /* of VGA */
        uint64_t vgamem;    /* of bochs-display, in bytes */
    } cfg;
    struct display_state s;
    struct ram_block *vram;
    struct region memory, registers;
    struct vga vga;
    struct vbe *vbe; /* the VGA's, or own_vbe */
    struct vbe own_vbe;
};

static bool is_vga(const struct pci_display *d)
{
    return d->pci.dev.class == &vga_class;
}

/* ---- BAR 2 */

static uint64_t registers_read(void *opaque, gpa_t offset, unsigned size)
{
    struct pci_display *d = opaque;

    if (offset >= REG_VGA && offset < REG_VGA + VGA_PORTS_N && is_vga(d)) {
        return vga_port_read(&d->vga, VGA_PORTS + (unsigned)offset - REG_VGA);
    }
    if (offset >= REG_VBE && offset < REG_VBE + 2 * VBE_REGISTERS) {
        return vbe_read(d->vbe, (unsigned)(offset - REG_VBE) / 2) >> (8 * (offset & 1));
    }
    if (offset >= REG_EXTENDED && offset < REG_EXTENDED + EXTENDED_BYTES) {
        uint64_t value = EXTENDED_BYTES | (uint64_t)REG_ORDER << 32;

        return value >> (8 * (offset - REG_EXTENDED));
    }
    return 0;
}

static void registers_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pci_display *d = opaque;

    if (offset >= REG_VGA && offset < REG_VGA + VGA_PORTS_N && is_vga(d)) {
        for (unsigned i = 0; i < size; i++) {
            vga_port_write(&d->vga, VGA_PORTS + (unsigned)offset - REG_VGA + i,
                           (uint8_t)(value >> (8 * i)));
        }
    } else if (offset >= REG_VBE && offset < REG_VBE + 2 * VBE_REGISTERS && size == 2) {
        vbe_write(d->vbe, (unsigned)(offset - REG_VBE) / 2, (uint16_t)value);
    }
}

static const struct region_ops registers_ops = {
    .read = registers_read, .write = registers_write, .min_size = 1, .max_size = 2};

/* ---- the picture */

static void vga_device_render(struct device *dev, struct image *image)
{
    vga_render(&((struct pci_display *)dev)->vga, image);
}

static void bochs_render(struct device *dev, struct image *image)
{
    static const uint32_t black[256];
    const struct pci_display *d = (struct pci_display *)dev;

    if (vbe_enabled(d->vbe)) {
        vbe_render(d->vbe, black, image);
    } else {
        image_init(image, 640, 480);
    }
}

static const struct display_ops vga_ops = {.render = vga_device_render};
static const struct display_ops bochs_ops = {.render = bochs_render};

/* ---- class */

static bool memory_init(struct pci_display *d, GError **error)
{
    uint64_t bytes = is_vga(d) ? (uint64_t)d->cfg.vgamem_mb << 20 : d->cfg.vgamem;

    if (bytes < 1u << 20 || bytes > 256u << 20 || (bytes & (bytes - 1))) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "%s: %" G_GUINT64_FORMAT " bytes of video memory: it must be a power of two "
                    "from 1 to 256 MiB",
                    d->pci.dev.class->name, bytes);
        return false;
    }
    d->vram = ram_block_new("vga.vram", bytes, error);
    if (!d->vram) {
        return false;
    }
    device_add_ram(&d->pci.dev, d->vram);
    d->memory =
        (struct region){.name = "vga-memory", .kind = REGION_RAM, .size = bytes, .ram = d->vram};
    d->registers = (struct region){.name = "vga-registers",
                                   .kind = REGION_IO,
                                   .size = REGISTER_BYTES,
                                   .ops = &registers_ops,
                                   .opaque = d};
    return true;
}

static bool another_vga(struct pci_display *d, GError **error)
{
    if (is_vga(d) && devices_find_class(d->pci.dev.env, &vga_class)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "VGA: there is one already, and its ports and memory can't be shared (a second "
                    "display can be a bochs-display)");
        return true;
    }
    return false;
}

static bool pci_display_realize(struct device *dev, GError **error)
{
    struct pci_display *d = (struct pci_display *)dev;
    const struct pci_ids ids = {.vendor = 0x1234,
                                .device = 0x1111,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100,
                                .class = is_vga(d) ? 0x0300 : 0x0380,
                                .revision = 2};

    if (another_vga(d, error) || !pci_init(&d->pci, &d->s.pci, NULL, &ids, 0, error) ||
        !memory_init(d, error) || (is_vga(d) && !pci_standard_rom(&d->pci, VGA_BIOS, error))) {
        return false;
    }
    pci_add_bar(&d->pci, 0, PCI_BAR_PREFETCHABLE, &d->memory);
    pci_add_bar(&d->pci, 2, 0, &d->registers);
    d->own_vbe = (struct vbe){.s = &d->s.vga.vbe, .vram = d->vram, .env = dev->env};
    d->vbe = &d->own_vbe;
    if (is_vga(d)) {
        vga_init(&d->vga, dev->env, &d->s.vga, d->vram);
    }
    return true;
}

static void pci_display_unrealize(struct device *dev)
{
    struct pci_display *d = (struct pci_display *)dev;

    vga_finish(&d->vga);
    pci_finish(&d->pci);
    device_remove_ram(dev, d->vram);
    ram_block_free(d->vram);
}

static void pci_display_reset(struct device *dev, enum reset_kind kind)
{
    struct pci_display *d = (struct pci_display *)dev;

    pci_reset(&d->pci);
    memset(&d->s.vga, 0, sizeof(d->s.vga));
    vbe_reset(d->vbe);
}

static bool pci_display_post_load(struct device *dev, GError **error)
{
    struct pci_display *d = (struct pci_display *)dev;

    if (!vbe_check(d->vbe)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: display registers out of range", dev->class->name);
        return false;
    }
    return pci_post_load(&d->pci, error);
}

static const struct property vga_props[] = {
    {"vgamem_mb", PROP_U32, offsetof(struct pci_display, cfg.vgamem_mb), .def = 16, .min = 1,
     .max = 256, .help = "MiB of memory, a power of two"},
    {NULL},
};

static const struct property bochs_props[] = {
    {"vgamem", PROP_SIZE, offsetof(struct pci_display, cfg.vgamem), .def = 16u << 20,
     .min = 1u << 20, .max = 256u << 20, .help = "size of the memory, a power of two"},
    {NULL},
};

static const struct state_desc vga_desc = {
    .name = "VGA",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct display_state),
    .fields = display_fields,
};

static const struct state_desc bochs_desc = {
    .name = "bochs-display",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct display_state),
    .fields = display_fields,
};

const struct device_class vga_class = {
    .name = "VGA",
    .help = "VGA adapter with linear modes",
    .bus = BUS_PCI,
    .size = sizeof(struct pci_display),
    .props = vga_props,
    .state = &vga_desc,
    .state_offset = offsetof(struct pci_display, s),
    .realize = pci_display_realize,
    .unrealize = pci_display_unrealize,
    .reset = pci_display_reset,
    .post_load = pci_display_post_load,
    .hotplug = HOTPLUG_NEVER,
    .display = &vga_ops,
};

const struct device_class bochs_display_class = {
    .name = "bochs-display",
    .help = "display adapter with linear modes only",
    .bus = BUS_PCI,
    .size = sizeof(struct pci_display),
    .props = bochs_props,
    .state = &bochs_desc,
    .state_offset = offsetof(struct pci_display, s),
    .realize = pci_display_realize,
    .unrealize = pci_display_unrealize,
    .reset = pci_display_reset,
    .post_load = pci_display_post_load,
    .display = &bochs_ops,
};
