/*
 * The VGA of IBM's PS/2 (video subsystem of the Hardware Interface Technical Reference): registers,
 * the window at 0xa0000 and the picture. A device around it brings the memory and the bus.
 *
 * Memory holds the four planes interleaved: byte p of each 32-bit word is plane p, and word n is at
 * offset n of a plane. In chain-4 modes and in linear ones it is one byte behind the other.
 *
 * Machine lock held throughout.
 */
#ifndef DEVICES_DISPLAY_VGA_H
#define DEVICES_DISPLAY_VGA_H

#include "devices/display/vbe.h"

#define VGA_PORTS        0x3c0
#define VGA_PORTS_N      0x20
#define VGA_WINDOW       0xa0000
#define VGA_WINDOW_BYTES 0x20000

#define VGA_SEQ_N        5
#define VGA_GFX_N        9
#define VGA_ATTR_N       21
#define VGA_CRTC_N       25

struct vga_state {
    struct vbe_state vbe;
    uint16_t vbe_index;
    uint8_t seq[VGA_SEQ_N], gfx[VGA_GFX_N], attr[VGA_ATTR_N], crtc[VGA_CRTC_N];
    uint8_t seq_index, gfx_index, attr_index, crtc_index;
    bool attr_data; /* the next write to 0x3c0 is data */
    uint8_t misc, feature;
    uint8_t dac[768]; /* red, green, blue of each colour, 6 bits (8 with VBE_8BIT_DAC) */
    uint8_t dac_mask, dac_read, dac_write, dac_part;
    uint8_t dac_latch[3];
    bool dac_reading;
    uint8_t latch[4];
    uint8_t pad[7];
};
extern const struct state_field vga_state_fields[];

struct vga {
    struct device_env *env;
    struct vga_state *s;
    struct ram_block *vram;
    struct vbe vbe;
    struct region ports[2], vbe_ports, window;
};

/* Claims the ports and the window. vram: 1 MiB or more, a power of two. */
void vga_init(struct vga *vga, struct device_env *env, struct vga_state *state,
              struct ram_block *vram);
void vga_finish(struct vga *vga); /* one that was never initialised is fine */
void vga_reset(struct vga *vga);
bool vga_post_load(struct vga *vga, const char *name, GError **error);

/* Ports 0x3c0 to 0x3df by number, as the memory-mapped registers of PCI adapters have them too. */
uint8_t vga_port_read(struct vga *vga, unsigned port);
void vga_port_write(struct vga *vga, unsigned port, uint8_t value);

/* vga-memory.c: the window at 0xa0000, by byte; offset from there. */
uint8_t vga_memory_read(struct vga *vga, unsigned offset);
void vga_memory_write(struct vga *vga, unsigned offset, uint8_t value);

/* vga-render.c */
void vga_render(const struct vga *vga, struct image *image);

#endif
