/*
 * Exceptions, interrupts and changes of mode and privilege of the software CPU: the frames that
 * each mode pushes, faults on the way to a handler, returns, traps and shadows, MSR and control
 * register rules. Programs are a few bytes of machine code; all handlers are HLT.
 */
#include "../lib/soft-machine.h"
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/sys-priv.h"

enum {
    TSS = 0x9000,
    STACK0 = 0x50000, /* RSP0 */
    STACK_IST = 0x60000,
    USER_CODE = 0x70000,
    USER_STACK = 0x80000,
};
enum {
    SEL_CODE = 8,
    SEL_DATA = 16,
    SEL_CODE32 = 24,
    SEL_TSS = 32,
    SEL_UDATA = 48 | 3,
    SEL_UCODE = 56 | 3
};

static uint64_t get64(uint64_t at)
{
    uint64_t v;
    memcpy(&v, present->ram->host + at, 8);
    return v;
}

static uint32_t get32(uint64_t at)
{
    return get64(at);
}

static uint16_t get16(uint64_t at)
{
    return get64(at);
}

static void put32(uint64_t at, uint32_t value)
{
    memcpy(present->ram->host + at, &value, 4);
}

static void put16(uint64_t at, uint16_t value)
{
    memcpy(present->ram->host + at, &value, 2);
}

static void gate(unsigned vector, uint64_t rip, unsigned type, unsigned dpl, unsigned ist, bool p)
{
    uint64_t at = IDT + 16 * vector;
    put64(at, (rip & 0xffff) | SEL_CODE << 16 | (uint64_t)ist << 32 | (uint64_t)type << 40 |
                  (uint64_t)dpl << 45 | (uint64_t)p << 47 | (rip >> 16 & 0xffff) << 48);
    put64(at + 8, rip >> 32);
}

/* 64-bit mode with user segments, user-accessible pages and a TSS. */
static void system_start(void)
{
    machine_start();
    struct cpu *c = present->c;
    put64(GDT + SEL_DATA, 0x00cf93000000ffff);
    put64(GDT + SEL_CODE32, 0x00cf9b000000ffff);
    put64(GDT + SEL_TSS, 0x67 | (uint64_t)(TSS & 0xffffff) << 16 | 0x8bull << 40);
    put64(GDT + SEL_TSS + 8, 0);
    put64(GDT + (SEL_UDATA & ~7), 0x00cff3000000ffff);
    put64(GDT + (SEL_UCODE & ~7), 0x00affb000000ffff);
    c->gdt.limit = 0x3f;
    put64(TSS + 4, STACK0);
    put64(TSS + 36, STACK_IST); /* IST1 */
    c->tr = (struct seg){.base = TSS, .limit = 0x67, .sel = SEL_TSS, .type = 11, .present = 1};
    c->seg[SEG_SS].sel = SEL_DATA;
    put64(PML4, get64(PML4) | 4);
    put64(PDPT, get64(PDPT) | 4);
    put64(PD, get64(PD) | 4);
    put64(PD + 8, get64(PD + 8) | 4);
    for (uint64_t page = USER_CODE; page < USER_STACK + 0x2000; page += 0x1000) {
        set_page(page, page | 7);
    }
    tlb_flush_all(c);
}

#define PROGRAM(at, ...)                                                                           \
    do {                                                                                           \
        static const uint8_t code_[] = {__VA_ARGS__};                                              \
        put_code(at, code_, sizeof(code_));                                                        \
    } while (0)

static void to_user(void)
{
    struct cpu *c = present->c;
    c->cpl = 3;
    seg_from_desc(&c->seg[SEG_CS], &(struct desc){.lo = 0x0000ffff, .hi = 0x00affb00}, SEL_UCODE);
    seg_from_desc(&c->seg[SEG_SS], &(struct desc){.lo = 0x0000ffff, .hi = 0x00cff300}, SEL_UDATA);
    c->r[RSP] = USER_STACK;
    mode_update(c);
}

#define assert_handler(end, vector) g_assert_cmphex(end, ==, HANDLER + 16 * (vector))

