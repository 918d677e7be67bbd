/*
 * A 64-bit program for gdb: functions, a structure, a variable to watch. Takes five steps of a
 * walk, prints "done" on COM1 and powers off.
 */
#include <stdint.h>

struct place {
    int32_t x, y;
    const char *name;
    uint8_t visits[4];
};

struct place here = {3, -4, "start", {1, 2, 3, 4}};
volatile uint32_t total;

int32_t walk(struct place *p, int32_t by);
void note(uint32_t n);
void debug_main(void);

static void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

__attribute__((noinline)) int32_t walk(struct place *p, int32_t by)
{
    p->x += by;
    p->y -= by;
    p->name = "on the way";
    p->visits[by & 3]++;
    return p->x * p->x + p->y;
}

__attribute__((noinline)) void note(uint32_t n)
{
    total += n;
}

void debug_main(void)
{
    for (int32_t i = 1; i <= 5; i++) {
        note((uint32_t)walk(&here, i));
    }
    for (const char *p = "done\n"; *p; p++) {
        outb(0x3f8, (uint8_t)*p);
    }
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "d"((uint16_t)0x604));
    for (;;) {
        __asm__ volatile("hlt");
    }
}
