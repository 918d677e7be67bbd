/*
 * The translator against the interpreter: the same program from the same state on both; registers,
 * flags and memory must agree. Random loops with branches, flags that live across memory operands,
 * faults in the middle, code that patches itself; 32-bit code; remapped code pages; a cache that is
 * too small.
 */
#include "../lib/soft-machine.h"
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/xlat-lockstep.h"
#include <stdio.h>

enum {
    DATA_BYTES = 0x4000,
    CODE_BYTES = 0x4000,
    PROGRAM = CODE + 0xf00 /* goes over a page end */
};

struct result {
    uint64_t r[16], rip;
    uint32_t flags, cr2;
    uint8_t data[DATA_BYTES], code[CODE_BYTES];
    struct translation_stats stats;
};

enum mode { WIDE, COMPATIBLE, LEGACY }; /* 64-bit code; 32-bit code in long mode, or not */

struct program {
    enum mode mode;
    uint8_t bytes[2048];
    unsigned n;
    unsigned near;   /* around this displacement many operands lie: they share lookups */
    unsigned bumped; /* instructions until RBX is put back */
    bool faults;
    GRand *rand;
};

static void p8(struct program *p, unsigned v)
{
    p->bytes[p->n++] = v;
}

static void p32(struct program *p, uint32_t v)
{
    memcpy(p->bytes + p->n, &v, 4);
    p->n += 4;
}

/* REX, which 32-bit code has not. */
static void rex(struct program *p, unsigned v)
{
    if (p->mode == WIDE) {
        p8(p, 0x40 | v);
    }
}

static unsigned pick(struct program *p, unsigned n)
{
    return (unsigned)g_rand_int_range(p->rand, 0, (int)n);
}

/* A register that programs may change: not RSP, RBX (data) or R15 (the loop's count; EDI in 32-bit
 * code). */
