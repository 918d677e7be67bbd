/*
 * Prints "boot", then resets the machine by the route that the command line names: cf9, 8042,
 * port92 or triple; "exit N" writes N to the exit port 0xf4; "hang" stops with interrupts off.
 */
#include "lib/guest.h"

static void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    /* Loads a selector beyond the GDT; not INT3, which KVMs that emulate the guest may lack. */
    __asm__ volatile("lidt %0; mov %1, %%ds" : : "m"(none), "r"(0xfff8));
}

void guest_main(const char *args)
{
    print("boot ");
    print(args);
    print("\n");
    if (text_equal(args, "cf9")) {
        outb(0xcf9, 0x02);
        outb(0xcf9, 0x06);
    } else if (text_equal(args, "acpi")) {
        outb(0xcf9, 0x0f); /* the value that the FADT names */
    } else if (text_equal(args, "8042")) {
        outb(0x64, 0xfe);
    } else if (text_equal(args, "port92")) {
        outb(0x92, 0x01);
    } else if (text_equal(args, "triple")) {
        triple_fault();
    } else if (args[0] == 'e') {
        outl(0xf4, parse_number(args + 5));
    }
    halt();
}
