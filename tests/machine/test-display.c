/* Display adapters on a bare bus: the window, the registers, and the pictures that come of them. */
#include "bare-bus.h"
#include "devices/display/display.h"
#include "devices/pci/q35-host.h"
#include <glib/gstdio.h>

#define WINDOW 0xa0000
#define LFB    0xe0000000u
#define MMIO   0xe1000000u
#define ROM    0xe1010000u

static struct address_space *mem_of(struct bare_bus *bus)
{
    return bus->env.mem;
}

static void poke(struct bare_bus *bus, unsigned offset, uint8_t value)
{
    address_space_io_write(mem_of(bus), WINDOW + offset, value, 1);
}

static uint8_t peek(struct bare_bus *bus, unsigned offset)
{
    return (uint8_t)address_space_io_read(mem_of(bus), WINDOW + offset, 1);
}

static void indexed(struct bare_bus *bus, uint16_t port, uint8_t index, uint8_t value)
{
    bus_outw(bus, port, (uint16_t)(value << 8 | index));
}

static void attribute(struct bare_bus *bus, uint8_t index, uint8_t value)
{
    bus_inb(bus, 0x3da);
    bus_outb(bus, 0x3c0, index);
    bus_outb(bus, 0x3c0, value);
}

static void config(struct bare_bus *bus, unsigned slot, unsigned offset, uint32_t value)
{
    bus_outl(bus, 0xcf8, 0x80000000 | slot << 11 | offset);
    bus_outl(bus, 0xcfc, value);
}

static struct device *display_new(struct bare_bus *bus, const char *name, const char *property,
                                  const char *value)
{
    struct device *dev = device_new_named(name, &bus->env, NULL);
    GError *error = NULL;

    if (property) {
        g_assert_true(device_set_property(dev, property, value, NULL));
    }
    device_realize(dev, &error);
    g_assert_no_error(error);
    return dev;
}

static struct bare_bus *vga_new(struct device **dev)
{
    struct bare_bus *bus = bus_new();

    address_space_unmap(mem_of(bus), &bus->ram_region);
    q35_host_create(&bus->env, NULL, NULL);
    *dev = display_new(bus, "VGA", "romfile", "");
    bus_start(bus);
    return bus;
}

static uint32_t pixel(const struct image *image, unsigned x, unsigned y)
{
    const uint8_t *p = image->rgb + 3 * (y * image->width + x);

    g_assert_cmpuint(x, <, image->width);
    g_assert_cmpuint(y, <, image->height);
    return (uint32_t)p[0] << 16 | p[1] << 8 | p[2];
}

/* Sequencer and graphics controller as BIOS mode 12h has them. */
static void planar_mode(struct bare_bus *bus)
{
    indexed(bus, 0x3c4, 2, 0x0f);
    indexed(bus, 0x3c4, 4, 0x06);
    for (uint8_t i = 0; i < 8; i++) {
        indexed(bus, 0x3ce, i, i == 6 ? 0x05 : i == 7 ? 0x0f : 0);
    }
    indexed(bus, 0x3ce, 8, 0xff);
}

static void test_planes(void)
{
    struct device *dev;
    struct bare_bus *bus = vga_new(&dev);

    planar_mode(bus);
    poke(bus, 5, 0xa5); /* write mode 0: all planes */
    for (uint8_t plane = 0; plane < 4; plane++) {
        indexed(bus, 0x3ce, 4, plane);
        g_assert_cmphex(peek(bus, 5), ==, 0xa5);
    }
    indexed(bus, 0x3c4, 2, 0x02); /* one plane */
    poke(bus, 5, 0x11);
    indexed(bus, 0x3ce, 4, 1);
    g_assert_cmphex(peek(bus, 5), ==, 0x11);
    indexed(bus, 0x3ce, 4, 0);
    g_assert_cmphex(peek(bus, 5), ==, 0xa5); /* and fills the latches */

    indexed(bus, 0x3c4, 2, 0x0f);
    indexed(bus, 0x3ce, 5, 1); /* write mode 1 copies them */
    poke(bus, 9, 0);
    indexed(bus, 0x3ce, 5, 0);
    indexed(bus, 0x3ce, 4, 1);
    g_assert_cmphex(peek(bus, 9), ==, 0x11);

    indexed(bus, 0x3ce, 8, 0x0f); /* mode 2: a colour, through a mask */
    indexed(bus, 0x3ce, 5, 2);
    poke(bus, 9, 0x5);
    indexed(bus, 0x3ce, 5, 0);
    g_assert_cmphex(peek(bus, 9), ==, 0x10); /* plane 1 had 0x11 */
    indexed(bus, 0x3ce, 4, 2);
    g_assert_cmphex(peek(bus, 9), ==, 0xaf);

    indexed(bus, 0x3ce, 8, 0xff); /* set/reset, rotate and xor */
    indexed(bus, 0x3ce, 0, 0x1);
    indexed(bus, 0x3ce, 1, 0x1);
    indexed(bus, 0x3ce, 3, 0x18 | 4);
    peek(bus, 9);
    poke(bus, 9, 0x0f);
    indexed(bus, 0x3ce, 4, 0);
    g_assert_cmphex(peek(bus, 9), ==, (uint8_t)(0xaf ^ 0xff));
    indexed(bus, 0x3ce, 4, 2);
    g_assert_cmphex(peek(bus, 9), ==, 0xaf ^ 0xf0);

    indexed(bus, 0x3ce, 1, 0); /* mode 3: set/reset where data and mask are */
    indexed(bus, 0x3ce, 3, 0);
    indexed(bus, 0x3ce, 5, 3);
    indexed(bus, 0x3ce, 0, 0x4);
    peek(bus, 100);
    poke(bus, 100, 0x3c);
    indexed(bus, 0x3ce, 5, 0);
    g_assert_cmphex(peek(bus, 100), ==, 0x3c);

    indexed(bus, 0x3ce, 5, 8); /* read mode 1: where the colour is 4 */
    indexed(bus, 0x3ce, 2, 4);
    g_assert_cmphex(peek(bus, 100), ==, 0x3c);
    indexed(bus, 0x3ce, 7, 0); /* nobody cares */
    g_assert_cmphex(peek(bus, 100), ==, 0xff);

    indexed(bus, 0x3ce, 6, 0x0d); /* the window of text in colour */
    g_assert_cmphex(peek(bus, 0), ==, 0xff);
    bus_free(bus);
}