/* ---------------------------------------------------------------- long mode */

static void test_long_frame(void)
{
    system_start();
    struct cpu *c = present->c;
    c->r[RSP] = STACK - 3; /* the frame is aligned all the same */
    c->sysflags |= RFLAGS_IF;
    PROGRAM(CODE, 0xcd, 0x05); /* int 5 */
    assert_handler(run_from(CODE), 5);
    uint64_t sp = c->r[RSP];
    g_assert_cmphex(sp, ==, ((STACK - 3) & ~15) - 40);
    g_assert_cmphex(get64(sp), ==, CODE + 2);
    g_assert_cmphex(get64(sp + 8), ==, SEL_CODE);
    g_assert_cmphex(get64(sp + 16) & RFLAGS_IF, ==, RFLAGS_IF);
    g_assert_cmphex(get64(sp + 16) & RFLAGS_RF, ==, 0); /* a trap */
    g_assert_cmphex(get64(sp + 24), ==, STACK - 3);
    g_assert_cmphex(get64(sp + 32), ==, SEL_DATA);
    g_assert_cmphex(c->sysflags & RFLAGS_IF, ==, 0);
    gate(5, HANDLER + 16 * 5, 15, 0, 0, true); /* a trap gate leaves IF */
    c->sysflags |= RFLAGS_IF;
    assert_handler(run_from(CODE), 5);
    g_assert_cmphex(c->sysflags & RFLAGS_IF, ==, RFLAGS_IF);
    machine_end();
}

static void test_error_code_and_rf(void)
{
    system_start();
    PROGRAM(CODE, 0xb9, 0x99, 0x99, 0x00, 0x00, 0x0f, 0x32); /* mov ecx, 0x9999; rdmsr */
    assert_handler(run_from(CODE), EXC_GP);
    uint64_t sp = present->c->r[RSP];
    g_assert_cmphex(get64(sp), ==, 0);
    g_assert_cmphex(get64(sp + 8), ==, CODE + 5);
    g_assert_cmphex(get64(sp + 24) & RFLAGS_RF, ==, RFLAGS_RF);
    machine_end();
}

static void test_from_user(void)
{
    system_start();
    struct cpu *c = present->c;
    gate(5, HANDLER + 16 * 5, 14, 3, 0, true);
    PROGRAM(USER_CODE, 0xcd, 0x05);
    to_user();
    assert_handler(run_from(USER_CODE), 5);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(c->seg[SEG_SS].sel, ==, 0); /* null, with CPL as RPL */
    g_assert_true(c->seg[SEG_SS].unusable);
    g_assert_cmphex(c->r[RSP], ==, STACK0 - 40);
    g_assert_cmphex(get64(STACK0 - 8), ==, SEL_UDATA);
    g_assert_cmphex(get64(STACK0 - 16), ==, USER_STACK);
    g_assert_cmphex(get64(STACK0 - 32), ==, SEL_UCODE);
    /* IST, and a gate whose DPL forbids INT n */
    gate(6, HANDLER + 16 * 6, 14, 0, 1, true);
    PROGRAM(USER_CODE, 0x0f, 0x0b);
    to_user();
    assert_handler(run_from(USER_CODE), EXC_UD);
    g_assert_cmphex(c->r[RSP], ==, STACK_IST - 40);
    PROGRAM(USER_CODE, 0xcd, 0x06);
    to_user();
    assert_handler(run_from(USER_CODE), EXC_GP);
    g_assert_cmphex(get64(c->r[RSP]), ==, 6 * 8 + 2);
    machine_end();
}

