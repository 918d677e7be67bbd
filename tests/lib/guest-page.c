/*
 * Runs in a Linux guest: tells the physical address of a page of its own, then reads it until it is
 * killed. With "sleep" it does so ten times a second.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    volatile char *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    int pagemap = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry = 0;

    page[0] = 1;
    if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) != 8) {
        perror("pagemap");
        return 1;
    }
    printf("page at 0x%llx\n", (unsigned long long)(entry & ((1ull << 55) - 1)) * 4096);
    fflush(stdout);
    while (page[0]) {
        if (argc > 1) {
            usleep(100000);
        }
    }
    puts("the page has changed");
    return 0;
}
