/* The devices of the ISA side on a bare bus: serial, 8259, 8254, clock, I/O APIC, ACPI registers.
 */
#include "bare-bus.h"
#include "devices/acpi-pm.h"
#include "devices/ioapic.h"
#include "devices/isa/i8254.h"
#include "devices/isa/i8259.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/serial.h"

/* ---- a back end that the test holds in its hand */

struct hand {
    struct chardev chr;
    GString *out;
    size_t room;
};

static size_t hand_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct hand *h = (struct hand *)chr;
    size_t n = MIN(length, h->room);

    g_string_append_len(h->out, (const char *)buf, (gssize)n);
    h->room -= n;
    return n;
}

static const struct chardev_ops hand_ops = {
    .name = "hand", .size = sizeof(struct hand), .write = hand_write};

/* Gives text as far as the device takes it; returns how much that was. */
static size_t hand_feed(struct hand *h, const char *text)
{
    const struct chardev_frontend *f = h->chr.frontend;
    size_t n = 0;

    while (text[n] && f->can_receive(f->opaque) > 0) {
        f->receive(f->opaque, (const uint8_t *)text + n, 1);
        n++;
    }
    return n;
}

/* ---- serial */

#define COM1 0x3f8

static void serial_start(struct bare_bus *bus, struct hand *h)
{
    g_autoptr(GError) error = NULL;

    *h = (struct hand){.chr = {.ops = &hand_ops, .id = (char *)"hand"},
                       .out = g_string_new(NULL),
                       .room = SIZE_MAX};
    g_assert_nonnull(serial_create(&bus->env, 0, &h->chr, &error));
    g_assert_no_error(error);
    bus_start(bus);
}

static void serial_stop(struct bare_bus *bus, struct hand *h)
{
    bus_free(bus);
    g_assert_null(h->chr.frontend);
    g_string_free(h->out, TRUE);
}

static void test_serial_detect(void)
{
    struct bare_bus *bus = bus_new();
    struct hand h;

    serial_start(bus, &h);
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0x60);
    g_assert_cmphex(bus_inb(bus, COM1 + 6), ==, 0xb0);
    bus_outb(bus, COM1 + 7, 0x5a);
    g_assert_cmphex(bus_inb(bus, COM1 + 7), ==, 0x5a);
    bus_outb(bus, COM1 + 2, 1);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0xc1);
    bus_outb(bus, COM1 + 2, 0);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0x01);
    bus_outb(bus, COM1 + 3, 0x80);
    bus_outw(bus, COM1, 0x1234); /* divisor, as two bytes */
    g_assert_cmphex(bus_inb(bus, COM1), ==, 0x34);
    g_assert_cmphex(bus_inb(bus, COM1 + 1), ==, 0x12);
    bus_outb(bus, COM1 + 3, 0x03);

    /* Loop-back, as Linux finds the port: RTS and OUT2 come back as CTS and DCD. */
    bus_outb(bus, COM1 + 4, 0x1a);
    g_assert_cmphex(bus_inb(bus, COM1 + 6) & 0xf0, ==, 0x90);
    bus_outb(bus, COM1, 'L');
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0x61);
    g_assert_cmphex(bus_inb(bus, COM1), ==, 'L');
    g_assert_cmpstr(h.out->str, ==, "");
    g_assert_cmpuint(hand_feed(&h, "x"), ==, 0);
    bus_outb(bus, COM1 + 4, 0x0b);
    g_assert_cmpuint(hand_feed(&h, "x"), ==, 1);
    serial_stop(bus, &h);
}

static void test_serial_output(void)
{
    struct bare_bus *bus = bus_new();
    struct hand h;

    serial_start(bus, &h);
    bus_outb(bus, COM1 + 1, 2); /* THRI: at once, being empty */
    g_assert_true(bus->line[4]);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0x02);
    g_assert_false(bus->line[4]);
    bus_outb(bus, COM1, 'A');
    g_assert_true(bus->line[4]);

    /* A back end that takes no more: the transmitter fills, and nothing is lost. */
    bus_outb(bus, COM1 + 2, 1);
    h.room = 3;
    for (char c = 'B'; c < 'H'; c++) {
        bus_outb(bus, COM1, (uint8_t)c);
    }
    g_assert_cmpstr(h.out->str, ==, "ABCD");
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0);
    g_assert_false(bus->line[4]);
    h.room = 2;
    h.chr.frontend->writable(h.chr.frontend->opaque);
    g_assert_cmpstr(h.out->str, ==, "ABCDEF");
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0);
    h.room = SIZE_MAX;
    devices_pause(&bus->env);
    h.chr.frontend->writable(h.chr.frontend->opaque); /* paused: held */
    g_assert_cmpstr(h.out->str, ==, "ABCDEF");
    devices_resume(&bus->env);
    g_assert_cmpstr(h.out->str, ==, "ABCDEFG");
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0x60);
    g_assert_true(bus->line[4]);
    serial_stop(bus, &h);
}

