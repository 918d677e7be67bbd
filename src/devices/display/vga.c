/*
 * VGA registers: see vga.h. Sequencer, CRT controller, graphics and attribute controllers, the
 * digital-to-analogue converter, and the Bochs display interface at ports 0x1ce and 0x1cf.
 *
 * The beam is where the virtual clock says: 70 pictures of 449 lines a second, whatever the timing
 * registers hold. Left out: the light pen, the vertical retrace interrupt (no PC system uses it),
 * and horizontal panning by less than a character.
 */
#include "devices/display/vga.h"

#include <string.h>

#define PORT_ATTR        0x3c0
#define PORT_ATTR_READ   0x3c1
#define PORT_MISC_WRITE  0x3c2 /* reads: input status 0 */
#define PORT_SEQ         0x3c4
#define PORT_DAC_MASK    0x3c6
#define PORT_DAC_READ    0x3c7
#define PORT_DAC_WRITE   0x3c8
#define PORT_DAC_DATA    0x3c9
#define PORT_FEATURE     0x3ca
#define PORT_MISC        0x3cc
#define PORT_GFX         0x3ce
#define PORT_CRTC_MONO   0x3b4
#define PORT_STATUS_MONO 0x3ba
#define PORT_CRTC        0x3d4
#define PORT_STATUS      0x3da

#define MISC_COLOUR      0x01

#define STATUS_BLANK     0x01 /* horizontal or vertical retrace */
#define STATUS_VRETRACE  0x08

#define CRTC_LOCK_REG    17
#define CRTC_LOCK        0x80
#define CRTC_OVERFLOW    7

#define FRAME_NS         14268000 /* 70.09 Hz */
#define FRAME_LINES      449
#define SHOWN_LINES      400
#define RETRACE_LINES    2
#define LINE_SHOWN       80 /* per cent */

#define VBE_PORT         0x1ce

const struct state_field vga_state_fields[] = {
    STATE_STRUCT(struct vga_state, vbe, vbe_state_fields),
    STATE_MAX(struct vga_state, vbe_index, UINT16_MAX),
    STATE_ARRAY(struct vga_state, seq),
    STATE_ARRAY(struct vga_state, gfx),
    STATE_ARRAY(struct vga_state, attr),
    STATE_ARRAY(struct vga_state, crtc),
    STATE(struct vga_state, seq_index),
    STATE(struct vga_state, gfx_index),
    STATE(struct vga_state, attr_index),
    STATE(struct vga_state, crtc_index),
    STATE(struct vga_state, attr_data),
    STATE(struct vga_state, misc),
    STATE(struct vga_state, feature),
    STATE_ARRAY(struct vga_state, dac),
    STATE(struct vga_state, dac_mask),
    STATE(struct vga_state, dac_read),
    STATE(struct vga_state, dac_write),
    STATE_MAX(struct vga_state, dac_part, 2),
    STATE_ARRAY(struct vga_state, dac_latch),
    STATE(struct vga_state, dac_reading),
    STATE_ARRAY(struct vga_state, latch),
    STATE_PAD(struct vga_state, pad),
    {0},
};

/* Bits that the registers have. */
static const uint8_t seq_mask[VGA_SEQ_N] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gfx_mask[VGA_GFX_N] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attr_mask[5] = {0xef, 0xff, 0x3f, 0x0f, 0x0f}; /* of registers 16 to 20 */

/* ---- attribute controller */

static void attr_write(struct vga *vga, uint8_t value)
{
    struct vga_state *s = vga->s;
    unsigned n = s->attr_index & 0x1f;

    if (!s->attr_data) {
        s->attr_index = value & 0x3f;
    } else if (n < 16) {
        s->attr[n] = value & 0x3f;
    } else if (n < VGA_ATTR_N) {
        s->attr[n] = value & attr_mask[n - 16];
    }
    s->attr_data = !s->attr_data;
}

static uint8_t attr_read(const struct vga *vga)
{
    unsigned n = vga->s->attr_index & 0x1f;

    return n < VGA_ATTR_N ? vga->s->attr[n] : 0;
}

/* ---- CRT controller */

static void crtc_write(struct vga *vga, uint8_t value)
{
    struct vga_state *s = vga->s;

    if (s->crtc_index >= VGA_CRTC_N) {
        return;
    }
    if ((s->crtc[CRTC_LOCK_REG] & CRTC_LOCK) && s->crtc_index <= CRTC_OVERFLOW) {
        if (s->crtc_index == CRTC_OVERFLOW) { /* but for the line compare's bit */
            s->crtc[CRTC_OVERFLOW] = (uint8_t)((s->crtc[CRTC_OVERFLOW] & ~0x10) | (value & 0x10));
        }
        return;
    }
    s->crtc[s->crtc_index] = value;
}