static void test_double_fault(void)
{
    system_start();
    struct cpu *c = present->c;
    gate(EXC_GP, 0, 14, 0, 0, false); /* #GP, then #NP: double fault */
    gate(EXC_NP, HANDLER + 16 * EXC_NP, 14, 0, 0, true);
    PROGRAM(CODE, 0x0f, 0x33); /* rdpmc: #GP(0) */
    assert_handler(run_from(CODE), EXC_DF);
    g_assert_cmphex(get64(c->r[RSP]), ==, 0);
    g_assert_cmphex(get64(c->r[RSP] + 8), ==, CODE);
    /* #UD is benign: what happens on the way to it is delivered by itself */
    gate(EXC_UD, 0, 14, 0, 0, false);
    c->r[RSP] = STACK;
    PROGRAM(CODE, 0x0f, 0x0b);
    assert_handler(run_from(CODE), EXC_NP);
    g_assert_cmphex(get64(c->r[RSP]), ==, EXC_UD * 8 + 2 + 1); /* EXT */
    machine_end();
}

static void test_page_fault_on_stack(void)
{
    system_start();
    struct cpu *c = present->c;
    set_page(STACK - 0x1000, 0);
    c->r[RSP] = STACK;
    gate(EXC_DF, HANDLER + 16 * EXC_DF, 14, 0, 1, true);
    PROGRAM(CODE, 0xcd, 0x05);
    assert_handler(run_from(CODE), EXC_DF); /* #PF, #PF on the way to it */
    g_assert_cmphex(c->r[RSP], ==, STACK_IST - 48);
    g_assert_cmphex(c->cr2, ==, STACK - 8);
    g_assert_cmphex(get64(STACK_IST - 16), ==, STACK);
    machine_end();
}

static void test_triple_fault(void)
{
    system_start();
    struct cpu *c = present->c;
    c->idt.limit = 0;
    PROGRAM(CODE, 0x0f, 0x0b);
    c->rip = CODE;
    g_assert_cmpint(soft_execute(c, 0), ==, RUN_SHUTDOWN);
    g_assert_cmphex(c->r[RSP], ==, STACK);
    machine_end();
}

static void test_iret(void)
{
    system_start();
    struct cpu *c = present->c;
    uint64_t sp = STACK - 40;
    PROGRAM(CODE, 0x48, 0xcf);
    PROGRAM(USER_CODE, 0x0f, 0x0b);
    put64(sp, USER_CODE);
    put64(sp + 8, SEL_UCODE);
    put64(sp + 16, 2 | RFLAGS_IF | RFLAGS_CF | RFLAGS_RF);
    put64(sp + 24, USER_STACK);
    put64(sp + 32, SEL_UDATA);
    c->r[RSP] = sp;
    c->seg[SEG_GS].base = 0x1234;
    c->seg[SEG_GS].sel = SEL_DATA; /* DPL 0: dropped, its base stays */
    assert_handler(run_from(CODE), EXC_UD);
    g_assert_cmphex(get64(STACK0 - 40), ==, USER_CODE);
    g_assert_cmphex(get64(STACK0 - 24), ==, 2 | RFLAGS_IF | RFLAGS_CF | RFLAGS_RF);
    g_assert_cmphex(c->seg[SEG_GS].sel, ==, 0);
    g_assert_cmphex(c->seg[SEG_GS].base, ==, 0x1234);
    /* what it must not return to: the fault is IRET's */
    static const struct {
        uint64_t rip, cs, ss;
        unsigned vector, error;
    } bad[] = {
        {1ull << 47, SEL_UCODE, SEL_UDATA, EXC_GP, 0},
        {USER_CODE, 3, SEL_UDATA, EXC_GP, 0},
        {USER_CODE, SEL_UDATA, SEL_UDATA, EXC_GP, SEL_UDATA & ~3},
        {USER_CODE, SEL_UCODE, 3, EXC_GP, 0},
        {USER_CODE, SEL_UCODE, SEL_DATA, EXC_GP, SEL_DATA},
        {USER_CODE, 0x48, SEL_UDATA, EXC_GP, 0x48}, /* beyond the table */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        put64(sp, bad[i].rip);
        put64(sp + 8, bad[i].cs);
        put64(sp + 32, bad[i].ss);
        c->r[RSP] = sp;
        c->seg[SEG_SS] = c->seg[SEG_DS];
        g_assert_cmpuint(c->cpl, ==, 0);
        assert_handler(run_from(CODE), bad[i].vector);
        g_assert_cmphex(get64(c->r[RSP]), ==, bad[i].error);
        g_assert_cmphex(get64(c->r[RSP] + 8), ==, CODE);
    }
    machine_end();
}

