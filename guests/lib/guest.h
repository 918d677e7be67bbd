/*
 * What the bare-metal test guests have in common: 32-bit protected mode, flat, paging off, one C
 * main().
 *
 * A guest reports on COM1, a line at a time: "ok NAME", "FAIL NAME: why", and ends by powering the
 * machine off (return from guest_main) or by its own means.
 */
#ifndef GUESTS_GUEST_H
#define GUESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Written by each guest. args: the command line without the file name. */
void guest_main(const char *args);

extern bool guest_is_pvh;

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline volatile uint32_t *mmio(uint32_t addr)
{
    return (volatile uint32_t *)addr;
}

/* Registers of the local APIC, at their offsets. */
#define LAPIC 0xfee00000u

/* Starts all other vCPUs by INIT and SIPI. Each counts itself in ap_count and calls ap_main(),
 * which a guest with more than one vCPU has; index counts from 1.
 */
extern volatile uint32_t ap_count;
void ap_main(uint32_t index);
void aps_start(void);

void print(const char *text);
void print_number(uint32_t n);
void print_hex(uint32_t n);
void check(const char *name, bool ok); /* "ok NAME" or "FAIL NAME" */
bool text_equal(const char *a, const char *b);
uint32_t parse_number(const char *text);

/* The ACPI timer's 24 bits, 3.579545 MHz, and waiting by it. */
uint32_t pm_timer(void);
void delay_us(uint32_t us);

/* Interrupt table: an IDT at a fixed place; handlers are functions that begin with INTERRUPT. With
 * FAR_RETURN they return by POPF and a far RET instead of IRET, which some virtualised KVMs lack.
 */
struct interrupt_frame;
#ifdef FAR_RETURN
#define INTERRUPT static
#else
#define INTERRUPT __attribute__((interrupt)) static
#endif
void idt_load(void);
void idt_set(uint8_t vector, void (*handler)(struct interrupt_frame *));
void idt_set_error(uint8_t vector, void (*handler)(struct interrupt_frame *, unsigned));
void pic_init(void); /* both 8259s at vectors 0x20 and 0x28, everything masked */
void pic_unmask(uint8_t irq);
void pic_eoi(uint8_t irq);

__attribute__((noreturn)) void power_off(void);
__attribute__((noreturn)) void halt(void);

#endif