static void test_serial_input(void)
{
    struct bare_bus *bus = bus_new();
    struct hand h;

    serial_start(bus, &h);
    bus_outb(bus, COM1 + 1, 5); /* received data, line status */
    g_assert_cmpuint(hand_feed(&h, "ab"), ==, 1);
    g_assert_true(bus->line[4]);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0x04);
    g_assert_cmphex(bus_inb(bus, COM1), ==, 'a');
    g_assert_false(bus->line[4]);

    bus_outb(bus, COM1 + 2, 0xc1); /* FIFO, trigger at 14 */
    g_assert_cmpuint(hand_feed(&h, "0123456789abc"), ==, 13);
    g_assert_false(bus->line[4]);
    bus_step(bus, 10 * NS_PER_MS); /* 4 characters at 9600 baud are 4 ms */
    g_assert_true(bus->line[4]);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0xcc);
    g_assert_cmphex(bus_inb(bus, COM1), ==, '0');
    g_assert_false(bus->line[4]);
    g_assert_cmpuint(hand_feed(&h, "XYZUVW"), ==, 4);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0xc4);
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmphex(bus_inb(bus, COM1 + 5) & 1, ==, 1);
        g_assert_cmphex(bus_inb(bus, COM1), ==, "123456789abcXYZU"[i]);
    }
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0x60);

    hand_feed(&h, "q");
    h.chr.frontend->event(h.chr.frontend->opaque, CHARDEV_BREAK);
    g_assert_cmphex(bus_inb(bus, COM1 + 5) & 0x10, ==, 0);
    g_assert_cmphex(bus_inb(bus, COM1), ==, 'q');
    g_assert_true(bus->line[4]);
    g_assert_cmphex(bus_inb(bus, COM1 + 2), ==, 0xc6);
    g_assert_cmphex(bus_inb(bus, COM1 + 5), ==, 0x71);
    g_assert_cmphex(bus_inb(bus, COM1), ==, 0);
    serial_stop(bus, &h);
}

static void test_serial_errors(void)
{
    struct bare_bus *bus = bus_new();
    g_autoptr(GError) error = NULL;
    struct device *dev;
    struct hand h;

    serial_start(bus, &h);
    g_assert_null(serial_create(&bus->env, 1, &h.chr, &error));
    g_assert_nonnull(strstr(error->message, "'hand' is already in use"));
    g_clear_error(&error);
    g_assert_cmphex(bus_inb(bus, 0x2f8 + 5), ==, 0xff); /* nothing left behind */
    g_assert_null(serial_create(&bus->env, 4, NULL, &error));
    g_clear_error(&error);

    dev = device_new_named("isa-serial", &bus->env, NULL);
    g_assert_false(device_set_property(dev, "irqq", "4", &error));
    g_assert_nonnull(strstr(error->message, "'irqq'"));
    g_clear_error(&error);
    g_assert_false(device_set_property(dev, "irq", "16", &error));
    g_assert_nonnull(strstr(error->message, "0 to 15"));
    g_clear_error(&error);
    g_assert_false(device_set_property(dev, "irq", "-1", &error));
    g_clear_error(&error);
    g_assert_false(device_set_property(dev, "chardev", "nope", &error));
    g_assert_nonnull(strstr(error->message, "'nope'"));
    g_clear_error(&error);
    g_assert_true(device_set_property(dev, "iobase", "0x2e8", &error));
    g_assert_true(device_set_property(dev, "irq", "3", &error));
    g_assert_true(device_realize(dev, &error));
    g_assert_cmphex(bus_inb(bus, 0x2e8 + 5), ==, 0x60);
    serial_stop(bus, &h);
}

/* ---- 8259 */

static struct device *pic_start(struct bare_bus *bus)
{
    struct irq_line intr = bus_line(bus, 20);
    struct device *pic = i8259_create(&bus->env, &intr, NULL);
    static const uint8_t init[4] = {0x11, 0x20, 0x04, 0x01};

