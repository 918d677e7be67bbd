/*
 * Does what its command line says, word by word: touches the device that the word names, so that a
 * test brings about the event that it wants. It starts with "ready", ends with "done" and a halt.
 * Written for QEMU as well, where firmware has run before.
 *
 *   say WORD            prints it
 *   once                goes on in the first life only: after a reset it prints "again" and halts
 *   delay MS
 *   out8 PORT VALUE     in hexadecimal; out16, out32 too
 *   panic BITS, pcipanic BITS      the panic device at port 505, the one on PCI
 *   ib700 N, ib700off   arms the watchdog for (15 - N) * 2 seconds; disarms it
 *   esb N1 N2           arms the i6300esb with two stages of N * 0.96 microseconds; esboff
 *   esbmute N1 N2       the same, but that it is not to reboot
 *   tco N               arms the chipset's watchdog with two stages of N * 0.6 seconds; tcooff
 *   nmi                 from now on an NMI prints "nmi"
 *   cpuid LEAF          prints "cpuid EAX EBX ECX EDX" of the leaf, in hexadecimal
 *   clock               sets the clock one hour ahead (23:xx becomes 00:xx)
 *   alarm SECONDS       sets the clock's alarm and lets it wake the machine
 *   button              prints "waiting", waits for the power button, prints "button"
 *   s3 s4 s5            sleeps; after S3 it prints "awake" with the reason and goes on
 *   badwake             S3 without a waking vector
 *   cf9 acpi 8042 port92 triple    resets, each by its route
 *   spin                computes for ever and touches no device
 *   orders              takes orders from the serial port, for ever: see take_orders()
 */
#include "lib/guest.h"
#include "lib/pci.h"

#define PM1_STS   0x600
#define PM1_EN    0x602
#define PM1_CNT   0x604
#define TCO       0x660
#define WAKE_PAGE 0x7000u
#define WAKE_TEXT ((char *)0x20000) /* outside the image, which QEMU loads anew on waking up */
#define CMOS_ONCE 0x7e
#define COM1      0x3f8

static bool do_plain(const char *word);

void script_wake(void); /* called by the code below */

static const char *script; /* what is still to be done */

/* ---------------------------------------------------------------- words */

static bool next_word(char *word, unsigned size)
{
    unsigned n = 0;

    while (*script == ' ') {
        script++;
    }
    while (*script && *script != ' ') {
        if (n + 1 < size) {
            word[n++] = *script;
        }
        script++;
    }
    word[n] = '\0';
    return n > 0;
}

static uint32_t next_number(unsigned base)
{
    char word[32];
    uint32_t value = 0;

    next_word(word, sizeof(word));
    for (const char *p = word; *p; p++) {
        value = value * base + (uint32_t)(*p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10);
    }
    return value;
}

/* ---------------------------------------------------------------- ACPI tables */

static bool signature_is(const void *table, const char *signature)
{
    const char *p = table;

    for (unsigned i = 0; signature[i]; i++) {
        if (p[i] != signature[i]) {
            return false;
        }
    }
    return true;
}

static const uint8_t *fadt_find(void)
{
    for (uint32_t at = 0xe0000; at < 0x100000; at += 16) {
        const uint32_t *rsdt;

        if (!signature_is((void *)at, "RSD PTR ")) {
            continue;
        }
        rsdt = *(const uint32_t **)(at + 16);
        for (uint32_t i = 9; i < rsdt[1] / 4; i++) {
            if (signature_is((void *)rsdt[i], "FACP")) {
                return (const uint8_t *)rsdt[i];
            }
        }
    }
    print("FAIL no FADT\n");
    halt();
}

/* ---------------------------------------------------------------- clock */

