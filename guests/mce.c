/*
 * Machine checks: checks the MSRs' rules, then prints what each #MC finds in bank 9. "off" leaves
 * CR4.MCE clear, "busy" does not end the handling of the first one, "mute" switches the bank off,
 * "touch ADDRESS" goes on to read there all the time.
 */
#include "lib/guest.h"

#define MCG_CAP    0x179u
#define MCG_STATUS 0x17au
#define MCG_CTL    0x17bu
#define BANK(n, r) (0x400u + (n)*4u + (r))

struct interrupt_frame {
    uint32_t eip, cs, eflags;
};

static volatile unsigned faults;
static bool busy;

static uint64_t rdmsr(uint32_t index)
{
    uint64_t value = 0;
    __asm__ volatile("rdmsr" : "+A"(value) : "c"(index) : "memory");
    return value;
}

static void wrmsr(uint32_t index, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "A"(value) : "memory");
}

static void print_hex64(const char *name, uint64_t value)
{
    print(name);
    print_hex((uint32_t)(value >> 32));
    print(" ");
    print_hex((uint32_t)value);
}

/* Goes on behind the instruction: RDMSR and WRMSR have two bytes. */
__attribute__((interrupt)) static void on_gp(struct interrupt_frame *frame, unsigned error)
{
    faults++;
    ((volatile struct interrupt_frame *)frame)->eip += 2;
}

__attribute__((interrupt)) static void on_mc(struct interrupt_frame *frame)
{
    print("mc");
    print_hex64(" mcg ", rdmsr(MCG_STATUS));
    print_hex64(" status ", rdmsr(BANK(9, 1)));
    print_hex64(" addr ", rdmsr(BANK(9, 2)));
    print_hex64(" misc ", rdmsr(BANK(9, 3)));
    print("\n");
    wrmsr(BANK(9, 1), 0);
    if (!busy) {
        wrmsr(MCG_STATUS, 0);
    }
}

static void check_msrs(void)
{
    check("capability", rdmsr(MCG_CAP) == (1u << 24 | 1u << 8 | 10));
    check("global control", rdmsr(MCG_CTL) == ~0ull);
    check("bank control", rdmsr(BANK(9, 0)) == ~0ull);
    wrmsr(BANK(9, 0), 0);
    wrmsr(BANK(9, 0), ~0ull);
    for (uint32_t i = 1; i < 4; i++) {
        wrmsr(BANK(9, i), 0);
    }
    check("writes", faults == 0);
    wrmsr(BANK(9, 1), 1);
    wrmsr(MCG_STATUS, 8);
    wrmsr(MCG_CTL, 1);
    wrmsr(MCG_CAP, 0);
    rdmsr(BANK(10, 0));
    check("refused", faults == 5);
}

void guest_main(const char *args)
{
    uint32_t cr4;

    idt_set_error(13, on_gp);
    idt_set(18, on_mc);
    idt_load();
    busy = text_equal(args, "busy");
    check_msrs();
    if (text_equal(args, "mute")) {
        wrmsr(BANK(9, 0), 0);
    }
    if (!text_equal(args, "off")) {
        __asm__ volatile("mov %%cr4, %0; or $0x40, %0; mov %0, %%cr4" : "=&r"(cr4));
    }
    print("ready\n");
    if (args[0] == 't') {
        volatile uint32_t *at = mmio(parse_number(args + 6));

        for (;;) {
            *at;
            __asm__ volatile("pause");
        }
    }
    halt();
}