    bus_start(bus);
    for (unsigned i = 0; i < 4; i++) {
        bus_outb(bus, i ? 0x21 : 0x20, init[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        bus_outb(bus, i ? 0xa1 : 0xa0, i == 1 ? 0x28 : i == 2 ? 2 : init[i]);
    }
    return pic;
}

static void test_pic_order(void)
{
    struct bare_bus *bus = bus_new();
    struct device *pic = pic_start(bus);

    bus_outb(bus, 0x21, 0xff); /* Linux's probe */
    g_assert_cmphex(bus_inb(bus, 0x21), ==, 0xff);
    i8259_set_irq(pic, 4, true);
    g_assert_false(bus->line[20]);
    bus_outb(bus, 0x21, 0);
    bus_outb(bus, 0xa1, 0);
    g_assert_true(bus->line[20]);
    i8259_set_irq(pic, 9, true);
    i8259_set_irq(pic, 0, true);
    g_assert_cmpint(i8259_ack(pic), ==, 0x20);
    g_assert_false(bus->line[20]); /* nothing above irq 0 */
    bus_outb(bus, 0x20, 0x20);
    g_assert_cmpint(i8259_ack(pic), ==, 0x29); /* the slave comes before irq 4 */
    bus_outb(bus, 0x20, 0x0b);
    g_assert_cmphex(bus_inb(bus, 0x20), ==, 0x04);
    bus_outb(bus, 0xa0, 0x0b);
    g_assert_cmphex(bus_inb(bus, 0xa0), ==, 0x02);
    bus_outb(bus, 0xa0, 0x61); /* specific EOIs */
    bus_outb(bus, 0x20, 0x62);
    g_assert_cmpint(i8259_ack(pic), ==, 0x24);
    g_assert_cmpint(i8259_ack(pic), ==, 0x27); /* spurious */
    bus_outb(bus, 0x20, 0x20);
    i8259_set_irq(pic, 4, true); /* no edge */
    g_assert_false(bus->line[20]);
    i8259_set_irq(pic, 4, false);
    i8259_set_irq(pic, 4, true);
    g_assert_true(bus->line[20]);
    bus_free(bus);
}

static void test_pic_level_and_modes(void)
{
    struct bare_bus *bus = bus_new();
    struct device *pic = pic_start(bus);

    bus_outw(bus, 0x4d0, 0xffff);
    g_assert_cmphex(bus_inw(bus, 0x4d0), ==, 0xdef8);
    i8259_set_irq(pic, 10, true);
    g_assert_cmpint(i8259_ack(pic), ==, 0x2a);
    bus_outb(bus, 0xa0, 0x20);
    bus_outb(bus, 0x20, 0x20);
    g_assert_true(bus->line[20]); /* still asserted */
    i8259_set_irq(pic, 10, false);
    g_assert_false(bus->line[20]);

    /* Rotation: after irq 5 was served it is the lowest. */
    i8259_set_irq(pic, 5, true);
    g_assert_cmpint(i8259_ack(pic), ==, 0x25);
    i8259_set_irq(pic, 5, false);
    bus_outb(bus, 0x20, 0xa0);
    i8259_set_irq(pic, 1, true);
    i8259_set_irq(pic, 6, true);
    g_assert_cmpint(i8259_ack(pic), ==, 0x26);
    bus_outb(bus, 0x20, 0x66);
    i8259_set_irq(pic, 6, false);
    bus_outb(bus, 0x20, 0xc7); /* set priority: 7 lowest, the usual order */

    /* Poll command instead of an acknowledge cycle. */
    bus_outb(bus, 0x20, 0x0c);
    g_assert_cmphex(bus_inb(bus, 0x20), ==, 0x81);
    bus_outb(bus, 0x20, 0x0c);
    g_assert_cmphex(bus_inb(bus, 0x20), ==, 0x00);

    /* Special mask mode lets lower ones through while irq 1 is in service and masked. */
    i8259_set_irq(pic, 3, true);
    g_assert_false(bus->line[20]);
    bus_outb(bus, 0x21, 0x02);
    bus_outb(bus, 0x20, 0x68);
    g_assert_true(bus->line[20]);
    bus_outb(bus, 0x20, 0x48);
    g_assert_false(bus->line[20]);
    bus_free(bus);
}

/* ---- 8254 */

static void pit_start(struct bare_bus *bus)
{
    struct irq_line irq0 = bus_line(bus, 0);

    g_assert_nonnull(i8254_create(&bus->env, &irq0, NULL));
    bus_start(bus);
}

static unsigned pit_latch(struct bare_bus *bus, unsigned channel)
{
    unsigned low;

    bus_outb(bus, 0x43, (uint8_t)(channel << 6));
    low = bus_inb(bus, (uint16_t)(0x40 + channel));
    return low | (unsigned)bus_inb(bus, (uint16_t)(0x40 + channel)) << 8;
}

static void test_pit_periodic(void)
{
    struct bare_bus *bus = bus_new();

    pit_start(bus);
    bus_outb(bus, 0x43, 0x34);
    bus_outb(bus, 0x40, 11932 & 255);
    bus_outb(bus, 0x40, 11932 >> 8);
    bus->rises[0] = 0;
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->rises[0], ==, 99); /* 1193182 / 11932 = 99.998 */
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->rises[0], ==, 199);
    bus_outb(bus, 0x43, 0x36);
    bus_outb(bus, 0x40, 0);
    bus_outb(bus, 0x40, 0);
    bus->rises[0] = 0;
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->rises[0], ==, 18);
    bus_outb(bus, 0x43, 0x14); /* a silly rate must not flood us */
    bus_outb(bus, 0x40, 2);
    bus->rises[0] = 0;
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->rises[0], <=, 50000);
    g_assert_cmpuint(bus->rises[0], >, 40000);
    bus_free(bus);
}

