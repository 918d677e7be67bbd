/*
 * The VGA's window: how a byte at 0xa0000 to 0xbffff becomes bytes of the four planes (data flow of
 * the graphics controller). Chain-4 and odd/even addressing, write modes 0 to 3, read modes 0
 * and 1.
 */
#include "devices/display/vga.h"

#define GFX_SET_RESET  0
#define GFX_ENABLE_SR  1
#define GFX_COMPARE    2
#define GFX_ROTATE     3
#define GFX_READ_PLANE 4
#define GFX_MODE       5
#define GFX_MISC       6
#define GFX_DONT_CARE  7
#define GFX_BIT_MASK   8

#define MODE_WRITE     0x03
#define MODE_READ      0x08
#define MODE_ODD_EVEN  0x10

#define SEQ_PLANES     2
#define SEQ_MEMORY     4
#define MEMORY_SEQ     0x04 /* no odd/even */
#define MEMORY_CHAIN4  0x08

#define BANK_BYTES     0x10000u

/* Where in the memory an offset of the window is; false: the window does not show there. */
static bool decode(const struct vga *vga, unsigned *offset)
{
    static const struct {
        unsigned base, size;
    } map[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned n = vga->s->gfx[GFX_MISC] >> 2 & 3;

    if (*offset < map[n].base || *offset - map[n].base >= map[n].size) {
        return false;
    }
    *offset -= map[n].base;
    if (n < 2) {
        *offset += vga->s->vbe.reg[VBE_BANK] * BANK_BYTES;
    }
    return true;
}

static bool chain4(const struct vga *vga)
{
    return vga->s->seq[SEQ_MEMORY] & MEMORY_CHAIN4;
}

/* In both modes the low address bits choose the plane: the byte's place in the memory. */
static bool direct(const struct vga *vga, unsigned offset, unsigned *at, bool writing)
{
    const struct vga_state *s = vga->s;

    if (chain4(vga)) {
        *at = offset;
        return true;
    }
    if (writing ? !(s->seq[SEQ_MEMORY] & MEMORY_SEQ) : s->gfx[GFX_MODE] & MODE_ODD_EVEN) {
        *at = (offset & ~1u) << 1 | (s->gfx[GFX_READ_PLANE] & 2u) | (offset & 1);
        return true;
    }
    return false;
}

static uint8_t *word_at(const struct vga *vga, unsigned offset)
{
    return vga->vram->host + (((uint64_t)offset << 2) & (vga->vram->size - 1));
}

/* A bit is set where the four planes have the colour that is looked for. */
static uint8_t compare(const struct vga_state *s)
{
    uint8_t differ = 0;

    for (unsigned plane = 0; plane < 4; plane++) {
        uint8_t wanted = s->gfx[GFX_COMPARE] >> plane & 1 ? 0xff : 0;

        if (s->gfx[GFX_DONT_CARE] >> plane & 1) {
            differ |= s->latch[plane] ^ wanted;
        }
    }
    return (uint8_t)~differ;
}

uint8_t vga_memory_read(struct vga *vga, unsigned offset)
{
    struct vga_state *s = vga->s;
    unsigned at;

    if (!decode(vga, &offset)) {
        return 0xff;
    }
    if (chain4(vga)) {
        return vga->vram->host[offset & (vga->vram->size - 1)];
    }
    if (direct(vga, offset, &at, false)) {
        return vga->vram->host[at & (vga->vram->size - 1)];
    }
    for (unsigned plane = 0; plane < 4; plane++) {
        s->latch[plane] = word_at(vga, offset)[plane];
    }
    return s->gfx[GFX_MODE] & MODE_READ ? compare(s) : s->latch[s->gfx[GFX_READ_PLANE] & 3];
}

static uint8_t combine(uint8_t value, uint8_t latch, unsigned function)
{
    switch (function) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

static uint8_t rotate(uint8_t value, unsigned n)
{
    return (uint8_t)(value >> n | value << (8 - n));
}

/* What plane `plane` gets for a written byte. */
static uint8_t plane_value(const struct vga_state *s, unsigned plane, uint8_t value)
{
    bool set = s->gfx[GFX_SET_RESET] >> plane & 1;
    uint8_t mask = s->gfx[GFX_BIT_MASK], rotated = rotate(value, s->gfx[GFX_ROTATE] & 7);
    uint8_t latch = s->latch[plane];

    switch (s->gfx[GFX_MODE] & MODE_WRITE) {
    case 0:
        value = rotated;
        if (s->gfx[GFX_ENABLE_SR] >> plane & 1) {
            value = set ? 0xff : 0;
        }
        break;
    case 1:
        return latch;
    case 2:
        value = value >> plane & 1 ? 0xff : 0;
        break;
    default: /* 3 */
        mask &= rotated;
        return (uint8_t)(((set ? 0xff : 0) & mask) | (latch & ~mask));
    }
    value = combine(value, latch, s->gfx[GFX_ROTATE] >> 3 & 3);
    return (uint8_t)((value & mask) | (latch & ~mask));
}

void vga_memory_write(struct vga *vga, unsigned offset, uint8_t value)
{
    const struct vga_state *s = vga->s;
    unsigned at;

    if (!decode(vga, &offset)) {
        return;
    }
    if (direct(vga, offset, &at, true)) {
        at &= (unsigned)(vga->vram->size - 1);
        if (s->seq[SEQ_PLANES] >> (at & 3) & 1) {
            vga->vram->host[at] = value;
        }
    } else {
        uint8_t *word = word_at(vga, offset);

        at = (unsigned)(word - vga->vram->host);
        for (unsigned plane = 0; plane < 4; plane++) {
            if (s->seq[SEQ_PLANES] >> plane & 1) {
                word[plane] = plane_value(s, plane, value);
            }
        }
    }
    address_space_block_written(vga->env->mem, vga->vram, at, 4);
}