static void test_syscall(void)
{
    system_start();
    struct cpu *c = present->c;
    c->efer |= EFER_SCE;
    g_assert_true(msr_write(c, 0xc0000081, (uint64_t)SEL_CODE << 32 | (SEL_UDATA - 8ull) << 48));
    g_assert_true(msr_write(c, 0xc0000082, CODE));
    g_assert_true(msr_write(c, 0xc0000084, RFLAGS_IF | RFLAGS_TF));
    g_assert_false(msr_write(c, 0xc0000082, 1ull << 47));
    PROGRAM(USER_CODE, 0x0f, 0x05, 0x0f, 0x0b); /* syscall; ud2 */
    PROGRAM(CODE, 0x48, 0x0f, 0x07);            /* sysretq */
    to_user();
    c->sysflags |= RFLAGS_IF;
    assert_handler(run_from(USER_CODE), EXC_UD);
    g_assert_cmphex(c->r[RCX], ==, USER_CODE + 2);
    g_assert_cmphex(get64(STACK0 - 40), ==, USER_CODE + 2);
    g_assert_cmphex(get64(STACK0 - 32), ==, SEL_UCODE);
    g_assert_cmphex(get64(STACK0 - 24) & RFLAGS_IF, ==, RFLAGS_IF);
    g_assert_cmphex(get64(STACK0 - 8), ==, SEL_UDATA);
    /* to a non-canonical address: #GP before the switch */
    c->r[RCX] = 1ull << 47;
    c->r[RSP] = STACK;
    assert_handler(run_from(CODE), EXC_GP);
    g_assert_cmphex(get64(c->r[RSP] + 16), ==, SEL_CODE);
    c->efer &= ~(uint64_t)EFER_SCE;
    assert_handler(run_from(CODE), EXC_UD);
    machine_end();
}

/* ---------------------------------------------------------------- traps and shadows */

static void test_single_step(void)
{
    system_start();
    struct cpu *c = present->c;
    c->dr[6] = 0xffff0ff0;
    PROGRAM(CODE, 0x90, 0x90, 0x90);
    c->sysflags |= RFLAGS_TF;
    mode_update(c);
    assert_handler(run_from(CODE), EXC_DB);
    g_assert_cmphex(get64(c->r[RSP]), ==, CODE + 1);
    g_assert_cmphex(c->dr[6], ==, 0xffff4ff0);
    g_assert_cmphex(get64(c->r[RSP] + 16) & RFLAGS_TF, ==, RFLAGS_TF);
    g_assert_cmphex(c->sysflags & RFLAGS_TF, ==, 0);
    /* no trap between MOV SS and the next instruction */
    PROGRAM(CODE, 0x8e, 0xd0, 0x90, 0x90); /* mov ss, ax */
    c->r[RAX] = SEL_DATA;
    c->sysflags |= RFLAGS_TF;
    mode_update(c);
    assert_handler(run_from(CODE), EXC_DB);
    g_assert_cmphex(get64(c->r[RSP]), ==, CODE + 3);
    /* an instruction that faults gives no trap */
    PROGRAM(CODE, 0x0f, 0x0b);
    c->sysflags |= RFLAGS_TF;
    mode_update(c);
    assert_handler(run_from(CODE), EXC_UD);
    machine_end();
}