static void test_pit_one_shot(void)
{
    struct bare_bus *bus = bus_new();

    pit_start(bus);
    bus_outb(bus, 0x43, 0x30);
    bus->rises[0] = 0;
    bus_outb(bus, 0x40, 1000 & 255);
    bus_outb(bus, 0x40, 1000 >> 8);
    g_assert_false(bus->line[0]);
    bus_step(bus, 419 * NS_PER_US); /* 500 clocks */
    g_assert_cmpuint(pit_latch(bus, 0), ==, 501);
    g_assert_cmpuint(bus->rises[0], ==, 0);
    bus_outb(bus, 0x43, 0xc2); /* read-back: status, then count */
    g_assert_cmphex(bus_inb(bus, 0x40), ==, 0x30);
    g_assert_cmpuint(bus_inb(bus, 0x40), ==, 501 & 255);
    g_assert_cmpuint(bus_inb(bus, 0x40), ==, 501 >> 8);
    bus_step(bus, 420 * NS_PER_US);
    g_assert_cmpuint(bus->rises[0], ==, 1);
    bus_outb(bus, 0x43, 0xe2);
    g_assert_cmphex(bus_inb(bus, 0x40), ==, 0xb0);
    bus_step(bus, 10 * NS_PER_SEC);
    g_assert_cmpuint(bus->rises[0], ==, 1);
    bus_free(bus);
}

static void test_pit_channel2(void)
{
    struct bare_bus *bus = bus_new();

    pit_start(bus);
    /* Linux's calibration: gate on, speaker off, mode 0, wait for the output. */
    bus_outb(bus, 0x61, 0x01);
    bus_outb(bus, 0x43, 0xb0);
    bus_outb(bus, 0x42, 59659 & 255);
    bus_outb(bus, 0x42, 59659 >> 8);
    bus_step(bus, 49 * NS_PER_MS);
    g_assert_cmphex(bus_inb(bus, 0x61) & 0x21, ==, 0x01);
    bus_step(bus, 2 * NS_PER_MS);
    g_assert_cmphex(bus_inb(bus, 0x61) & 0x21, ==, 0x21);

    /* BCD, square wave: high for the first half of 1000 clocks. */
    bus_outb(bus, 0x43, 0xb7);
    bus_outb(bus, 0x42, 0x00);
    bus_outb(bus, 0x42, 0x10);
    g_assert_cmphex(pit_latch(bus, 2), ==, 0x1000);
    bus_step(bus, 400 * NS_PER_US);
    g_assert_cmphex(bus_inb(bus, 0x61) & 0x20, ==, 0x20);
    bus_step(bus, 100 * NS_PER_US);
    g_assert_cmphex(bus_inb(bus, 0x61) & 0x20, ==, 0);
    bus_free(bus);
}

/* ---- clock */

static uint8_t cmos(struct bare_bus *bus, uint8_t index)
{
    bus_outb(bus, 0x70, index);
    return bus_inb(bus, 0x71);
}

static void cmos_set(struct bare_bus *bus, uint8_t index, uint8_t value)
{
    bus_outb(bus, 0x70, index);
    bus_outb(bus, 0x71, value);
}

