/*
 * The Bochs display interface (the "DISPI" registers of Bochs' VBE, versions up to B0C5):
 * resolution, depth, a virtual screen that is larger than the shown one, and a 64 KiB bank for
 * those who look through the old window.
 *
 * Written values are kept as a guest gave them while the mode is off, and are brought to what the
 * memory can hold when it is on: so nothing that a guest writes reaches outside.
 */
#include "devices/display/vbe.h"

#include <string.h>

#define VBE_ID_FIRST 0xb0c0
#define VBE_ID_LAST  0xb0c5
#define MAX_XRES     16000
#define MAX_YRES     12000
#define MAX_BPP      32
#define BANK_BYTES   0x10000u

const struct state_field vbe_state_fields[] = {
    STATE_ARRAY(struct vbe_state, reg),
    STATE_PAD(struct vbe_state, pad),
    {0},
};

bool vbe_enabled(const struct vbe *vbe)
{
    return vbe->s->reg[VBE_ENABLE] & VBE_ENABLED;
}

/* Bits that a pixel takes in memory. */
static unsigned storage_bits(unsigned bpp)
{
    return bpp == 15 ? 16 : bpp;
}

static uint64_t line_bytes(const struct vbe *vbe)
{
    const uint16_t *r = vbe->s->reg;

    return (uint64_t)r[VBE_VIRT_WIDTH] * storage_bits(r[VBE_BPP]) / 8;
}

static bool bpp_known(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static void registers_fit(struct vbe *vbe)
{
    uint16_t *r = vbe->s->reg;
    uint64_t lines;

    if (!vbe_enabled(vbe)) {
        return;
    }
    if (!bpp_known(r[VBE_BPP])) {
        r[VBE_BPP] = 8;
    }
    r[VBE_XRES] = (uint16_t)(CLAMP(r[VBE_XRES], 8, MAX_XRES) & ~7);
    r[VBE_VIRT_WIDTH] = (uint16_t)(CLAMP(r[VBE_VIRT_WIDTH], r[VBE_XRES], MAX_XRES) & ~7);
    lines = vbe->vram->size / line_bytes(vbe);
    r[VBE_YRES] = (uint16_t)CLAMP(r[VBE_YRES], 1, MIN(lines, MAX_YRES));
    r[VBE_VIRT_HEIGHT] = (uint16_t)MIN(lines, UINT16_MAX);
    r[VBE_X_OFFSET] = MIN(r[VBE_X_OFFSET], (uint16_t)(r[VBE_VIRT_WIDTH] - r[VBE_XRES]));
    r[VBE_Y_OFFSET] = MIN(r[VBE_Y_OFFSET], (uint16_t)(r[VBE_VIRT_HEIGHT] - r[VBE_YRES]));
}

void vbe_reset(struct vbe *vbe)
{
    memset(vbe->s, 0, sizeof(*vbe->s));
    vbe->s->reg[VBE_ID] = VBE_ID_LAST;
}

bool vbe_check(const struct vbe *vbe)
{
    struct vbe_state copy = *vbe->s;
    struct vbe probe = {.s = &copy, .vram = vbe->vram};

    registers_fit(&probe);
    return memcmp(&copy, vbe->s, sizeof(copy)) == 0 &&
           copy.reg[VBE_BANK] < vbe->vram->size / BANK_BYTES;
}

uint16_t vbe_read(const struct vbe *vbe, unsigned index)
{
    const uint16_t *r = vbe->s->reg;
    bool caps = r[VBE_ENABLE] & VBE_GETCAPS;

    switch (index) {
    case VBE_XRES:
        return caps ? MAX_XRES : r[index];
    case VBE_YRES:
        return caps ? MAX_YRES : r[index];
    case VBE_BPP:
        return caps ? MAX_BPP : r[index];
    case VBE_MEMORY:
        return (uint16_t)(vbe->vram->size / BANK_BYTES);
    default:
        return index < VBE_REGISTERS ? r[index] : 0;
    }
}

static void enable_write(struct vbe *vbe, uint16_t value)
{
    uint16_t *r = vbe->s->reg;
    bool was = vbe_enabled(vbe);

    r[VBE_ENABLE] = value;
    r[VBE_BANK] = 0;
    if (!vbe_enabled(vbe) || was) {
        registers_fit(vbe);
        return;
    }
    r[VBE_VIRT_WIDTH] = 0;
    r[VBE_X_OFFSET] = 0;
    r[VBE_Y_OFFSET] = 0;
    registers_fit(vbe);
    if (!(value & VBE_NOCLEAR)) {
        uint64_t bytes = line_bytes(vbe) * r[VBE_YRES];

        memset(vbe->vram->host, 0, bytes);
        address_space_block_written(vbe->env->mem, vbe->vram, 0, bytes);
    }
}

void vbe_write(struct vbe *vbe, unsigned index, uint16_t value)
{
    uint16_t *r = vbe->s->reg;

    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID_FIRST && value <= VBE_ID_LAST) {
            r[VBE_ID] = value;
        }
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        r[index] = value;
        registers_fit(vbe);
        break;
    case VBE_ENABLE:
        enable_write(vbe, value);
        break;
    case VBE_BANK:
        r[VBE_BANK] = (uint16_t)(value % (vbe->vram->size / BANK_BYTES));
        break;
    default: /* the virtual height follows from the width, the memory is what it is */
        break;
    }
}

/* ---- the picture */

/* Four planes, eight pixels in a byte of each. */
static uint32_t planar_pixel(const uint8_t *line, unsigned x, const uint32_t *palette)
{
    const uint8_t *p = line + (x / 8) * 4;
    unsigned shift = 7 - x % 8, v = 0;

    for (unsigned plane = 0; plane < 4; plane++) {
        v |= (p[plane] >> shift & 1u) << plane;
    }
    return palette[v];
}

static uint32_t pixel_of(const uint8_t *line, unsigned bpp, unsigned x, const uint32_t *palette)
{
    const uint8_t *p = line + (size_t)x * storage_bits(bpp) / 8;
    unsigned v;

    switch (bpp) {
    case 4:
        return planar_pixel(line, x, palette);
    case 8:
        return palette[*p];
    case 15:
        v = p[0] | p[1] << 8;
        return (v & 0x7c00) << 9 | (v & 0x7000) << 4 | (v & 0x3e0) << 6 | (v & 0x380) << 1 |
               (v & 0x1f) << 3 | (v & 0x1c) >> 2;
    case 16:
        v = p[0] | p[1] << 8;
        return (v & 0xf800) << 8 | (v & 0xe000) << 3 | (v & 0x7e0) << 5 | (v & 0x600) >> 1 |
               (v & 0x1f) << 3 | (v & 0x1c) >> 2;
    default: /* 24, 32: blue first */
        return p[0] | p[1] << 8 | (uint32_t)p[2] << 16;
    }
}

void vbe_render(const struct vbe *vbe, const uint32_t *palette, struct image *image)
{
    const uint16_t *r = vbe->s->reg;
    uint64_t bytes = line_bytes(vbe);

    image_init(image, r[VBE_XRES], r[VBE_YRES]);
    for (unsigned y = 0; y < image->height; y++) {
        const uint8_t *line = vbe->vram->host + (y + r[VBE_Y_OFFSET]) * bytes;

        for (unsigned x = 0; x < image->width; x++) {
            image_put(image, x, y, pixel_of(line, r[VBE_BPP], x + r[VBE_X_OFFSET], palette));
        }
    }
}
