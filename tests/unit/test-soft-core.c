/*
 * The software CPU's core, driven by small machine-code programs: lazy flags, blocks and their
 * links, self-modifying code, string instructions and their restart, faults in the middle of
 * things.
 *
 * Each program runs in 64-bit mode with the low 4 MiB identity-mapped by 4 KiB pages, on a CPU
 * without a vCPU thread, and ends with HLT. That integer results are right is the business of the
 * instruction oracle; here is what it cannot see.
 */
#include "../lib/soft-machine.h"
#include "cpu/x86/soft/flags.h"

#define RUN(...)                                                                                   \
    ({                                                                                             \
        static const uint8_t code_[] = {__VA_ARGS__, 0xf4};                                        \
        put_code(CODE, code_, sizeof(code_));                                                      \
        run_from(CODE);                                                                            \
    })

/* Did the program end in the handler of this vector? */
static void assert_vector(uint64_t halted_at, unsigned vector)
{
    g_assert_cmphex(halted_at, ==, HANDLER + 16 * vector);
}

/* The n-th qword above the stack pointer. */
static uint64_t stacked(unsigned n)
{
    uint64_t v;
    memcpy(&v, present->ram->host + present->c->r[RSP] + 8 * n, 8);
    return v;
}

/* ---------------------------------------------------------------- flags */

static void test_flags(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint32_t bit[] = {RFLAGS_CF, RFLAGS_PF, RFLAGS_AF,
                                   RFLAGS_ZF, RFLAGS_SF, RFLAGS_OF};
    for (unsigned set = 0; set < 64; set++) {
        uint32_t want = 0;
        for (unsigned i = 0; i < 6; i++) {
            want |= set >> i & 1 ? bit[i] : 0;
        }
        flags_arith_set(c, want);
        g_assert_cmphex(flags_arith_get(c), ==, want);
        bool of = want & RFLAGS_OF, sf = want & RFLAGS_SF, zf = want & RFLAGS_ZF;
        g_assert_true(flags_condition(c, 0xf) == (!zf && sf == of));
        g_assert_true(flags_condition(c, 0x6) == ((want & RFLAGS_CF) || zf));
        flags_set_cf(c, !(want & RFLAGS_CF));
        g_assert_cmphex(flags_arith_get(c), ==, want ^ RFLAGS_CF);
    }
    machine_end();
}

/* ---------------------------------------------------------------- blocks */

static void test_loop_count(void)
{
    machine_start();
    /* mov ecx, 1000000; 1: test cl, 1; jne 2f; inc eax; 2: dec ecx; jne 1b: the count of
     * instructions stays exact although blocks have several exits; and no stack is used up by links
     */
    struct cpu *c = present->c;
    uint64_t before = c->insn_count;
    uint64_t end = RUN(0xb9, 0x40, 0x42, 0x0f, 0x00, 0x31, 0xc0, 0xf6, 0xc1, 0x01, 0x75, 0x02, 0xff,
                       0xc0, 0xff, 0xc9, 0x75, 0xf5);
    g_assert_cmphex(end, ==, CODE + 18);
    g_assert_cmpuint(c->r[RAX], ==, 500000);
    g_assert_cmpuint(c->insn_count - before, ==, 2 + 4 * 1000000 + 500000 + 1);
    machine_end();
}

static void test_limit(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t code[] = {0xff, 0xc0, 0xff, 0xc3, 0xeb, 0xfa}; /* inc eax; inc ebx; jmp */
    put_code(CODE, code, sizeof(code));
    c->rip = CODE;
    for (unsigned i = 1; i <= 20; i++) {
        g_assert_cmpint(soft_execute(c, 1), ==, RUN_KICKED);
        g_assert_cmpuint(c->r[RAX], ==, (i + 2) / 3);
        g_assert_cmpuint(c->r[RBX], ==, (i + 1) / 3);
        g_assert_cmphex(c->rip, ==, CODE + 2 * (i % 3));
    }
    machine_end();
}