static void test_code_breakpoint(void)
{
    system_start();
    struct cpu *c = present->c;
    PROGRAM(CODE, 0x90, 0x90, 0xf4);
    c->dr[2] = CODE + 1;
    c->dr[7] = 0x400 | 1 << 5;
    debug_update(c);
    mode_update(c);
    assert_handler(run_from(CODE), EXC_DB);
    g_assert_cmphex(get64(c->r[RSP]), ==, CODE + 1);
    g_assert_cmphex(c->dr[6] & 0xf, ==, 4);
    c->sysflags |= RFLAGS_RF; /* as IRET from the handler would */
    g_assert_cmphex(run_from(CODE + 1), ==, CODE + 2);
    g_assert_cmphex(c->sysflags & RFLAGS_RF, ==, 0);
    /* general detect */
    PROGRAM(CODE, 0x0f, 0x21, 0xf0); /* mov rax, dr6 */
    c->dr[7] = 0x400 | 1 << 13;
    debug_update(c);
    mode_update(c);
    assert_handler(run_from(CODE), EXC_DB);
    g_assert_cmphex(get64(c->r[RSP]), ==, CODE);
    g_assert_cmphex(c->dr[6] & 1 << 13, ==, 1 << 13);
    g_assert_cmphex(c->dr[7] & 1 << 13, ==, 0);
    machine_end();
}

/* ---------------------------------------------------------------- other modes */

static void real_mode(void)
{
    struct cpu *c = present->c;
    c->cr0 = CR0_ET;
    c->cr4 = 0;
    c->efer = 0;
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        c->seg[n] = (struct seg){.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    }
    seg_set_real(c, SEG_CS, CODE >> 4);
    seg_set_real(c, SEG_SS, 0x3000);
    c->r[RSP] = 0x1000;
    c->idt.base = 0x500;
    c->idt.limit = 0x3ff;
    tlb_flush_all(c);
    mode_update(c);
}

static void test_real_mode(void)
{
    system_start();
    struct cpu *c = present->c;
    real_mode();
    put16(0x500 + 4 * 0x21, 0x0020); /* IP, CS */
    put16(0x500 + 4 * 0x21 + 2, 0x2000);
    PROGRAM(CODE, 0xcd, 0x21, 0xf4);
    PROGRAM(0x20020, 0xf9, 0xcf); /* stc; iret */
    c->sysflags |= RFLAGS_IF;
    c->rip = 0;
    g_assert_cmpint(soft_execute(c, 2), ==, RUN_KICKED);
    g_assert_cmphex(c->rip, ==, 0x21);
    g_assert_cmphex(c->seg[SEG_CS].base, ==, 0x20000);
    g_assert_cmphex(c->r[RSP], ==, 0x1000 - 6);
    g_assert_cmphex(get16(0x31000 - 6), ==, 2);
    g_assert_cmphex(get16(0x31000 - 4), ==, CODE >> 4);
    g_assert_cmphex(get16(0x31000 - 2) & RFLAGS_IF, ==, RFLAGS_IF);
    g_assert_cmphex(c->sysflags & RFLAGS_IF, ==, 0);
    g_assert_cmpint(soft_execute(c, 0), ==, RUN_HALT);
    g_assert_cmphex(c->rip, ==, 3);
    g_assert_cmphex(c->seg[SEG_CS].sel, ==, CODE >> 4);
    g_assert_cmphex(c->sysflags & RFLAGS_IF, ==, RFLAGS_IF);
    /* a limit from protected mode stays: unreal mode */
    c->seg[SEG_DS].limit = UINT32_MAX;
    seg_load(c, NULL, SEG_DS, 0x1000);
    g_assert_cmphex(c->seg[SEG_DS].limit, ==, UINT32_MAX);
    g_assert_cmphex(c->seg[SEG_DS].base, ==, 0x10000);
    machine_end();
}

/* 32-bit protected mode without paging; handlers in the 8-byte gates are HLT as well. */
static void protected_mode(void)
{
    struct cpu *c = present->c;
    c->cr0 = CR0_ET | CR0_PE;
    c->cr4 = 0;
    c->efer = 0;
    put64(GDT + (SEL_UCODE & ~7), 0x00cffb000000ffff);
    for (unsigned v = 0; v < 32; v++) {
        uint64_t rip = HANDLER + 16 * v;
        put64(IDT + 8 * v, rip | SEL_CODE32 << 16 | 0xee00ull << 32);
    }
    put32(TSS + 4, STACK0);
    put32(TSS + 8, SEL_DATA);
    seg_load(c, NULL, SEG_DS, SEL_DATA);
    seg_load(c, NULL, SEG_ES, SEL_DATA);
    seg_load(c, NULL, SEG_SS, SEL_DATA);
    struct desc d;
    desc_need(c, NULL, SEL_CODE32, EXC_GP, &d);
    cs_commit(c, &d, SEL_CODE32, 0);
    c->r[RSP] = STACK;
    tlb_flush_all(c);
    mode_update(c);
}

