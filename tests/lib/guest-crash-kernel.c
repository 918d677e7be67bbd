/*
 * Runs in a Linux guest: loads the kernel image given as the one to start when this kernel crashes
 * (kexec_file_load(2); memory for it must be reserved by crashkernel=).
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const char line[] = "console=ttyS0 quiet";
    int kernel = argc > 1 ? open(argv[1], O_RDONLY) : -1;

    if (syscall(SYS_kexec_file_load, kernel, -1, sizeof(line), line,
                KEXEC_FILE_ON_CRASH | KEXEC_FILE_NO_INITRAMFS) != 0) {
        perror("kexec_file_load");
        return 1;
    }
    return 0;
}