static unsigned some_register(struct program *p)
{
    static const uint8_t registers[] = {0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    return registers[pick(p, p->mode == WIDE ? sizeof(registers) : 5)];
}

static void modrm_reg(struct program *p, unsigned reg, unsigned rm)
{
    p8(p, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* [rbx + disp], often near others, sometimes over the end of a page */
static void modrm_data(struct program *p, unsigned reg)
{
    static const unsigned apart[] = {0, 1, 4, 8, 16, 40, 96};
    unsigned kind = pick(p, 8);
    p8(p, 0x83 | (reg & 7) << 3);
    p32(p, kind < 4    ? p->near + apart[pick(p, G_N_ELEMENTS(apart))]
           : kind == 4 ? 0x1000 - pick(p, 9)
                       : pick(p, 0x3f00));
}

/* mov rcx, -n; mov reg, [rbx + rcx * 4 + disp] or back: a sum that goes past the end of 32 bits */
static void random_indexed(struct program *p)
{
    unsigned reg = some_register(p), n = pick(p, 64);
    rex(p, 8);
    p8(p, 0xc7);
    p8(p, 0xc1);
    p32(p, -n);
    rex(p, 8 | reg >> 3 << 2);
    p8(p, pick(p, 2) ? 0x89 : 0x8b);
    p8(p, 0x84 | (reg & 7) << 3);
    p8(p, 0x8b);
    p32(p, p->near + 4 * n);
}

/* What only 32-bit code has: an address alone, short INC and DEC, FS and GS with limits. */
static void random_narrow(struct program *p)
{
    unsigned reg = some_register(p);
    switch (pick(p, 5)) {
    case 0: /* mov eax, [address] or back */
        p8(p, 0xa0 | pick(p, 4));
        p32(p, DATA + p->near + pick(p, 64));
        break;
    case 1: /* mov reg, [address] or back */
        p8(p, 0x88 | pick(p, 4));
        p8(p, 0x05 | reg << 3);
        p32(p, DATA + p->near + pick(p, 64));
        break;
    case 2: /* inc or dec reg */
        p8(p, 0x40 | pick(p, 2) << 3 | reg);
        break;
    case 3: /* arpl [data], reg */
        p8(p, 0x63);
        modrm_data(p, reg);
        break;
    default: /* add reg, fs:[data] or gs:[data], or back */
        p8(p, 0x64 | pick(p, 2));
        p8(p, 0x01 | pick(p, 2) << 1);
        modrm_data(p, reg);
        break;
    }
}

/* RBX moves by a constant for some instructions. */
static void bump(struct program *p, bool back)
{
    p->bumped = back ? 0 : 1 + pick(p, 3);
    rex(p, 8);
    if (pick(p, 2)) { /* add or sub rbx, 24 */
        p8(p, 0x83);
        p8(p, back ? 0xeb : 0xc3);
        p8(p, 24);
    } else { /* lea rbx, [rbx + 24 or - 24] */
        p8(p, 0x8d);
        p8(p, 0x5b);
        p8(p, back ? -24 : 24);
    }
}

/* movaps xmm, [data] or back, sometimes past an alignment: #GP */
static void random_aligned(struct program *p)
{
    unsigned reg = pick(p, 8);
    p8(p, 0x0f);
    p8(p, 0x28 | pick(p, 2));
    p8(p, 0x83 | reg << 3);
    p32(p, (p->near & ~15u) + 16 * pick(p, 5) +
               (p->faults && pick(p, 40) == 0 ? 4
                : p->bumped                   ? 8
                                              : 0));
}

static void random_alu(struct program *p)
{
    unsigned reg = some_register(p), rm = some_register(p), op = pick(p, 8) << 3;
    bool wide = pick(p, 2), memory = pick(p, 2);
    rex(p, wide << 3 | reg >> 3 << 2 | (memory ? 0 : rm >> 3));
    p8(p, op | (pick(p, 2) ? 1 : 3));
    if (memory) {
        modrm_data(p, reg);
    } else {
        modrm_reg(p, reg, rm);
    }
}

static void random_mov(struct program *p)
{
    unsigned reg = some_register(p);
    static const uint8_t opcode[] = {0x88, 0x89, 0x8a, 0x8b};
    rex(p, pick(p, 2) << 3 | reg >> 3 << 2);
    p8(p, opcode[pick(p, 4)]);
    modrm_data(p, reg);
}

static void random_other(struct program *p)
{
    unsigned reg = some_register(p), cc = pick(p, 16);
    switch (pick(p, 9)) {
    case 0: /* cmovcc reg, [data] */
        rex(p, 8 | reg >> 3 << 2);
        p8(p, 0x0f);
        p8(p, 0x40 | cc);
        modrm_data(p, reg);
        break;
    case 1: /* setcc [data] */
        p8(p, 0x0f);
        p8(p, 0x90 | cc);
        modrm_data(p, 0);
        break;
    case 2: /* push, pop */
        rex(p, reg >> 3);
        p8(p, 0x50 | (reg & 7));
        reg = some_register(p);
        rex(p, reg >> 3);
        p8(p, 0x58 | (reg & 7));
        break;
    case 3: /* inc or dec [data] */
        rex(p, 8);
        p8(p, 0xff);
        modrm_data(p, pick(p, 2));
        break;
    case 4: /* shl or shr reg, 1 */
        rex(p, 8 | reg >> 3);
        p8(p, 0xd1);
        modrm_reg(p, 4 + pick(p, 2), reg);
        break;
    case 5: /* pushf; pop reg; and reg, ~AF */
        p8(p, 0x9c);
        rex(p, reg >> 3);
        p8(p, 0x58 | (reg & 7));
        rex(p, 8 | reg >> 3);
        p8(p, 0x83);
        modrm_reg(p, 4, reg);
        p8(p, 0xef);
        break;
    case 6: /* lea reg, [rbx + rcx * 2 + disp] */
        rex(p, 8 | reg >> 3 << 2);
        p8(p, 0x8d);
        p8(p, 0x84 | (reg & 7) << 3);
        p8(p, 0x4b);
        p32(p, pick(p, 0x1000));
        break;
    case 7: /* movq xmm, [data]; paddq; movq [data], xmm */
        p8(p, 0xf3);
        p8(p, 0x0f);
        p8(p, 0x7e);
        modrm_data(p, cc & 7);
        p8(p, 0x66);
        p8(p, 0x0f);
        p8(p, 0xd4);
        modrm_reg(p, cc >> 1, cc & 7);
        p8(p, 0x66);
        p8(p, 0x0f);
        p8(p, 0xd6);
        modrm_data(p, cc >> 1);
        break;
    default: /* call of the next instruction, and its return address away */
        p8(p, 0xe8);
        p32(p, 0);
        rex(p, 8);
        p8(p, 0x8d);
        p8(p, 0x64);
        p8(p, 0x24);
        p8(p, p->mode == WIDE ? 8 : 4);
        break;
    }
}

static void random_insn(struct program *p)
{
    unsigned kind = pick(p, p->mode == WIDE ? 12 : 14);
    if (kind >= 12) {
        random_narrow(p);
    } else if (kind == 11) {
        random_indexed(p);
    } else if (kind == 10) {
        random_aligned(p);
    } else if (kind < 4) {
        random_alu(p);
    } else if (kind < 6) {
        random_mov(p);
    } else {
        random_other(p);
    }
}

/* A loop around straight code with forward branches. patches: it changes the immediate of one of
 * its own instructions each time. */
static void random_program(struct program *p, bool patches)
{
    p->n = p->bumped = 0;
    p->near = pick(p, 2) ? pick(p, 0x3e00) : 0x1000 - pick(p, 200);
    rex(p, 1); /* mov r15d, count; or edi */
    p8(p, 0xbf);
    p32(p, 20 + pick(p, 60));
    unsigned top = p->n, patched = 0;
    for (unsigned i = 0; i < 25; i++) {
        if (patches && i == 12) {
            p8(p, 0x81); /* add esi, imm32 */
            p8(p, 0xc6);
            patched = p->n;
            p32(p, 1);
        }
        if (p->bumped && --p->bumped == 0) {
            bump(p, true);
        } else if (!p->bumped && pick(p, 8) == 0) {
            bump(p, false);
        }
        if (pick(p, 5) == 0) {
            unsigned at = p->n;
            p8(p, 0x70 | (pick(p, 2) ? pick(p, 10) : 12 + pick(p, 4)));
            p8(p, 0);
            random_insn(p);
            p->bytes[at + 1] = p->n - at - 2;
        } else {
            random_insn(p);
        }
    }
    if (p->bumped) {
        bump(p, true);
    }
    if (patches) {
        rex(p, 4); /* mov [rip + ...], r15b; or mov [...], edi */
        p8(p, p->mode == WIDE ? 0x88 : 0x89);
        p8(p, 0x3d);
        p32(p, p->mode == WIDE ? (int)patched - (int)p->n - 4 : PROGRAM + (int)patched);
    }
    rex(p, 1); /* dec r15d; jne top */
    p8(p, 0xff);
    p8(p, 0xcf);
    p8(p, 0x0f);
    p8(p, 0x85);
    p32(p, (int)top - (int)p->n - 4);
    p8(p, 0xf4);
}

/* Other memory 4 GiB above the data, in the TLB: 32-bit code must not see it. */
static void shadow_data(struct cpu *c)
{
    enum { SHADOW_PD = 0x9000, SHADOW = 0x400000 };
    struct op op = {.base = R_ZERO, .index = R_ZERO};
    uint8_t byte;
    put64(PDPT + 8 * 4, SHADOW_PD | 3);
    put64(SHADOW_PD, SHADOW | 0x83);
    for (uint64_t at = DATA; at < DATA + DATA_BYTES; at += GUEST_PAGE_SIZE) {
        mem_read_slow(c, &op, 0x100000000 + at, &byte, 1);
    }
}

/* hole: addresses by GS are to fault, too, where the hole is. */
static void enter_mode(struct cpu *c, enum mode mode, bool hole)
{
    if (mode == WIDE) {
        return;
    }
    c->seg[SEG_CS].l = 0;
    c->seg[SEG_CS].db = 1;
    c->seg[SEG_FS].base = 16;
    c->seg[SEG_GS].base = 8;
    c->seg[SEG_GS].limit = hole ? DATA + 0x1fff : 0x3ffff;
    if (mode == LEGACY) {
        c->efer = 0;
        c->cr0 &= ~(uint64_t)CR0_PG;
        tlb_flush_all(c);
    }
    mode_update(c);
}

static void run_program(const struct program *p, const struct xlat_config *config, bool lockstep,
                        bool hole, struct result *out)
{
    machine_start();
    struct cpu *c = present->c;
    GError *error = NULL;
    if (config && !xlat_init(c, config, &error)) {
        g_test_skip(error->message);
        g_error_free(error);
    }
    if (lockstep) {
        lockstep_init(c);
    }
    put_code(PROGRAM, p->bytes, p->n);
    for (unsigned i = 0; i < DATA_BYTES; i++) {
        present->ram->host[DATA + i] = (uint8_t)(i * 7 + (i >> 8));
    }
    for (unsigned i = 0; i < 16; i++) {
        c->r[i] = 0x0123456789abcdefull * (i + 1);
    }
    c->r[RBX] = DATA;
    c->r[RSP] = STACK;
    enter_mode(c, p->mode, hole);
    if (p->mode == COMPATIBLE) {
        shadow_data(c);
        c->r[RBX] |= 1ull << 32; /* does not count */
    }
    if (hole) {
        set_page(DATA + 0x2000, 0);
    }
    memset(out, 0, sizeof(*out));
    out->rip = run_from(PROGRAM);
    g_assert_cmpstr(lockstep_difference(c), ==, NULL);
    memcpy(out->r, c->r, sizeof(out->r));
    out->flags = hole ? 0 : flags_arith_get(c) & ~RFLAGS_AF;
    out->cr2 = (uint32_t)c->cr2;
    memcpy(out->data, present->ram->host + DATA, DATA_BYTES);
    memcpy(out->code, present->ram->host + CODE, CODE_BYTES);
    xlat_stats_get(c, &out->stats);
    machine_end();
}

static const struct xlat_config configs[] = {
    {.cache_bytes = XLAT_MIN_BYTES, .threshold = 0, .max_insns = 128},
    {.cache_bytes = XLAT_MIN_BYTES, .threshold = 3, .max_insns = 128},
    {.cache_bytes = XLAT_MIN_BYTES, .threshold = 0, .max_insns = 1},
    {.cache_bytes = XLAT_MIN_BYTES, .threshold = 1, .max_insns = 7},
};

static void compare(const struct program *p, bool hole)
{
    g_autofree struct result *want = g_new(struct result, 1), *got = g_new(struct result, 1);
    run_program(p, NULL, false, hole, want);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(configs); i++) {
        const struct xlat_config *config = &configs[i / 2];
        bool lockstep = i & 1;
        run_program(p, config, lockstep, hole, got);
        g_assert_cmphex(got->rip, ==, want->rip);
        g_assert_cmphex(got->cr2, ==, want->cr2);
        for (unsigned n = 0; n < 16; n++) {
            g_assert_cmphex(got->r[n], ==, want->r[n]);
        }
        g_assert_cmphex(got->flags, ==, want->flags);
        g_assert_cmpmem(got->data, DATA_BYTES, want->data, DATA_BYTES);
        g_assert_cmpmem(got->code, CODE_BYTES, want->code, CODE_BYTES);
        g_assert_true(got->stats.units > 0 || config->threshold > 0);
        g_assert_true(got->stats.lockstep_insns > 0 || !lockstep || config->threshold > 0);
    }
}

static void random_programs(unsigned n, enum mode mode, bool patches, bool hole)
{
    g_autofree struct program *p = g_new0(struct program, 1);
    p->mode = mode;
    p->rand = g_rand_new_with_seed(7 + patches + 2 * hole);
    p->faults = hole;
    for (unsigned i = 0; i < n; i++) {
        random_program(p, patches);
        compare(p, hole);
    }
    g_rand_free(p->rand);
}

static void test_loops(void)
{
    random_programs(150, WIDE, false, false);
}

static void test_faults(void)
{
    random_programs(80, WIDE, false, true);
}

static void test_patching(void)
{
    random_programs(40, WIDE, true, false);
}

static void test_loops_32(void)
{
    random_programs(150, LEGACY, false, false);
    random_programs(150, COMPATIBLE, false, false);
}

static void test_faults_32(void)
{
    random_programs(80, COMPATIBLE, false, true);
}

static void test_patching_32(void)
{
    random_programs(20, LEGACY, true, false);
    random_programs(20, COMPATIBLE, true, false);
}

/* ---------------------------------------------------------------- code that moves */

enum { WINDOW = 0x200000, PAGE_A = 0x300000, PAGE_B = 0x301000 };

static void translate_at_once(void)
{
    GError *error = NULL;
    xlat_init(present->c, &configs[0], &error);
    g_assert_no_error(error);
}

/* A loop in kernel mode calls a window whose page changes: by INVLPG or by a CR3 write. */
static void remapped(bool cr3)
{
    static const uint8_t one[] = {0x83, 0xc0, 0x01, 0xc3};  /* add eax, 1; ret */
    static const uint8_t many[] = {0x83, 0xc0, 0x64, 0xc3}; /* add eax, 100; ret */
    /* 1: call rsi; xchg rdx, r8; mov [rdi], rdx; invlpg [rsi] or mov rbp, cr3; mov cr3, rbp;
     *    dec ecx; jne 1b; hlt */
    static const uint8_t by_page[] = {0xff, 0xd6, 0x4c, 0x87, 0xc2, 0x48, 0x89, 0x17,
                                      0x0f, 0x01, 0x3e, 0xff, 0xc9, 0x75, 0xf1, 0xf4};
    static const uint8_t by_cr3[] = {0xff, 0xd6, 0x4c, 0x87, 0xc2, 0x48, 0x89, 0x17, 0x0f, 0x20,
                                     0xdd, 0x0f, 0x22, 0xdd, 0xff, 0xc9, 0x75, 0xee, 0xf4};
    machine_start();
    translate_at_once();
    struct cpu *c = present->c;
    put_code(PAGE_A, one, sizeof(one));
    put_code(PAGE_B, many, sizeof(many));
    if (cr3) {
        put_code(CODE, by_cr3, sizeof(by_cr3));
    } else {
        put_code(CODE, by_page, sizeof(by_page));
    }
    set_page(WINDOW, PAGE_A | 3);
    c->r[RAX] = 0;
    c->r[RSI] = WINDOW;
    c->r[RDI] = PT + (WINDOW >> 12) * 8;
    c->r[RDX] = PAGE_A | 0x63;
    c->r[R8] = PAGE_B | 0x63;
    c->r[RCX] = 1000;
    run_from(CODE);
    g_assert_cmpuint(c->r[RAX], ==, 500 * 101);
    machine_end();
}

static void test_invlpg(void)
{
    remapped(false);
}

static void test_cr3(void)
{
    remapped(true);
}

/* ---------------------------------------------------------------- lists */

/* The order of pages in WINDOW is not that of memory. */
enum { SECOND = WINDOW + 0x1000, PAGE_C = 0x306000, ROUNDS = 1000 };

static void node(uint64_t at, uint64_t next, uint64_t count)
{
    put64(at, next);
    put64(at + 8, count);
}

/* In a loop: follows a list, counting in its nodes; takes another one; executes a function; and
 * forgets a page. What list starts where the last one's page was forgotten, or lost the right to be
 * written to because it holds code, must go by its own pages. Returns the sum of what was read. */
static uint64_t walk(bool translate, uint64_t first, uint64_t second, uint64_t function,
                     uint64_t forget)
{
    /* 1: mov rax, rsi; 2: inc qword [rax+8]; add rdx, [rax+8]; mov rax, [rax]; test rax, rax;
     *    jne 2b; xchg r8, rsi; call rbx; invlpg [rdi]; dec ecx; jne 1b; hlt */
    static const uint8_t code[] = {0x48, 0x89, 0xf0, 0x48, 0xff, 0x40, 0x08, 0x48, 0x03, 0x50, 0x08,
                                   0x48, 0x8b, 0x00, 0x48, 0x85, 0xc0, 0x75, 0xf0, 0x49, 0x87, 0xf0,
                                   0xff, 0xd3, 0x0f, 0x01, 0x3f, 0xff, 0xc9, 0x75, 0xe1, 0xf4};
    static const uint8_t ret[] = {0xc3};
    struct cpu *c = present->c;
    if (translate) {
        translate_at_once();
    }
    put_code(CODE, code, sizeof(code));
    put_code(PAGE_A + 0x800, ret, sizeof(ret));
    set_page(WINDOW, PAGE_A | 3);
    set_page(SECOND, PAGE_C | 3);
    node(PAGE_A + 0x100, SECOND + 0x100, 1);
    node(PAGE_A + 0x180, WINDOW + 0x1c0, 30);
    node(PAGE_A + 0x1c0, WINDOW + 0x200, 40);
    node(PAGE_A + 0x200, 0, 50);
    node(PAGE_C + 0x100, 0, 1000);
    node(PAGE_C + 0x200, WINDOW + 0x100, 2000);
    node(0x20, 0x40, 5); /* page 0 */
    node(0x40, 0, 7);
    c->r[RDX] = 0;
    c->r[RSI] = first;
    c->r[R8] = second;
    c->r[RBX] = function;
    c->r[RDI] = forget;
    c->r[RCX] = ROUNDS;
    run_from(CODE);
    return c->r[RDX];
}

static const uint64_t lists[] = {WINDOW + 0x100, WINDOW + 0x180, SECOND + 0x100, SECOND + 0x200,
                                 0x20};

static void compare_walk(uint64_t first, uint64_t second, uint64_t function, uint64_t forget)
{
    static const uint64_t places[] = {
        PAGE_A + 0x108, PAGE_A + 0x188, PAGE_B + 0x108, PAGE_C + 0x108, PAGE_C + 0x208, 0x28, 0x48};
    uint64_t sum[2], place[2][G_N_ELEMENTS(places)];
    for (unsigned translate = 0; translate < 2; translate++) {
        machine_start();
        sum[translate] = walk(translate, first, second, function, forget);
        for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
            memcpy(&place[translate][i], present->ram->host + places[i], 8);
        }
        machine_end();
    }
    g_assert_cmpuint(sum[0], ==, sum[1]);
    g_assert_cmpmem(place[0], sizeof(place[0]), place[1], sizeof(place[1]));
}

static void test_list(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(lists); k++) {
            for (unsigned forget = 0; forget < G_N_ELEMENTS(lists); forget += 2) {
                compare_walk(lists[i], lists[k], PAGE_A + 0x800, lists[forget]);
                compare_walk(lists[i], lists[k], WINDOW + 0x800, lists[forget]);
            }
        }
    }
}

