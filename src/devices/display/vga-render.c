/*
 * The VGA's picture: text, the graphics modes of CGA, EGA and VGA, and linear ones by the Bochs
 * display interface. Colours go through attribute palette and DAC as on the card; lines and columns
 * that the card doubles are doubled.
 *
 * The cursor is shown whenever it is on (a picture does not blink), blinking characters too. Left
 * out: underlining in monochrome text, panning by less than a character.
 */
#include "devices/display/vga.h"

#include <string.h>

#define SEQ_CLOCK       1
#define CLOCK_8_DOTS    0x01
#define CLOCK_HALF      0x08
#define SEQ_FONTS       3

#define GFX_MODE        5
#define GFX_MISC        6
#define MISC_GRAPHICS   0x01

#define ATTR_MODE       16
#define MODE_LINE_CHARS 0x04 /* the ninth dot of line-drawing characters is the eighth's */
#define MODE_BLINK      0x08
#define MODE_COLOUR_45  0x80
#define ATTR_PLANES     18
#define ATTR_COLOUR     20
#define ATTR_VIDEO_ON   0x20 /* in the index register */

#define CRTC_H_SHOWN    1
#define CRTC_OVERFLOW   7
#define CRTC_MAX_SCAN   9
#define CRTC_CUR_START  10
#define CRTC_CUR_END    11
#define CRTC_START_HIGH 12
#define CRTC_START_LOW  13
#define CRTC_CUR_HIGH   14
#define CRTC_CUR_LOW    15
#define CRTC_V_SHOWN    18
#define CRTC_OFFSET     19
#define CRTC_MODE       23
#define CRTC_COMPARE    24

#define FONT_CHAR_BYTES 32

/* The picture's geometry, from the registers. */
struct frame {
    const struct vga *vga;
    unsigned columns;     /* characters of 8 or 9 dots */
    unsigned lines;       /* scan lines */
    unsigned line_height; /* of a character, or how often a line is repeated */
    unsigned line_bytes;
    unsigned compare; /* from this line on the memory's start is shown */
};

/* Six bits to eight, black and white being exact; those between as QEMU has them, so that pictures
 * of both can be compared. */
static uint32_t six_to_eight(uint8_t c)
{
    return (uint32_t)(c & 0x3f) << 2 | (c & 1) * 3u;
}

static uint32_t dac_colour(const struct vga *vga, unsigned n)
{
    const uint8_t *c = vga->s->dac + 3 * (n & vga->s->dac_mask);

    if (vga->s->vbe.reg[VBE_ENABLE] & VBE_8BIT_DAC) {
        return (uint32_t)c[0] << 16 | c[1] << 8 | c[2];
    }
    return six_to_eight(c[0]) << 16 | six_to_eight(c[1]) << 8 | six_to_eight(c[2]);
}

/* 256 colours as the DAC has them, and the sixteen of text and planes behind the palette. */
static void palettes_make(const struct vga *vga, uint32_t all[256], uint32_t sixteen[16])
{
    const uint8_t *attr = vga->s->attr;

    for (unsigned i = 0; i < 256; i++) {
        all[i] = dac_colour(vga, i);
    }
    for (unsigned i = 0; i < 16; i++) {
        unsigned v = attr[i & attr[ATTR_PLANES]];

        if (attr[ATTR_MODE] & MODE_COLOUR_45) {
            v = (v & 0x0f) | (unsigned)(attr[ATTR_COLOUR] & 0x03) << 4;
        }
        sixteen[i] = all[v | (unsigned)(attr[ATTR_COLOUR] & 0x0c) << 4];
    }
}

static void frame_measure(struct frame *f, const struct vga *vga)
{
    const uint8_t *crtc = vga->s->crtc;

    f->vga = vga;
    f->columns = crtc[CRTC_H_SHOWN] + 1u;
    f->lines = 1u + (crtc[CRTC_V_SHOWN] | (crtc[CRTC_OVERFLOW] & 0x02u) << 7 |
                     (crtc[CRTC_OVERFLOW] & 0x40u) << 3);
    f->line_height = (crtc[CRTC_MAX_SCAN] & 0x1fu) + 1;
    f->line_bytes = crtc[CRTC_OFFSET] * 8u;
    f->compare = crtc[CRTC_COMPARE] | (crtc[CRTC_OVERFLOW] & 0x10u) << 4 |
                 (crtc[CRTC_MAX_SCAN] & 0x40u) << 3;
}