static uint8_t crtc_read(const struct vga *vga)
{
    return vga->s->crtc_index < VGA_CRTC_N ? vga->s->crtc[vga->s->crtc_index] : 0;
}

static uint8_t status_read(struct vga *vga)
{
    int64_t now = vclock_now(vga->env->clock) % FRAME_NS;
    int64_t place = now * FRAME_LINES * 100 / FRAME_NS; /* in hundredths of a line */
    int64_t line = place / 100;
    uint8_t status = 0;

    vga->s->attr_data = false;
    if (line >= SHOWN_LINES || place % 100 >= LINE_SHOWN) {
        status |= STATUS_BLANK;
    }
    if (line >= SHOWN_LINES && line < SHOWN_LINES + 12 + RETRACE_LINES &&
        line >= SHOWN_LINES + 12) {
        status |= STATUS_VRETRACE;
    }
    return status;
}

/* ---- digital-to-analogue converter */

static uint8_t dac_bits(const struct vga *vga)
{
    return vga->s->vbe.reg[VBE_ENABLE] & VBE_8BIT_DAC ? 0xff : 0x3f;
}

static void dac_data_write(struct vga *vga, uint8_t value)
{
    struct vga_state *s = vga->s;

    s->dac_latch[s->dac_part++] = value & dac_bits(vga);
    if (s->dac_part == 3) {
        memcpy(s->dac + 3 * s->dac_write, s->dac_latch, 3);
        s->dac_part = 0;
        s->dac_write++;
    }
}

static uint8_t dac_data_read(struct vga *vga)
{
    struct vga_state *s = vga->s;
    uint8_t value = s->dac[3 * s->dac_read + s->dac_part++];

    if (s->dac_part == 3) {
        s->dac_part = 0;
        s->dac_read++;
    }
    return value;
}

static void dac_index_write(struct vga *vga, bool reading, uint8_t value)
{
    vga->s->dac_part = 0;
    vga->s->dac_reading = reading;
    if (reading) {
        vga->s->dac_read = value;
    } else {
        vga->s->dac_write = value;
    }
}

/* ---- ports */

/* The CRT controller and status 1 answer either among the colour or among the monochrome ports. */
static bool hidden(const struct vga *vga, unsigned port)
{
    bool colour = vga->s->misc & MISC_COLOUR;

    return (port >= 0x3b0 && port <= 0x3bf && colour) ||
           (port >= 0x3d0 && port <= 0x3df && !colour);
}

static void indexed_write(uint8_t *registers, const uint8_t *mask, unsigned n, uint8_t index,
                          uint8_t value)
{
    if (index < n) {
        registers[index] = value & mask[index];
    }
}

uint8_t vga_port_read(struct vga *vga, unsigned port)
{
    struct vga_state *s = vga->s;

    if (hidden(vga, port)) {
        return 0xff;
    }
    switch (port) {
    case PORT_ATTR:
        return s->attr_data ? 0 : s->attr_index;
    case PORT_ATTR_READ:
        return attr_read(vga);
    case PORT_MISC_WRITE: /* input status 0: a monitor is there */
        return 0x10;
    case PORT_SEQ:
        return s->seq_index;
    case PORT_SEQ + 1:
        return s->seq_index < VGA_SEQ_N ? s->seq[s->seq_index] : 0;
    case PORT_DAC_MASK:
        return s->dac_mask;
    case PORT_DAC_READ:
        return s->dac_reading ? 3 : 0;
    case PORT_DAC_WRITE:
        return s->dac_write;
    case PORT_DAC_DATA:
        return dac_data_read(vga);
    case PORT_FEATURE:
        return s->feature;
    case PORT_MISC:
        return s->misc;
    case PORT_GFX:
        return s->gfx_index;
    case PORT_GFX + 1:
        return s->gfx_index < VGA_GFX_N ? s->gfx[s->gfx_index] : 0;
    case PORT_CRTC:
    case PORT_CRTC_MONO:
        return s->crtc_index;
    case PORT_CRTC + 1:
    case PORT_CRTC_MONO + 1:
        return crtc_read(vga);
    case PORT_STATUS:
    case PORT_STATUS_MONO:
        return status_read(vga);
    default:
        return 0xff;
    }
}

