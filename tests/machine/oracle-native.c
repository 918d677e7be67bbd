/*
 * The native side: a child process sits in a signal handler that loads the state of a case into its
 * signal frame and returns into it; the trap or fault that ends the case brings it back with the
 * state afterwards. One signal per case.
 */
#include "oracle.h"
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define USER_CS               0x33
#define USER_CS_32            0x23
#define USER_DS               0x2b

#define UC_STRICT_RESTORE_SS_ 4u /* <asm/ucontext.h> clashes with <ucontext.h> */

#define EFLAGS_CHOSEN         0x50dd5u /* AC RF OF DF TF SF ZF AF PF CF: what sigreturn takes over */

/* Register numbers in gregs, by encoding. */
static const int greg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                             REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                             REG_R12, REG_R13, REG_R14, REG_R15};

static uint8_t *code_alias; /* writable view of the code pages */
static uint8_t *ro_alias;
static struct outcome *outcomes;
static bool has_ldt;

/* The child's own. */
static struct {
    const struct oracle_case *cases;
    unsigned n, first;
    int at; /* the case that runs, -1 before the first */
    const struct template *t;
    bool avx;
} run;

static void *map_fixed(uint64_t at, size_t bytes, int prot, int fd, off_t offset)
{
    void *p = mmap((void *)at, bytes, prot, MAP_FIXED_NOREPLACE | MAP_SHARED, fd, offset);
    if (p != (void *)at) {
        fprintf(stderr, "oracle: can't map %zu bytes at %#lx: %s\n", bytes, (unsigned long)at,
                strerror(errno));
        exit(1);
    }
    return p;
}

/* False when the kernel was built without it. */
static bool load_ldt(void)
{
    for (unsigned i = 0; i < LDT_COUNT; i++) {
        const struct ldt_entry *e = &ldt_entries[i];
        struct user_desc desc = {.entry_number = i,
                                 .base_addr = e->base,
                                 .limit = e->limit,
                                 .seg_32bit = e->db,
                                 .contents = e->code ? 2 : e->expand_down,
                                 .read_exec_only = e->read_only};
        int result = (int)syscall(SYS_modify_ldt, 1, &desc, sizeof(desc)); /* never in errno */
        if (result != 0) {
            printf("# no modify_ldt (%s): flat segments only\n", strerror(-result));
            return false;
        }
    }
    return true;
}

void native_init(void)
{
    int fd = memfd_create("oracle", MFD_CLOEXEC);
    size_t total = CODE_BYTES + DATA_BYTES;
    if (fd < 0 || ftruncate(fd, (off_t)total) != 0) {
        perror("oracle: memfd");
        exit(1);
    }
    uint8_t *alias = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    outcomes = mmap(NULL, BATCH * sizeof(*outcomes), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (alias == MAP_FAILED || outcomes == MAP_FAILED) {
        perror("oracle: mmap");
        exit(1);
    }
    code_alias = alias;
    ro_alias = alias + CODE_BYTES;
    map_fixed(CODE_BASE, CODE_BYTES, PROT_READ | PROT_EXEC, fd, 0);
    map_fixed(RO_BASE, RO_BYTES, PROT_READ, fd, CODE_BYTES);
    map_fixed(RW_BASE, RW_BYTES, PROT_READ | PROT_WRITE, fd, CODE_BYTES + RO_BYTES);
    close(fd);
    has_ldt = load_ldt(); /* children have it, too */
    memset(code_alias, 0xcc, CODE_BYTES);
}

bool native_has_ldt(void)
{
    return has_ldt;
}

struct outcome *native_outcomes(void)
{
    return outcomes;
}

/* ---------------------------------------------------------------- in the child */

/* No libc call that touches thread-local storage: FS is the case's. */
static void child_exit(int code)
{
    __asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(code) : "rcx", "r11", "memory");
    __builtin_unreachable();
}

