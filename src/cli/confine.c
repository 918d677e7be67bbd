/*
 * Confinement of the process: see confine.h. Filters are libseccomp's (seccomp(2)).
 *
 * A system call that is denied fails with EPERM, and what wanted it fails as it would for lack of
 * rights; nothing that a client asks for ends the machine. A list of what is denied is weaker than
 * one of what is allowed, but holds with any version of the libraries.
 *
 * Left out: what is done through io_uring is not seen by the filter. It can open files, which is
 * not denied, but neither start programs nor change rights.
 */
#include "cli/confine.h"

#include "cli/error.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <unistd.h>

/* What no machine needs: the host's own administration, other processes' insides, mechanisms that
 * have served to break out of containers. */
static const int never[] = {
    SCMP_SYS(acct),
    SCMP_SYS(add_key),
    SCMP_SYS(adjtimex),
    SCMP_SYS(bpf),
    SCMP_SYS(chroot),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(clock_settime),
    SCMP_SYS(delete_module),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(finit_module),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fspick),
    SCMP_SYS(init_module),
    SCMP_SYS(ioperm),
    SCMP_SYS(iopl),
    SCMP_SYS(kcmp),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(kexec_load),
    SCMP_SYS(keyctl),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(mount),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(move_mount),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(open_tree),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(personality),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pivot_root),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(quotactl),
    SCMP_SYS(quotactl_fd),
    SCMP_SYS(reboot),
    SCMP_SYS(request_key),
    SCMP_SYS(setdomainname),
    SCMP_SYS(sethostname),
    SCMP_SYS(setns),
    SCMP_SYS(settimeofday),
    SCMP_SYS(swapoff),
    SCMP_SYS(swapon),
    SCMP_SYS(syslog),
    SCMP_SYS(umount2),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(vhangup),
};

/* Kept by the kernel for old programs, or no longer there. */
static const int obsolete[] = {
    SCMP_SYS(_sysctl),         SCMP_SYS(afs_syscall), SCMP_SYS(bdflush),    SCMP_SYS(create_module),
    SCMP_SYS(get_kernel_syms), SCMP_SYS(getpmsg),     SCMP_SYS(nfsservctl), SCMP_SYS(putpmsg),
    SCMP_SYS(query_module),    SCMP_SYS(readdir),     SCMP_SYS(security),   SCMP_SYS(sgetmask),
    SCMP_SYS(ssetmask),        SCMP_SYS(sysfs),       SCMP_SYS(tuxcall),    SCMP_SYS(uselib),
    SCMP_SYS(ustat),           SCMP_SYS(vserver),
};

static const int elevating[] = {
    SCMP_SYS(capset),    SCMP_SYS(setfsgid), SCMP_SYS(setfsuid), SCMP_SYS(setgid),
    SCMP_SYS(setgroups), SCMP_SYS(setpgid),  SCMP_SYS(setregid), SCMP_SYS(setresgid),
    SCMP_SYS(setresuid), SCMP_SYS(setreuid), SCMP_SYS(setsid),   SCMP_SYS(setuid),
};

static const int spawning[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
};

static const int resources[] = {
    SCMP_SYS(ioprio_set),     SCMP_SYS(sched_setaffinity),  SCMP_SYS(sched_setattr),
    SCMP_SYS(sched_setparam), SCMP_SYS(sched_setscheduler), SCMP_SYS(setpriority),
    SCMP_SYS(setrlimit),
};

/* ---- the filter */

/* A call that this architecture does not have needs no rule. */
static int deny(scmp_filter_ctx filter, const int *calls, size_t n)
{
    int status = 0;

    for (size_t i = 0; i < n && status == 0; i++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
        status = status == -EDOM ? 0 : status;
    }
    return status;
}

/* Threads are started all the same. What clone3(2) is to do is in memory, which a filter does not
 * see: without it the C library turns to clone(2). */
