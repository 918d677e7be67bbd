/*
 * Writes memory without pause and checks what it wrote the round before, so that a page that is
 * lost, old or doubled on the way to another machine is noticed. Each round it prints "rN", N
 * counting up: on whatever machine it is, no line may lack or come twice. Any fault is told.
 *
 * args: how many pages each vCPU writes, with a + before it for two vCPUs, with a = for pages all
 * of whose words change, each in its own way, beside thrice as many that are all alike and stay so.
 * A byte on COM1 ends it with "end N", N being rounds, and power-off.
 */
#include "lib/guest.h"

#define AREA 0x400000u
#define PAGE 4096u
#define COM1 0x3f8

static volatile uint32_t faults, pages, other_rounds, stop, dense;

static uint32_t word_of(uint32_t round, uint32_t page)
{
    return round ? (round * 2654435761u) ^ page : 0;
}

static void do_round(uint32_t area, uint32_t round)
{
    for (uint32_t i = 0; i < pages; i++) {
        volatile uint32_t *page = mmio(area + i * PAGE);
        uint32_t at = (i * 16) % (PAGE / 4 - 1);

        if (page[at] != word_of(round - 1, i) || page[at + 1] != ~word_of(round - 1, i)) {
            if (round > 1) {
                faults++;
            }
        }
        for (uint32_t w = 0; dense && w < PAGE / 4; w++) {
            page[w] = (word_of(round, i) + w) * 2246822519u;
        }
        page[at] = word_of(round, i);
        page[at + 1] = ~word_of(round, i);
    }
}

void ap_main(uint32_t index)
{
    ap_count = 100;
    while (!stop) {
        do_round(AREA + pages * PAGE, other_rounds + 1);
        other_rounds++;
    }
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

static void start_other(void)
{
    aps_start();
    while (ap_count != 100) {
    }
}

void guest_main(const char *args)
{
    uint32_t round = 0;

    dense = *args == '=';
    pages = parse_number(*args == '+' || dense ? args + 1 : args);
    if (*args == '+') {
        start_other();
    }
    for (uint32_t at = 0; dense && at < 3 * pages * PAGE; at += 4) {
        *mmio(AREA + pages * PAGE + at) = 0x5a5a5a5a;
    }
    while (!(inb(COM1 + 5) & 1)) {
        do_round(AREA, ++round);
        print("r");
        print_number(round);
        print("\n");
        if (faults) {
            print("FAULT\n");
            faults = 0;
        }
    }
    stop = 1;
    print("end ");
    print_number(round);
    print("\n");
    power_off();
}