static void rtc_start(struct bare_bus *bus, const char *base)
{
    struct irq_line irq = bus_line(bus, 8);
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(mc146818rtc_create(&bus->env, &irq, base, NULL, &error));
    g_assert_no_error(error);
    bus_start(bus);
}

static void expect_time(struct bare_bus *bus, const char *text)
{
    g_autofree char *now =
        g_strdup_printf("%02x%02x-%02x-%02x %02x:%02x:%02x", cmos(bus, 0x32), cmos(bus, 9),
                        cmos(bus, 8), cmos(bus, 7), cmos(bus, 4), cmos(bus, 2), cmos(bus, 0));

    g_assert_cmpstr(now, ==, text);
}

static void test_rtc_time(void)
{
    struct bare_bus *bus = bus_new();

    rtc_start(bus, "1999-12-31T23:59:58");
    expect_time(bus, "1999-12-31 23:59:58");
    g_assert_cmphex(cmos(bus, 6), ==, 6); /* a Friday */
    g_assert_cmphex(cmos(bus, 0x0d), ==, 0x80);
    bus_step(bus, 2 * NS_PER_SEC - 100000);
    g_assert_cmphex(cmos(bus, 0x0a) & 0x80, ==, 0x80); /* about to change */
    bus_step(bus, 100000);
    g_assert_cmphex(cmos(bus, 0x0a) & 0x80, ==, 0);
    expect_time(bus, "2000-01-01 00:00:00");
    bus_step(bus, 59ll * 86400 * NS_PER_SEC);
    expect_time(bus, "2000-02-29 00:00:00");

    cmos_set(bus, 0x0b, 0x82); /* SET: the registers stand still */
    cmos_set(bus, 9, 0x26);
    bus_step(bus, 10 * NS_PER_SEC);
    expect_time(bus, "2026-02-29 00:00:00");
    cmos_set(bus, 7, 0x28);
    cmos_set(bus, 4, 0x23);
    cmos_set(bus, 0x0b, 0x02);
    expect_time(bus, "2026-02-28 23:00:00");
    g_assert_cmpint(bus->rtc_offset_s, ==, (int64_t)26 * 365 * 86400 + 6 * 86400 + 82800 - 10);
    bus_step(bus, NS_PER_SEC);
    expect_time(bus, "2026-02-28 23:00:01");

    cmos_set(bus, 0x0b, 0x04); /* binary, 12 hours */
    g_assert_cmphex(cmos(bus, 4), ==, 0x8b);
    g_assert_cmpuint(cmos(bus, 9), ==, 26);
    bus_free(bus);
}

/* The century is told in two places. */
static void test_rtc_century(void)
{
    struct bare_bus *bus = bus_new();

    rtc_start(bus, "1999-12-31T23:59:58");
    g_assert_cmphex(cmos(bus, 0x37), ==, 0x19);
    cmos_set(bus, 0x37, 0x21);
    expect_time(bus, "2199-12-31 23:59:58");
    bus_free(bus);
}

static void test_rtc_interrupts(void)
{
    struct bare_bus *bus = bus_new();

    rtc_start(bus, "2026-01-01");
    bus_step(bus, 3 * NS_PER_SEC);
    g_assert_cmphex(cmos(bus, 0x0c) & 0x90, ==, 0x10); /* flag without an interrupt */
    cmos_set(bus, 0x0b, 0x12);
    bus_step(bus, NS_PER_SEC);
    g_assert_true(bus->line[8]);
    g_assert_cmphex(cmos(bus, 0x0c) & 0x90, ==, 0x90);
    g_assert_false(bus->line[8]);

    /* Alarm at 10 seconds past any minute. */
    cmos_set(bus, 1, 0x10);
    cmos_set(bus, 3, 0xff);
    cmos_set(bus, 5, 0xff);
    cmos_set(bus, 0x0b, 0x22);
    cmos(bus, 0x0c);
    bus_step(bus, 5 * NS_PER_SEC);
    g_assert_false(bus->line[8]);
    bus_step(bus, NS_PER_SEC);
    g_assert_true(bus->line[8]);
    g_assert_cmphex(cmos(bus, 0x0c) & 0xa0, ==, 0xa0);
    bus_step(bus, 59 * NS_PER_SEC);
    g_assert_false(bus->line[8]);
    bus_step(bus, NS_PER_SEC);
    g_assert_true(bus->line[8]);
    cmos(bus, 0x0c);

    /* Periodic at 1024 Hz, acknowledged each time. */
    cmos_set(bus, 0x0a, 0x26);
    cmos_set(bus, 0x0b, 0x42);
    cmos(bus, 0x0c);
    bus->rises[8] = 0;
    for (unsigned i = 0; i < 10240; i++) {
        bus_step(bus, NS_PER_SEC / 10240);
        cmos(bus, 0x0c);
    }
    g_assert_cmpuint(bus->rises[8], >=, 1022);
    g_assert_cmpuint(bus->rises[8], <=, 1024);
    bus_step(bus, NS_PER_SEC);
    g_assert_true(bus->line[8]);
    devices_reset(&bus->env, RESET_WARM);
    g_assert_false(bus->line[8]);
    bus_free(bus);
}

