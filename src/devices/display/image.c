/* Pictures as files: PPM (netpbm's binary pixmap, P6) and PNG (by libpng). */
#include "devices/display/image.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <unistd.h>

#define IMAGE_MAX_BYTES (512u << 20)

void image_init(struct image *image, unsigned width, unsigned height)
{
    uint64_t bytes = 3 * (uint64_t)width * height;

    image->width = width;
    image->height = height;
    image->rgb = bytes && bytes <= IMAGE_MAX_BYTES ? g_try_malloc0(bytes) : NULL;
    if (!image->rgb) {
        image->width = image->height = 1;
        image->rgb = g_malloc0(3);
    }
}

void image_finish(struct image *image)
{
    g_clear_pointer(&image->rgb, g_free);
}

static gboolean ppm_write(const struct image *image, FILE *file)
{
    size_t bytes = 3 * (size_t)image->width * image->height;

    return fprintf(file, "P6\n%u %u\n255\n", image->width, image->height) > 0 &&
           fwrite(image->rgb, 1, bytes, file) == bytes;
}

static gboolean png_rows_write(const struct image *image, FILE *file, png_structp png,
                               png_infop info)
{
    if (setjmp(png_jmpbuf(png))) {
        return FALSE;
    }
    png_init_io(png, file);
    png_set_IHDR(png, info, image->width, image->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    for (unsigned y = 0; y < image->height; y++) {
        png_write_row(png, image->rgb + 3 * (size_t)y * image->width);
    }
    png_write_end(png, NULL);
    return TRUE;
}

/* libpng would write to stderr by itself. */
static void png_fail(png_structp png, png_const_charp message)
{
    longjmp(png_jmpbuf(png), 1);
}

static gboolean image_png_write(const struct image *image, FILE *file)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, png_fail, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    gboolean ok = info && png_rows_write(image, file, png, info);

    if (png) {
        png_destroy_write_struct(&png, &info);
    }
    return ok;
}

gboolean image_write(const struct image *image, const char *path, enum image_format format,
                     GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    gboolean ok = file != NULL;

    if (ok) {
        errno = 0;
        ok = format == IMAGE_FORMAT_PNG ? image_png_write(image, file) : ppm_write(image, file);
        ok = fclose(file) == 0 && ok;
    } else if (fd >= 0) {
        close(fd);
    }
    if (!ok) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno ? errno : EIO),
                    "failed to write '%s': %s", path, g_strerror(errno ? errno : EIO));
    }
    return ok;
}
