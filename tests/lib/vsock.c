/*
 * AF_VSOCK for shells: what busybox's nc is for TCP.
 *
 *   vsock listen PORT COMMAND...   runs the command for each connection, which is its input and
 * output vsock connect CID PORT         sends the input, then prints what comes until the other end
 * closes
 */
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int die(const char *what)
{
    perror(what);
    return 1;
}

static int serve(int fd, char **command)
{
    int one;

    signal(SIGCHLD, SIG_IGN);
    if (listen(fd, 8) < 0) {
        return die("listen");
    }
    while ((one = accept(fd, NULL, NULL)) >= 0) {
        if (fork() == 0) {
            dup2(one, 0);
            dup2(one, 1);
            close(one);
            close(fd);
            signal(SIGCHLD, SIG_DFL);
            execvp(command[0], command);
            _exit(die(command[0]));
        }
        close(one);
    }
    return die("accept");
}

static int copy(int from, int to)
{
    char bytes[16384];
    ssize_t n;

    while ((n = read(from, bytes, sizeof(bytes))) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t part = write(to, bytes + done, (size_t)(n - done));

            if (part < 0) {
                return die("write");
            }
            done += part;
        }
    }
    return n < 0 ? die("read") : 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return die("socket");
    }
    if (argc >= 4 && strcmp(argv[1], "listen") == 0) {
        addr.svm_port = (unsigned)atoi(argv[2]);
        return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? die("bind")
                                                                    : serve(fd, argv + 3);
    }
    if (argc == 4 && strcmp(argv[1], "connect") == 0) {
        addr.svm_cid = (unsigned)atoi(argv[2]);
        addr.svm_port = (unsigned)atoi(argv[3]);
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
            return die("connect");
        }
        return copy(0, fd) || shutdown(fd, SHUT_WR) < 0 || copy(fd, 1);
    }
    fprintf(stderr, "usage: vsock listen PORT COMMAND... | vsock connect CID PORT\n");
    return 2;
}