/* ---------------------------------------------------------------- steps through memory */

enum { PAGE_D = 0x307000, HALF = 0x800, COUNTED = 0xfe, STEPS = 8 };
enum forget_how { FORGET_PAGE, FORGET_ALL, FORGET_NOTHING };

/* In a loop: counts in the words from RSI on, in small steps, and adds them up; takes another
 * place; executes a function; and exchanges what page the window shows, if it forgets that, too. */
static void steps_run(bool translate, uint64_t first, uint64_t second, uint64_t function,
                      enum forget_how how)
{
    /* 1: mov rax, rsi; mov ebp, STEPS; 2: inc qword [rax]; add rax, 8; add rdx, [rax-8]; dec ebp;
     *    jne 2b; xchg r8, rsi; call rbx; xchg r14, r13; mov [r12], r13; (5 bytes)
     *    dec ecx; jne 1b; hlt */
    static const uint8_t code[] = {0x48, 0x89, 0xf0, 0xbd, STEPS, 0x00, 0x00, 0x00, 0x48,
                                   0xff, 0x00, 0x48, 0x83, 0xc0,  0x08, 0x48, 0x03, 0x50,
                                   0xf8, 0xff, 0xcd, 0x75, 0xf1,  0x49, 0x87, 0xf0, 0xff,
                                   0xd3, 0x4d, 0x87, 0xee, 0x4d,  0x89, 0x2c, 0x24};
    static const uint8_t forget[3][5] = {
        {0x0f, 0x01, 0x3f, 0x66, 0x90}, /* invlpg [rdi]; nop */
        {0x0f, 0x20, 0xdf, 0x0f, 0x22}, /* mov rdi, cr3; mov cr3, rdi (its end below) */
        {0x66, 0x90, 0x66, 0x90, 0x90},
    };
    static const uint8_t tail[] = {0xff, 0xc9, 0x75, 0, 0xf4}, ret[] = {0xc3};
    /* add edx, the word at 0x100; ret: counting changes it */
    static const uint8_t counted[] = {0x81, 0xc2, 0, 0, 0, 0, 0xc3};
    uint8_t whole[64];
    unsigned n = sizeof(code);
    struct cpu *c = present->c;