static void test_protected_frames(void)
{
    system_start();
    struct cpu *c = present->c;
    protected_mode();
    PROGRAM(CODE, 0xcd, 0x05);
    assert_handler(run_from(CODE), 5);
    g_assert_cmphex(c->r[RSP], ==, STACK - 12);
    g_assert_cmphex(get32(STACK - 12), ==, CODE + 2);
    g_assert_cmphex(get32(STACK - 8), ==, SEL_CODE32);
    /* to level 3 by RETF, and back by INT */
    PROGRAM(CODE, 0xcb);
    PROGRAM(USER_CODE, 0xcd, 0x05);
    put32(STACK - 16, USER_CODE);
    put32(STACK - 12, SEL_UCODE);
    put32(STACK - 8, USER_STACK);
    put32(STACK - 4, SEL_UDATA);
    c->r[RSP] = STACK - 16;
    assert_handler(run_from(CODE), 5);
    g_assert_cmphex(c->r[RSP], ==, STACK0 - 20);
    g_assert_cmphex(get32(STACK0 - 4), ==, SEL_UDATA);
    g_assert_cmphex(get32(STACK0 - 8), ==, USER_STACK);
    g_assert_cmphex(get32(STACK0 - 16), ==, SEL_UCODE);
    g_assert_cmphex(get32(STACK0 - 20), ==, USER_CODE + 2);
    g_assert_true(c->seg[SEG_DS].unusable); /* level 3 may not see it */
    machine_end();
}

static void test_vm86(void)
{
    system_start();
    struct cpu *c = present->c;
    protected_mode();
    static const uint32_t frame[] = {0x10,   CODE >> 4, 2 | RFLAGS_VM | RFLAGS_IOPL | RFLAGS_IF,
                                     0x1000, 0x3000,    0x1111,
                                     0x2222, 0x3333,    0x4444};
    memcpy(present->ram->host + STACK - sizeof(frame), frame, sizeof(frame));
    c->r[RSP] = STACK - sizeof(frame);
    PROGRAM(CODE, 0xcf);
    PROGRAM(CODE + 0x10, 0x06, 0xcd, 0x05); /* push es; int 5 */
    assert_handler(run_from(CODE), 5);
    g_assert_cmphex(get16(0x30ffe), ==, 0x1111);
    g_assert_cmpuint(c->cpl, ==, 0);
    static const uint32_t saved[] = {0x13,   CODE >> 4, 2 | RFLAGS_VM | RFLAGS_IOPL | RFLAGS_IF,
                                     0xffe,  0x3000,    0x1111,
                                     0x2222, 0x3333,    0x4444};
    g_assert_cmphex(c->r[RSP], ==, STACK0 - sizeof(saved));
    for (unsigned i = 0; i < G_N_ELEMENTS(saved); i++) {
        g_assert_cmphex(get32(c->r[RSP] + 4 * i), ==, saved[i]);
    }
    g_assert_true(c->seg[SEG_ES].unusable);
    machine_end();
}

static void test_enter_long_mode(void)
{
    system_start();
    struct cpu *c = present->c;
    protected_mode();
    c->cr3 = PML4;
    gate(5, HANDLER + 16 * 5, 14, 0, 0, true);
    PROGRAM(CODE, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0,       /* cr4 |= PAE */
            0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x0d, 0, 1, 0, 0, 0x0f, 0x30, /* EFER |= LME */
            0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0,          /* cr0 |= PG */
            0xea, 0, 0, 1, 0, 8, 0);                                          /* jmp 8:CODE */
    c->rip = CODE;
    g_assert_cmpint(soft_execute(c, 10), ==, RUN_KICKED);
    g_assert_cmphex(c->efer, ==, EFER_LME | EFER_LMA);
    g_assert_false(is_long64(c)); /* compatibility mode */
    g_assert_cmpint(soft_execute(c, 1), ==, RUN_KICKED);
    g_assert_true(is_long64(c));
    g_assert_cmphex(c->rip, ==, 0x10000);
    machine_end();
}

