/*
 * What a migration can't be faster than on this host: how long a program takes that does nothing
 * but pass on memory which is ready.
 *
 * Usage: migrate-floor FOLDER [MiB [ROUNDS]]
 *
 * Each round: random memory goes into a pipe, from which `cat` writes a file in FOLDER, as
 * `migrate exec:cat>FILE` has it; and over a UNIX socket into the fresh memory of another process.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE (1u << 20)

static char file[4096];

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint8_t *memory_new(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* Both ends do the same: at most PIECE bytes a call. */
static bool pass_on(int fd, uint8_t *memory, size_t bytes, bool out)
{
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        ssize_t done = out ? write(fd, memory + at, n) : read(fd, memory + at, n);

        if (done <= 0) {
            return false;
        }
        at += (size_t)done;
    }
    return true;
}

static void file_writer(int fd, size_t bytes)
{
    int to = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (to < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(to, STDOUT_FILENO) < 0) {
        _exit(1);
    }
    execlp("cat", "cat", NULL);
    _exit(1);
}

static void receiver(int fd, size_t bytes)
{
    _exit(pass_on(fd, memory_new(bytes), bytes, false) ? 0 : 1);
}

static void measure(const char *name, int from, int to, void (*other)(int fd, size_t bytes),
                    uint8_t *memory, size_t bytes)
{
    double start = now_ms();
    pid_t pid = fork();
    int status;
    bool ok;

    if (pid == 0) {
        close(to);
        other(from, bytes);
    }
    close(from);
    ok = pid > 0 && pass_on(to, memory, bytes, true);
    close(to);
    ok = ok && waitpid(pid, &status, 0) == pid && status == 0;
    printf("%-20s %7.0f ms%s\n", name, now_ms() - start, ok ? "" : " FAILED");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    size_t bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 448) << 20;
    uint64_t x = 88172645463325252u;
    uint64_t *memory = (uint64_t *)memory_new(bytes);

    if (argc < 2 ||
        (size_t)snprintf(file, sizeof(file), "%s/migrate-floor", argv[1]) >= sizeof(file)) {
        fputs("migrate-floor FOLDER [MiB [ROUNDS]]\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < bytes / sizeof(x); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memory[i] = x;
    }
    for (int round = argc > 3 ? atoi(argv[3]) : 5; round > 0; round--) {
        int fd[2];

        if (pipe(fd) == 0) {
            fcntl(fd[1], F_SETPIPE_SZ, PIECE);
            measure("exec:cat>FILE", fd[0], fd[1], file_writer, (uint8_t *)memory, bytes);
            unlink(file);
        }
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0) {
            measure("unix:", fd[0], fd[1], receiver, (uint8_t *)memory, bytes);
        }
    }
    return 0;
}