    memcpy(whole, code, n);
    memcpy(whole + n, forget[how], 5);
    n += 5;
    if (how == FORGET_ALL) {
        whole[n++] = 0xdf;
    }
    memcpy(whole + n, tail, sizeof(tail));
    whole[n + 3] = (uint8_t) - (n + 4);
    if (translate) {
        translate_at_once();
    }
    put_code(CODE, whole, n + sizeof(tail));
    put_code(PAGE_A + HALF, ret, sizeof(ret));
    put_code(PAGE_B + HALF, ret, sizeof(ret));
    put_code(PAGE_D, ret, sizeof(ret));
    put_code(PAGE_A + COUNTED, counted, sizeof(counted));
    put_code(PAGE_B + COUNTED, counted, sizeof(counted));
    set_page(WINDOW, PAGE_A | 0x63);
    set_page(SECOND, PAGE_C | 0x63);
    c->r[RDX] = 0;
    c->r[RSI] = first;
    c->r[R8] = second;
    c->r[RBX] = function;
    c->r[RDI] = WINDOW;
    c->r[R12] = PT + (WINDOW >> 12) * 8;
    c->r[R13] = PAGE_A | 0x63;
    c->r[R14] = how == FORGET_NOTHING ? PAGE_A | 0x63 : PAGE_B | 0x63;
    c->r[RCX] = ROUNDS;
    run_from(CODE);
}