static unsigned start_word(const struct vga *vga)
{
    return vga->s->crtc[CRTC_START_HIGH] * 256u + vga->s->crtc[CRTC_START_LOW];
}

static const uint8_t *memory_at(const struct vga *vga, uint64_t at)
{
    return vga->vram->host + (at & (vga->vram->size - 1) & ~3ull);
}

/* ---- text */

struct cell {
    const struct vga *vga;
    const uint32_t *colour;
    unsigned width; /* 8 or 9 dots, each `dots` pixels */
    unsigned dots, height;
    uint64_t font[2]; /* in the memory, of attribute bit 3 clear and set */
    uint64_t cursor;  /* place of the character under the cursor; UINT64_MAX: none */
    unsigned cursor_first, cursor_last;
};

/* Dots of a row of a character, the leftmost in bit 8. */
static unsigned glyph_row(const struct cell *c, uint8_t character, uint8_t attribute, unsigned row)
{
    uint64_t at = c->font[attribute >> 3 & 1] + (character * FONT_CHAR_BYTES + row) * 4ull;
    unsigned bits = memory_at(c->vga, at)[2] * 2u;
    bool lines = c->vga->s->attr[ATTR_MODE] & MODE_LINE_CHARS;

    if (lines && character >= 0xc0 && character <= 0xdf) {
        bits |= bits >> 1 & 1;
    }
    return bits;
}

static void cell_draw(const struct cell *c, struct image *image, unsigned x, unsigned y,
                      uint64_t at)
{
    const uint8_t *p = memory_at(c->vga, at);
    uint8_t character = p[0], attribute = p[1];
    bool blink = c->vga->s->attr[ATTR_MODE] & MODE_BLINK;
    uint32_t front = c->colour[attribute & 15], back = c->colour[attribute >> 4 & (blink ? 7 : 15)];

    for (unsigned row = 0; row < c->height && y + row < image->height; row++) {
        unsigned bits = glyph_row(c, character, attribute, row);

        if (at == c->cursor && row >= c->cursor_first && row <= c->cursor_last) {
            bits = 0x1ff;
        }
        for (unsigned dot = 0; dot < c->width * c->dots; dot++) {
            image_put(image, x + dot, y + row, bits >> (8 - dot / c->dots) & 1 ? front : back);
        }
    }
}

static void cell_init(struct cell *c, const struct frame *f, const uint32_t *colour)
{
    const struct vga_state *s = f->vga->s;
    unsigned a = s->seq[SEQ_FONTS] >> 2 & 3, b = s->seq[SEQ_FONTS] & 3;

    a = (s->seq[SEQ_FONTS] >> 5 & 1) | a << 1;
    b = (s->seq[SEQ_FONTS] >> 4 & 1) | b << 1;
    *c = (struct cell){
        .vga = f->vga,
        .colour = colour,
        .width = s->seq[SEQ_CLOCK] & CLOCK_8_DOTS ? 8 : 9,
        .dots = s->seq[SEQ_CLOCK] & CLOCK_HALF ? 2 : 1,
        .height = f->line_height,
        /* each font has 8 KiB of plane 2; odd ones lie between the even ones */
        .font = {(b & 1 ? 0x2000ull : 0) * 4 + (b >> 1) * 0x4000ull * 4,
                 (a & 1 ? 0x2000ull : 0) * 4 + (a >> 1) * 0x4000ull * 4},
        .cursor = UINT64_MAX,
        .cursor_first = s->crtc[CRTC_CUR_START] & 0x1f,
        .cursor_last = s->crtc[CRTC_CUR_END] & 0x1f,
    };
    if (!(s->crtc[CRTC_CUR_START] & 0x20)) {
        c->cursor = (s->crtc[CRTC_CUR_HIGH] * 256ull + s->crtc[CRTC_CUR_LOW]) * 4;
    }
}

static void text_render(const struct frame *f, const uint32_t *colour, struct image *image)
{
    struct cell c;

    cell_init(&c, f, colour);
    image_init(image, f->columns * c.width * c.dots, f->lines);
    for (unsigned y = 0; y < image->height; y += f->line_height) {
        uint64_t line = (uint64_t)start_word(f->vga) * 4 + (y / f->line_height) * f->line_bytes;

        for (unsigned x = 0; (x + 1) * c.width * c.dots <= image->width; x++) {
            cell_draw(&c, image, x * c.width * c.dots, y, line + 4ull * x);
        }
    }
}

