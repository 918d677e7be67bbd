/* Entry of a 64-bit guest: PVH, then 64-bit mode with the first GiB mapped as it is. */
        .section .note.Xen, "a", @note
        .align  4
        .long   4, 4, 18                /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz  "Xen"
        .long   _start

        .text
        .code32
        .globl  _start
_start:
        cld
        mov     $tables, %edi
        lea     0x1003(%edi), %eax
        mov     %eax, (%edi)
        lea     0x2003(%edi), %eax
        mov     %eax, 0x1000(%edi)
        lea     0x2000(%edi), %edi
        mov     $0x83, %eax
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        cmp     $0x40000083, %eax
        jne     1b
        mov     $tables, %eax
        mov     %eax, %cr3
        mov     $0x20, %eax             /* PAE */
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx
        mov     $0x100, %eax            /* LME */
        xor     %edx, %edx
        wrmsr
        mov     $0x80000011, %eax
        mov     %eax, %cr0
        lgdt    gdtr
        ljmp    $0x08, $2f
        .code64
2:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %esp
        call    debug_main

        .data
        .balign 8
gdt:    .quad   0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr:   .word   23
        .long   gdt, 0

        .bss
        .balign 4096
tables: .skip   3 * 4096
        .skip   4096
stack_top:
        .section .note.GNU-stack, "", @progbits