static void compare_steps(uint64_t first, uint64_t second, uint64_t function, enum forget_how how)
{
    static const uint64_t pages[] = {PAGE_A, PAGE_B, PAGE_C};
    uint64_t sum[2];
    uint8_t *bytes = g_malloc0(2 * sizeof(pages) / sizeof(pages[0]) * GUEST_PAGE_SIZE), *to = bytes;

    for (unsigned translate = 0; translate < 2; translate++) {
        machine_start();
        steps_run(translate, first, second, function, how);
        sum[translate] = present->c->r[RDX];
        for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++, to += GUEST_PAGE_SIZE) {
            memcpy(to, present->ram->host + pages[i], GUEST_PAGE_SIZE);
        }
        machine_end();
    }
    g_assert_cmpuint(sum[0], ==, sum[1]);
    g_assert_cmpmem(bytes, (to - bytes) / 2, bytes + (to - bytes) / 2, (to - bytes) / 2);
    g_free(bytes);
}

/* Copies of TLB entries (xlat-near.c) are no better than the entries: what they were of is
 * forgotten, holds code, ends in the middle, or is another page each time. */
static void test_steps(void)
{
    static const uint64_t places[] = {WINDOW + 0x100, WINDOW + 0xfd4, SECOND + 0x100, 0x20},
                          functions[] = {PAGE_D, PAGE_A + HALF, WINDOW + HALF, PAGE_A + COUNTED,
                                         WINDOW + COUNTED};

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(places); k++) {
            for (unsigned f = 0; f < G_N_ELEMENTS(functions); f++) {
                compare_steps(places[i], places[k], functions[f], FORGET_PAGE);
                compare_steps(places[i], places[k], functions[f], FORGET_ALL);
                compare_steps(places[i], places[k], functions[f], FORGET_NOTHING);
            }
        }
    }
}