/* A line whose other end is slow: a period passes while it is told of its level. */
struct slow_line {
    struct bare_bus *bus;
    bool slow, level;
    unsigned rises;
};

static void slow_line_set(void *opaque, int n, bool level)
{
    struct slow_line *l = opaque;

    l->rises += level && !l->level;
    l->level = level;
    if (l->slow) {
        l->slow = false;
        bus_step(l->bus, NS_PER_MS);
    }
}

/* A period that ends while register C is read is another interrupt, or there would never be one. */
static void test_rtc_read_late(void)
{
    struct bare_bus *bus = bus_new();
    struct slow_line line = {.bus = bus};
    struct irq_line irq = {slow_line_set, &line, 8};

    g_assert_nonnull(mc146818rtc_create(&bus->env, &irq, "2026-01-01", NULL, NULL));
    bus_start(bus);
    cmos_set(bus, 0x0a, 0x26);
    cmos_set(bus, 0x0b, 0x42);
    cmos(bus, 0x0c);
    bus_step(bus, NS_PER_MS);
    g_assert_cmpuint(line.rises, ==, 1);
    line.slow = true;
    g_assert_cmphex(cmos(bus, 0x0c), ==, 0xc0);
    g_assert_false(line.slow);
    g_assert_cmpuint(line.rises, ==, 2);
    g_assert_cmphex(cmos(bus, 0x0c), ==, 0xc0);
    g_assert_false(line.level);
    bus_free(bus);
}

/* Reads register C until no interrupt is pending; how many there were. */
static unsigned rtc_take_all(struct bare_bus *bus)
{
    unsigned n = 0;

    while (cmos(bus, 0x0c) & 0x80) {
        n++;
    }
    return n;
}

/* Periodic interrupts that the guest takes late: lost, or made up for, twenty at a time. */
static void test_rtc_lost_ticks(void)
{
    for (unsigned slew = 0; slew < 2; slew++) {
        struct bare_bus *bus = bus_new();
        struct irq_line irq = bus_line(bus, 8);
        struct device *rtc;
        struct device_global global = {"mc146818rtc", "lost_tick_policy",
                                       slew ? "slew" : "discard"};

        bus->env.globals = g_ptr_array_new();
        g_ptr_array_add(bus->env.globals, &global);
        rtc = mc146818rtc_create(&bus->env, &irq, "2026-01-01", NULL, NULL);
        bus_start(bus);
        cmos_set(bus, 0x0a, 0x26); /* 1024 Hz */
        cmos_set(bus, 0x0b, 0x42);
        bus_step(bus, 10 * NS_PER_SEC / 1024 + NS_PER_MS / 10);
        g_assert_cmpuint(rtc_take_all(bus), ==, slew ? 10 : 1);
        bus_step(bus, 50 * NS_PER_SEC / 1024);
        g_assert_cmpuint(rtc_take_all(bus), ==, slew ? 21 : 1);
        bus_step(bus, NS_PER_SEC / 1024);
        g_assert_cmpuint(rtc_take_all(bus), ==, slew ? 21 : 1);
        bus_step(bus, 50 * NS_PER_SEC / 1024);
        mc146818rtc_forget_lost(rtc);
        g_assert_cmpuint(rtc_take_all(bus), ==, 1);
        bus_step(bus, 8 * NS_PER_SEC / 1024);
        cmos_set(bus, 0x0a, 0x28); /* 256 Hz: seven lost are about two */
        g_assert_cmpuint(rtc_take_all(bus), ==, slew ? 2 : 1);
        bus_step(bus, NS_PER_SEC);
        cmos_set(bus, 0x0b, 0x02); /* none are wanted */
        cmos_set(bus, 0x0b, 0x42);
        g_assert_cmpuint(rtc_take_all(bus), ==, 1);
        g_ptr_array_unref(bus->env.globals);
        bus->env.globals = NULL;
        bus_free(bus);
    }
}