static void test_patch_ahead(void)
{
    machine_start();
    /* mov byte [rip+3], 0x42 -- patches the immediate of: nop; nop; mov al, 0 */
    RUN(0xc6, 0x05, 0x03, 0x00, 0x00, 0x00, 0x42, 0x90, 0x90, 0xb0, 0x00);
    g_assert_cmphex(present->c->r[RAX] & 0xff, ==, 0x42);
    machine_end();
}

static void test_patch_loop(void)
{
    machine_start();
    /* xor eax,eax; mov ecx,5; 1: add eax, 1 (imm8 at +2); inc byte [rip-8: the imm8]; dec ecx; jne
     * 1b: 1 + 2 + 3 + 4 + 5 */
    RUN(0x31, 0xc0, 0xb9, 5, 0, 0, 0, 0x83, 0xc0, 0x01, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff,
        0xc9, 0x75, 0xf3);
    g_assert_cmpuint(present->c->r[RAX], ==, 15);
    machine_end();
}

static void test_patch_called(void)
{
    machine_start();
    /* A function in the same page, linked directly, changed between calls. */
    static const uint8_t callee[] = {0xb8, 1, 0, 0, 0, 0xc3}; /* mov eax, 1; ret */
    put_code(CODE + 0x800, callee, sizeof(callee));
    /* xor ebx,ebx; mov ecx,4; 1: call +0x800; add ebx,eax; cmp ecx,2; jne 2f;
     * mov byte [callee+1], 100; 2: dec ecx; jne 1b */
    RUN(0x31, 0xdb, 0xb9, 4, 0, 0, 0, 0xe8, 0xf4, 0x07, 0, 0, 0x01, 0xc3, 0x83, 0xf9, 0x02, 0x75,
        0x07, 0xc6, 0x05, 0xe7, 0x07, 0, 0, 100, 0xff, 0xc9, 0x75, 0xe9);
    g_assert_cmpuint(present->c->r[RBX], ==, 1 + 1 + 1 + 100);
    machine_end();
}

static void test_data_beside_code(void)
{
    machine_start();
    struct cpu *c = present->c;
    /* mov ecx,1000; 1: mov [rip+0x400], ecx; dec ecx; jne 1b: the stores do not cost the code that
     * runs beside them more than a few looks at whether the page still is code */
    static const uint8_t code[] = {0xb9, 0xe8, 3, 0,    0,    0x89, 0x0d, 0,
                                   4,    0,    0, 0xff, 0xc9, 0x75, 0xf6, 0xf4};
    put_code(CODE, code, sizeof(code));
    run_from(CODE);
    uint64_t decoded = c->blocks->n_blocks;
    run_from(CODE);
    g_assert_cmpuint(c->blocks->n_blocks - decoded, <=, 8);
    machine_end();
}

static void test_code_becomes_data(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t once[] = {0x90, 0xf4};
    put_code(DATA, once, sizeof(once));
    run_from(DATA);
    g_assert_false(code_page_allow_write(present->ram, DATA));
    /* mov ecx,100; 1: mov [0x20800], ecx; dec ecx; jne 1b */
    RUN(0xb9, 100, 0, 0, 0, 0x89, 0x0c, 0x25, 0x00, 0x08, 0x02, 0x00, 0xff, 0xc9, 0x75, 0xf5);
    g_assert_true(code_page_allow_write(present->ram, DATA));
    run_from(DATA);
    g_assert_false(code_page_allow_write(present->ram, DATA));
    g_assert_null(mem_fast_write(c, DATA + 0x800, 4));
    machine_end();
}