/* ---------------------------------------------------------------- registers with rules */

static void cr_write(unsigned n, uint64_t value)
{
    struct cpu *c = present->c;
    PROGRAM(CODE, 0x0f, 0x22, 0xc0);
    present->ram->host[CODE + 2] = 0xc0 | n << 3; /* mov crN, rax */
    code_written(c, present->ram, CODE, CODE, 3);
    c->r[RAX] = value;
    c->r[RSP] = STACK;
    present->ram->host[CODE + 3] = 0xf4;
    run_from(CODE);
}

static bool cr_takes(unsigned n, uint64_t value)
{
    struct cpu *c = present->c;
    cr_write(n, value);
    if (c->rip - 1 == CODE + 3) {
        return true;
    }
    assert_handler(c->rip - 1, EXC_GP);
    return false;
}

static void test_control_registers(void)
{
    system_start();
    struct cpu *c = present->c;
    uint64_t cr0 = c->cr0, cr4 = c->cr4;
    g_assert_false(cr_takes(0, cr0 | 1ull << 32));
    g_assert_false(cr_takes(0, cr0 & ~(uint64_t)CR0_PE));
    g_assert_false(cr_takes(0, cr0 | CR0_NW));
    g_assert_false(cr_takes(0, cr0 & ~(uint64_t)CR0_PG)); /* from 64-bit code */
    g_assert_true(cr_takes(0, cr0 | CR0_NW | CR0_CD));
    g_assert_true(cr_takes(0, cr0));
    g_assert_false(cr_takes(4, cr4 & ~(uint64_t)CR4_PAE));
    g_assert_false(cr_takes(4, cr4 | CR4_VME)); /* not offered */
    g_assert_false(cr_takes(4, cr4 | CR4_LA57));
    g_assert_false(cr_takes(4, cr4 | 1ull << 40));
    g_assert_true(cr_takes(4, cr4 | CR4_SMEP | CR4_PGE));
    c->cr3 |= 8;
    g_assert_false(cr_takes(4, cr4 | CR4_PCIDE)); /* CR3[11:0] must be 0 */
    c->cr3 &= ~8ull;
    g_assert_true(cr_takes(4, cr4 | CR4_PCIDE));
    g_assert_true(cr_takes(3, PML4 | 1ull << 63));
    g_assert_true(cr_takes(4, cr4));
    g_assert_false(cr_takes(3, PML4 | 1ull << 63));
    g_assert_false(cr_takes(3, PML4 | 1ull << 40));
    machine_end();
}

