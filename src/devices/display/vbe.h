/* The Bochs display interface: sixteen 16-bit registers that set a linear mode. See vbe.c. */
#ifndef DEVICES_DISPLAY_VBE_H
#define DEVICES_DISPLAY_VBE_H

#include "devices/core/device.h"
#include "devices/display/image.h"

#define VBE_REGISTERS   11

#define VBE_ID          0
#define VBE_XRES        1
#define VBE_YRES        2
#define VBE_BPP         3
#define VBE_ENABLE      4
#define VBE_BANK        5
#define VBE_VIRT_WIDTH  6
#define VBE_VIRT_HEIGHT 7
#define VBE_X_OFFSET    8
#define VBE_Y_OFFSET    9
#define VBE_MEMORY      10

#define VBE_ENABLED     0x01
#define VBE_GETCAPS     0x02
#define VBE_8BIT_DAC    0x20
#define VBE_NOCLEAR     0x80

struct vbe_state {
    uint16_t reg[VBE_REGISTERS];
    uint8_t pad[2];
};
extern const struct state_field vbe_state_fields[];

struct vbe {
    struct vbe_state *s;
    struct ram_block *vram; /* 1 MiB at least: room for a line of the widest mode */
    struct device_env *env;
};

void vbe_reset(struct vbe *vbe);
uint16_t vbe_read(const struct vbe *vbe, unsigned index);
/* Brings the registers to what the memory can show; a change from off to on clears the picture
 * unless VBE_NOCLEAR is set. */
void vbe_write(struct vbe *vbe, unsigned index, uint16_t value);
/* After a load: false when the registers could not have come about. */
bool vbe_check(const struct vbe *vbe);

bool vbe_enabled(const struct vbe *vbe);
/* Of an enabled one. palette: 256 colours for 4 and 8 bits a pixel. */
void vbe_render(const struct vbe *vbe, const uint32_t *palette, struct image *image);

#endif