static void test_arena_full(void)
{
    machine_start();
    struct cpu *c = present->c;
    /* mov ecx,100; xor eax,eax; 1: inc eax; jmp 2f; nop...; 2: dec ecx; jne 1b, with the memory for
     * blocks running out at its first block, then at its second */
    for (unsigned room = 1; room < 4; room++) {
        c->blocks->arena_used =
            c->blocks->arena_bytes -
            room * (sizeof(struct block) + (BLOCK_MAX_INSNS + 2) * sizeof(struct op)) + 8;
        RUN(0xb9, 100, 0, 0, 0, 0x31, 0xc0, 0xff, 0xc0, 0xeb, 0x02, 0x90, 0x90, 0xff, 0xc9, 0x75,
            0xf6);
        g_assert_cmpuint(c->r[RAX], ==, 100);
    }
    g_assert_cmpuint(c->blocks->n_flushes, >=, 1);
    machine_end();
}

static void test_written_from_outside(void)
{
    machine_start();
    struct cpu *c = present->c;
    RUN(0xb8, 1, 0, 0, 0); /* mov eax, 1 */
    g_assert_cmpuint(c->r[RAX], ==, 1);
    /* without a word the old code may go on; with it, it must not */
    present->ram->host[CODE + 1] = 2;
    code_written(c, present->ram, CODE + 1, CODE + 1, 1);
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 2);
    present->ram->host[CODE + 1] = 3;
    blocks_invalidate(c, CODE, 16);
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 3);
    machine_end();
}

static void test_other_vcpu(void)
{
    machine_start();
    /* Two vCPUs with the same code decoded; the first one's store reaches the second before its
     * next block, by a request. */
    struct vcpu vcpu[2] = {{.index = 0}, {.index = 1}};
    struct vcpu *list[2] = {&vcpu[0], &vcpu[1]};
    struct cpus cpus = {.n = 2, .vcpu = list};
    struct cpu *first = present->c, *second = soft_cpu_new(&present->model, &host, NULL);
    g_assert_nonnull(second);
    second->cr0 = first->cr0;
    second->cr3 = first->cr3;
    second->cr4 = first->cr4;
    second->efer = first->efer;
    memcpy(second->seg, first->seg, sizeof(first->seg));
    mode_update(second);
    struct cpu *both[2] = {first, second};
    for (unsigned i = 0; i < 2; i++) {
        vcpu[i].cpus = &cpus;
        vcpu[i].accel = both[i];
        both[i]->vcpu = &vcpu[i];
        both[i]->req = &vcpu[i].req;
    }
    static const uint8_t code[] = {0xb8, 1, 0, 0, 0, 0xf4}; /* mov eax, 1 */
    put_code(CODE, code, sizeof(code));
    for (unsigned i = 0; i < 2; i++) {
        present->c = both[i];
        run_from(CODE);
        g_assert_cmpuint(both[i]->r[RAX], ==, 1);
    }
    present->c = first;
    present->ram->host[CODE + 1] = 2;
    code_written(first, present->ram, CODE + 1, CODE + 1, 1);
    g_assert_cmphex(vcpu[0].req & VCPU_REQ_CODE, ==, 0);
    g_assert_cmphex(vcpu[1].req & VCPU_REQ_CODE, ==, VCPU_REQ_CODE);
    for (unsigned i = 0; i < 2; i++) {
        present->c = both[i];
        atomic_store(&vcpu[i].mp_state, MP_RUNNABLE);
        run_from(CODE);
        g_assert_cmpuint(both[i]->r[RAX], ==, 2);
    }
    /* A device's store, and more ranges than the queue holds. */
    present->ram->host[CODE + 1] = 3;
    for (unsigned i = 0; i < 2 * BLOCK_QUEUE_SIZE; i++) {
        soft_ram_written(&cpus, present->ram, CODE, CODE, 64);
        atomic_store(&((struct code_page *)present->ram->accel_pages)[CODE >> 12].chunks, 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        present->c = both[i];
        atomic_store(&vcpu[i].mp_state, MP_RUNNABLE);
        run_from(CODE);
        g_assert_cmpuint(both[i]->r[RAX], ==, 3);
        both[i]->vcpu = NULL;
        both[i]->req = &both[i]->own_req;
    }
    present->c = first;
    soft_cpu_free(second);
    machine_end();
}

static void test_straddle(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t code[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4}; /* mov eax, 0x44332211 */
    uint64_t at = CODE + 0x1000 - 3;
    put_code(at, code, sizeof(code));
    run_from(at);
    g_assert_cmphex(c->r[RAX], ==, 0x44332211);
    /* its second page changes */
    static const uint8_t other = 0x55;
    put_code(CODE + 0x1000, &other, 1);
    run_from(at);
    g_assert_cmphex(c->r[RAX], ==, 0x44552211);
    /* its second page is mapped elsewhere */
    static const uint8_t elsewhere[] = {0x66, 0x77, 0xf4};
    put_code(DATA, elsewhere, sizeof(elsewhere));
    set_page(CODE + 0x1000, DATA | 3);
    run_from(at);
    g_assert_cmphex(c->r[RAX], ==, 0x77662211);
    /* ... or nowhere: the fetch faults at the second page's first byte */
    set_page(CODE + 0x1000, 0);
    assert_vector(run_from(at), EXC_PF);
    g_assert_cmphex(c->cr2, ==, CODE + 0x1000);
    g_assert_cmphex(stacked(1), ==, at);
    machine_end();
}

/* 32-bit code in a segment that ends in the middle of a block decoded when it was longer, and back.
 */
static void test_code_limit(void)
{
    static const uint8_t code[] = {0x40, 0x40, 0x40, 0x40, 0xf4}; /* inc eax four times; hlt */
    machine_start();
    struct cpu *c = present->c;
    put_code(CODE, code, sizeof(code));
    for (unsigned i = 0; i < 600; i++) {
        bool cut = i & 1;
        c->seg[SEG_CS].l = 0;
        c->seg[SEG_CS].db = 1;
        c->seg[SEG_CS].limit = cut ? CODE + 1 : CODE + 0x100 + i;
        c->r[RAX] = 0;
        mode_update(c);
        uint64_t end = run_from(CODE);
        g_assert_cmpuint(c->r[RAX], ==, cut ? 2 : 4);
        if (cut) { /* #GP(0) at the first byte past the limit, delivered in 64-bit mode */
            assert_vector(end, EXC_GP);
            g_assert_cmphex(stacked(1), ==, CODE + 2);
        } else {
            g_assert_cmphex(end, ==, CODE + 4);
        }
    }
    machine_end();
}

static void test_remap(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t one[] = {0xb8, 1, 0, 0, 0, 0xf4}, two[] = {0xb8, 2, 0, 0, 0, 0xf4};
    put_code(CODE, one, sizeof(one));
    put_code(DATA, two, sizeof(two));
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 1);
    set_page(CODE, DATA | 3);
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 2);
    set_page(CODE, CODE | 3);
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 1);
    machine_end();
}

