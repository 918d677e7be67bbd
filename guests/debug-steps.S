/*
 * Instructions for comparing one processor with another after each: from `steps` to `steps_end`,
 * first 32-bit, then 64-bit, about 1500 of them. Nothing depends on what was there before, on time,
 * or on flags that the architecture leaves undefined.
 */
        .set    STACK, 0x300000
        .set    DATA, 0x310000
        .set    TABLES, 0x320000
        .set    IDT32, 0x330000
        .set    IDT64, 0x331000

        .text
        .globl  steps, steps_begin, steps_end
steps:
        mov     %esp, saved_esp
steps_begin:
        mov     $STACK, %esp
        push    $0x202
        popf
        cli
        mov     $0x1111, %eax
        mov     $0x2222, %ebx
        mov     $0x3333, %ecx
        mov     $0x4444, %edx
        mov     $DATA, %esi
        mov     $DATA + 0x100, %edi
        movl    $0, 4(%esi)
        mov     $0x5555, %ebp
        add     %eax, %ebx
        adc     $0x7fffffff, %ecx
        sbb     %ebx, %edx
        neg     %edx
        inc     %ax
        dec     %bl
        cmp     %ecx, %edx
        setg    %al
        cmovl   %ecx, %ebx
        xchg    %al, %ah
        movsbl  %bh, %ecx
        movzwl  %bx, %edx
        bswap   %edx
        lea     7(%edx, %ecx, 4), %ebp
        rol     $1, %ebp
        bts     $5, %ebp
        add     $0, %ebp
        push    %ebp
        pushl   $0x12345678
        pop     %eax
        popl    (%esi)
        xadd    %eax, (%esi)
        cmpxchg %ebx, 4(%esi)
        add     %eax, 4(%esi)
        call    double_it
        call    double_it
        mov     $12, %ecx
1:      mov     %ecx, (%edi, %ecx, 4)
        add     %ecx, %eax
        loop    1b
        mov     $DATA + 0x100, %esi
        mov     $DATA + 0x200, %edi
        mov     $20, %ecx
        cld
        rep movsb
        mov     $9, %ecx
        std
        rep stosb
        cld
        mov     $DATA + 0x100, %esi
        mov     $DATA + 0x200, %edi
        mov     $64, %ecx
        repe cmpsb
        xor     %ecx, %ecx
        add     $0, %ecx
        rep stosl

        /* an interrupt, and an exception whose handler goes on behind it */
        mov     $IDT32 + 8 * 6, %edi
        mov     $on_ud32, %eax
        call    gate32
        mov     $IDT32 + 8 * 0x40, %edi
        mov     $on_int32, %eax
        call    gate32
        lidt    idtr32
        int     $0x40
        ud2
        int     $0x40

        /* the x87: exact results only */
        fninit
        fld1
        fld     %st(0)
        fadd    %st(1), %st
        fstpt   (%edi)
        fldl    quarter
        fmulp   %st, %st(1)
        fldz
        fxch
        fchs
        fistpl  (%edi)
        fstp    %st(0)

        /* 64-bit mode: 2 MiB pages, the first GiB as it is */
        mov     $TABLES, %edi
        movl    $TABLES + 0x1003, (%edi)
        movl    $0, 4(%edi)
        movl    $TABLES + 0x2003, 0x1000(%edi)
        movl    $0, 0x1004(%edi)
        mov     $8, %ecx
        lea     0x2000(%edi), %edi
        mov     $0x83, %eax
2:      mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $0x200000, %eax
        add     $8, %edi
        dec     %ecx
        jnz     2b
        mov     $TABLES, %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        add     $0, %eax
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx
        mov     $0x100, %eax            /* LME */
        mov     $0, %edx
        wrmsr
        mov     %cr0, %ebx
        mov     %ebx, saved_cr0
        mov     $0x80000013, %eax
        mov     %eax, %cr0
        lgdt    gdtr64
        ljmp    $0x08, $long_mode

double_it:
        add     %eax, %eax
        ret

