/*
 * Threads: see threads.h. The registry is a list under a mutex; what a thread says of itself are
 * atomics that only it writes.
 */
#include "base/threads.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long a thread has to answer. */
#define ANSWER_NS      10000000
/* The frames of the handler itself and of the return from it. */
#define HANDLER_FRAMES 2

struct thread {
    struct thread *next;
    char name[THREAD_NAME_BYTES];
    enum thread_kind kind;
    int tid;
    const void *token;
    _Atomic(const char *) doing, subject, waits_for;
    const _Atomic(const void *) *_Atomic owner; /* with waits_for */
};

static struct {
    GMutex mutex;
    struct thread *first;
} registry;

static _Thread_local struct thread self;
static _Thread_local bool registered;
_Thread_local char thread_own_byte;

void thread_begin(const char *name, enum thread_kind kind)
{
    g_assert(!registered);
    self = (struct thread){.kind = kind, .tid = (int)syscall(SYS_gettid), .token = thread_token()};
    g_strlcpy(self.name, name, sizeof(self.name));
    registered = true;
    g_mutex_lock(&registry.mutex);
    self.next = registry.first;
    registry.first = &self;
    g_mutex_unlock(&registry.mutex);
}

void thread_end(void)
{
    struct thread **at = &registry.first;

    if (!registered) {
        return;
    }
    g_mutex_lock(&registry.mutex);
    while (*at != &self) {
        at = &(*at)->next;
    }
    *at = self.next;
    g_mutex_unlock(&registry.mutex);
    registered = false;
}

bool thread_is(enum thread_kind kind)
{
    return registered && self.kind == kind;
}

/* ---- what it does; the reader is threads_list() on any thread */

static void set_doing(const char *what, const char *subject)
{
    atomic_store_explicit(&self.doing, what, memory_order_relaxed);
    atomic_store_explicit(&self.subject, subject, memory_order_relaxed);
}

void thread_doing_begin(struct thread_doing *outer, const char *what, const char *subject)
{
    outer->what = atomic_load_explicit(&self.doing, memory_order_relaxed);
    outer->subject = atomic_load_explicit(&self.subject, memory_order_relaxed);
    set_doing(what, subject);
}

void thread_doing_end(const struct thread_doing *outer)
{
    set_doing(outer->what, outer->subject);
}

void thread_wait_begin(const char *what, const _Atomic(const void *) *owner)
{
    atomic_store(&self.owner, owner);
    atomic_store(&self.waits_for, what);
}

void thread_wait_end(void)
{
    atomic_store(&self.waits_for, NULL);
    atomic_store(&self.owner, NULL);
}

/* ---- stacks */

/* One thread is asked at a time. */
static struct {
    GMutex mutex;
    bool ready;        /* under mutex: the handler is installed */
    _Atomic int asked; /* the tid; ANSWERING while its handler writes; 0: nobody */
    sem_t answered;
    int n;
    void *frame[THREAD_FRAMES_MAX + HANDLER_FRAMES];
} capture;

#define ANSWERING (-1)

static int capture_signal(void)
{
    return SIGRTMIN + 1; /* the one before kicks vCPUs */
}

/* Only what a handler may do: backtrace() has been called once before. */
static void take_stack(int number)
{
    int saved_errno = errno, tid = (int)syscall(SYS_gettid);

    if (atomic_compare_exchange_strong(&capture.asked, &tid, ANSWERING)) {
        capture.n = backtrace(capture.frame, G_N_ELEMENTS(capture.frame));
        sem_post(&capture.answered);
    }
    errno = saved_errno;
}

/* Under capture.mutex. */
static void capture_prepare(void)
{
    struct sigaction action = {.sa_handler = take_stack, .sa_flags = SA_RESTART};
    void *frame[1];

    if (!capture.ready) {
        backtrace(frame, 1); /* loads what it needs */
        sem_init(&capture.answered, 0, 0);
        sigaction(capture_signal(), &action, NULL);
        capture.ready = true;
    }
}

static void sem_wait_fully(sem_t *sem)
{
    while (sem_wait(sem) < 0 && errno == EINTR) {
    }
}

/* Whether the thread that was asked has answered in time. */
static bool capture_wait(int tid)
{
    struct timespec until;
    int error;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ANSWER_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    do {
        error = sem_timedwait(&capture.answered, &until) < 0 ? errno : 0;
    } while (error == EINTR);
    if (error == 0) {
        return true;
    }
    if (atomic_compare_exchange_strong(&capture.asked, &tid, 0)) {
        return false;
    }
    sem_wait_fully(&capture.answered); /* it is just writing */
    return true;
}