/* ---------------------------------------------------------------- the cache */

/* More functions than the cache holds, called in turn. */
static void test_eviction(void)
{
    enum { FUNCTIONS = 20000, BYTES = 64, BASE = 0x200000 };
    uint8_t f[BYTES];
    /* 1: mov rsi, base; 2: call rsi; add rsi, 64; cmp rsi, end; jne 2b; dec ecx; jne 1b; hlt */
    static const uint8_t code[] = {0x48, 0xc7, 0xc6, 0x00, 0x00, 0x20, 0x00, 0xff, 0xd6,
                                   0x48, 0x83, 0xc6, 0x40, 0x48, 0x81, 0xfe, 0x00, 0x88,
                                   0x33, 0x00, 0x75, 0xf1, 0xff, 0xc9, 0x75, 0xe6, 0xf4};
    _Static_assert(BASE + FUNCTIONS * BYTES == 0x338800, "the end that code compares with");
    machine_start();
    translate_at_once();
    struct cpu *c = present->c;
    memset(f, 0x90, sizeof(f));
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        static const uint8_t body[] = {0x48, 0x05, 0, 0, 0, 0, 0x48, 0xff, 0x03, 0xc3};
        memcpy(f, body, sizeof(body)); /* add rax, i; inc qword [rbx]; ret */
        memcpy(f + 2, &i, 4);
        put_code(BASE + i * BYTES, f, sizeof(f));
    }
    put_code(CODE, code, sizeof(code));
    c->r[RAX] = 0;
    c->r[RBX] = DATA;
    c->r[RCX] = 3;
    run_from(CODE);
    struct translation_stats stats;
    xlat_stats_get(c, &stats);
    g_assert_cmpuint(c->r[RAX], ==, 3ull * FUNCTIONS * (FUNCTIONS - 1) / 2);
    g_assert_cmpuint(stats.flushes, >, 2);
    g_assert_cmpuint(stats.used_bytes, <=, XLAT_MIN_BYTES);
    machine_end();
}