/* ---------------------------------------------------------------- strings */

static void test_overlap(void)
{
    machine_start();
    struct cpu *c = present->c;
    uint8_t *ram = present->ram->host;
    memcpy(ram + DATA, "abc", 3);
    c->r[RSI] = DATA;
    c->r[RDI] = DATA + 3;
    c->r[RCX] = 9;
    RUN(0xf3, 0xa4); /* rep movsb repeats the pattern */
    g_assert_cmpmem(ram + DATA, 12, "abcabcabcabc", 12);
    g_assert_cmphex(c->r[RSI], ==, DATA + 9);
    g_assert_cmphex(c->r[RDI], ==, DATA + 12);
    g_assert_cmpuint(c->r[RCX], ==, 0);
    /* an overlap closer than an element: loads before it stores */
    memcpy(ram + DATA, "0123456789abcdefXXXX", 20);
    c->r[RSI] = DATA;
    c->r[RDI] = DATA + 2;
    c->r[RCX] = 2;
    RUN(0xf3, 0x48, 0xa5);
    /* the second load sees the first store */
    g_assert_cmpmem(ram + DATA, 18, "010123456767abcdef", 18);
    /* downwards */
    memcpy(ram + DATA, "0123456789", 10);
    c->r[RSI] = DATA + 9;
    c->r[RDI] = DATA + 11;
    c->r[RCX] = 10;
    RUN(0xfd, 0xf3, 0xa4, 0xfc);
    g_assert_cmpmem(ram + DATA, 12, "010123456789", 12);
    g_assert_cmphex(c->r[RDI], ==, DATA + 1);
    machine_end();
}

