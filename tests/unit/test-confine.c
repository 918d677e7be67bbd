/* What the process cannot do any more after confine(), and what it still can: each in a child. */
#include "cli/confine.h"

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* 0: it can; else the error. */
typedef int (*act_fn)(void);

static int result_of(long value)
{
    return value < 0 ? errno : 0;
}

static int act_ptrace(void)
{
    return result_of(ptrace(PTRACE_TRACEME, 0, 0, 0));
}

static int act_unshare(void)
{
    return result_of(syscall(SYS_unshare, 0));
}

static int act_bpf(void)
{
    return result_of(syscall(SYS_bpf, -1, NULL, 0));
}

static int act_sysfs(void)
{
    return result_of(syscall(SYS_sysfs, 3));
}

static int act_setuid(void)
{
    return result_of(syscall(SYS_setuid, getuid()));
}

static int act_fork(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    return pid < 0 ? errno : result_of(waitpid(pid, NULL, 0));
}

static int act_exec(void)
{
    char *const argv[] = {"true", NULL};

    execv("/nonexistent", argv);
    return errno == ENOENT ? 0 : errno;
}

static void *nothing(void *arg)
{
    return arg;
}

static int act_thread(void)
{
    pthread_t thread;
    int status = pthread_create(&thread, NULL, nothing, NULL);

    return status ? status : pthread_join(thread, NULL);
}

static int act_priority(void)
{
    return result_of(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0)));
}

static int act_ask_limit(void)
{
    struct rlimit limit;

    return result_of(getrlimit(RLIMIT_NOFILE, &limit));
}

static int act_set_limit(void)
{
    struct rlimit limit;

    return act_ask_limit() || getrlimit(RLIMIT_NOFILE, &limit) < 0
               ? -1
               : result_of(setrlimit(RLIMIT_NOFILE, &limit));
}

static int act_new_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? EPERM : 0;
}

/* Another thread, which was there before. */
struct early {
    act_fn act;
    int pipe[2];
    int result;
};

static void *wait_and_act(void *arg)
{
    struct early *e = arg;
    char byte;

    e->result = read(e->pipe[0], &byte, 1) == 1 ? e->act() : -1;
    return NULL;
}

static int in_early_thread(const struct confinement *c, act_fn act)
{
    struct early e = {.act = act};
    pthread_t thread;

    if (pipe(e.pipe) != 0 || pthread_create(&thread, NULL, wait_and_act, &e) != 0 ||
        !confine(c, NULL) || write(e.pipe[1], "", 1) != 1) {
        return 255;
    }
    pthread_join(thread, NULL);
    return e.result;
}

static int outcome(const struct confinement *c, act_fn act, bool early)
{
    pid_t pid = fork();
    int status;

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        _exit(early ? in_early_thread(c, act) : confine(c, NULL) ? act() : 255);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check(const struct sandbox *sandbox, act_fn act, int want)
{
    const struct confinement c = {.sandbox = *sandbox};

    g_assert_cmpint(outcome(&c, act, false), ==, want);
}

static void test_nothing(void)
{
    const struct sandbox off = {0};

    check(&off, act_ptrace, 0);
    check(&off, act_fork, 0);
    check(&off, act_new_privileges, 0);
}

static void test_on(void)
{
    const struct sandbox on = {.enabled = true};

    check(&on, act_ptrace, EPERM);
    check(&on, act_unshare, EPERM);
    check(&on, act_bpf, EPERM);
    check(&on, act_sysfs, EPERM);
    check(&on, act_new_privileges, EPERM);
    check(&on, act_setuid, 0);
    check(&on, act_fork, 0);
    check(&on, act_exec, 0);
    check(&on, act_thread, 0);
    check(&on, act_priority, 0);
    check(&on, act_set_limit, 0);
}

static void test_each(void)
{
    const struct sandbox elevation = {.enabled = true, .elevation = ELEVATION_DENIED};
    const struct sandbox spawn = {.enabled = true, .denies_spawn = true};
    const struct sandbox resources = {.enabled = true, .denies_resource_control = true};
    const struct sandbox obsolete = {.enabled = true, .allows_obsolete = true};

    check(&elevation, act_setuid, EPERM);
    check(&elevation, act_fork, 0);
    check(&spawn, act_fork, EPERM);
    check(&spawn, act_exec, EPERM);
    check(&spawn, act_thread, 0);
    check(&resources, act_priority, EPERM);
    check(&resources, act_ask_limit, 0);
    check(&resources, act_set_limit, EPERM);
    check(&obsolete, act_sysfs, 0);
    check(&obsolete, act_ptrace, EPERM);
}

static void test_threads_that_are_there(void)
{
    const struct confinement c = {.sandbox = {.enabled = true, .denies_spawn = true}};

    g_assert_cmpint(outcome(&c, act_ptrace, true), ==, EPERM);
    g_assert_cmpint(outcome(&c, act_fork, true), ==, EPERM);
    g_assert_cmpint(outcome(&c, act_thread, true), ==, 0);
}

static int act_be_root(void)
{
    return getuid() == 12345 && getgid() == 54321 && getgroups(0, NULL) == 1 ? result_of(setuid(0))
                                                                             : -1;
}

static void test_user(void)
{
    struct confinement c = {0};
    g_autoptr(GError) error = NULL;

    g_assert_false(confinement_set_user(&c, "12345", &error));
    g_assert_nonnull(error);
    g_assert_true(confinement_set_user(&c, "12345:54321", NULL));
    if (getuid() == 0) {
        g_assert_cmpint(outcome(&c, act_be_root, false), ==, EPERM);
    } else {
        g_assert_cmpint(outcome(&c, act_be_root, false), ==, 255);
    }
    confinement_clear(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/confine/nothing", test_nothing);
    g_test_add_func("/confine/on", test_on);
    g_test_add_func("/confine/each", test_each);
    g_test_add_func("/confine/threads", test_threads_that_are_there);
    g_test_add_func("/confine/user", test_user);
    return g_test_run();
}