/* ---------------------------------------------------------------- lockstep */

/* 1: add eax, 0x11223344; mov dword [rbx], 0x55667788; mov [rbx+64], al; cmovz r12, r13;
 *    paddq xmm0, xmm1; add rax, [rbx+128]; dec ecx; jne 1b; hlt */
static const uint8_t loop[] = {0x05, 0x44, 0x33, 0x22, 0x11, 0xc7, 0x03, 0x88, 0x77,
                               0x66, 0x55, 0x88, 0x43, 0x40, 0x4d, 0x0f, 0x44, 0xe5,
                               0x66, 0x0f, 0xd4, 0xc1, 0x48, 0x03, 0x83, 0x80, 0x00,
                               0x00, 0x00, 0xff, 0xc9, 0x75, 0xdf, 0xf4};

/* What a translator with an error would have written in place of some host code. */
static const struct {
    const char *finds; /* in the report */
    unsigned n;
    uint8_t right[8], wrong[8];
    unsigned at; /* the instruction's offset within the loop */
} faults[] = {
    {"rax: ", 5, {0x05, 0x44, 0x33, 0x22, 0x11}, {0x05, 0x45, 0x33, 0x22, 0x11}, 0},
    {"rax: ", 5, {0x05, 0x44, 0x33, 0x22, 0x11}, {0x2d, 0x44, 0x33, 0x22, 0x11}, 0},
    {"memory", 4, {0x88, 0x77, 0x66, 0x55}, {0x88, 0x77, 0x67, 0x55}, 5},
    {"memory",
     4,
     {0x41, 0x88, 0x43, 0x40},
     {0x41, 0x89, 0x43, 0x40},
     11}, /* mov [r11+64], al: eax */
    {"r12: ", 4, {0x4d, 0x0f, 0x44, 0xe5}, {0x4d, 0x0f, 0x45, 0xe5}, 14},  /* cmovnz */
    {"ymm0: ", 4, {0x66, 0x0f, 0xd4, 0xc1}, {0x66, 0x0f, 0xfb, 0xc1}, 18}, /* psubq */
};

