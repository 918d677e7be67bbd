/*
 * A host whose KVM lacks capabilities: preloaded into the program under test, answers
 * KVM_CHECK_EXTENSION with 0 for the numbers in KVM_LACKS ("10,16"), and passes everything else on.
 */
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static int lacks(unsigned long capability)
{
    const char *at = getenv("KVM_LACKS");

    while (at && *at) {
        char *end;
        if (strtoul(at, &end, 10) == capability && end != at) {
            return 1;
        }
        at = *end == ',' ? end + 1 : NULL;
    }
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*next)(int, unsigned long, ...);
    va_list list;
    void *arg;

    va_start(list, request);
    arg = va_arg(list, void *);
    va_end(list);
    if (request == KVM_CHECK_EXTENSION && lacks((unsigned long)arg)) {
        return 0;
    }
    if (!next) {
        next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    }
    return next(fd, request, arg);
}