static void test_string_pages(void)
{
    machine_start();
    struct cpu *c = present->c;
    uint8_t *ram = present->ram->host;
    for (unsigned i = 0; i < 0x3000; i++) {
        ram[DATA + i] = i * 7 + (i >> 8);
    }
    /* 0x2345 bytes between pages of different offset */
    c->r[RSI] = DATA + 0x123;
    c->r[RDI] = DATA + 0x8fff;
    c->r[RCX] = 0x2345;
    RUN(0xf3, 0xa4);
    g_assert_cmpmem(ram + DATA + 0x8fff, 0x2345, ram + DATA + 0x123, 0x2345);
    /* quadwords that cross the page end */
    c->r[RDI] = DATA + 0xffc;
    c->r[RCX] = 0x300;
    c->r[RAX] = 0x1122334455667788;
    RUN(0xf3, 0x48, 0xab);
    for (unsigned i = 0; i < 0x300; i++) {
        uint64_t v;
        memcpy(&v, ram + DATA + 0xffc + 8 * i, 8);
        g_assert_cmphex(v, ==, 0x1122334455667788);
    }
    machine_end();
}

static void test_string_fault(void)
{
    machine_start();
    struct cpu *c = present->c;
    /* The second page is missing: registers stand at the element that faulted. */
    set_page(DATA + 0x1000, 0);
    c->r[RDI] = DATA + 0xff0;
    c->r[RCX] = 0x20;
    c->r[RAX] = 0x5a;
    assert_vector(RUN(0x90, 0xf3, 0xaa), EXC_PF);
    g_assert_cmphex(c->cr2, ==, DATA + 0x1000);
    g_assert_cmphex(c->r[RDI], ==, DATA + 0x1000);
    g_assert_cmpuint(c->r[RCX], ==, 0x10);
    g_assert_cmphex(stacked(0), ==, 2); /* a write, not present */
    g_assert_cmphex(stacked(1), ==, CODE + 1);
    /* It goes on from there. */
    set_page(DATA + 0x1000, (DATA + 0x1000) | 3);
    run_from(CODE + 1);
    g_assert_cmpuint(c->r[RCX], ==, 0);
    g_assert_cmpuint(present->ram->host[DATA + 0x100f], ==, 0x5a);
    g_assert_cmpuint(present->ram->host[DATA + 0x1010], ==, 0);
    machine_end();
}

static void test_compare_strings(void)
{
    machine_start();
    struct cpu *c = present->c;
    uint8_t *ram = present->ram->host;
    strcpy((char *)ram + DATA, "the quick brown fox");
    strcpy((char *)ram + DATA + 0x100, "the quick black fox");
    c->r[RSI] = DATA;
    c->r[RDI] = DATA + 0x100;
    c->r[RCX] = 19;
    RUN(0xf3, 0xa6); /* repe cmpsb: r against l */
    g_assert_cmpuint(c->r[RCX], ==, 19 - 12);
    g_assert_false(flag_zf(c));
    g_assert_false(flag_cf(c));
    c->r[RDI] = DATA;
    c->r[RCX] = UINT64_MAX;
    c->r[RAX] = 0;
    RUN(0xf2, 0xae); /* repne scasb: strlen */
    g_assert_cmpuint(~c->r[RCX] - 1, ==, 19);
    /* count 0 leaves the flags alone */
    flags_arith_set(c, RFLAGS_CF | RFLAGS_SF);
    c->r[RCX] = 0;
    RUN(0xf3, 0xa6);
    g_assert_cmphex(flags_arith_get(c), ==, RFLAGS_CF | RFLAGS_SF);
    machine_end();
}

