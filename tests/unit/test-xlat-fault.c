/*
 * Memory that fails under translated code (xlat-fault.c): the code is left before the instruction
 * that has used it, whichever form that has, with registers and flags as they were.
 */
#include "../lib/soft-machine.h"
#include "base/host-fault.h"
#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/xlat.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static const struct xlat_config config = {.cache_bytes = XLAT_MIN_BYTES, .max_insns = 128};

/* What uses the page that fails: its bytes. RBX points to the page's middle, which the program
 * has used before; RCX is 7 before it, and one of the flags is clear and one set. */
static const struct {
    const char *name;
    unsigned n;
    uint8_t bytes[16];
} uses[] = {
    {"load", 3, {0x48, 0x8b, 0x03}},                    /* mov rax, [rbx] */
    {"load at", 4, {0x48, 0x8b, 0x43, 0x40}},           /* mov rax, [rbx + 64] */
    {"store", 3, {0x48, 0x89, 0x03}},                   /* mov [rbx], rax */
    {"adc", 3, {0x48, 0x11, 0x0b}},                     /* adc [rbx], rcx */
    {"inc", 3, {0x48, 0xff, 0x03}},                     /* inc qword [rbx] */
    {"lock xadd", 5, {0xf0, 0x48, 0x0f, 0xc1, 0x0b}},   /* lock xadd [rbx], rcx */
    {"cmpxchg", 4, {0x48, 0x0f, 0xb1, 0x0b}},           /* cmpxchg [rbx], rcx */
    {"div", 3, {0x48, 0xf7, 0x33}},                     /* div qword [rbx] */
    {"push mem", 2, {0xff, 0x33}},                      /* push qword [rbx] */
    {"byte", 2, {0x8a, 0x13}},                          /* mov dl, [rbx] */
    {"movaps", 3, {0x0f, 0x28, 0x03}},                  /* movaps xmm0, [rbx] */
    {"r10", 3, {0x4c, 0x8b, 0x13}},                     /* mov r10, [rbx] */
    {"push", 4, {0x48, 0x89, 0xdc, 0x51}},              /* mov rsp, rbx; push rcx */
    {"push imm", 5, {0x48, 0x89, 0xdc, 0x6a, 0x05}},    /* mov rsp, rbx; push 5 */
    {"pop", 4, {0x48, 0x89, 0xdc, 0x58}},               /* mov rsp, rbx; pop rax */
    {"ret", 4, {0x48, 0x89, 0xdc, 0xc3}},               /* mov rsp, rbx; ret */
    {"call", 8, {0x48, 0x89, 0xdc, 0xe8, 0, 0, 0, 0}},  /* mov rsp, rbx; call */
    {"leave", 4, {0x48, 0x89, 0xdd, 0xc9}},             /* mov rbp, rbx; leave */
    {"jmp", 2, {0xff, 0x23}},                           /* jmp [rbx] */
    {"second", 6, {0x8b, 0x43, 0x08, 0x8b, 0x53, 0x10}} /* two loads with one lookup */
};

/* Where in bytes the instruction is that meets the failure. */
static unsigned user_at(unsigned i)
{
    return uses[i].bytes[0] == 0x48 && uses[i].bytes[1] == 0x89 && uses[i].bytes[2] >= 0xdc ? 3 : 0;
}

/* All of them, so that the translator need not keep those from before. */
static bool writes_flags(unsigned i)
{
    static const char *const names[] = {"lock xadd", "cmpxchg", "div"};

    for (unsigned n = 0; n < G_N_ELEMENTS(names); n++) {
        if (strcmp(uses[i].name, names[n]) == 0) {
            return true;
        }
    }
    return false;
}

static void put_program(unsigned i)
{
    static const uint8_t head[] = {
        0x48, 0xc7, 0xc1, 7, 0, 0, 0, /* mov rcx, 7 */
        0xf9,                         /* stc */
    };
    static const uint8_t tail[] = {0xf4}; /* hlt */

    put_code(CODE, head, sizeof(head));
    put_code(CODE + sizeof(head), uses[i].bytes, uses[i].n);
    put_code(CODE + sizeof(head) + uses[i].n, tail, sizeof(tail));
}

static const unsigned use_offset = 8;

static void start(struct cpu *c)
{
    c->rip = CODE;
    c->halted = false;
    c->r[RBX] = DATA + 0x800;
    c->r[RBP] = 0x1234;
    c->r[RAX] = 1;
    c->r[RDX] = 0;
    c->r[RSP] = STACK;
    put64(DATA + 0x800, CODE + 0x800); /* a HLT: where jumps and returns lead */
}

static void lose(uint64_t gpa)
{
    int empty = memfd_create("empty", MFD_CLOEXEC);

    g_assert_true(mmap(present->ram->host + gpa, 0x1000, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, empty, 0) != MAP_FAILED);
    close(empty);
}

static void test_use(gconstpointer which)
{
    unsigned i = GPOINTER_TO_UINT(which);
    static const uint8_t hlt = 0xf4;
    uint64_t user = CODE + use_offset + user_at(i);
    uint64_t before[16];
    struct host_fault fault;
    GError *error = NULL;
    struct cpu *c;

    machine_start();
    c = present->c;
    g_assert_true(xlat_init(c, &config, &error));
    host_fault_register(present->ram->host, RAM_BYTES);
    host_fault_set_thread(0, c->req, VCPU_REQ_PAUSE, NULL);
    put_program(i);
    put_code(CODE + 0x800, &hlt, 1);
    for (unsigned n = 0; n < 3; n++) { /* the TLB is filled, the code is linked */
        start(c);
        g_assert_cmpint(soft_execute(c, 0), ==, RUN_HALT);
    }
    start(c);
    lose(DATA);
    memcpy(before, c->r, sizeof(before));
    g_assert_cmpint(soft_execute(c, 0), !=, RUN_HALT);
    g_assert_cmphex(c->rip, ==, user);
    before[RCX] = 7;
    if (user_at(i)) {
        before[uses[i].bytes[2] == 0xdd ? RBP : RSP] = before[RBX];
    }
    for (unsigned r = 0; r < 16; r++) {
        g_assert_cmphex(c->r[r], ==, before[r]);
    }
    if (!writes_flags(i)) {
        g_assert_cmphex(flags_arith_get(c) & RFLAGS_CF, !=, 0); /* STC's */
    }
    g_assert_true(host_fault_take(&fault));
    g_assert_cmpint(fault.kind, ==, HOST_FAULT_LOST);
    g_assert_cmphex(fault.addr, ==, (uintptr_t)present->ram->host + DATA);
    g_assert_false(host_fault_take(&fault));
    /* It goes on over the page that took its place. */
    atomic_fetch_and(c->req, ~(uint32_t)VCPU_REQ_PAUSE);
    put64(DATA + 0x800, CODE + 0x800);
    g_assert_cmpint(soft_execute(c, 0), ==, RUN_HALT);
    host_fault_set_thread(0, NULL, 0, NULL);
    host_fault_unregister(present->ram->host);
    machine_end();
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    bool works;

    g_test_init(&argc, &argv, NULL);
    machine_start();
    works = xlat_init(present->c, &config, &error);
    machine_end();
    if (!works) {
        printf("1..0 # SKIP %s\n", error->message);
        return 0;
    }
    g_assert_true(host_fault_start(&error));
    for (unsigned i = 0; i < G_N_ELEMENTS(uses); i++) {
        g_autofree char *path = g_strdup_printf("/xlat-fault/%s", uses[i].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_use);
    }
    return g_test_run();
}
