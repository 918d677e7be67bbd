/*
 * KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW):
 * prints "ready", and then for each byte that COM1 receives "clock K H T": what kvmclock, the HPET
 * and the TSC tell, each in units of 2^20 ns.
 */
#include "lib/guest.h"

#define COM1            0x3f8
#define MSR_SYSTEM_TIME 0x4b564d01u
#define HPET_CONFIG     0xfed00010u
#define HPET_COUNTER    0xfed000f0u
#define HPET_TICK_NS    10

struct vcpu_time {
    uint32_t version, pad0;
    uint64_t tsc, system_ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad[2];
};

static volatile struct vcpu_time vcpu_time __attribute__((aligned(64)));

static uint64_t rdtsc(void)
{
    uint64_t value;
    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

static uint64_t ticks_ns(uint64_t ticks)
{
    ticks = vcpu_time.shift < 0 ? ticks >> -vcpu_time.shift : ticks << vcpu_time.shift;
    return (ticks >> 32) * vcpu_time.mul + ((ticks & 0xffffffff) * vcpu_time.mul >> 32);
}

static uint64_t kvmclock_ns(void)
{
    uint32_t version;
    uint64_t ns;

    do {
        version = vcpu_time.version;
        __asm__ volatile("" : : : "memory");
        ns = vcpu_time.system_ns + ticks_ns(rdtsc() - vcpu_time.tsc);
        __asm__ volatile("" : : : "memory");
    } while (version & 1 || version != vcpu_time.version);
    return ns;
}

static uint64_t hpet_ns(void)
{
    uint32_t high, low;

    do {
        high = *mmio(HPET_COUNTER + 4);
        low = *mmio(HPET_COUNTER);
    } while (high != *mmio(HPET_COUNTER + 4));
    return ((uint64_t)high << 32 | low) * HPET_TICK_NS;
}

void guest_main(const char *args)
{
    *mmio(HPET_CONFIG) |= 1;
    __asm__ volatile("wrmsr" : : "c"(MSR_SYSTEM_TIME), "a"((uint32_t)&vcpu_time | 1), "d"(0));
    print("ready\n");
    for (;;) {
        while (!(inb(COM1 + 5) & 1)) {
            __asm__ volatile("pause");
        }
        inb(COM1);
        print("clock ");
        print_number((uint32_t)(kvmclock_ns() >> 20));
        print(" ");
        print_number((uint32_t)(hpet_ns() >> 20));
        print(" ");
        print_number((uint32_t)(ticks_ns(rdtsc()) >> 20));
        print("\n");
    }
}