static void palette_grey(struct bare_bus *bus)
{
    bus_outb(bus, 0x3c6, 0xff);
    bus_outb(bus, 0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned c = 0; c < 3; c++) {
            bus_outb(bus, 0x3c9, (uint8_t)(i & 0x3f));
        }
    }
    bus_outb(bus, 0x3c7, 5);
    g_assert_cmphex(bus_inb(bus, 0x3c9), ==, 5);
    for (uint8_t i = 0; i < 16; i++) {
        attribute(bus, i, i);
    }
    attribute(bus, 0x12, 0x0f);
    attribute(bus, 0x14, 0);
    bus_outb(bus, 0x3c0, 0x20);
}

static uint32_t grey(unsigned six)
{
    return 0x010101u * (six << 2 | (six & 1) * 3);
}

static void crtc_set(struct bare_bus *bus, unsigned columns, unsigned lines, unsigned height,
                     unsigned offset)
{
    bus_outb(bus, 0x3c2, 0x67);
    indexed(bus, 0x3d4, 0x11, 0);
    indexed(bus, 0x3d4, 1, (uint8_t)(columns - 1));
    indexed(bus, 0x3d4, 7, (uint8_t)(0x10 | ((lines - 1) >> 8 & 1) << 1 | ((lines - 1) >> 9) << 6));
    indexed(bus, 0x3d4, 9, (uint8_t)(0x40 | (height - 1)));
    indexed(bus, 0x3d4, 0x0a, 0x20);
    indexed(bus, 0x3d4, 0x12, (uint8_t)(lines - 1));
    indexed(bus, 0x3d4, 0x13, (uint8_t)offset);
    indexed(bus, 0x3d4, 0x17, 0xa3);
    indexed(bus, 0x3d4, 0x18, 0xff);
}