/* ---- graphics */

/* Where a scan line of the picture begins; the CRT controller's bits 0 and 1 make old cards' banks
 * out of line numbers. */
static uint64_t line_at(const struct frame *f, unsigned y)
{
    uint8_t mode = f->vga->s->crtc[CRTC_MODE];
    bool below = y > f->compare;
    unsigned row = below ? y - f->compare - 1 : y;
    unsigned repeat = f->line_height;
    unsigned shift = 14 + (mode >> 6 & 1), in_row = row % repeat;
    uint64_t at = below ? 0 : (uint64_t)start_word(f->vga) * 4;

    at += (uint64_t)(row / repeat) * f->line_bytes;
    if (!(mode & 1)) {
        at = (at & ~(1ull << shift)) | (uint64_t)(in_row & 1) << shift;
    }
    if (!(mode & 2)) {
        at = (at & ~0x8000ull) | (uint64_t)(in_row & 2) << 14;
    }
    return at;
}

/* Eight pixels of four planes. */
static unsigned planar_colour(const uint8_t *word, unsigned pixel)
{
    unsigned shift = 7 - pixel, v = 0;

    for (unsigned plane = 0; plane < 4; plane++) {
        v |= (word[plane] >> shift & 1u) << plane;
    }
    return v;
}

/* Eight pixels of two bits each: four in the even planes, four in the odd ones. */
static unsigned cga_colour(const uint8_t *word, unsigned pixel)
{
    unsigned plane = pixel / 4, shift = 6 - 2 * (pixel % 4);

    return (word[plane] >> shift & 3u) | (word[plane + 2] >> shift & 3u) << 2;
}

static void planes_render(const struct frame *f, const uint32_t *colour, bool cga,
                          struct image *image)
{
    unsigned dots = f->vga->s->seq[SEQ_CLOCK] & CLOCK_HALF ? 2 : 1;

    image_init(image, f->columns * 8 * dots, f->lines);
    for (unsigned y = 0; y < image->height; y++) {
        uint64_t line = line_at(f, y);

        for (unsigned x = 0; x < image->width; x++) {
            const uint8_t *word = memory_at(f->vga, line + x / dots / 8 * 4);
            unsigned pixel = x / dots % 8;

            image_put(image, x, y,
                      colour[cga ? cga_colour(word, pixel) : planar_colour(word, pixel)]);
        }
    }
}

/* A byte is a pixel two dots wide. */
static void bytes_render(const struct frame *f, const uint32_t *colour, struct image *image)
{
    image_init(image, f->columns * 8, f->lines);
    for (unsigned y = 0; y < image->height; y++) {
        uint64_t line = line_at(f, y);

        for (unsigned x = 0; x < image->width; x++) {
            image_put(image, x, y, colour[memory_at(f->vga, line + x / 2)[x / 2 % 4]]);
        }
    }
}

static void graphics_render(struct frame *f, const uint32_t *all, const uint32_t *sixteen,
                            struct image *image)
{
    unsigned shift = f->vga->s->gfx[GFX_MODE] >> 5 & 3;

    if (f->vga->s->crtc[CRTC_MAX_SCAN] & 0x80) {
        f->line_height *= 2;
    }
    if (shift >= 2) {
        bytes_render(f, all, image);
    } else {
        planes_render(f, sixteen, shift == 1, image);
    }
}

void vga_render(const struct vga *vga, struct image *image)
{
    const struct vga_state *s = vga->s;
    uint32_t all[256], sixteen[16];
    struct frame f;

    palettes_make(vga, all, sixteen);
    if (vbe_enabled(&vga->vbe)) {
        vbe_render(&vga->vbe, vga->vbe.s->reg[VBE_BPP] == 4 ? sixteen : all, image);
        return;
    }
    frame_measure(&f, vga);
    if (!(s->attr_index & ATTR_VIDEO_ON)) {
        image_init(image, f.columns * 8, f.lines);
    } else if (s->gfx[GFX_MISC] & MISC_GRAPHICS) {
        graphics_render(&f, all, sixteen, image);
    } else {
        text_render(&f, sixteen, image);
    }
}
