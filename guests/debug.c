/*
 * What a debugger looks at: functions, a structure, a variable that changes now and then, an
 * interrupt handler, and (in debug-steps.S) instructions whose every effect is defined.
 *
 * "steps": runs those and powers off. "spin": never ends. Otherwise takes five steps of a walk,
 * prints the sum of its coordinates, and powers off.
 */
#include "lib/guest.h"

struct place {
    int32_t x, y;
    const char *name;
    uint8_t visits[4];
};

struct place here = {3, -4, "start", {1, 2, 3, 4}};
volatile uint32_t total;
volatile uint32_t spins;

void steps(void);
int32_t walk(struct place *p, int32_t by);
void note(uint32_t n);

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

__attribute__((noinline, noreturn)) static void spin(void)
{
    for (;;) {
        spins++;
    }
}

void guest_main(const char *args)
{
    if (text_equal(args, "spin")) {
        print("spinning\n");
        spin();
    }
    if (text_equal(args, "steps")) {
        steps();
        print("stepped\n");
        return;
    }
    for (int32_t i = 1; i <= 5; i++) {
        note((uint32_t)walk(&here, i));
    }
    print("total ");
    print_number(total);
    print("\n");
}