static int deny_spawn(scmp_filter_ctx filter)
{
    int status = deny(filter, spawning, G_N_ELEMENTS(spawning));

    if (status == 0) {
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    }
    if (status == 0) {
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    return status;
}

/* Limits may be asked for: prlimit64(2) with a new one is denied. */
static int deny_resource_control(scmp_filter_ctx filter)
{
    int status = deny(filter, resources, G_N_ELEMENTS(resources));

    return status ? status
                  : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                                     SCMP_A2(SCMP_CMP_NE, 0));
}

static int add_rules(scmp_filter_ctx filter, const struct sandbox *s)
{
    int status = deny(filter, never, G_N_ELEMENTS(never));

    if (status == 0 && !s->allows_obsolete) {
        status = deny(filter, obsolete, G_N_ELEMENTS(obsolete));
    }
    if (status == 0 && s->elevation == ELEVATION_DENIED) {
        status = deny(filter, elevating, G_N_ELEMENTS(elevating));
    }
    if (status == 0 && s->denies_spawn) {
        status = deny_spawn(filter);
    }
    if (status == 0 && s->denies_resource_control) {
        status = deny_resource_control(filter);
    }
    return status;
}

/* The kernel wants no_new_privs of who has not CAP_SYS_ADMIN, so it is set even where elevation is
 * allowed. */
static bool sandbox_enter(const struct sandbox *s, GError **error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int status = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

    status = status ? status : seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    status = status ? status : add_rules(filter, s);
    status = status ? status : seccomp_load(filter);
    if (filter) {
        seccomp_release(filter);
    }
    if (status) {
        g_set_error(error, CLI_ERROR, 0, "-sandbox: the system calls' filter cannot be set: %s",
                    g_strerror(-status));
    }
    return status == 0;
}

/* ---- user and root */

static bool parse_ids(const char *text, uid_t *uid, gid_t *gid)
{
    g_auto(GStrv) part = g_strsplit(text, ":", 2);
    guint64 value[2];

    for (unsigned i = 0; i < 2; i++) {
        /* The last one means "as it is" to setresuid(2). */
        if (!part[i] ||
            !g_ascii_string_to_unsigned(part[i], 10, 0, UINT32_MAX - 1, &value[i], NULL)) {
            return false;
        }
    }
    *uid = (uid_t)value[0];
    *gid = (gid_t)value[1];
    return true;
}

bool confinement_set_user(struct confinement *c, const char *text, GError **error)
{
    const struct passwd *user = getpwnam(text);

    g_clear_pointer(&c->name, g_free);
    if (user) {
        c->name = g_strdup(text);
        c->uid = user->pw_uid;
        c->gid = user->pw_gid;
    } else if (!parse_ids(text, &c->uid, &c->gid)) {
        g_set_error(error, CLI_ERROR, 0, "User \"%s\" doesn't exist (and is not <uid>:<gid>)",
                    text);
        return false;
    }
    g_free(c->user);
    c->user = g_strdup(text);
    return true;
}

void confinement_clear(struct confinement *c)
{
    g_clear_pointer(&c->root, g_free);
    g_clear_pointer(&c->user, g_free);
    g_clear_pointer(&c->name, g_free);
}

static bool change_user(const struct confinement *c, GError **error)
{
    bool groups = c->name ? initgroups(c->name, c->gid) == 0 : setgroups(1, &c->gid) == 0;

    if (!groups || setresgid(c->gid, c->gid, c->gid) != 0 ||
        setresuid(c->uid, c->uid, c->uid) != 0) {
        g_set_error(error, CLI_ERROR, 0, "-runas %s: %s", c->user, g_strerror(errno));
        return false;
    }
    if (c->uid != 0 && setuid(0) != -1) {
        g_set_error(error, CLI_ERROR, 0, "-runas %s: the rights of root can be had again", c->user);
        return false;
    }
    return true;
}

bool confine(const struct confinement *c, GError **error)
{
    if (c->root && (chroot(c->root) != 0 || chdir("/") != 0)) {
        g_set_error(error, CLI_ERROR, 0, "-chroot %s: %s", c->root, g_strerror(errno));
        return false;
    }
    return (!c->user || change_user(c, error)) &&
           (!c->sandbox.enabled || sandbox_enter(&c->sandbox, error));
}
