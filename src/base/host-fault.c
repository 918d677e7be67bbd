/*
 * The SIGBUS handler (see host-fault.h). All that it calls is async-signal-safe, and what it shares
 * with the rest of the program is lock-free.
 *
 * A fault of the running instruction must be told from a signal that the kernel (or a test) has
 * queued for later, as there the instruction goes on by itself: the kernel leaves the trap's number
 * and address in the context.
 */
#include "base/host-fault.h"

#include "base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define RANGES_MAX      64
#define QUEUE_MAX       64
#define TRAP_PAGE_FAULT 14

enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_READY };

struct slot {
    _Atomic int state; /* enum slot_state */
    unsigned long seq;
    struct host_fault fault;
};

struct range {
    _Atomic uintptr_t start; /* 0: free */
    _Atomic size_t bytes;
};

static struct {
    _Atomic int fd; /* eventfd, -1: none */
    size_t page_bytes;
    struct range ranges[RANGES_MAX];
    struct slot queue[QUEUE_MAX];
    _Atomic unsigned long seq;
} faults = {.fd = -1};

static _Thread_local struct {
    _Atomic uint32_t *word;
    uint32_t bits;
    int thread; /* one more than what was set: 0 for none */
    const uint8_t *level;
    host_fault_leave_fn leave;
    void *leave_opaque;
} self;

/* ---- registered memory */

void host_fault_register(void *start, size_t bytes)
{
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        uintptr_t expected = 0;

        /* Until its size is there it holds nothing. */
        if (atomic_compare_exchange_strong(&faults.ranges[i].start, &expected, (uintptr_t)start)) {
            atomic_store(&faults.ranges[i].bytes, bytes);
            return;
        }
    }
}

void host_fault_unregister(void *start)
{
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        if (atomic_load(&faults.ranges[i].start) == (uintptr_t)start) {
            atomic_store(&faults.ranges[i].bytes, 0);
            atomic_store(&faults.ranges[i].start, 0);
            return;
        }
    }
}

static bool is_registered(uintptr_t addr)
{
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        uintptr_t start = atomic_load(&faults.ranges[i].start);

        if (start && addr >= start && addr - start < atomic_load(&faults.ranges[i].bytes)) {
            return true;
        }
    }
    return false;
}