static void test_string_over_code(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t fresh[] = {0xb8, 7, 0, 0, 0, 0xf4};
    put_code(DATA, fresh, sizeof(fresh));
    /* rep movsb over what follows it: five one-byte NOPs and HLT, already decoded */
    c->r[RSI] = DATA;
    c->r[RDI] = CODE + 2;
    c->r[RCX] = sizeof(fresh);
    c->r[RAX] = 0;
    RUN(0xf3, 0xa4, 0x90, 0x90, 0x90, 0x90, 0x90);
    g_assert_cmpuint(c->r[RAX], ==, 7);
    machine_end();
}

/* ---------------------------------------------------------------- faults */

static void test_fault_state(void)
{
    machine_start();
    struct cpu *c = present->c;
    set_page(DATA, 0);
    /* add [rbx], rax: neither flags nor anything else change */
    c->r[RBX] = DATA;
    c->r[RAX] = 1;
    flags_arith_set(c, RFLAGS_CF | RFLAGS_OF);
    assert_vector(RUN(0x90, 0x48, 0x01, 0x03), EXC_PF);
    g_assert_cmphex(stacked(1), ==, CODE + 1);
    g_assert_cmphex(stacked(3) & RFLAGS_ARITH, ==, RFLAGS_CF | RFLAGS_OF);
    /* pop to memory with an RSP base: the address uses the new RSP, a fault leaves the old */
    c->r[RSP] = DATA - 8;
    put64(DATA - 8, 0x1234);
    assert_vector(RUN(0x8f, 0x04, 0x24), EXC_PF); /* pop [rsp] */
    g_assert_cmphex(c->cr2, ==, DATA);
    g_assert_cmphex(stacked(4), ==, DATA - 8);
    machine_end();
}

static void test_divide(void)
{
    machine_start();
    struct cpu *c = present->c;
    c->r[RAX] = 10;
    c->r[RDX] = 0;
    c->r[RBX] = 0;
    assert_vector(RUN(0x90, 0x48, 0xf7, 0xf3), EXC_DE); /* div rbx */
    g_assert_cmphex(stacked(0), ==, CODE + 1);
    c->r[RAX] = 1ull << 63;
    c->r[RDX] = UINT64_MAX;
    c->r[RBX] = UINT64_MAX;
    assert_vector(RUN(0x48, 0xf7, 0xfb), EXC_DE); /* idiv rbx: the quotient does not fit */
    g_assert_cmphex(c->r[RAX], ==, 1ull << 63);
    machine_end();
}

static void test_canonical(void)
{
    machine_start();
    struct cpu *c = present->c;
    c->r[RAX] = 1ull << 47;
    uint64_t sp = c->r[RSP];
    assert_vector(RUN(0x90, 0xff, 0xd0), EXC_GP); /* call rax: before anything is pushed */
    g_assert_cmphex(stacked(1), ==, CODE + 1);
    g_assert_cmphex(stacked(4), ==, sp);
    machine_end();
}

/* SYSCALL from compatibility mode, and SYSENTER in long mode, by vendor. */
static void test_fast_calls(void)
{
    static const uint8_t syscall[] = {0x0f, 0x05}, sysenter[] = {0x0f, 0x34};
    for (unsigned amd = 0; amd < 2; amd++) {
        machine_start();
        struct cpu *c = present->c;
        strcpy(present->model.vendor, amd ? "AuthenticAMD" : "GenuineIntel");
        c->efer |= EFER_SCE;
        c->star = 8ull << 32;
        c->cstar = HANDLER + 16 * 30;
        c->sysenter_cs = 8;
        c->sysenter_esp = STACK;
        c->sysenter_eip = HANDLER + 16 * 29;
        for (unsigned compat = 0; compat < 2; compat++) {
            c->seg[SEG_CS].l = !compat;
            c->seg[SEG_CS].db = compat;
            mode_update(c);
            put_code(CODE, sysenter, sizeof(sysenter));
            assert_vector(run_from(CODE), amd ? EXC_UD : 29);
        }
        c->seg[SEG_CS].l = 0;
        c->seg[SEG_CS].db = 1;
        mode_update(c);
        put_code(CODE, syscall, sizeof(syscall));
        assert_vector(run_from(CODE), amd ? 30 : EXC_UD);
        g_assert_true(is_long64(c));
        g_assert_cmphex(c->r[RCX], ==, amd ? CODE + 2 : 0);
        machine_end();
    }
}

