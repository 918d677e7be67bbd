/*
 * The main thread's life: the start of the guest, the loop, signals, and the end.
 */
#include "machine/lifecycle-priv.h"

#include "base/host-fault.h"
#include "base/log.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void machine_block_signals(void)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static struct godwit_cause *signal_cause(const struct signalfd_siginfo *from)
{
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);
    struct godwit_signal *sig = g_new0(struct godwit_signal, 1);

    sig->number = from->ssi_signo;
    sig->name = g_strdup_printf("SIG%s", sigabbrev_np((int)from->ssi_signo));
    sig->has_pid = sig->has_uid = from->ssi_code <= 0; /* not the kernel's */
    sig->pid = from->ssi_pid;
    sig->uid = from->ssi_uid;
    info->who = GODWIT_CAUSE_WHO_SIGNAL;
    info->what = g_strdup(sig->name);
    info->signal = sig;
    return info;
}

static bool receive_signal(int fd, GIOCondition condition, void *arg)
{
    struct machine *m = arg;
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) == sizeof(info)) {
        struct cause_scope scope;

        if (info.ssi_code == SI_USER) {
            log_info("terminating on signal %u from pid %u", info.ssi_signo, info.ssi_pid);
        } else {
            log_info("terminating on signal %u", info.ssi_signo);
        }
        cause_enter(m, &scope, cause_new(signal_cause(&info)));
        machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_SIGNAL, "signal");
        cause_leave(m, &scope);
    }
    return true;
}

void machine_start(struct machine *m)
{
    g_autoptr(GError) error = NULL;
    struct cause_scope scope;

    m->requests->autostart = !m->config->start_paused;
    if (m->config->start_paused || m->preconfig || m->config->incoming) {
        return;
    }
    big_lock_acquire(&m->lock);
    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "start"));
    if (!vm_start(m, &error)) {
        log_error("%s", error->message);
    }
    cause_leave(m, &scope);
    big_lock_release(&m->lock);
}

bool machine_exit_preconfig(struct machine *m, GError **error)
{
    g_assert(big_lock_held(&m->lock));
    if (!m->preconfig) {
        g_set_error_literal(error, MACHINE_ERROR, 0,
                            "The command is permitted only before machine initialization");
        return false;
    }
    m->preconfig = false;
    return m->config->start_paused || vm_start(m, error);
}

static void last_words(struct machine *m)
{
    if (m->requests->why_ended) {
        g_autofree char *text = cause_describe(m->requests->why_ended);

        log_info("ended by %s", text);
    }
}

int machine_run(struct machine *m)
{
    struct cause_scope scope;
    GSource *source = NULL, *faults = NULL;
    sigset_t set;
    int fd;

    ending_signals(&set);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0) {
        source = loop_watch_fd(m->loop, fd, G_IO_IN, receive_signal, m);
    } else {
        log_warn("signals cannot be watched: %s", strerror(errno));
    }
    if (host_fault_fd() >= 0) {
        faults = loop_watch_fd(m->loop, host_fault_fd(), G_IO_IN, host_memory_ready, m);
    }
    loop_run(m->loop);

    big_lock_acquire(&m->lock);
    cause_enter(m, &scope, cause_ref(m->requests->why_ended));
    if (runstate_is_running(m->run)) {
        machine_stop_guest(m, RUN_STATE_SHUTDOWN); /* no STOP: the end of the connection says it */
    }
    block_flush_all(m->block);
    cause_leave(m, &scope);
    big_lock_release(&m->lock);
    last_words(m);
    if (faults) {
        g_source_destroy(faults);
    }
    if (source) {
        g_source_destroy(source);
    }
    if (fd >= 0) {
        close(fd);
    }
    return m->exit_status;
}
