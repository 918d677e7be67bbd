/*
 * The crash registers of Hyper-V's interface: finds them by CPUID, or else checks that they are
 * #GP. Reports five values beyond 2^53, and says "on" should it live on after that.
 */
#include "lib/guest.h"

#define CRASH_P0  0x40000100u
#define CRASH_CTL 0x40000105u

struct interrupt_frame {
    uint32_t eip, cs, eflags;
};

static volatile unsigned faults;

/* Goes on behind the instruction: RDMSR and WRMSR have two bytes. */
__attribute__((interrupt)) static void on_gp(struct interrupt_frame *frame, unsigned error)
{
    faults++;
    ((volatile struct interrupt_frame *)frame)->eip += 2;
}

static void cpuid(uint32_t leaf, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(0));
}

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

static bool offered(void)
{
    uint32_t v[4];

    cpuid(0x40000000, v);
    if (v[0] < 0x40000003 || v[1] != 0x7263694d || v[2] != 0x666f736f || v[3] != 0x76482074) {
        return false;
    }
    cpuid(0x40000001, v);
    check("interface", v[0] == 0x31237648);
    cpuid(0x40000003, v);
    return v[3] & 1u << 10;
}

void guest_main(const char *args)
{
    static const uint64_t values[5] = {0x0020000000000001, 0xfedcba9876543211, 0x8000000000000003,
                                       0xffffffffffffffff, 0x7ffffffffffffff5};

    idt_set_error(13, on_gp);
    idt_load();
    if (!offered()) {
        for (uint32_t i = CRASH_P0; i <= CRASH_CTL; i++) {
            rdmsr(i);
            wrmsr(i, 1ull << 63);
        }
        check("absent", faults == 12);
        print("done\n");
        return;
    }
    check("capability", rdmsr(CRASH_CTL) == 1ull << 63);
    for (unsigned i = 0; i < 5; i++) {
        wrmsr(CRASH_P0 + i, values[i]);
    }
    for (unsigned i = 0; i < 5; i++) {
        check("kept", rdmsr(CRASH_P0 + i) == values[i]);
    }
    wrmsr(CRASH_CTL, 1); /* not a report */
    check("faults", faults == 0);
    print("reporting\n");
    wrmsr(CRASH_CTL, 1ull << 63);
    print("on\ndone\n");
}