void vga_port_write(struct vga *vga, unsigned port, uint8_t value)
{
    struct vga_state *s = vga->s;

    if (hidden(vga, port)) {
        return;
    }
    switch (port) {
    case PORT_ATTR:
        attr_write(vga, value);
        break;
    case PORT_MISC_WRITE:
        s->misc = value & (uint8_t)~0x10;
        break;
    case PORT_SEQ:
        s->seq_index = value & 7;
        break;
    case PORT_SEQ + 1:
        indexed_write(s->seq, seq_mask, VGA_SEQ_N, s->seq_index, value);
        break;
    case PORT_DAC_MASK:
        s->dac_mask = value;
        break;
    case PORT_DAC_READ:
    case PORT_DAC_WRITE:
        dac_index_write(vga, port == PORT_DAC_READ, value);
        break;
    case PORT_DAC_DATA:
        dac_data_write(vga, value);
        break;
    case PORT_GFX:
        s->gfx_index = value & 15;
        break;
    case PORT_GFX + 1:
        indexed_write(s->gfx, gfx_mask, VGA_GFX_N, s->gfx_index, value);
        break;
    case PORT_CRTC:
    case PORT_CRTC_MONO:
        s->crtc_index = value;
        break;
    case PORT_CRTC + 1:
    case PORT_CRTC_MONO + 1:
        crtc_write(vga, value);
        break;
    case PORT_STATUS: /* feature control */
    case PORT_STATUS_MONO:
        s->feature = value & 0x10;
        break;
    default:
        break;
    }
}

static uint64_t mono_read(void *opaque, gpa_t offset, unsigned size)
{
    return vga_port_read(opaque, 0x3b0 + (unsigned)offset);
}

static void mono_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    vga_port_write(opaque, 0x3b0 + (unsigned)offset, (uint8_t)value);
}

static uint64_t colour_read(void *opaque, gpa_t offset, unsigned size)
{
    return vga_port_read(opaque, VGA_PORTS + (unsigned)offset);
}

static void colour_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    vga_port_write(opaque, VGA_PORTS + (unsigned)offset, (uint8_t)value);
}

static const struct region_ops mono_ops = {
    .read = mono_read, .write = mono_write, .min_size = 1, .max_size = 1};
static const struct region_ops colour_ops = {
    .read = colour_read, .write = colour_write, .min_size = 1, .max_size = 1};

/* ---- the Bochs display interface: a word at 0x1ce (which register) and one at 0x1cf or 0x1d0 */

static uint64_t vbe_port_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct vga *vga = opaque;

    return offset == 0 ? vga->s->vbe_index : vbe_read(&vga->vbe, vga->s->vbe_index);
}

static void vbe_port_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct vga *vga = opaque;

    if (offset == 0) {
        vga->s->vbe_index = (uint16_t)value;
    } else {
        vbe_write(&vga->vbe, vga->s->vbe_index, (uint16_t)value);
    }
}

static const struct region_ops vbe_ops = {
    .read = vbe_port_read, .write = vbe_port_write, .min_size = 1, .max_size = 2};

/* ---- the window */

static uint64_t window_read(void *opaque, gpa_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)vga_memory_read(opaque, (unsigned)offset + i) << (8 * i);
    }
    return value;
}

static void window_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        vga_memory_write(opaque, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
    }
}

static const struct region_ops window_ops = {.read = window_read, .write = window_write};

/* ---- life */

void vga_init(struct vga *vga, struct device_env *env, struct vga_state *state,
              struct ram_block *vram)
{
    vga->env = env;
    vga->s = state;
    vga->vram = vram;
    vga->vbe = (struct vbe){.s = &state->vbe, .vram = vram, .env = env};
    vga->ports[0] = (struct region){
        .name = "vga-mono", .kind = REGION_IO, .size = 0x10, .ops = &mono_ops, .opaque = vga};
    vga->ports[1] = (struct region){
        .name = "vga", .kind = REGION_IO, .size = VGA_PORTS_N, .ops = &colour_ops, .opaque = vga};
    vga->vbe_ports = (struct region){
        .name = "vbe", .kind = REGION_IO, .size = 3, .ops = &vbe_ops, .opaque = vga};
    vga->window = (struct region){.name = "vga-window",
                                  .kind = REGION_IO,
                                  .size = VGA_WINDOW_BYTES,
                                  .ops = &window_ops,
                                  .opaque = vga};
    address_space_map(env->io, 0x3b0, &vga->ports[0], 0);
    address_space_map(env->io, VGA_PORTS, &vga->ports[1], 0);
    address_space_map(env->io, VBE_PORT, &vga->vbe_ports, 0);
    address_space_map(env->mem, VGA_WINDOW, &vga->window, 0);
}

void vga_finish(struct vga *vga)
{
    if (vga->env) {
        address_space_unmap(vga->env->io, &vga->ports[0]);
        address_space_unmap(vga->env->io, &vga->ports[1]);
        address_space_unmap(vga->env->io, &vga->vbe_ports);
        address_space_unmap(vga->env->mem, &vga->window);
    }
}

void vga_reset(struct vga *vga)
{
    memset(vga->s, 0, sizeof(*vga->s));
    vbe_reset(&vga->vbe);
}

bool vga_post_load(struct vga *vga, const char *name, GError **error)
{
    if (!vbe_check(&vga->vbe)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: display interface registers out of range", name);
        return false;
    }
    return true;
}
