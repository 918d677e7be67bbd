/*
 * Failures of memory, for a host that has none: preloaded into the program under test.
 *
 * SIGRTMIN+5 and SIGRTMIN+6 with a value make the thread that gets them queue a SIGBUS to itself,
 * as the kernel does for a broken page at that address: action optional and action required (only a
 * thread itself may send a signal with such a code). SIGRTMIN+7 puts /dev/null in place of the file
 * descriptor that its value names, SIGRTMIN+8 memory without a file behind it in place of the page
 * at that address. With SIGBUS_AS_BROKEN in the environment a
 * SIGBUS of memory without a file behind it looks like that of a broken page.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sigaction handler;

static void relay(int number, siginfo_t *info, void *context)
{
    siginfo_t bus = {.si_signo = SIGBUS};

    bus.si_code = number == SIGRTMIN + 5 ? BUS_MCEERR_AO : BUS_MCEERR_AR;
    bus.si_addr = info->si_value.sival_ptr;
    bus.si_addr_lsb = 12;
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &bus);
}

static void lose_file(int number, siginfo_t *info, void *context)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    dup2(null, info->si_value.sival_int);
    close(null);
}

static void lose_page(int number, siginfo_t *info, void *context)
{
    int empty = memfd_create("empty", MFD_CLOEXEC);

    mmap(info->si_value.sival_ptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0);
    close(empty);
}

static void as_broken(int number, siginfo_t *info, void *context)
{
    if (info->si_code == BUS_ADRERR) {
        info->si_code = BUS_MCEERR_AR;
        info->si_addr_lsb = 12;
    }
    handler.sa_sigaction(number, info, context);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    int (*real)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");

    if (number == SIGBUS && action && getenv("SIGBUS_AS_BROKEN")) {
        struct sigaction wrapped = *action;

        handler = *action;
        wrapped.sa_sigaction = as_broken;
        return real(number, &wrapped, old);
    }
    return real(number, action, old);
}

__attribute__((constructor)) static void install(void)
{
    struct sigaction action = {.sa_sigaction = relay, .sa_flags = SA_SIGINFO | SA_RESTART};

    sigaction(SIGRTMIN + 5, &action, NULL);
    sigaction(SIGRTMIN + 6, &action, NULL);
    action.sa_sigaction = lose_file;
    sigaction(SIGRTMIN + 7, &action, NULL);
    action.sa_sigaction = lose_page;
    sigaction(SIGRTMIN + 8, &action, NULL);
}