static void start_loop(void)
{
    machine_start();
    translate_at_once();
    lockstep_init(present->c);
    put_code(CODE, loop, sizeof(loop));
}

static enum run_exit run_loop_once(void)
{
    struct cpu *c = present->c;
    for (unsigned i = 0; i < 16; i++) {
        c->r[i] = 0x0123456789abcdefull * (i + 1);
        c->xmm[i].u64[0] = i + 1;
    }
    c->r[RBX] = DATA;
    c->r[RCX] = 1000;
    rflags_set(c, RFLAGS_ZF | 2);
    c->rip = CODE;
    c->halted = false;
    return soft_execute(c, 0);
}

/* Puts other bytes in the place of code that the translator made. */
static void change_code(struct xlat *xl, unsigned fault)
{
    uint8_t *at =
        memmem(xl->rw + xl->stubs, xl->used - xl->stubs, faults[fault].right, faults[fault].n);
    g_assert_nonnull(at);
    memcpy(at, faults[fault].wrong, faults[fault].n);
}

static void test_lockstep_agrees(void)
{
    start_loop();
    struct cpu *c = present->c;
    g_assert_cmpint(run_loop_once(), ==, RUN_HALT);
    struct translation_stats stats;
    xlat_stats_get(c, &stats);
    g_assert_cmpstr(lockstep_difference(c), ==, NULL);
    g_assert_cmpuint(c->r[RCX], ==, 0);
    g_assert_cmpuint(stats.lockstep, ==, 1);
    g_assert_cmpuint(stats.lockstep_insns, >=, 7000);
    g_assert_cmpuint(stats.lockstep_retries, ==, 0);
    machine_end();
}

static void test_lockstep_finds(gconstpointer which)
{
    unsigned fault = GPOINTER_TO_UINT(which);
    start_loop();
    struct cpu *c = present->c;
    g_assert_cmpint(run_loop_once(), ==, RUN_HALT);
    g_assert_cmpstr(lockstep_difference(c), ==, NULL);
    change_code(c->xlat, fault);
    g_assert_cmpint(run_loop_once(), ==, RUN_ERROR);
    const char *text = lockstep_difference(c);
    g_assert_nonnull(text);
    g_autofree char *where = g_strdup_printf("rip %016x ", CODE + faults[fault].at);
    g_autofree char *code =
        g_strdup_printf("code: %02x %02x ", loop[faults[fault].at], loop[faults[fault].at + 1]);
    g_assert_nonnull(strstr(text, where));
    g_assert_nonnull(strstr(text, code));
    g_assert_nonnull(strstr(text, faults[fault].finds));
    g_assert_nonnull(strstr(text, "translated: rip"));
    g_assert_nonnull(strstr(text, "interpreted: rip"));
    g_assert_cmphex(c->rip, ==, CODE + faults[fault].at);
    machine_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine_start();
    GError *error = NULL;
    bool works = xlat_init(present->c, &configs[0], &error);
    machine_end();
    if (!works) {
        printf("1..0 # SKIP %s\n", error->message);
        return 0;
    }
    g_test_add_func("/xlat/loops", test_loops);
    g_test_add_func("/xlat/faults", test_faults);
    g_test_add_func("/xlat/patching", test_patching);
    g_test_add_func("/xlat/loops-32", test_loops_32);
    g_test_add_func("/xlat/faults-32", test_faults_32);
    g_test_add_func("/xlat/patching-32", test_patching_32);
    g_test_add_func("/xlat/invlpg", test_invlpg);
    g_test_add_func("/xlat/cr3", test_cr3);
    g_test_add_func("/xlat/list", test_list);
    g_test_add_func("/xlat/steps", test_steps);
    g_test_add_func("/xlat/eviction", test_eviction);
    g_test_add_func("/xlat/lockstep/agrees", test_lockstep_agrees);
    for (unsigned i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autofree char *path = g_strdup_printf("/xlat/lockstep/finds/%u", i);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_lockstep_finds);
    }
    return g_test_run();
}