/* KVM's hypercalls: by number, for the kernel only, with 32 bits of everything outside 64-bit mode.
 */
static void test_hypercalls(void)
{
    machine_start();
    struct cpu *c = present->c;
    c->r[RAX] = 11; /* yield */
    RUN(0x0f, 0x01, 0xc1);
    g_assert_cmpint((int64_t)c->r[RAX], ==, 0);
    c->r[RAX] = 99;
    RUN(0x0f, 0x01, 0xd9);
    g_assert_cmpint((int64_t)c->r[RAX], ==, -1000);
    c->r[RAX] = 10;
    c->r[RSI] = 0x40000; /* a shorthand */
    RUN(0x0f, 0x01, 0xc1);
    g_assert_cmpint((int64_t)c->r[RAX], ==, -22);
    c->r[RAX] = 10;
    c->r[RSI] = 0x30;
    c->r[RBX] = c->r[RCX] = c->r[RDX] = UINT64_MAX; /* nobody there */
    RUN(0x0f, 0x01, 0xc1);
    g_assert_cmpint((int64_t)c->r[RAX], ==, 0);
    c->seg[SEG_CS].l = 0;
    c->seg[SEG_CS].db = 1;
    mode_update(c);
    c->r[RAX] = 99;
    RUN(0x0f, 0x01, 0xc1);
    g_assert_cmphex(c->r[RAX], ==, (uint32_t)-1000);
    machine_end();
}

static void test_request(void)
{
    machine_start();
    struct cpu *c = present->c;
    static const uint8_t code[] = {0xeb, 0xfe}; /* jmp to itself */
    _Atomic uint32_t req = VCPU_REQ_PAUSE;
    put_code(CODE, code, sizeof(code));
    c->req = &req;
    c->rip = CODE;
    g_assert_cmpint(soft_execute(c, 0), ==, RUN_KICKED);
    g_assert_cmphex(c->rip, ==, CODE);
    machine_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft/flags", test_flags);
    g_test_add_func("/soft/block/count", test_loop_count);
    g_test_add_func("/soft/block/limit", test_limit);
    g_test_add_func("/soft/block/patch-ahead", test_patch_ahead);
    g_test_add_func("/soft/block/patch-loop", test_patch_loop);
    g_test_add_func("/soft/block/patch-called", test_patch_called);
    g_test_add_func("/soft/block/data-beside-code", test_data_beside_code);
    g_test_add_func("/soft/block/code-becomes-data", test_code_becomes_data);
    g_test_add_func("/soft/block/arena-full", test_arena_full);
    g_test_add_func("/soft/block/written", test_written_from_outside);
    g_test_add_func("/soft/block/other-vcpu", test_other_vcpu);
    g_test_add_func("/soft/block/straddle", test_straddle);
    g_test_add_func("/soft/block/code-limit", test_code_limit);
    g_test_add_func("/soft/block/remap", test_remap);
    g_test_add_func("/soft/string/overlap", test_overlap);
    g_test_add_func("/soft/string/pages", test_string_pages);
    g_test_add_func("/soft/string/fault", test_string_fault);
    g_test_add_func("/soft/string/compare", test_compare_strings);
    g_test_add_func("/soft/string/over-code", test_string_over_code);
    g_test_add_func("/soft/fault/state", test_fault_state);
    g_test_add_func("/soft/fault/divide", test_divide);
    g_test_add_func("/soft/fault/canonical", test_canonical);
    g_test_add_func("/soft/fast-calls", test_fast_calls);
    g_test_add_func("/soft/hypercalls", test_hypercalls);
    g_test_add_func("/soft/request", test_request);
    return g_test_run();
}
