/* The keyboard controller with its keyboard and mouse, as a guest drives them by their ports. */
#include "all-devices.h"

static unsigned kbd_get(struct bare_bus *bus)
{
    return bus_inb(bus, 0x64) & 1 ? bus_inb(bus, 0x60) : 0x100u;
}

static void test_i8042(void)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    bus_outb(bus, 0x64, 0xaa);
    g_assert_cmphex(kbd_get(bus), ==, 0x55);
    bus_outb(bus, 0x64, 0x20);
    g_assert_cmphex(kbd_get(bus), ==, 0x47);
    bus_outb(bus, 0x64, 0xd3); /* loop: comes back as the mouse's */
    bus_outb(bus, 0x60, 0x5a);
    g_assert_cmphex(bus_inb(bus, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(kbd_get(bus), ==, 0x5a);

    bus_outb(bus, 0x60, 0xf2); /* keyboard: identify */
    bus_outb(bus, 0xa1, 0);
    bus_outb(bus, 0x20, 0x0a);
    g_assert_cmphex(bus_inb(bus, 0x20) & 2, ==, 2); /* IRQ 1 */
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    g_assert_cmphex(kbd_get(bus), ==, 0xab);
    g_assert_cmphex(kbd_get(bus), ==, 0x41); /* 0x83, translated */
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    bus_outb(bus, 0x60, 0xff);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    g_assert_cmphex(kbd_get(bus), ==, 0xaa);
    bus_outb(bus, 0x60, 0xed);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    bus_outb(bus, 0x60, 0x07);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    bus_outb(bus, 0x60, 0x01);
    g_assert_cmphex(kbd_get(bus), ==, 0xfe);

    bus_outb(bus, 0x64, 0xd4); /* mouse: reset */
    bus_outb(bus, 0x60, 0xff);
    g_assert_cmphex(bus_inb(bus, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    g_assert_cmphex(kbd_get(bus), ==, 0xaa);
    g_assert_cmphex(kbd_get(bus), ==, 0x00);

    bus_outb(bus, 0x64, 0xad); /* keyboard off: what it says waits */
    bus_outb(bus, 0x64, 0xd2);
    bus_outb(bus, 0x60, 0x11);
    g_assert_cmphex(kbd_get(bus), ==, 0x11);
    bus_outb(bus, 0x64, 0xd1); /* output port with the reset line low */
    bus_outb(bus, 0x60, 0x02);
    bus_expect_requests(bus, "reset:i8042 ");
    all_devices_free(&all);
}

/* Keys and the mouse as the guest reads them. */
static void test_typing(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    struct device *kbd;
    static const uint8_t pause[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};

    all_devices_new(&all);
    bus = all.bus;
    kbd = devices_find_class(&bus->env, &i8042_class);
    i8042_key(kbd, 0x1e, true, 10); /* held for 10 ms */
    i8042_key(kbd, 0x1e, false, 0);
    i8042_key(kbd, 0xc8, true, 0);
    i8042_key(kbd, 0xc8, false, 0);
    g_assert_cmphex(kbd_get(bus), ==, 0x1e); /* translated to set 1 */
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    bus_step(bus, 9000000);
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    bus_step(bus, 2000000);
    g_assert_cmphex(kbd_get(bus), ==, 0x9e);
    g_assert_cmphex(kbd_get(bus), ==, 0xe0);
    g_assert_cmphex(kbd_get(bus), ==, 0x48);
    g_assert_cmphex(kbd_get(bus), ==, 0xe0);
    g_assert_cmphex(kbd_get(bus), ==, 0xc8);
    i8042_key(kbd, 0xc6, true, 0);
    for (unsigned i = 0; i < sizeof(pause); i++) {
        g_assert_cmphex(kbd_get(bus), ==, pause[i]);
    }

    bus_outb(bus, 0x64, 0x60); /* no translation: set 2 */
    bus_outb(bus, 0x60, 0x07);
    i8042_key(kbd, 0x9d, true, 0);
    i8042_key(kbd, 0x9d, false, 0);
    g_assert_cmphex(kbd_get(bus), ==, 0xe0);
    g_assert_cmphex(kbd_get(bus), ==, 0x14);
    g_assert_cmphex(kbd_get(bus), ==, 0xe0);
    g_assert_cmphex(kbd_get(bus), ==, 0xf0);
    g_assert_cmphex(kbd_get(bus), ==, 0x14);
    for (unsigned i = 0; i < 40; i++) { /* more than the keyboard keeps: whole keys are lost */
        i8042_key(kbd, 0x1c, i % 2 == 0, 0);
    }
    for (unsigned i = 0, byte; (byte = kbd_get(bus)) != 0x100; i++) {
        g_assert_cmpuint(byte, !=, 0xe0);
        g_assert_cmpuint(i, <, 20);
    }

    g_assert_true(g_str_has_prefix(bus->requests->str, "wakeup:keyboard wakeup:keyboard "));
    g_string_truncate(bus->requests, 0);
    i8042_mouse(kbd, 3, 4, 1, 1); /* nobody has enabled it yet */
    i8042_mouse(kbd, 0, 0, 0, 1);
    bus_expect_requests(bus, "");
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    bus_outb(bus, 0x64, 0xd4);
    bus_outb(bus, 0x60, 0xf4);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
    kbd_get(bus), kbd_get(bus), kbd_get(bus);
    i8042_mouse(kbd, -300, 2, 1, 1);
    bus_expect_requests(bus, "wakeup:mouse ");
    g_assert_cmphex(bus_inb(bus, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(kbd_get(bus), ==, 0x19);
    g_assert_cmphex(kbd_get(bus), ==, 0x01); /* -255 */
    g_assert_cmphex(kbd_get(bus), ==, 0x02);
    g_assert_cmphex(kbd_get(bus), ==, 0x19);
    g_assert_cmphex(kbd_get(bus), ==, 0xd3); /* -45 */
    g_assert_cmphex(kbd_get(bus), ==, 0x00);
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    i8042_mouse(kbd, 1, 0, 0, 1); /* only pressed buttons wake */
    bus_expect_requests(bus, "");
    all_devices_free(&all);
}

static void kbd_send(struct bare_bus *bus, uint8_t byte)
{
    bus_outb(bus, 0x60, byte);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
}

static void mouse_send(struct bare_bus *bus, uint8_t byte)
{
    bus_outb(bus, 0x64, 0xd4);
    bus_outb(bus, 0x60, byte);
    g_assert_cmphex(kbd_get(bus), ==, 0xfa);
}

static void test_scan_code_set_3(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    struct device *kbd;

    all_devices_new(&all);
    bus = all.bus;
    kbd = devices_find_class(&bus->env, &i8042_class);
    kbd_send(bus, 0xf0);
    kbd_send(bus, 0x03);
    kbd_send(bus, 0xf0);
    kbd_send(bus, 0x00);
    g_assert_cmphex(kbd_get(bus), ==, 0x3f); /* 3, translated */
    i8042_key(kbd, 0x1e, true, 0);
    g_assert_cmphex(kbd_get(bus), ==, 0x1e); /* A: the same code in sets 2 and 3 */
    bus_outb(bus, 0x64, 0x60);               /* no translation */
    bus_outb(bus, 0x60, 0x07);
    i8042_key(kbd, 0x1e, false, 0); /* letters do not tell that they go up ... */
    i8042_key(kbd, 0x1d, false, 0); /* ... Control does */
    g_assert_cmphex(kbd_get(bus), ==, 0xf0);
    g_assert_cmphex(kbd_get(bus), ==, 0x11);
    kbd_send(bus, 0xfc); /* A and the up arrow shall */
    kbd_send(bus, 0x1c);
    kbd_send(bus, 0x63);
    kbd_send(bus, 0xf4);
    i8042_key(kbd, 0xc8, true, 0);
    i8042_key(kbd, 0xc8, false, 0);
    i8042_key(kbd, 0x1e, false, 0);
    i8042_key(kbd, 0x30, false, 0);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmphex(kbd_get(bus), ==, ((const uint8_t[]){0x63, 0xf0, 0x63, 0xf0, 0x1c})[i]);
    }
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    kbd_send(bus, 0xf8); /* all */
    i8042_key(kbd, 0x30, false, 0);
    g_assert_cmphex(kbd_get(bus), ==, 0xf0);
    g_assert_cmphex(kbd_get(bus), ==, 0x32);
    all_devices_free(&all);
}

static void test_mouse_modes(void)
{
    static const uint8_t magic[] = {200, 100, 80};
    struct all_devices all;
    struct bare_bus *bus;
    struct device *mouse;

    all_devices_new(&all);
    bus = all.bus;
    mouse = devices_find_class(&bus->env, &i8042_class);
    mouse_send(bus, 0xf0); /* remote: reports when asked */
    mouse_send(bus, 0xf4);
    i8042_mouse(mouse, 5, 0, 0, 0);
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    mouse_send(bus, 0xeb);
    g_assert_cmphex(kbd_get(bus), ==, 0x08);
    g_assert_cmphex(kbd_get(bus), ==, 5);
    g_assert_cmphex(kbd_get(bus), ==, 0);
    mouse_send(bus, 0xe9);
    g_assert_cmphex(kbd_get(bus), ==, 0x60);
    kbd_get(bus), kbd_get(bus);
    mouse_send(bus, 0xea);
    i8042_wheel(mouse, 1); /* it has none yet */
    g_assert_cmphex(kbd_get(bus), ==, 0x100);
    for (unsigned i = 0; i < 3; i++) {
        mouse_send(bus, 0xf3);
        mouse_send(bus, magic[i]);
    }
    mouse_send(bus, 0xf2);
    g_assert_cmphex(kbd_get(bus), ==, 3);
    i8042_wheel(mouse, -1);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(kbd_get(bus), ==, ((const uint8_t[]){0x08, 0, 0, 0xff})[i]);
    }
    mouse_send(bus, 0xff);
    kbd_get(bus), kbd_get(bus);
    mouse_send(bus, 0xf2);
    g_assert_cmphex(kbd_get(bus), ==, 0);
    all_devices_free(&all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/controller", test_i8042);
    g_test_add_func("/i8042/typing", test_typing);
    g_test_add_func("/i8042/scan-code-set-3", test_scan_code_set_3);
    g_test_add_func("/i8042/mouse-modes", test_mouse_modes);
    return g_test_run();
}
