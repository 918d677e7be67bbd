/*
 * The local APIC of the software CPU: xAPIC registers by memory, x2APIC by MSRs (Intel SDM volume
 * 3, chapter 11). KVM brings its own; both save as the 1 KiB register page.
 *
 * Threads: registers are read and written by the owning vCPU's thread. Delivery (lapic_bus_*, a
 * timer) comes from any thread: it touches only atomics, then requests VCPU_REQ_INTR, _NMI, _INIT
 * or _SIPI.
 */
#ifndef CPU_X86_LAPIC_H
#define CPU_X86_LAPIC_H

#include "cpu/vcpu.h"

struct lapic;
struct lapic_bus;

#define APIC_DEFAULT_BASE 0xfee00000u
#define APIC_BASE_BSP     (1u << 8)
#define APIC_BASE_X2APIC  (1u << 10)
#define APIC_BASE_ENABLE  (1u << 11)

/* All local APICs of a machine. */
struct lapic_bus *lapic_bus_new(struct cpus *cpus);
void lapic_bus_free(struct lapic_bus *bus); /* after its APICs; NULL is fine */

struct lapic *lapic_new(struct lapic_bus *bus, struct vcpu *vcpu);
void lapic_free(struct lapic *apic); /* NULL is fine */
/* To power-on state. init: by INIT, which keeps the APIC id and the base register. */
void lapic_reset(struct lapic *apic, bool init);

/* IA32_APIC_BASE. The setter returns false for a transition or reserved bit that is #GP. */
uint64_t lapic_get_base(const struct lapic *apic);
bool lapic_set_base(struct lapic *apic, uint64_t value);
/* Whether the page at gpa (page-aligned) is this APIC's register page now. */
bool lapic_claims(const struct lapic *apic, gpa_t page);

/* Memory-mapped access; offset 0..0xfff. Only aligned 32-bit accesses are defined; others read 0
 * and write nothing. */
uint32_t lapic_read(struct lapic *apic, unsigned offset);
void lapic_write(struct lapic *apic, unsigned offset, uint32_t value);
/* x2APIC MSRs 800H..8FFH; false: #GP. */
bool lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t value);

/* CR8: bits 7..4 of the task priority. */
uint8_t lapic_get_cr8(const struct lapic *apic);
void lapic_set_cr8(struct lapic *apic, uint8_t cr8);

/* IA32_TSC_DEADLINE: the guest's value, and the same instant on the virtual clock (ignored for 0).
 * A write in another timer mode is dropped; a read then gives 0. */
uint64_t lapic_get_tsc_deadline(const struct lapic *apic);
void lapic_set_tsc_deadline(struct lapic *apic, uint64_t tsc, int64_t deadline_ns);

/* Whether an interrupt would be taken if RFLAGS.IF allows; and taking it: its vector, or -1 when it
 * has gone meanwhile. For the 8259's the machine lock is taken and hooks->pic_ack asked. */
bool lapic_has_interrupt(const struct lapic *apic);
int lapic_take_interrupt(struct lapic *apic);

/* The vCPU's thread, when VCPU_REQ_TIMER is set: fires the timer if it is due. wait: as long as
 * nothing else is requested, waits for it. */
void lapic_timer_watch(struct lapic *apic, bool wait);

/* The register page as KVM_GET_LAPIC has it (1 KiB: the first 16 bytes of each 4 * 16 bytes hold
 * the register, at its xAPIC offset). Parked only. The timer is re-armed by set. */
void lapic_get_page(const struct lapic *apic, uint8_t page[1024]);
bool lapic_set_page(struct lapic *apic, const uint8_t page[1024], uint64_t base, GError **error);

/* An interrupt message of the I/O APIC or a PCI function. Any thread. */
void lapic_bus_msi(struct lapic_bus *bus, gpa_t addr, uint32_t data);
/* INTR of the 8259 pair, wired to LINT0 of every APIC. */
void lapic_bus_extint(struct lapic_bus *bus, bool level);
/* A pulse on LINT1 of every APIC: the NMI line of a PC. Any thread. */
void lapic_bus_lint1(struct lapic_bus *bus);

#endif
