/*
 * A 64-bit program that is hot enough to be translated, for what the translator does inline: RDTSC
 * and RDTSCP never go back, CPUID answers the same each time, both leave the flags alone, locked
 * operations do what they say. Prints "good" or what was wrong on COM1, and powers off.
 */
#include <stdint.h>

#define ROUNDS 20000

void debug_main(void);

static volatile uint64_t cell;

static void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static void say(const char *p)
{
    for (; *p; p++) {
        outb(0x3f8, (uint8_t)*p);
    }
}

/* RDTSC with known flags before it; they come back in *flags (bit 0: CF, 1: ZF). */
static uint64_t tsc_flags(uint32_t set, uint8_t *flags)
{
    uint32_t a, d;
    uint8_t carry, zero;

    __asm__ volatile("cmp $1, %4\n\t" /* 0: CF; 1: ZF */
                     "rdtsc\n\t"
                     "setc %2\n\t"
                     "setz %3"
                     : "=&a"(a), "=&d"(d), "=&r"(carry), "=&r"(zero)
                     : "r"(set)
                     : "cc");
    *flags = (uint8_t)(carry | zero << 1);
    return a | (uint64_t)d << 32;
}

static uint64_t tscp(uint32_t *aux)
{
    uint32_t a, d;

    __asm__ volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(*aux));
    return a | (uint64_t)d << 32;
}

struct leaf {
    uint32_t a, b, c, d;
    uint8_t carry;
};

static struct leaf cpuid_flags(uint32_t n, uint32_t sub)
{
    struct leaf l = {n, 0, sub, 0, 0};

    __asm__ volatile("stc\n\t"
                     "cpuid\n\t"
                     "setc %4"
                     : "+a"(l.a), "=&b"(l.b), "+c"(l.c), "=&d"(l.d), "=m"(l.carry)
                     :
                     : "cc");
    return l;
}

static const char *check_time(void)
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint8_t flags;
        uint32_t aux = 1;
        uint64_t now = tsc_flags(i & 1, &flags), then = tscp(&aux);

        if (now < last || then < now) {
            return "time goes back";
        }
        if (flags != (i & 1 ? 2 : 1)) {
            return "RDTSC changes flags";
        }
        if (aux != 0) {
            return "RDTSCP gives another TSC_AUX";
        }
        last = then;
    }
    return 0;
}

static const char *check_cpuid(void)
{
    static const uint32_t leaf[] = {0, 1, 7, 0xd, 0x80000000, 0x80000002, 0x80000008, 4, 5, 0x16};
    static struct leaf first[10];

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t n = i % 10;
        struct leaf l = cpuid_flags(leaf[n], 0);

        if (!l.carry) {
            return "CPUID changes flags";
        }
        if (i < 10) {
            first[n] = l;
        } else if (l.a != first[n].a || l.b != first[n].b || l.c != first[n].c ||
                   l.d != first[n].d) {
            return "CPUID changes its mind";
        }
    }
    return first[0].a >= 0xd && first[1].d != 0 ? 0 : "CPUID is silent";
}

static const char *check_locked(void)
{
    uint64_t sum = 0;

    cell = 0;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t expected = sum;

        if (__atomic_fetch_add(&cell, i, __ATOMIC_SEQ_CST) != expected) {
            return "LOCK XADD";
        }
        sum += i;
        expected = sum;
        if (!__atomic_compare_exchange_n(&cell, &expected, sum + 1, 0, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST)) {
            return "LOCK CMPXCHG";
        }
        sum++;
        expected = sum + 1;
        if (__atomic_compare_exchange_n(&cell, &expected, 0, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST) ||
            expected != sum) {
            return "LOCK CMPXCHG that must fail";
        }
        __asm__ volatile("lock orq $0, %0" : "+m"(cell) : : "cc");
        if (cell != sum || __atomic_exchange_n(&cell, sum ^ i, __ATOMIC_SEQ_CST) != sum) {
            return "XCHG";
        }
        sum ^= i;
    }
    return 0;
}

void debug_main(void)
{
    const char *bad = check_time();

    bad = bad ? bad : check_cpuid();
    bad = bad ? bad : check_locked();
    say(bad ? bad : "good");
    say("\n");
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "d"((uint16_t)0x604));
    for (;;) {
        __asm__ volatile("hlt");
    }
}
