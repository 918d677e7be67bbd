/*
 * Entry of the test guests: Multiboot 1 or PVH, both in 32-bit protected mode with paging off. Built
 * with PVH_ONLY there is no Multiboot header, so that a loader takes the PVH note.
 */
#ifndef PVH_ONLY
        .section .multiboot, "a"
        .align  4
        .long   0x1badb002              /* magic */
        .long   3                       /* flags: page-aligned modules, memory map */
        .long   -(0x1badb002 + 3)
#endif

        .section .note.Xen, "a", @note
        .align  4
        .long   4, 4, 18                /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz  "Xen"
        .long   pvh_start

        .text
        .globl  _start
_start:
        mov     $stack_top, %esp
        jmp     1f
pvh_start:
        mov     $stack_top, %esp
        xor     %eax, %eax
1:      cld
        lgdt    gdtr
        ljmp    $0x08, $2f
2:      mov     $0x10, %ecx
        mov     %ecx, %ds
        mov     %ecx, %es
        mov     %ecx, %ss
        mov     %ecx, %fs
        mov     %ecx, %gs
        push    %ebx                    /* information block */
        push    %eax                    /* Multiboot magic, or 0 */
        call    guest_start
3:      hlt
        jmp     3b

/* Start of a further vCPU: copied to AP_PAGE, entered in real mode. Calls ap_main(index) with a stack
 * of its own; index counts up from 1. */
        .weak   ap_main                 /* only guests with more vCPUs have one */
        .globl  ap_trampoline, ap_trampoline_end
        .code16
ap_trampoline:
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        lgdtl   (ap_gdtr - ap_trampoline + AP_PAGE)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x08, $ap_start
ap_gdtr:
        .word   gdt_end - gdt - 1
        .long   gdt
ap_trampoline_end:
        .code32
ap_start:
        mov     $0x10, %ecx
        mov     %ecx, %ds
        mov     %ecx, %es
        mov     %ecx, %ss
        mov     $1, %eax
        lock xadd %eax, ap_count
        inc     %eax
        mov     %eax, %edx
        shl     $12, %edx               /* 4 KiB of stack each */
        lea     ap_stacks(%edx), %esp
        push    %eax
        call    ap_main
4:      cli
        hlt
        jmp     4b

#ifdef FAR_RETURN
        .globl  interrupt_entries
        .align  16
interrupt_entries:
        .set    vector, 0
        .rept   256
        .align  16
        push    $vector
        jmp     interrupt_common
        .set    vector, vector + 1
        .endr
interrupt_common:
        pusha
        lea     36(%esp), %eax          /* EIP, CS, EFLAGS */
        push    %eax
        push    36(%esp)                /* the vector */
        call    interrupt_dispatch
        add     $8, %esp
        popa
        add     $4, %esp
        push    8(%esp)
        popf
        lret    $4
#endif

        .data
        .align  8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff
        .quad   0x00cf93000000ffff
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        .long   gdt
        .globl  ap_count
ap_count:
        .long   0

        .bss
        .align  16
        .space  16384
stack_top:
        .globl  ap_stacks
ap_stacks:
        .space  4096 * 17

        .section .note.GNU-stack, "", @progbits