static void test_rtc_bases(void)
{
    struct bare_bus *bus = bus_new();
    struct irq_line irq = bus_line(bus, 8);
    static const char *const bad[] = {
        "2026-13-01",       "2026-02-30",  "yesterday", "2026-01-01T25:00:00",
        "2026-01-01T10:00", "2026-01-01x", ""};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(mc146818rtc_create(&bus->env, &irq, bad[i], NULL, &error));
        g_assert_nonnull(strstr(error->message, bad[i]));
    }
    g_assert_cmphex(bus_inb(bus, 0x71), ==, 0xff);
    rtc_start(bus, "localtime");
    bus_free(bus);
}

/* ---- I/O APIC */

static uint32_t ioapic_get(struct bare_bus *bus, uint8_t index)
{
    bus_writel(bus, IOAPIC_ADDR, index);
    return bus_readl(bus, IOAPIC_ADDR + 0x10);
}

static void ioapic_put(struct bare_bus *bus, uint8_t index, uint32_t value)
{
    bus_writel(bus, IOAPIC_ADDR, index);
    bus_writel(bus, IOAPIC_ADDR + 0x10, value);
}

static void test_ioapic(void)
{
    struct bare_bus *bus = bus_new();
    struct device *apic = ioapic_create(&bus->env, NULL);

    bus_start(bus);
    g_assert_cmphex(ioapic_get(bus, 1), ==, 0x00170020);
    g_assert_cmphex(ioapic_get(bus, 0x10), ==, 0x00010000);
    ioapic_put(bus, 0, 0xff000000);
    g_assert_cmphex(ioapic_get(bus, 0), ==, 0x0f000000);

    ioapic_set_irq(apic, 4, true); /* masked: an edge is lost */
    ioapic_put(bus, 0x19, 0x03000000);
    ioapic_put(bus, 0x18, 0x0834);
    g_assert_cmpuint(bus->n_msi, ==, 0);
    ioapic_set_irq(apic, 4, false);
    ioapic_set_irq(apic, 4, true);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    g_assert_cmphex(bus->msi_addr, ==, 0xfee03004);
    g_assert_cmphex(bus->msi_data, ==, 0x4034);

    ioapic_put(bus, 0x22, 0x18050); /* pin 9: level, masked */
    ioapic_set_irq(apic, 9, true);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    ioapic_put(bus, 0x22, 0x8050);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    g_assert_cmphex(bus->msi_data, ==, 0xc050);
    g_assert_cmphex(ioapic_get(bus, 0x22), ==, 0xc050); /* remote IRR */
    ioapic_set_irq(apic, 9, false);
    ioapic_set_irq(apic, 9, true);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    ioapic_eoi(apic, 0x51);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    ioapic_eoi(apic, 0x50); /* still asserted: again */
    g_assert_cmpuint(bus->n_msi, ==, 3);
    ioapic_set_irq(apic, 9, false);
    bus_writel(bus, IOAPIC_ADDR + 0x40, 0x50);
    g_assert_cmphex(ioapic_get(bus, 0x22), ==, 0x8050);
    g_assert_cmphex(ioapic_get(bus, 0x3f), ==, 0);
    g_assert_cmphex(ioapic_get(bus, 0x40), ==, 0);
    ioapic_put(bus, 0xff, 1);
    bus_free(bus);
}

/* ---- ACPI */

static struct device *pm_start(struct bare_bus *bus)
{
    struct irq_line sci = bus_line(bus, 9);
    struct device *pm = acpi_pm_create(&bus->env, &sci, NULL);

    bus_start(bus);
    return pm;
}

static void test_acpi_events(void)
{
    struct bare_bus *bus = bus_new();
    struct device *pm = pm_start(bus);

    g_assert_cmphex(bus_inw(bus, 0x604), ==, 1); /* SCI_EN */
    acpi_pm_power_button(pm);
    bus_expect_requests(bus, "wakeup:power button ");
    g_assert_false(bus->line[9]);
    bus_outw(bus, 0x602, 0x100);
    g_assert_true(bus->line[9]);
    g_assert_cmphex(bus_inw(bus, 0x600), ==, 0x100);
    bus_outw(bus, 0x600, 0x100);
    g_assert_false(bus->line[9]);

    acpi_pm_set_gpe(pm, 9);
    bus_outb(bus, 0x629, 0x02);
    g_assert_true(bus->line[9]);
    bus_outb(bus, 0x621, 0x02);
    g_assert_false(bus->line[9]);

    bus_outw(bus, 0x604, 0x2001);
    bus_expect_requests(bus, "shutdown:acpi ");
    bus_outb(bus, 0x605, 0x24); /* by bytes: S3 */
    bus_expect_requests(bus, "suspend ");
    bus_outw(bus, 0x604, 0x2801);
    bus_expect_requests(bus, "suspend-disk ");
    bus_outw(bus, 0x604, 0x2c01);
    bus_expect_requests(bus, "");
    bus_free(bus);
}

