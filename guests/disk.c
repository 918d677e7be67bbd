/*
 * Does with a disk or a port what its command line says, word by word: requests of one sector, so
 * that a test brings about the error that it wants. It starts with "ready", tells how each request
 * ended ("read ok", "write error", ...) and ends with "done" and a halt. Written for QEMU as well.
 *
 *   ata OP SECTOR      OP is read, write or flush: the first IDE disk of a PC, by its ports (ATA-7)
 *   blk OP SECTOR      the same on a virtio disk (virtio 0.9.5, the legacy interface)
 *   open N, close N    port N of a virtio-serial device
 *   wait               for a byte from the serial port
 */
#include "lib/guest.h"
#include "lib/pci.h"

#define COM1            0x3f8
#define SECTOR          512

#define ATA             0x1f0
#define ATA_SECTORS     (ATA + 2)
#define ATA_LBA         (ATA + 3)
#define ATA_DEVICE      (ATA + 6)
#define ATA_COMMAND     (ATA + 7)
#define ATA_BSY         0x80
#define ATA_DRQ         0x08
#define ATA_ERR         0x01

#define VIRTIO_BLK      0x10011af4u
#define VIRTIO_SERIAL   0x10031af4u
#define VIRTIO_FEATURES 4 /* registers of the legacy interface, in the first BAR */
#define VIRTIO_PFN      8
#define VIRTIO_SIZE     12
#define VIRTIO_SELECT   14
#define VIRTIO_NOTIFY   16
#define VIRTIO_STATUS   18
#define BLK_F_FLUSH     (1u << 9)
#define SERIAL_F_PORTS  (1u << 1)
#define CONTROL_TX      3
#define PORT_READY      3
#define PORT_OPEN       6

#define DESC_NEXT       1
#define DESC_WRITE      2
#define QUEUE_MAX       256

static const char *script;
static uint8_t sector[SECTOR];

/* ---------------------------------------------------------------- words */

static bool next_word(char *word, unsigned size)
{
    unsigned n = 0;

    while (*script == ' ') {
        script++;
    }
    for (; *script && *script != ' '; script++) {
        if (n + 1 < size) {
            word[n++] = *script;
        }
    }
    word[n] = '\0';
    return n > 0;
}

static uint32_t next_number(void)
{
    char word[16];

    next_word(word, sizeof(word));
    return parse_number(word);
}

static void tell(const char *what, bool ok)
{
    print(what);
    print(ok ? " ok\n" : " error\n");
}

/* ---------------------------------------------------------------- ATA */

static uint8_t ata_wait(void)
{
    uint8_t status;

    do {
        status = inb(ATA_COMMAND);
    } while (status & ATA_BSY);
    return status;
}

static void ata_move(bool write)
{
    uint16_t *at = (uint16_t *)sector;

    for (unsigned i = 0; i < SECTOR / 2; i++) {
        if (write) {
            outw(ATA, at[i]);
        } else {
            at[i] = inw(ATA);
        }
    }
}

static bool ata_do(const char *op, uint32_t lba)
{
    bool write = text_equal(op, "write"), moves = !text_equal(op, "flush");

    ata_wait();
    outb(ATA_DEVICE, (uint8_t)(0xe0 | (lba >> 24 & 15)));
    outb(ATA_SECTORS, 1);
    for (unsigned i = 0; i < 3; i++) {
        outb((uint16_t)(ATA_LBA + i), (uint8_t)(lba >> 8 * i));
    }
    outb(ATA_COMMAND, moves ? (write ? 0x30 : 0x20) : 0xe7);
    if (moves && (ata_wait() & (ATA_DRQ | ATA_ERR)) == ATA_DRQ) {
        ata_move(write);
    }
    return !(ata_wait() & ATA_ERR);
}

/* ---------------------------------------------------------------- virtio */

struct desc {
    uint64_t addr;
    uint32_t length;
    uint16_t flags, next;
};

/* One queue is in use. Its layout follows from its size: descriptors, available, then used on a
 * page. */
static struct {
    uint8_t page[4][4096];
} queue __attribute__((aligned(4096)));
static uint16_t io; /* the device's ports; 0: not set up */
static uint16_t size, offered;

static struct desc *desc_at(unsigned n)
{
    return (struct desc *)&queue + n;
}

static volatile uint16_t *available(void)
{
    return (volatile uint16_t *)desc_at(size);
}

