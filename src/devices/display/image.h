/* A picture of what a display shows, and files of it. Any thread, one at a time. */
#ifndef DEVICES_DISPLAY_IMAGE_H
#define DEVICES_DISPLAY_IMAGE_H

#include "qapi-types.h"
#include <stdint.h>

struct image {
    unsigned width, height;
    uint8_t *rgb; /* three bytes a pixel, rows from the top */
};

/* Black; a picture without pixels, or one that memory has no room for, is 1 by 1. */
void image_init(struct image *image, unsigned width, unsigned height);
void image_finish(struct image *image);

/* rgb: 0xRRGGBB */
static inline void image_put(struct image *image, unsigned x, unsigned y, uint32_t rgb)
{
    uint8_t *p = image->rgb + 3 * ((size_t)y * image->width + x);

    p[0] = (uint8_t)(rgb >> 16);
    p[1] = (uint8_t)(rgb >> 8);
    p[2] = (uint8_t)rgb;
}

/* Replaces the file. On failure *error names it. */
gboolean image_write(const struct image *image, const char *path, enum image_format format,
                     GError **error);

#endif