/* The status bits say why it woke; the enable bits of what can wake it are kept. */
static void test_acpi_wake(void)
{
    struct bare_bus *bus = bus_new();
    struct device *pm = pm_start(bus);

    acpi_pm_rtc_alarm(pm); /* not enabled */
    acpi_pm_power_button(pm);
    bus_expect_requests(bus, "wakeup:power button ");
    acpi_pm_sleeping(pm);
    bus_expect_requests(bus, "");
    bus_outw(bus, 0x602, 0x100);
    acpi_pm_sleeping(pm);
    bus_expect_requests(bus, "wakeup:power button ");
    bus_outw(bus, 0x600, 0x100);
    bus_outw(bus, 0x602, 0x421);
    acpi_pm_sleeping(pm); /* it is now, and was noted before */
    bus_expect_requests(bus, "wakeup:RTC alarm ");
    bus_outw(bus, 0x600, 0x400);
    acpi_pm_sleeping(pm);
    bus_expect_requests(bus, "");
    acpi_pm_rtc_alarm(pm);
    bus_expect_requests(bus, "wakeup:RTC alarm ");
    devices_reset(&bus->env, RESET_WAKE);
    acpi_pm_wake(pm);
    g_assert_cmphex(bus_inw(bus, 0x600), ==, 0x8400);
    g_assert_cmphex(bus_inw(bus, 0x602), ==, 0x400);
    g_assert_true(bus->line[9]);
    bus_outw(bus, 0x600, 0x8400);

    devices_reset(&bus->env, RESET_WAKE);
    acpi_pm_wake(pm); /* from outside */
    g_assert_cmphex(bus_inw(bus, 0x600), ==, 0x8100);
    devices_reset(&bus->env, RESET_WARM);
    g_assert_cmphex(bus_inw(bus, 0x600), ==, 0);
    g_assert_cmphex(bus_inw(bus, 0x602), ==, 0);
    bus_free(bus);
}

static void test_acpi_timer(void)
{
    struct bare_bus *bus = bus_new();

    pm_start(bus);
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus_inl(bus, 0x608), ==, 3579545);
    bus_outw(bus, 0x602, 1);
    bus_step(bus, NS_PER_SEC);
    g_assert_false(bus->line[9]);
    bus_step(bus, NS_PER_SEC); /* bit 23 changes after 2.34 s */
    g_assert_true(bus->line[9]);
    bus_outw(bus, 0x600, 1);
    g_assert_false(bus->line[9]);
    bus_step(bus, 2 * NS_PER_SEC);
    g_assert_true(bus->line[9]);
    g_assert_cmpuint(bus_inl(bus, 0x608), ==, (5 * 3579545) & 0xffffff);
    bus_free(bus);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/detect", test_serial_detect);
    g_test_add_func("/serial/output", test_serial_output);
    g_test_add_func("/serial/input", test_serial_input);
    g_test_add_func("/serial/errors", test_serial_errors);
    g_test_add_func("/pic/order", test_pic_order);
    g_test_add_func("/pic/level-and-modes", test_pic_level_and_modes);
    g_test_add_func("/pit/periodic", test_pit_periodic);
    g_test_add_func("/pit/one-shot", test_pit_one_shot);
    g_test_add_func("/pit/channel2", test_pit_channel2);
    g_test_add_func("/rtc/time", test_rtc_time);
    g_test_add_func("/rtc/century", test_rtc_century);
    g_test_add_func("/rtc/interrupts", test_rtc_interrupts);
    g_test_add_func("/rtc/read-late", test_rtc_read_late);
    g_test_add_func("/rtc/lost-ticks", test_rtc_lost_ticks);
    g_test_add_func("/rtc/bases", test_rtc_bases);
    g_test_add_func("/ioapic", test_ioapic);
    g_test_add_func("/acpi/wake", test_acpi_wake);
    g_test_add_func("/acpi/events", test_acpi_events);
    g_test_add_func("/acpi/timer", test_acpi_timer);
    return g_test_run();
}