static volatile uint16_t *used(void)
{
    uint32_t end = (uint32_t)(available() + 3 + size);

    return (volatile uint16_t *)((end + 4095) & ~4095u);
}

static uint16_t virtio_find(uint32_t id)
{
    for (uint32_t at = 0; at < 256 << 8; at += 1 << 8) {
        if (pci_read(at) == id) {
            if (!(pci_read(at + 0x10) & ~3u)) {
                pci_write32(at + 0x10, 0xc000); /* no firmware has placed it */
            }
            pci_write16(at + 4, 0x0005);
            return (uint16_t)(pci_read(at + 0x10) & ~3u);
        }
    }
    print("FAIL no such PCI device\n");
    halt();
}

static void virtio_start(uint32_t id, uint32_t features, uint16_t number)
{
    if (io) {
        return;
    }
    io = virtio_find(id);
    outb((uint16_t)(io + VIRTIO_STATUS), 0);
    outb((uint16_t)(io + VIRTIO_STATUS), 3);
    outl((uint16_t)(io + VIRTIO_FEATURES), inl(io) & features);
    outw((uint16_t)(io + VIRTIO_SELECT), number);
    size = inw((uint16_t)(io + VIRTIO_SIZE));
    if (size == 0 || size > QUEUE_MAX) {
        print("FAIL size of a queue\n");
        halt();
    }
    outl((uint16_t)(io + VIRTIO_PFN), (uint32_t)&queue >> 12);
    outb((uint16_t)(io + VIRTIO_STATUS), 7);
}

static void virtio_desc(unsigned n, const void *data, uint32_t length, uint16_t flags)
{
    *desc_at(n) = (struct desc){(uint32_t)data, length, flags, (uint16_t)(n + 1)};
}

/* Offers the chain that begins with the first descriptor, and waits until the device has used it.
 */
static void virtio_do(uint16_t number)
{
    available()[2 + offered % size] = 0;
    available()[1] = ++offered;
    outw((uint16_t)(io + VIRTIO_NOTIFY), number);
    while (used()[1] != offered) {
        __asm__ volatile("pause");
    }
}

static bool blk_do(const char *op, uint32_t lba)
{
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } head = {text_equal(op, "write") ? 1 : text_equal(op, "read") ? 0 : 4, 0, lba};
    volatile uint8_t status = 255;
    unsigned n = 0;

    virtio_start(VIRTIO_BLK, BLK_F_FLUSH, 0);
    virtio_desc(n++, &head, sizeof(head), DESC_NEXT);
    if (head.type < 2) {
        virtio_desc(n++, sector, SECTOR, head.type ? DESC_NEXT : DESC_NEXT | DESC_WRITE);
    } else {
        head.sector = 0;
    }
    virtio_desc(n, (const void *)&status, 1, DESC_WRITE);
    virtio_do(0);
    return status == 0;
}

static void port_tell(uint32_t port, uint16_t event, uint16_t value)
{
    struct {
        uint32_t port;
        uint16_t event, value;
    } message = {port, event, value};

    virtio_start(VIRTIO_SERIAL, SERIAL_F_PORTS, CONTROL_TX);
    virtio_desc(0, &message, sizeof(message), 0);
    virtio_do(CONTROL_TX);
}

/* ---------------------------------------------------------------- */

static bool do_word(const char *word)
{
    char op[8];

    if (text_equal(word, "ata") || text_equal(word, "blk")) {
        next_word(op, sizeof(op));
        tell(op, (word[0] == 'a' ? ata_do : blk_do)(op, next_number()));
    } else if (text_equal(word, "open") || text_equal(word, "close")) {
        uint32_t port = next_number();

        port_tell(port, PORT_READY, 1);
        port_tell(port, PORT_OPEN, word[0] == 'o');
        tell(word, true);
    } else if (text_equal(word, "wait")) {
        while (!(inb(COM1 + 5) & 1)) {
            __asm__ volatile("pause");
        }
        inb(COM1);
    } else {
        return false;
    }
    return true;
}

void guest_main(const char *args)
{
    char word[16];

    script = args;
    print("ready\n");
    for (unsigned i = 0; i < SECTOR; i++) {
        sector[i] = 'A';
    }
    while (next_word(word, sizeof(word))) {
        if (!do_word(word)) {
            print("FAIL unknown word\n");
        }
    }
    print("done\n");
    halt();
}
