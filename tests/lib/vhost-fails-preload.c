/*
 * A host whose vhost-net opens and takes everything, but in the end doesn't start: preloaded into
 * the program under test, answers for /dev/vhost-net, and passes everything else on.
 */
#undef _FILE_OFFSET_BITS /* open() and open64() are two */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

static int vhost = -1;

static int open_any(const char *name, const char *path, int flags, int mode)
{
    int (*next)(const char *, int, ...);

    if (strcmp(path, "/dev/vhost-net") == 0) {
        vhost = eventfd(0, EFD_CLOEXEC);
        return vhost;
    }
    *(void **)&next = dlsym(RTLD_NEXT, name);
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list list;
    int mode;

    va_start(list, flags);
    mode = va_arg(list, int);
    va_end(list);
    return open_any("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    int mode;

    va_start(list, flags);
    mode = va_arg(list, int);
    va_end(list);
    return open_any("open64", path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*next)(int, unsigned long, ...);
    va_list list;
    void *arg;

    va_start(list, request);
    arg = va_arg(list, void *);
    va_end(list);
    if (request == VHOST_GET_FEATURES) {
        *(uint64_t *)arg = ~0ull;
        return 0;
    }
    if (request == VHOST_NET_SET_BACKEND && ((struct vhost_vring_file *)arg)->fd >= 0) {
        errno = ENOBUFS;
        return -1;
    }
    if (request == VHOST_GET_VRING_BASE) {
        ((struct vhost_vring_state *)arg)->num = 0;
        return 0;
    }
    if (_IOC_TYPE(request) == VHOST_VIRTIO && vhost >= 0) {
        return 0;
    }
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "ioctl");
    }
    return next(fd, request, arg);
}
