/*
 * The least that an exit of KVM costs on this host: a VM of one vCPU, whose user does nothing but
 * go in again. Takes a firmware image of 64 KiB; port reads answer 0, and each write to port 3F8H
 * is a byte on standard output. Beside it kvm-exits.py runs monitors of virtual machines.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define IMAGE_BYTES  0x10000
#define IDENTITY_MAP 0xfeffc000ul
#define TSS_ADDR     0xfeffd000ul
#define COM1         0x3f8

static int check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
    return result;
}

static void *image_read(const char *path)
{
    void *image =
        mmap(NULL, IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = check(open(path, O_RDONLY), path);

    check(image == MAP_FAILED ? -1 : 0, "mmap");
    check(read(fd, image, IMAGE_BYTES) == IMAGE_BYTES ? 0 : -1, "image of 64 KiB");
    close(fd);
    return image;
}

static int vm_new(int kvm, void *image)
{
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    unsigned long identity = IDENTITY_MAP;
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    struct kvm_userspace_memory_region region = {.guest_phys_addr = 0x100000000 - IMAGE_BYTES,
                                                 .memory_size = IMAGE_BYTES,
                                                 .userspace_addr = (unsigned long)image};

    check(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity), "KVM_SET_IDENTITY_MAP_ADDR");
    check(ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDR), "KVM_SET_TSS_ADDR");
    check(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    return vm;
}

static void vcpu_run(int vcpu, struct kvm_run *run)
{
    for (;;) {
        check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        if (run->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "exit for reason %u\n", run->exit_reason);
            exit(1);
        }
        if (run->io.direction == KVM_EXIT_IO_IN) {
            memset((char *)run + run->io.data_offset, 0, run->io.size);
        } else if (run->io.port == COM1) {
            check((int)write(1, (char *)run + run->io.data_offset, 1), "standard output");
        }
    }
}

int main(int argc, char **argv)
{
    int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
    int bytes = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    int vm = vm_new(kvm, image_read(argc > 1 ? argv[1] : ""));
    int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    void *run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

    check(run == MAP_FAILED ? -1 : 0, "mmap");
    vcpu_run(vcpu, run);
}
