/* The process around a machine: see process.h. */
#include "cli/process.h"

#include "cli/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void daemon_start(struct daemon *d)
{
    int fds[2];
    char byte;
    pid_t pid;

    /* Now: later it may be out of reach (-chroot). */
    d->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (d->null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        fprintf(stderr, "godwit: -daemonize: %s\n", g_strerror(errno));
        exit(1);
    }
    if (pid > 0) {
        ssize_t n;
        close(fds[1]);
        do {
            n = read(fds[0], &byte, 1);
        } while (n < 0 && errno == EINTR);
        _exit(n == 1 ? 0 : 1);
    }
    close(fds[0]);
    setsid();
    d->ready_fd = fds[1];
}

void daemon_ready(struct daemon *d)
{
    ssize_t n;

    if (d->ready_fd < 0) {
        return;
    }
    if (chdir("/") < 0) {
        fprintf(stderr, "godwit: -daemonize: /: %s\n", g_strerror(errno));
    }
    for (int fd = 0; fd <= 2; fd++) {
        dup2(d->null_fd, fd);
    }
    close(d->null_fd);
    do {
        n = write(d->ready_fd, "", 1);
    } while (n < 0 && errno == EINTR);
    close(d->ready_fd);
    d->ready_fd = -1;
}

bool pidfile_write(const char *path, GError **error)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const char *what = "open";

    if (fd >= 0 && lockf(fd, F_TLOCK, 0) < 0) {
        what = "lock";
    } else if (fd >= 0 &&
               (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))) {
        what = "write";
    } else if (fd >= 0) {
        return true; /* stays open: closing it would give up the lock */
    }
    g_set_error(error, CLI_ERROR, 0, "-pidfile: cannot %s '%s': %s", what, path, g_strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    return false;
}