static void test_text(void)
{
    struct device *dev;
    struct bare_bus *bus = vga_new(&dev);
    struct image image;

    palette_grey(bus);
    planar_mode(bus);
    indexed(bus, 0x3c4, 2, 0x04); /* the font is in plane 2 */
    indexed(bus, 0x3ce, 6, 0x04);
    for (unsigned row = 0; row < 16; row++) {
        poke(bus, 0x41 * 32 + row, row == 3 ? 0x81 : 0);
        poke(bus, 0xc4 * 32 + row, 0x01);
    }
    indexed(bus, 0x3c4, 1, 0x00); /* nine dots */
    indexed(bus, 0x3c4, 2, 0x03);
    indexed(bus, 0x3c4, 4, 0x02);
    indexed(bus, 0x3ce, 5, 0x10);
    indexed(bus, 0x3ce, 6, 0x0e);
    crtc_set(bus, 80, 400, 16, 40);
    address_space_io_write(mem_of(bus), 0xb8000 + 2 * 82, 0x1741, 2); /* row 1, column 2 */
    address_space_io_write(mem_of(bus), 0xb8000 + 2 * 83, 0x07c4, 2);
    g_assert_cmphex(address_space_io_read(mem_of(bus), 0xb8000 + 2 * 82, 2), ==, 0x1741);
    attribute(bus, 0x10 | 0x20, 0x04);

    display_render(dev, &image);
    g_assert_cmpuint(image.width, ==, 720);
    g_assert_cmpuint(image.height, ==, 400);
    g_assert_cmphex(pixel(&image, 18, 19), ==, grey(7));
    g_assert_cmphex(pixel(&image, 19, 19), ==, grey(1));
    g_assert_cmphex(pixel(&image, 25, 19), ==, grey(7));
    g_assert_cmphex(pixel(&image, 26, 19), ==, grey(1)); /* the ninth dot is background */
    g_assert_cmphex(pixel(&image, 18, 20), ==, grey(1));
    g_assert_cmphex(pixel(&image, 17, 19), ==, 0);
    g_assert_cmphex(pixel(&image, 35, 16), ==, grey(7)); /* but of a line character */
    image_finish(&image);

    indexed(bus, 0x3d4, 0x0a, 14); /* a cursor at 82 */
    indexed(bus, 0x3d4, 0x0b, 15);
    indexed(bus, 0x3d4, 0x0f, 82);
    indexed(bus, 0x3d4, 0x0d, 80); /* and row 1 is at the top now */
    display_render(dev, &image);
    g_assert_cmphex(pixel(&image, 20, 14), ==, grey(7));
    g_assert_cmphex(pixel(&image, 20, 13), ==, grey(1));
    g_assert_cmphex(pixel(&image, 18, 3), ==, grey(7));
    image_finish(&image);

    bus_inb(bus, 0x3da);
    bus_outb(bus, 0x3c0, 0); /* video off: black */
    display_render(dev, &image);
    g_assert_cmphex(pixel(&image, 18, 3), ==, 0);
    image_finish(&image);
    bus_free(bus);
}

static void test_graphics(void)
{
    struct device *dev;
    struct bare_bus *bus = vga_new(&dev);
    struct image image;

    palette_grey(bus);
    planar_mode(bus); /* 640 by 480 in 16 colours */
    crtc_set(bus, 80, 480, 1, 40);
    indexed(bus, 0x3ce, 0, 0x09);
    indexed(bus, 0x3ce, 1, 0x0f);
    indexed(bus, 0x3ce, 8, 0x10);
    peek(bus, 81);
    poke(bus, 81, 0xff);
    display_render(dev, &image);
    g_assert_cmpuint(image.width, ==, 640);
    g_assert_cmpuint(image.height, ==, 480);
    g_assert_cmphex(pixel(&image, 8 + 3, 1), ==, grey(9));
    g_assert_cmphex(pixel(&image, 8 + 4, 1), ==, 0);
    image_finish(&image);

    indexed(bus, 0x3c4, 4, 0x0e); /* mode 13h: 256 colours, every line twice */
    indexed(bus, 0x3ce, 5, 0x40);
    crtc_set(bus, 80, 400, 2, 40);
    poke(bus, 320 * 10 + 33, 44);
    g_assert_cmphex(peek(bus, 320 * 10 + 33), ==, 44);
    display_render(dev, &image);
    g_assert_cmpuint(image.width, ==, 640);
    g_assert_cmpuint(image.height, ==, 400);
    g_assert_cmphex(pixel(&image, 66, 20), ==, grey(44));
    g_assert_cmphex(pixel(&image, 67, 21), ==, grey(44));
    g_assert_cmphex(pixel(&image, 68, 20), ==, 0);
    g_assert_cmphex(pixel(&image, 66, 22), ==, 0);
    image_finish(&image);
    bus_free(bus);
}

static void vbe_set(struct bare_bus *bus, uint16_t index, uint16_t value)
{
    bus_outw(bus, 0x1ce, index);
    bus_outw(bus, 0x1cf, value);
}

static uint16_t vbe_get(struct bare_bus *bus, uint16_t index)
{
    bus_outw(bus, 0x1ce, index);
    return bus_inw(bus, 0x1cf);
}