static bool vector_has_error(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void take_outcome(const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    struct outcome *out = &outcomes[run.first + run.at];
    const struct oracle_case *k = &run.cases[run.first + run.at];

    out->vector = (uint8_t)g[REG_TRAPNO];
    out->has_error = vector_has_error(out->vector);
    out->error = (uint32_t)g[REG_ERR];
    out->cr2 = out->vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    for (unsigned i = 0; i < 16; i++) {
        out->r[i] = (uint64_t)g[greg[i]];
    }
    if (k->segmented) { /* what Linux has above ESP after its detour to a 16-bit stack */
        out->r[4] = (uint32_t)out->r[4];
    }
    out->rip = (uint64_t)g[REG_RIP];
    out->rflags = (uint64_t)g[REG_EFL];
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t xstate_bv;
    memcpy(out->fx, fp, 512);
    memcpy(&xstate_bv, fp + 512, 8);
    if (xstate_bv & 4) {
        memcpy(out->ymm, fp + 576, sizeof(out->ymm));
    } else {
        memset(out->ymm, 0, sizeof(out->ymm));
    }
    memcpy(out->rw, (const void *)(uintptr_t)RW_BASE, RW_BYTES);
    memset(code_alias + k->code_at, 0xcc, k->code_bytes);
    out->done = true;
}

static void put_case(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    const struct oracle_case *k = &run.cases[run.first + run.at];
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t xstate_bv, cs = k->mode == CODE_64 ? USER_CS : USER_CS_32, stack = USER_DS;
    uint32_t ds = USER_DS, es = USER_DS;
    if (k->segmented) {
        cs = LDT_SELECTOR(k->segment[CASE_CS]);
        stack = LDT_SELECTOR(k->segment[CASE_SS]);
        ds = LDT_SELECTOR(k->segment[CASE_DS]);
        es = LDT_SELECTOR(k->segment[CASE_ES]);
    }
    __asm__ volatile("movl %0, %%ds\n\tmovl %1, %%es" : : "r"(ds), "r"(es));

    memcpy(ro_alias, run.t->data, DATA_BYTES);
    memcpy(ro_alias + k->patch_at, k->patch, k->patch_bytes);
    memcpy(code_alias + k->code_at, k->code, k->code_bytes);
    for (unsigned i = 0; i < 16; i++) {
        g[greg[i]] = (greg_t)k->r[i];
    }
    g[REG_RIP] = (k->segmented ? 0 : CODE_BASE) + k->code_at;
    g[REG_EFL] =
        (greg_t)(((uint64_t)g[REG_EFL] & ~(uint64_t)EFLAGS_CHOSEN) | (k->rflags & EFLAGS_CHOSEN));
    g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000) | cs | stack << 48);
    uc->uc_flags |= UC_STRICT_RESTORE_SS_;
    /* NT is what the handler has: child_signal_entry clears it. */
    g[REG_EFL] &= ~(greg_t)0x4000;
    outcomes[run.first + run.at].rflags_at_start = (uint64_t)g[REG_EFL];
    /* Legacy area up to the software-reserved bytes, which say where the rest of the frame is. */
    memcpy(fp, k->fx, 416);
    memcpy(&xstate_bv, fp + 512, 8);
    xstate_bv |= run.avx ? 7 : 3;
    memcpy(fp + 512, &xstate_bv, 8);
    if (run.avx) {
        memcpy(fp + 576, k->ymm, sizeof(k->ymm));
    }
}

static __attribute__((used)) void child_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    if (run.at >= 0) {
        take_outcome(uc);
    }
    run.at++;
    if (run.first + (unsigned)run.at >= run.n) {
        child_exit(0);
    }
    put_case(uc);
}

/* AC and NT survive signal delivery; AC would hurt here, NT would come back with sigreturn. */
void child_signal_entry(int sig, siginfo_t *info, void *context);
__asm__(".text\n"
        ".type child_signal_entry, @function\n"
        "child_signal_entry:\n"
        "    pushfq\n"
        "    andl $~0x44000, (%rsp)\n"
        "    popfq\n"
        "    jmp child_signal\n"
        ".size child_signal_entry, .-child_signal_entry\n");

/* What else lies below 4 GiB (the translator's tables, at an address that changes from run to run)
 * a case could reach by chance: its own memory remains alone there. */
static void unmap_others(void)
{
    static const uint64_t gaps[][2] = {
        {0, CODE_BASE}, {CODE_BASE + CODE_BYTES, DATA_BASE}, {DATA_BASE + DATA_BYTES, 1ull << 32}};
    for (unsigned i = 0; i < G_N_ELEMENTS(gaps); i++) {
        if (munmap((void *)gaps[i][0], gaps[i][1] - gaps[i][0]) != 0) {
            _exit(1);
        }
    }
}

static void child_main(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    size_t stack_bytes = 1 << 18;
    void *stack =
        mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t ss = {.ss_sp = stack, .ss_size = stack_bytes};
    struct sigaction action = {.sa_sigaction = child_signal_entry,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (stack == MAP_FAILED || sigaltstack(&ss, NULL) != 0) {
        _exit(1);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
    alarm(60);
    unmap_others();
    for (unsigned i = 0; i < CODE_BYTES;
         i += 4096) { /* shared pages are not in a child's tables yet */
        (void)*(volatile uint8_t *)(uintptr_t)(CODE_BASE + i);
    }
    for (unsigned i = 0; i < DATA_BYTES; i += 4096) {
        (void)*(volatile uint8_t *)(uintptr_t)(DATA_BASE + i);
    }
    syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE);
    __asm__ volatile("syscall\n\tint3"
                     :
                     : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"((unsigned long)FS_BASE)
                     : "rcx", "r11", "memory");
    child_exit(1); /* not reached */
}

void native_run(const struct oracle_case *cases, unsigned n, const struct template *t,
                struct outcome *results)
{
    unsigned next = 0;
    for (unsigned i = 0; i < n; i++) {
        outcomes[i].done = false;
    }
    while (next < n) {
        int status;
        run.cases = cases;
        run.n = n;
        run.first = next;
        run.at = -1;
        run.t = t;
        run.avx = __builtin_cpu_supports("avx");
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            child_main();
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            perror("oracle: fork");
            exit(1);
        }
        while (next < n && outcomes[next].done) {
            next++;
        }
        memset(code_alias, 0xcc, CODE_BYTES);
        if (next < n) { /* the child died in this one: the comparison will say so */
            next++;
        }
    }
    if (results != outcomes) {
        memcpy(results, outcomes, n * sizeof(*results));
    }
}