bool host_fault_replace(uintptr_t addr, size_t bytes)
{
    return mmap((void *)addr, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void host_fault_set_thread(int thread, _Atomic uint32_t *word, uint32_t bits, const uint8_t *level)
{
    self.thread = thread + 1;
    self.bits = bits;
    self.level = level;
    self.word = word;
}

void host_fault_set_leave(host_fault_leave_fn leave, void *opaque)
{
    self.leave = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    self.leave_opaque = opaque;
    atomic_signal_fence(memory_order_seq_cst);
    self.leave = leave;
}

/* ---- the queue */

static bool is_queued(const struct host_fault *fault)
{
    for (unsigned i = 0; i < QUEUE_MAX; i++) {
        const struct slot *slot = &faults.queue[i];

        if (atomic_load(&slot->state) == SLOT_READY && slot->fault.kind == fault->kind &&
            slot->fault.addr == fault->addr && slot->fault.thread == fault->thread) {
            return true;
        }
    }
    return false;
}

/* When there is no room left, 64 faults of other pages wait: the machine learns that its memory
 * breaks down in any case. */
static void queue_add(const struct host_fault *fault)
{
    uint64_t one = 1;

    for (unsigned i = 0; i < QUEUE_MAX; i++) {
        struct slot *slot = &faults.queue[i];
        int expected = SLOT_FREE;

        if (atomic_compare_exchange_strong(&slot->state, &expected, SLOT_FILLING)) {
            slot->fault = *fault;
            slot->seq = atomic_fetch_add(&faults.seq, 1);
            atomic_store(&slot->state, SLOT_READY);
            break;
        }
    }
    if (write(atomic_load(&faults.fd), &one, sizeof(one)) < 0) {
        return; /* it is readable already */
    }
}

bool host_fault_take(struct host_fault *fault)
{
    struct slot *oldest = NULL;
    uint64_t count;

    for (unsigned i = 0; i < QUEUE_MAX; i++) {
        struct slot *slot = &faults.queue[i];

        if (atomic_load(&slot->state) == SLOT_READY && (!oldest || slot->seq < oldest->seq)) {
            oldest = slot;
        }
    }
    if (!oldest) {
        return read(atomic_load(&faults.fd), &count, sizeof(count)) > 0 && host_fault_take(fault);
    }
    *fault = oldest->fault;
    atomic_store(&oldest->state, SLOT_FREE);
    return true;
}

int host_fault_fd(void)
{
    return atomic_load(&faults.fd);
}

/* ---- the handler */

/* Whether the interrupted instruction is what failed. */
static bool is_synchronous(const siginfo_t *info, const ucontext_t *context)
{
#ifdef __x86_64__
    const greg_t *reg = context->uc_mcontext.gregs;
    uintptr_t mask = ~(uintptr_t)(faults.page_bytes - 1);

    return reg[REG_TRAPNO] == TRAP_PAGE_FAULT &&
           ((uintptr_t)reg[REG_CR2] & mask) == ((uintptr_t)info->si_addr & mask);
#else
    return true;
#endif
}

static void leave(ucontext_t *context)
{
#ifdef __x86_64__
    greg_t *pc = &context->uc_mcontext.gregs[REG_RIP];
    uintptr_t to = self.leave ? self.leave(self.leave_opaque, (uintptr_t)*pc) : 0;

    if (to) {
        *pc = (greg_t)to;
    }
#endif
}

static char *append_hex(char *at, uintptr_t value)
{
    for (int shift = (int)sizeof(value) * 8 - 4; shift >= 0; shift -= 4) {
        *at++ = "0123456789abcdef"[value >> shift & 15];
    }
    return at;
}

/* The default action, as soon as the handler returns. */
static void die(const siginfo_t *info)
{
    static const char head[] = "godwit: SIGBUS at address 0x",
                      tail[] = ", which is no guest memory: the program ends\n";
    char line[sizeof(head) + sizeof(tail) + 16], *at = line;

    memcpy(at, head, sizeof(head) - 1);
    at = append_hex(at + sizeof(head) - 1, (uintptr_t)info->si_addr);
    memcpy(at, tail, sizeof(tail) - 1);
    log_from_signal(line, (size_t)(at - line) + sizeof(tail) - 1);
    signal(SIGBUS, SIG_DFL);
    raise(SIGBUS);
}

static bool kind_of(const siginfo_t *info, enum host_fault_kind *kind)
{
    switch (info->si_code) {
    case BUS_MCEERR_AO:
        *kind = HOST_FAULT_OPTIONAL;
        return true;
    case BUS_MCEERR_AR:
        *kind = HOST_FAULT_REQUIRED;
        return true;
    case BUS_ADRERR:
    case BUS_OBJERR:
        *kind = HOST_FAULT_LOST;
        return true;
    default: /* another process's kill(), or a bug of ours */
        return false;
    }
}

static size_t lost_bytes(const siginfo_t *info, enum host_fault_kind kind)
{
    if (kind == HOST_FAULT_LOST || info->si_addr_lsb < 12 || info->si_addr_lsb > 30) {
        return faults.page_bytes;
    }
    return (size_t)1 << info->si_addr_lsb;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    struct host_fault fault = {
        .addr = (uintptr_t)info->si_addr,
        .thread = self.thread - 1,
        .level = self.level ? *(const volatile uint8_t *)self.level : -1,
    };
    bool synchronous = is_synchronous(info, context);

    if (!kind_of(info, &fault.kind)) {
        die(info);
        return;
    }
    fault.bytes = lost_bytes(info, fault.kind);
    fault.registered = is_registered(fault.addr);
    fault.addr &= ~(uintptr_t)(fault.bytes - 1);
    if (synchronous && fault.kind != HOST_FAULT_OPTIONAL) {
        fault.replaced = fault.registered && host_fault_replace(fault.addr, fault.bytes);
        if (!fault.replaced) {
            die(info);
            return;
        }
        leave(context);
    } else if (fault.kind == HOST_FAULT_LOST && !fault.registered) {
        die(info);
        return;
    }
    if (fault.kind != HOST_FAULT_OPTIONAL && self.word) {
        atomic_fetch_or(self.word,
                        self.bits); /* before whoever lets the thread go on learns of it */
    }
    if (!is_queued(&fault)) {
        queue_add(&fault);
    }
    errno = saved;
}

bool host_fault_start(GError **error)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};

    faults.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    atomic_store(&faults.fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    sigemptyset(&action.sa_mask);
    if (atomic_load(&faults.fd) < 0 || sigaction(SIGBUS, &action, NULL) < 0) {
        g_set_error(error, g_quark_from_static_string("host-fault"), errno,
                    "failures of memory cannot be watched: %s", g_strerror(errno));
        return false;
    }
    /* A kernel without memory failures refuses: there is nothing to be told early then. */
    prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
    return true;
}
