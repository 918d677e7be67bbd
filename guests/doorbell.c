/*
 * Rings the doorbell of a virtio-rng-pci at slot 5, by the legacy interface and by the modern one,
 * after VIRTIO 1.2, sections 4.1.4 and 2.7. Every ring must bring random bytes.
 */
#include "lib/guest.h"

#define SLOT       5
#define PORTS      0xc000
#define REGISTERS  0xd0000000u
#define NOTIFY     (REGISTERS + 0x3000)
#define QUEUE_SIZE 8
#define RINGS      40

/* split ring; the used part is on a page of its own */
#define RING       0x200000u
#define BUFFER     0x210000u
#define DESC       ((volatile uint32_t *)RING)
#define AVAIL(n)   ((volatile uint16_t *)(RING + 16 * (n)))
#define USED       ((volatile uint16_t *)(RING + 0x1000))

static void config_write(uint8_t offset, uint32_t value)
{
    outl(0xcf8, 0x80000000u | SLOT << 11 | offset);
    outl(0xcfc, value);
}

static void put16(uint32_t at, uint16_t value)
{
    *(volatile uint16_t *)(REGISTERS + at) = value;
}

static void put8(uint32_t at, uint8_t value)
{
    *(volatile uint8_t *)(REGISTERS + at) = value;
}

static void ring_clear(unsigned size)
{
    for (uint32_t i = 0; i < 0x2000; i++) {
        ((volatile uint8_t *)RING)[i] = 0;
    }
    AVAIL(size)[0] = 1; /* no interrupts */
}

/* One request of 16 bytes; false when it brings nothing. */
static bool request(unsigned size, unsigned n, void (*ring)(void))
{
    volatile uint32_t *buffer = (volatile uint32_t *)BUFFER;

    buffer[0] = buffer[1] = buffer[2] = buffer[3] = 0;
    DESC[0] = BUFFER;
    DESC[1] = 0;
    DESC[2] = 16;
    DESC[3] = 2; /* the device writes */
    AVAIL(size)[2 + n % size] = 0;
    __asm__ volatile("" : : : "memory");
    AVAIL(size)[1] = (uint16_t)(n + 1);
    ring();
    for (unsigned ms = 0; USED[1] != (uint16_t)(n + 1); ms++) {
        if (ms == 20000) {
            return false;
        }
        delay_us(1000);
    }
    return (buffer[0] | buffer[1] | buffer[2] | buffer[3]) != 0;
}

static void ring_legacy(void)
{
    outw(PORTS + 0x10, 0);
}

static void ring_modern(void)
{
    *(volatile uint16_t *)NOTIFY = 0;
}

static void legacy(void)
{
    bool ok = true;
    unsigned size;

    outb(PORTS + 0x12, 0);
    outb(PORTS + 0x12, 3);
    outw(PORTS + 0x0e, 0);
    size = inl(PORTS + 0x0c) & 0xffff;
    ring_clear(size);
    outl(PORTS + 0x08, RING >> 12);
    outb(PORTS + 0x12, 7);
    for (unsigned n = 0; ok && n < RINGS; n++) {
        ok = request(size, n, ring_legacy);
    }
    check("legacy", ok && 16 * size + 4 + 2 * size + 2 <= 0x1000);
    outb(PORTS + 0x12, 0);
}

static void modern(void)
{
    bool ok = true;

    put8(0x14, 0);
    put8(0x14, 3);
    *mmio(REGISTERS + 0x08) = 1;
    *mmio(REGISTERS + 0x0c) = 1; /* VERSION_1 */
    put8(0x14, 0xb);
    put16(0x16, 0);
    put16(0x18, QUEUE_SIZE);
    ring_clear(QUEUE_SIZE);
    *mmio(REGISTERS + 0x20) = RING;
    *mmio(REGISTERS + 0x28) = RING + 16 * QUEUE_SIZE;
    *mmio(REGISTERS + 0x30) = RING + 0x1000;
    put16(0x1c, 1);
    put8(0x14, 0xf);
    for (unsigned n = 0; ok && n < RINGS; n++) {
        ok = request(QUEUE_SIZE, n, ring_modern);
    }
    check("modern", ok);
}

void guest_main(const char *args)
{
    config_write(0x10, PORTS);
    config_write(0x20, REGISTERS);
    config_write(0x24, 0);
    config_write(0x04, 7);
    legacy();
    modern();
    config_write(0x20, REGISTERS + 0x100000); /* the doorbell moves with its registers */
    config_write(0x20, REGISTERS);
    check("moved", request(QUEUE_SIZE, RINGS, ring_modern));
}