static void test_linear(void)
{
    struct device *dev;
    struct bare_bus *bus = vga_new(&dev);
    struct image image;

    config(bus, 1, 0x10, LFB);
    config(bus, 1, 0x18, MMIO);
    config(bus, 1, 4, 2);
    g_assert_cmphex(vbe_get(bus, 0), ==, 0xb0c5);
    g_assert_cmpuint(vbe_get(bus, 10), ==, 256); /* 64 KiB each */
    vbe_set(bus, 4, 2);
    g_assert_cmpuint(vbe_get(bus, 3), ==, 32);
    vbe_set(bus, 4, 0);
    vbe_set(bus, 1, 64);
    vbe_set(bus, 2, 48);
    vbe_set(bus, 3, 32);
    address_space_io_write(mem_of(bus), LFB, 0x123456, 4);
    vbe_set(bus, 4, 0x41);
    g_assert_cmphex(address_space_io_read(mem_of(bus), LFB, 4), ==, 0); /* cleared */
    address_space_io_write(mem_of(bus), LFB + 4 * (64 * 3 + 3), 0x00abcdef, 4);
    display_render(dev, &image);
    g_assert_cmpuint(image.width, ==, 64);
    g_assert_cmpuint(image.height, ==, 48);
    g_assert_cmphex(pixel(&image, 3, 3), ==, 0xabcdef);
    image_finish(&image);

    vbe_set(bus, 6, 128); /* a wider screen, and a look at its second half */
    vbe_set(bus, 8, 60);
    display_render(dev, &image);
    g_assert_cmphex(pixel(&image, 7, 1), ==, 0xabcdef); /* 64 * 3 + 3 = 128 + 67 */
    image_finish(&image);
    g_assert_cmpuint(address_space_io_read(mem_of(bus), MMIO + 0x502, 2), ==, 64);
    address_space_io_write(mem_of(bus), MMIO + 0x502, 32, 2);
    g_assert_cmpuint(vbe_get(bus, 1), ==, 32);
    g_assert_cmphex(address_space_io_read(mem_of(bus), MMIO + 0x604, 4), ==, 0x1e1e1e1e);

    /* whatever a guest writes, the picture is within the memory */
    for (unsigned i = 0; i < 2000; i++) {
        vbe_set(bus, (uint16_t)g_test_rand_int_range(1, 11),
                (uint16_t)g_test_rand_int_range(0, 0x10000) | (i & 1 ? 1 : 0));
        if (i % 100 == 0) {
            display_render(dev, &image);
            image_finish(&image);
        }
    }
    bus_free(bus);
}

static void test_registers(void)
{
    struct device *dev;
    struct bare_bus *bus = vga_new(&dev);
    unsigned retraces = 0, changes = 0;
    bool was = false;

    bus_outb(bus, 0x3c2, 0x66); /* monochrome: other ports */
    indexed(bus, 0x3b4, 0x0e, 0x12);
    bus_outb(bus, 0x3b4, 0x0e);
    g_assert_cmphex(bus_inb(bus, 0x3b5), ==, 0x12);
    g_assert_cmphex(bus_inb(bus, 0x3d4), ==, 0xff);
    bus_outb(bus, 0x3c2, 0x67);
    bus_outb(bus, 0x3d4, 0x0e);
    g_assert_cmphex(bus_inb(bus, 0x3d5), ==, 0x12);
    g_assert_cmphex(bus_inb(bus, 0x3cc), ==, 0x67);
    indexed(bus, 0x3d4, 0x11, 0x80); /* locks 0 to 7 */
    indexed(bus, 0x3d4, 1, 0x55);
    bus_outb(bus, 0x3d4, 1);
    g_assert_cmphex(bus_inb(bus, 0x3d5), ==, 0);

    for (unsigned i = 0; i < 1000; i++) { /* a second of them */
        bool now = bus_inb(bus, 0x3da) & 8;

        retraces += now;
        changes += now && !was;
        was = now;
        bus_step(bus, 20000);
    }
    g_assert_cmpuint(changes, >=, 1);
    g_assert_cmpuint(retraces, <, 50);
    bus_free(bus);
}

static void test_rom(void)
{
    g_autofree char *dir = g_dir_make_tmp("godwit-rom-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "rom", NULL);
    char bytes[5000];
    struct bare_bus *bus = bus_new();
    g_autoptr(GError) error = NULL;
    struct device *dev;

    memset(bytes, 0x5a, sizeof(bytes));
    g_assert_true(g_file_set_contents(path, bytes, sizeof(bytes), NULL));
    q35_host_create(&bus->env, NULL, NULL);
    display_new(bus, "VGA", "romfile", path);
    dev = device_new_named("VGA", &bus->env, NULL);
    g_assert_false(device_realize(dev, &error)); /* there is one */
    bus_start(bus);
    config(bus, 1, 0x30, 0xffffffff);
    g_assert_cmphex(bus_inl(bus, 0xcfc), ==, 0xffffe001); /* 8 KiB */
    config(bus, 1, 0x30, ROM | 1);
    g_assert_cmphex(address_space_io_read(mem_of(bus), ROM, 1), ==, 0xff);
    config(bus, 1, 4, 2);
    g_assert_cmphex(address_space_io_read(mem_of(bus), ROM + 4999, 2), ==, 0x005a);
    config(bus, 1, 0x30, ROM);
    g_assert_cmphex(address_space_io_read(mem_of(bus), ROM, 1), ==, 0xff);
    bus_free(bus);
    g_remove(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/planes", test_planes);
    g_test_add_func("/text", test_text);
    g_test_add_func("/graphics", test_graphics);
    g_test_add_func("/linear", test_linear);
    g_test_add_func("/registers", test_registers);
    g_test_add_func("/rom", test_rom);
    return g_test_run();
}
