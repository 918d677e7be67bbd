/* See guest.h. */
#include "guest.h"

#define COM1     0x3f8
#define PM_TIMER 0x608
#define PM1_CNT  0x604

bool guest_is_pvh;

void guest_start(uint32_t magic, const uint32_t *info);

/* ---------------------------------------------------------------- output */

static void put(char c)
{
    while (!(inb(COM1 + 5) & 0x20)) {
    }
    outb(COM1, (uint8_t)c);
}

void print(const char *text)
{
    for (; *text; text++) {
        put(*text);
    }
}

void print_number(uint32_t n)
{
    char digits[11];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    print(digits + at);
}

void print_hex(uint32_t n)
{
    print("0x");
    for (int shift = 28; shift >= 0; shift -= 4) {
        put("0123456789abcdef"[n >> shift & 15]);
    }
}

void check(const char *name, bool ok)
{
    print(ok ? "ok " : "FAIL ");
    print(name);
    print("\n");
}

/* ---------------------------------------------------------------- text */

bool text_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

uint32_t parse_number(const char *text)
{
    uint32_t n = 0;
    while (*text >= '0' && *text <= '9') {
        n = n * 10 + (uint32_t)(*text++ - '0');
    }
    return n;
}

/* The compiler may call these. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
    return to;
}

void *memset(void *to, int c, size_t n)
{
    void *d = to;
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return to;
}

/* ---------------------------------------------------------------- time */

uint32_t pm_timer(void)
{
    return inl(PM_TIMER) & 0xffffff;
}

void delay_us(uint32_t us)
{
    uint32_t start = pm_timer();
    uint32_t ticks = us * 358 / 100; /* us up to ten million */

    while (((pm_timer() - start) & 0xffffff) < ticks) {
    }
}

/* ---------------------------------------------------------------- further vCPUs */

extern const char ap_trampoline[], ap_trampoline_end[]; /* start.S */

void aps_start(void)
{
    char *page = (char *)AP_PAGE;

    for (const char *p = ap_trampoline; p < ap_trampoline_end; p++) {
        *page++ = *p;
    }
    *mmio(LAPIC + 0xf0) = 0x1ff;    /* enabled, spurious vector 0xff */
    *mmio(LAPIC + 0x300) = 0xc4500; /* INIT to all but self */
    delay_us(10000);
    *mmio(LAPIC + 0x300) = 0xc4600 | AP_PAGE >> 12; /* SIPI */
}

/* ---------------------------------------------------------------- interrupts */

static struct {
    uint16_t low, selector, flags, high;
} idt[256];

static void idt_put(uint8_t vector, uint32_t handler)
{
    idt[vector].low = (uint16_t)handler;
    idt[vector].selector = 0x08;
    idt[vector].flags = 0x8e00;
    idt[vector].high = (uint16_t)(handler >> 16);
}

void idt_load(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint32_t)idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

#ifdef FAR_RETURN
/* start.S: 256 entries of 16 bytes; each calls interrupt_dispatch with its number. */
extern const char interrupt_entries[];
void interrupt_dispatch(uint32_t vector, struct interrupt_frame *frame);

static void (*handlers[256])(struct interrupt_frame *);

void interrupt_dispatch(uint32_t vector, struct interrupt_frame *frame)
{
    handlers[vector](frame);
}

void idt_set(uint8_t vector, void (*handler)(struct interrupt_frame *))
{
    handlers[vector] = handler;
    idt_put(vector, (uint32_t)interrupt_entries + 16 * vector);
}
#else
void idt_set(uint8_t vector, void (*handler)(struct interrupt_frame *))
{
    idt_put(vector, (uint32_t)handler);
}
#endif

void idt_set_error(uint8_t vector, void (*handler)(struct interrupt_frame *, unsigned))
{
    idt_put(vector, (uint32_t)handler);
}

void pic_init(void)
{
    static const uint8_t init[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28},
                                      {0x21, 0x04}, {0xa1, 0x02}, {0x21, 0x01}, {0xa1, 0x01},
                                      {0x21, 0xff}, {0xa1, 0xff}};
    for (unsigned i = 0; i < sizeof(init) / 2; i++) {
        outb(init[i][0], init[i][1]);
    }
}

void pic_unmask(uint8_t irq)
{
    if (irq >= 8) {
        outb(0xa1, (uint8_t)(inb(0xa1) & ~(1u << (irq - 8))));
        irq = 2;
    }
    outb(0x21, (uint8_t)(inb(0x21) & ~(1u << irq)));
}

void pic_eoi(uint8_t irq)
{
    if (irq >= 8) {
        outb(0xa0, 0x20);
    }
    outb(0x20, 0x20);
}

/* ---------------------------------------------------------------- start and end */

void power_off(void)
{
    outw(PM1_CNT, 1u << 13); /* SLP_EN with SLP_TYP 0: S5 */
    halt();
}

void halt(void)
{
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void guest_start(uint32_t magic, const uint32_t *info)
{
    const char *args;

    guest_is_pvh = magic == 0;
    if (guest_is_pvh) {
        args = (const char *)info[6]; /* hvm_start_info.cmdline_paddr */
    } else {
        args = (const char *)info[4]; /* multiboot: "FILE ARGS" */
        while (*args && *args != ' ') {
            args++;
        }
        args += *args == ' ';
    }
    guest_main(args);
    power_off();
}