/* %edi: a gate's place, %eax: the handler */
gate32:
        mov     %ax, (%edi)
        movw    $0x08, 2(%edi)
        movw    $0x8e00, 4(%edi)
        mov     %eax, %ebx
        bswap   %ebx
        xchg    %bl, %bh
        mov     %bx, 6(%edi)
        ret

on_int32:
        add     $3, %ebp
        iret
on_ud32:
        addl    $2, (%esp)              /* over the instruction */
        iret

        .code64
long_mode:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        movabs  $0x123456789abcdef0, %r8
        lea     (%r8, %r8, 2), %r9
        mov     $DATA, %r15d
        mov     %r9, (%r15)
        mov     $-1, %r10
        add     $1, %r10
        adc     $0, %r10
        mov     %r8d, %r11d
        bswap   %r8
        movslq  %r9d, %r12
        mov     $STACK, %rsp
        push    %r12
        push    $-5
        pop     %r13
        popq    8(%r15)
        add     8(%r15), %r13
        mov     $0x40, %ecx
        mov     $1, %r14d
3:      add     %r14, %r14
        adc     $0, %r14
        sub     $1, %rcx
        jnz     3b
        mov     $20, %ecx
4:      call    mix
        dec     %ecx
        jnz     4b
        mov     $vector, %eax
        movaps  (%rax), %xmm0
        movdqa  %xmm0, %xmm1
        paddd   %xmm0, %xmm1
        pshufd  $0x1b, %xmm1, %xmm2
        cvtdq2ps %xmm1, %xmm3
        addps   %xmm3, %xmm3
        movups  %xmm3, 5(%r15)
        pxor    %xmm1, %xmm2
        mov     $quarter, %eax
        sqrtsd  (%rax), %xmm5
        movq    %xmm5, %rax
        movd    %xmm2, %edx
        mov     $0xc0000101, %ecx       /* GS base */
        mov     $DATA + 0x80, %eax
        mov     $0, %edx
        wrmsr
        mov     $0xc0000102, %ecx       /* the kernel's */
        mov     $0x77, %eax
        wrmsr
        mov     %gs:8, %rdx
        swapgs
        swapgs
        mov     $IDT64 + 16 * 0x41, %edi
        mov     $on_int64, %eax
        mov     %ax, (%rdi)
        movw    $0x08, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        movw    $0x10, 6(%rdi)          /* the guest is at 1 MiB */
        movq    $0, 8(%rdi)
        mov     $idtr64, %eax
        lidt    (%rax)
        int     $0x41
        cld
        mov     $DATA, %esi
        mov     $DATA + 0x400, %edi
        mov     $10, %ecx
        rep movsq
        mov     $400, %ecx
5:      lea     3(%rax, %rcx), %rax
        dec     %ecx
        jnz     5b
steps_end:
        nop

        /* back to 32-bit mode without paging */
        mov     $back, %eax
        ljmpl   *(%rax)
        .code32
short_mode:
        mov     saved_cr0, %eax
        mov     %eax, %cr0
        mov     $0xc0000080, %ecx
        mov     $0, %eax
        mov     $0, %edx
        wrmsr
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     saved_esp, %esp
        ret

        .code64
mix:
        ror     $1, %r8
        add     %r8, %r9
        sub     %r9, %r11
        xchg    %r9, %r13
        ret
on_int64:
        add     $5, %r9
        iretq

        .data
        .balign 16
vector: .long   1, -2, 3, 0x40000000
quarter: .double 0.25
gdt64:  .quad   0, 0x00af9a000000ffff, 0x00cf92000000ffff, 0x00cf9a000000ffff
gdtr64: .word   31
        .long   gdt64, 0
idtr32: .word   0x7ff
        .long   IDT32
idtr64: .word   0xfff
        .long   IDT64, 0
back:   .long   short_mode
        .word   0x18
saved_esp: .long 0
saved_cr0: .long 0
        .section .note.GNU-stack, "", @progbits