static uint8_t cmos_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void cmos_write(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static unsigned from_bcd(uint8_t v)
{
    return (v >> 4) * 10u + (v & 15);
}

static uint8_t to_bcd(unsigned v)
{
    return (uint8_t)(v / 10 << 4 | v % 10);
}

static void clock_set(void)
{
    uint8_t b = cmos_read(0x0b);

    cmos_write(0x0b, b | 0x80);
    cmos_write(0x04, to_bcd((from_bcd(cmos_read(0x04)) + 1) % 24));
    cmos_write(0x0b, b);
}

static void alarm_set(unsigned seconds)
{
    unsigned at;

    while (cmos_read(0x0a) & 0x80) {
    }
    at = from_bcd(cmos_read(0x04)) * 3600 + from_bcd(cmos_read(0x02)) * 60 +
         from_bcd(cmos_read(0x00)) + seconds;
    cmos_write(0x05, to_bcd(at / 3600 % 24));
    cmos_write(0x03, to_bcd(at / 60 % 60));
    cmos_write(0x01, to_bcd(at % 60));
    cmos_write(0x0b, cmos_read(0x0b) | 0x20);
    cmos_read(0x0c);
    outw(PM1_STS, 0x0400);
    outw(PM1_EN, 0x0400);
}

/* ---------------------------------------------------------------- sleep */

__asm__(".pushsection .text\n"
        ".code16\n"
        "wake_code:\n"
        "    cli\n"
        "    xor %ax, %ax\n"
        "    mov %ax, %ds\n"
        "    lgdtl (wake_gdtr - wake_code + 0x7000)\n"
        "    mov %cr0, %eax\n"
        "    or $1, %al\n"
        "    mov %eax, %cr0\n"
        "    ljmpl $0x08, $wake_start\n"
        "wake_gdtr:\n"
        "    .word wake_gdt_end - wake_gdt - 1\n"
        "    .long wake_gdt\n"
        "wake_code_end:\n"
        ".code32\n"
        "wake_start:\n"
        "    mov $0x10, %ecx\n"
        "    mov %ecx, %ds\n"
        "    mov %ecx, %es\n"
        "    mov %ecx, %ss\n"
        "    mov $wake_stack + 4096, %esp\n"
        "    jmp script_wake\n"
        ".balign 8\n"
        "wake_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
        "wake_gdt_end:\n"
        ".popsection\n"
        ".comm wake_stack, 4096, 16\n");
extern const uint8_t wake_code[], wake_code_end[];

static void text_copy(char *to, const char *from)
{
    do {
        *to++ = *from;
    } while (*from++);
}

static void sleep_s3(bool vector)
{
    uint32_t facs = *(const uint32_t *)(fadt_find() + 36);

    for (const uint8_t *from = wake_code; from < wake_code_end; from++) {
        *(uint8_t *)(WAKE_PAGE + (uint32_t)(from - wake_code)) = *from;
    }
    text_copy(WAKE_TEXT, script);
    *(volatile uint32_t *)(facs + 12) = vector ? WAKE_PAGE : 0;
    outw(PM1_STS, 0x8121); /* all but the alarm, which may have gone off by now */
    outw(PM1_CNT, 1u << 13 | 1u << 10);
    for (;;) {
        __asm__ volatile("pause");
    }
}

/* ---------------------------------------------------------------- devices on PCI */

/* The function on bus 0, its first BAR placed where nothing else is unless firmware has placed it.
 */
static uint32_t pci_find(uint32_t id)
{
    for (uint32_t at = 0; at < 256 << 8; at += 1 << 8) {
        if (pci_read(at) == id) {
            if (!(pci_read(at + 0x10) & ~15u)) {
                pci_write32(at + 0x10, 0xfeb00000u);
            }
            pci_write16(at + 4, 0x0002);
            return at;
        }
    }
    print("FAIL no such PCI device\n");
    halt();
}

static volatile uint8_t *pci_memory(uint32_t id)
{
    return (volatile uint8_t *)(pci_read(pci_find(id) + 0x10) & ~15u);
}

/* ---------------------------------------------------------------- watchdogs */

#define ESB_REBOOT 0x0007 /* 1 MHz, no interrupt */
#define ESB_MUTE   0x0027

static void esb_unlock(volatile uint8_t *esb)
{
    *(volatile uint16_t *)(esb + 0x0c) = 0x80;
    *(volatile uint16_t *)(esb + 0x0c) = 0x86;
}

static void esb_arm(uint16_t config, uint32_t first, uint32_t second)
{
    uint32_t at = pci_find(0x25ab8086);
    volatile uint8_t *esb = pci_memory(0x25ab8086);

    pci_write16(at + 0x60, config);
    esb_unlock(esb);
    *(volatile uint32_t *)esb = first;
    esb_unlock(esb);
    *(volatile uint32_t *)(esb + 4) = second;
    esb_unlock(esb);
    *(volatile uint16_t *)(esb + 0x0c) = 0x0100;
    pci_write8(at + 0x68, 0x02);
}

static void esb_disarm(void)
{
    pci_write8(pci_find(0x25ab8086) + 0x68, 0x00);
}

/* Clears NO_REBOOT in the chipset's general control and status register, at RCBA. */
static void tco_arm(uint32_t ticks)
{
    volatile uint32_t *gcs;

    pci_write32(0x1f << 11 | 0xf0, 0xfed1c001u);
    gcs = mmio(0xfed1c000u + 0x3410);
    *gcs &= ~0x20u;
    outw(TCO + 0x08, 0x0800);
    outw(TCO + 0x12, (uint16_t)ticks);
    outw(TCO + 0x00, 1);
    outw(TCO + 0x08, 0x0000);
}

/* ---------------------------------------------------------------- resets */

static void reset_acpi(void)
{
    const uint8_t *fadt = fadt_find();

    outb(*(const uint16_t *)(fadt + 120), fadt[128]);
}

static void reset_triple(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0; int3" : : "m"(none));
}

/* ---------------------------------------------------------------- the words' meaning */

__attribute__((interrupt)) static void on_nmi(struct interrupt_frame *frame)
{
    print("nmi\n");
}

static void button_wait(void)
{
    outw(PM1_EN, 0x0100);
    print("waiting\n");
    while (!(inw(PM1_STS) & 0x0100)) {
        __asm__ volatile("pause");
    }
    outw(PM1_STS, 0x0100);
    print("button\n");
}

/*
 * One letter each: r cf9, a acpi, k 8042, q port92, t triple; 3 4 5 sleep; p panic, l crash loaded,
 * b both; w the ib700 at once, e the i6300esb soon; h halts for good; others nothing. What lets the
 * guest go on is followed by the letter as an echo, and so is waking up.
 */
static void obey(char letter)
{
    static const char resets[][2][8] = {
        {"r", "cf9"},    {"a", "acpi"}, {"k", "8042"}, {"q", "port92"},
        {"t", "triple"}, {"4", "s4"},   {"5", "s5"},
    };

    for (unsigned i = 0; i < sizeof(resets) / sizeof(resets[0]); i++) {
        if (letter == resets[i][0][0]) {
            do_plain(resets[i][1]);
            for (;;) {
            }
        }
    }
    switch (letter) {
    case 'p':
    case 'l':
    case 'b':
        outb(0x505, letter == 'p' ? 1 : letter == 'l' ? 2 : 3);
        break;
    case 'w':
        outb(0x443, 15);
        break;
    case 'e':
        esb_arm(ESB_REBOOT, 10, 10);
        break;
    case 'h':
        halt();
    default:
        break;
    }
}

static void take_orders(void)
{
    char echo[] = "?";

    for (;;) {
        while (!(inb(COM1 + 5) & 1)) {
            __asm__ volatile("pause");
        }
        echo[0] = (char)inb(COM1);
        if (echo[0] == '3') {
            script = "nmi say 3 orders";
            sleep_s3(true);
        }
        obey(echo[0]);
        print(echo);
        print("\n");
    }
}

static bool do_plain(const char *word)
{
    if (text_equal(word, "clock")) {
        clock_set();
    } else if (text_equal(word, "ib700off")) {
        outb(0x441, 0);
    } else if (text_equal(word, "esboff")) {
        esb_disarm();
    } else if (text_equal(word, "tcooff")) {
        outw(TCO + 0x08, 0x0800);
    } else if (text_equal(word, "nmi")) {
        idt_set(2, on_nmi);
        idt_load();
    } else if (text_equal(word, "s3") || text_equal(word, "badwake")) {
        sleep_s3(word[0] == 's');
    } else if (text_equal(word, "s4")) {
        outw(PM1_CNT, 1u << 13 | 2u << 10);
    } else if (text_equal(word, "s5")) {
        outw(PM1_CNT, 1u << 13);
    } else if (text_equal(word, "button")) {
        button_wait();
    } else if (text_equal(word, "spin")) {
        print("spinning\n");
        for (volatile uint32_t n = 0;; n++) {
        }
    } else if (text_equal(word, "orders")) {
        take_orders();
    } else if (text_equal(word, "cf9")) {
        outb(0xcf9, 0x02);
        outb(0xcf9, 0x06);
    } else if (text_equal(word, "acpi")) {
        reset_acpi();
    } else if (text_equal(word, "8042")) {
        outb(0x64, 0xfe);
    } else if (text_equal(word, "port92")) {
        outb(0x92, 0x01);
    } else if (text_equal(word, "triple")) {
        reset_triple();
    } else {
        return false;
    }
    return true;
}

static void print_cpuid(uint32_t leaf)
{
    uint32_t reg[4];

    __asm__ volatile("cpuid"
                     : "=a"(reg[0]), "=b"(reg[1]), "=c"(reg[2]), "=d"(reg[3])
                     : "a"(leaf), "c"(0));
    print("cpuid");
    for (unsigned i = 0; i < 4; i++) {
        print(" ");
        print_hex(reg[i]);
    }
    print("\n");
}

static bool do_with_numbers(const char *word)
{
    if (text_equal(word, "cpuid")) {
        print_cpuid(next_number(16));
    } else if (text_equal(word, "delay")) {
        delay_us(next_number(10) * 1000);
    } else if (text_equal(word, "out8")) {
        uint16_t port = (uint16_t)next_number(16);
        outb(port, (uint8_t)next_number(16));
    } else if (text_equal(word, "out16")) {
        uint16_t port = (uint16_t)next_number(16);
        outw(port, (uint16_t)next_number(16));
    } else if (text_equal(word, "out32")) {
        uint16_t port = (uint16_t)next_number(16);
        outl(port, next_number(16));
    } else if (text_equal(word, "panic")) {
        outb(0x505, (uint8_t)next_number(10));
    } else if (text_equal(word, "pcipanic")) {
        *pci_memory(0x00111b36) = (uint8_t)next_number(10);
    } else if (text_equal(word, "ib700")) {
        outb(0x443, (uint8_t)next_number(10));
    } else if (text_equal(word, "esb")) {
        uint32_t first = next_number(10);
        esb_arm(ESB_REBOOT, first, next_number(10));
    } else if (text_equal(word, "esbmute")) {
        uint32_t first = next_number(10);
        esb_arm(ESB_MUTE, first, next_number(10));
    } else if (text_equal(word, "tco")) {
        tco_arm(next_number(10));
    } else if (text_equal(word, "alarm")) {
        alarm_set(next_number(10));
    } else {
        return false;
    }
    return true;
}

static void run_script(void)
{
    char word[32];

    while (next_word(word, sizeof(word))) {
        if (text_equal(word, "say")) {
            next_word(word, sizeof(word));
            print(word);
            print("\n");
        } else if (text_equal(word, "once")) {
            if (cmos_read(CMOS_ONCE) == 0xa5) {
                print("again\n");
                halt();
            }
            cmos_write(CMOS_ONCE, 0xa5);
        } else if (!do_plain(word) && !do_with_numbers(word)) {
            print("FAIL unknown word ");
            print(word);
            print("\n");
        }
    }
    print("done\n");
    halt();
}

void script_wake(void)
{
    uint16_t status;

    script = WAKE_TEXT;

    pci_write32(0x1f << 11 | 0x40,
                0x601); /* where firmware put it, which it may not have done now */
    pci_write8(0x1f << 11 | 0x44, 0x80);
    status = inw(PM1_STS);
    print(status & 0x8000 ? "awake" : "FAIL no WAK_STS");
    print(status & 0x0400 ? " alarm" : status & 0x0100 ? " button" : " FAIL no reason");
    print("\n");
    run_script();
}

void guest_main(const char *args)
{
    script = args;
    print("ready\n");
    run_script();
}
