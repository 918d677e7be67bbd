/*
 * The x86 vCPU's register state, one struct for all accelerators, laid out like the KVM ABI's
 * structs so that KVM get and set is a copy (struct x_regs is struct kvm_regs, and so on: the x86
 * KVM headers are the source of the order). gdb stub, dump, migration and reset look at nothing
 * else.
 */
#ifndef CPU_X86_STATE_H
#define CPU_X86_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct x_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};

struct x_seg {
    uint64_t base;
    uint32_t limit; /* in bytes, as the descriptor cache holds it */
    uint16_t selector;
    uint8_t type, present, dpl, db, s, l, g, avl, unusable, pad;
};

struct x_dtable {
    uint64_t base;
    uint16_t limit;
    uint16_t pad[3];
};

struct x_sregs {
    struct x_seg cs, ds, es, fs, gs, ss, tr, ldt;
    struct x_dtable gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    uint64_t interrupt_bitmap[4];
};

struct x_events {
    struct {
        uint8_t injected, nr, has_error_code, pending;
        uint32_t error_code;
    } exception;
    struct {
        uint8_t injected, nr, soft, shadow;
    } interrupt;
    struct {
        uint8_t injected, pending, masked, pad;
    } nmi;
    uint32_t sipi_vector;
    uint32_t flags;
    struct {
        uint8_t smm, pending, smm_inside_nmi, latched_init;
    } smi;
    struct {
        uint8_t pending;
    } triple_fault;
    uint8_t reserved[26];
    uint8_t exception_has_payload;
    uint64_t exception_payload;
};

struct x_debugregs {
    uint64_t db[4];
    uint64_t dr6, dr7;
    uint64_t flags;
    uint64_t reserved[9];
};

struct x_msr {
    uint32_t index, reserved;
    uint64_t data;
};

#define X_MSRS_MAX 128

struct cpu_state {
    struct x_regs regs;
    struct x_sregs sregs;
    uint8_t xsave[4096]; /* standard (non-compacted) XSAVE image */
    uint64_t xcr0;
    struct x_events events;
    struct x_debugregs debug;
    uint32_t mp_state;   /* enum mp_state */
    uint8_t lapic[1024]; /* the APIC's register page, as KVM_GET_LAPIC */
    uint32_t a20_off;    /* not 0: address line 20 is held low; KVM does not do it */
    uint64_t tsc;
    uint32_t n_msrs, pad2;
    struct x_msr msr[X_MSRS_MAX];
};

#define RFLAGS_CF      (1u << 0)
#define RFLAGS_1       (1u << 1) /* always one */
#define RFLAGS_PF      (1u << 2)
#define RFLAGS_AF      (1u << 4)
#define RFLAGS_ZF      (1u << 6)
#define RFLAGS_SF      (1u << 7)
#define RFLAGS_TF      (1u << 8)
#define RFLAGS_IF      (1u << 9)
#define RFLAGS_DF      (1u << 10)
#define RFLAGS_OF      (1u << 11)
#define RFLAGS_IOPL    (3u << 12)
#define RFLAGS_NT      (1u << 14)
#define RFLAGS_RF      (1u << 16)
#define RFLAGS_VM      (1u << 17)
#define RFLAGS_AC      (1u << 18)
#define RFLAGS_VIF     (1u << 19)
#define RFLAGS_VIP     (1u << 20)
#define RFLAGS_ID      (1u << 21)
#define RFLAGS_ARITH   (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

#define CR0_PE         (1u << 0)
#define CR0_MP         (1u << 1)
#define CR0_EM         (1u << 2)
#define CR0_TS         (1u << 3)
#define CR0_ET         (1u << 4)
#define CR0_NE         (1u << 5)
#define CR0_WP         (1u << 16)
#define CR0_AM         (1u << 18)
#define CR0_NW         (1u << 29)
#define CR0_CD         (1u << 30)
#define CR0_PG         (1u << 31)

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)
#define CR4_PKE        (1u << 22)
#define CR4_PKS        (1u << 24)

#define EFER_SCE       (1u << 0)
#define EFER_LME       (1u << 8)
#define EFER_LMA       (1u << 10)
#define EFER_NXE       (1u << 11)

#endif