static void take_stack_of(struct thread_info *info)
{
    g_mutex_lock(&capture.mutex);
    capture_prepare();
    if (info->tid == (int)syscall(SYS_gettid)) {
        info->n_frames = (unsigned)backtrace(info->frame, THREAD_FRAMES_MAX);
        g_mutex_unlock(&capture.mutex);
        return;
    }
    atomic_store(&capture.asked, info->tid);
    if (syscall(SYS_tgkill, getpid(), info->tid, capture_signal()) == 0 &&
        capture_wait(info->tid) && capture.n > HANDLER_FRAMES) {
        info->n_frames = (unsigned)capture.n - HANDLER_FRAMES;
        memcpy(info->frame, capture.frame + HANDLER_FRAMES, info->n_frames * sizeof(void *));
    }
    atomic_store(&capture.asked, 0);
    g_mutex_unlock(&capture.mutex);
}

/* ---- what the host knows */

/* Calls that wait, by the names of their manual pages. */
static const struct {
    long number;
    const char *name;
} calls[] = {
    {SYS_read, "read"},
    {SYS_write, "write"},
    {SYS_pread64, "pread"},
    {SYS_pwrite64, "pwrite"},
    {SYS_readv, "readv"},
    {SYS_writev, "writev"},
    {SYS_preadv, "preadv"},
    {SYS_pwritev, "pwritev"},
    {SYS_openat, "openat"},
    {SYS_close, "close"},
    {SYS_fsync, "fsync"},
    {SYS_fdatasync, "fdatasync"},
    {SYS_fallocate, "fallocate"},
    {SYS_ftruncate, "ftruncate"},
    {SYS_ioctl, "ioctl"},
    {SYS_flock, "flock"},
    {SYS_fcntl, "fcntl"},
    {SYS_ppoll, "poll"},
#ifdef SYS_poll
    {SYS_poll, "poll"},
#endif
    {SYS_pselect6, "select"},
    {SYS_epoll_pwait, "epoll_wait"},
    {SYS_futex, "futex"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_clock_nanosleep, "clock_nanosleep"},
    {SYS_connect, "connect"},
    {SYS_accept4, "accept"},
    {SYS_sendto, "send"},
    {SYS_sendmsg, "sendmsg"},
    {SYS_recvfrom, "recv"},
    {SYS_recvmsg, "recvmsg"},
    {SYS_wait4, "wait"},
    {SYS_waitid, "wait"},
    {SYS_io_uring_enter, "io_uring_enter"},
    {SYS_madvise, "madvise"},
    {SYS_mmap, "mmap"},
    {SYS_munmap, "munmap"},
    {SYS_rt_sigtimedwait, "sigtimedwait"},
};

/* A small file of the thread's folder in /proc; "" when it cannot be read. */
static void read_proc(int tid, const char *name, char *text, size_t size)
{
    char path[64];
    ssize_t n = -1;
    int fd;

    g_snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, size - 1);
        close(fd);
    }
    text[MAX(n, 0)] = '\0';
}

static void find_call(struct thread_info *info)
{
    char text[256];
    long number;

    read_proc(info->tid, "syscall", text, sizeof(text));
    if (sscanf(text, "%ld", &number) != 1 || number < 0) {
        return; /* "running", or in the kernel for another reason */
    }
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        if (calls[i].number == number) {
            g_strlcpy(info->call, calls[i].name, sizeof(info->call));
            return;
        }
    }
    g_snprintf(info->call, sizeof(info->call), "system call %ld", number);
}

static void find_state(struct thread_info *info)
{
    char text[256];
    const char *end;

    read_proc(info->tid, "stat", text, sizeof(text));
    end = strrchr(text, ')');
    info->state = '?';
    if (end && end[1] == ' ' && end[2]) {
        info->state = end[2];
    }
    if (!info->name[0]) {
        read_proc(info->tid, "comm", info->name, sizeof(info->name));
        g_strchomp(info->name);
    }
}

/* Under registry.mutex. */
static int tid_of_token(const void *owner)
{
    for (const struct thread *t = registry.first; owner && t; t = t->next) {
        if (t->token == owner) {
            return t->tid;
        }
    }
    return 0;
}

static void find_registered(struct thread_info *info)
{
    g_mutex_lock(&registry.mutex);
    for (struct thread *t = registry.first; t; t = t->next) {
        const _Atomic(const void *) *owner = atomic_load(&t->owner);

        if (t->tid != info->tid) {
            continue;
        }
        g_strlcpy(info->name, t->name, sizeof(info->name));
        info->kind = t->kind;
        info->doing = atomic_load(&t->doing);
        info->subject = atomic_load(&t->subject);
        info->waits_for = atomic_load(&t->waits_for);
        info->held_by = info->waits_for && owner ? tid_of_token(atomic_load(owner)) : 0;
    }
    g_mutex_unlock(&registry.mutex);
}

GArray *threads_list(bool stacks)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(struct thread_info));
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        struct thread_info info = {.tid = atoi(entry->d_name), .kind = THREAD_OTHER};

        if (info.tid <= 0) {
            continue;
        }
        find_registered(&info);
        find_state(&info);
        find_call(&info);
        if (stacks) {
            take_stack_of(&info);
        }
        g_array_append_val(list, info);
    }
    if (dir) {
        closedir(dir);
    }
    return list;
}