static void test_msrs(void)
{
    system_start();
    struct cpu *c = present->c;
    static const struct {
        uint32_t index;
        uint64_t value;
        bool ok;
    } writes[] = {
        {0xc0000080, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, true},
        {0xc0000080, EFER_LME | EFER_LMA | 1 << 1, false},
        {0xc0000080, EFER_LMA, false}, /* LME while paging is on */
        {0xc0000100, 1ull << 47, false},
        {0xc0000101, 0xffff800000000000, true},
        {0xc0000102, 0x0001000000000000, false},
        {0xc0000083, 1ull << 63, false},
        {0xc0000103, 1ull << 32, false},
        {0x174, 0x10, true},
        {0x175, 1ull << 50, false},
        {0x176, 0xffffffff80000000, true},
        {0x277, 0x0007040600070406, true},
        {0x277, 0x0207040600070406, false}, /* type 2 */
        {0x2ff, 0xc06, true},
        {0x2ff, 0x1c06, false},
        {0x200, 0x1000 | 6, true},
        {0x200, 1ull << 40, false},
        {0x201, 0x7ff, false},
        {0x250, 0x0606060606060606, true},
        {0x250, 0x0707070707070707, false},
        {0xfe, 0, false}, /* read-only */
        {0x10a, 0, false},
        {0x8b, 0, true},
        {0x1d9, 1, false},
        {0x3a, 5, false}, /* locked */
        {0x12345, 0, false},
        {0xc0010015, 0, false},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(writes); i++) {
        uint64_t before = 0, after = 0;
        bool readable = msr_read(c, writes[i].index, &before);
        g_assert_true(msr_write(c, writes[i].index, writes[i].value) == writes[i].ok);
        if (readable) {
            g_assert_true(msr_read(c, writes[i].index, &after));
            if (!writes[i].ok) {
                g_assert_cmphex(after, ==, before);
            } else if (writes[i].index != 0x8b) {
                g_assert_cmphex(after, ==, writes[i].value);
            }
        }
    }
    /* the TSC, and what it was adjusted by */
    uint64_t value;
    g_assert_true(msr_write(c, 0x10, 1000));
    g_assert_true(msr_read(c, 0x3b, &value));
    g_assert_cmpuint(value, ==, 1000);
    g_assert_true(msr_write(c, 0x3b, 300));
    g_assert_true(msr_read(c, 0x10, &value));
    g_assert_cmpuint(value, ==, 300);
    machine_end();
}

static void test_state_round_trip(void)
{
    system_start();
    struct cpu *c = present->c;
    for (unsigned i = 0; i < 16; i++) {
        c->r[i] = 0x1111111111111111ull * i;
        c->xmm[i].u64[0] = i;
    }
    c->rip = CODE;
    rflags_set(c, 0x8d7 | RFLAGS_IF);
    c->dr[0] = 0x1234;
    g_assert_true(msr_write(c, 0xc0000082, 0x5678));
    c->shadow = true;
    struct cpu_state *a = g_new0(struct cpu_state, 1), *b = g_new0(struct cpu_state, 1);
    soft_state_get(c, a, ST_ALL);
    cpu_reset(c, false);
    g_assert_cmphex(c->rip, ==, 0xfff0);
    g_assert_cmphex(c->seg[SEG_CS].base, ==, 0xffff0000);
    g_autoptr(GError) error = NULL;
    g_assert_true(soft_state_set(c, a, ST_ALL, &error));
    soft_state_get(c, b, ST_ALL);
    g_assert_cmpmem(a, sizeof(*a), b, sizeof(*b));
    g_assert_true(is_long64(c));
    a->sregs.efer &= ~(uint64_t)EFER_LME;
    g_assert_false(soft_state_set(c, a, ST_SREGS, &error));
    g_assert_nonnull(error);
    g_free(a);
    g_free(b);
    machine_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft-events/long-frame", test_long_frame);
    g_test_add_func("/soft-events/error-code-and-rf", test_error_code_and_rf);
    g_test_add_func("/soft-events/from-user", test_from_user);
    g_test_add_func("/soft-events/double-fault", test_double_fault);
    g_test_add_func("/soft-events/page-fault-on-stack", test_page_fault_on_stack);
    g_test_add_func("/soft-events/triple-fault", test_triple_fault);
    g_test_add_func("/soft-events/iret", test_iret);
    g_test_add_func("/soft-events/syscall", test_syscall);
    g_test_add_func("/soft-events/single-step", test_single_step);
    g_test_add_func("/soft-events/code-breakpoint", test_code_breakpoint);
    g_test_add_func("/soft-events/real-mode", test_real_mode);
    g_test_add_func("/soft-events/protected-frames", test_protected_frames);
    g_test_add_func("/soft-events/vm86", test_vm86);
    g_test_add_func("/soft-events/enter-long-mode", test_enter_long_mode);
    g_test_add_func("/soft-events/control-registers", test_control_registers);
    g_test_add_func("/soft-events/msrs", test_msrs);
    g_test_add_func("/soft-events/state-round-trip", test_state_round_trip);
    return g_test_run();
}
