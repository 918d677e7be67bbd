/* See snapshot-file.h; the layout is snapshot-image.h's. */
#include "migration/snapshot-file.h"

#include "base/threads.h"
#include "migration/migration.h"
#include "migration/snapshot-image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Memory that is zero is left out in pieces of this size. */
#define HOLE_BYTES 65536u

static bool fail(GError **error, const char *path, const char *what)
{
    g_set_error(error, SNAPSHOT_ERROR, errno, "snapshot '%s': %s: %s", path, what,
                g_strerror(errno));
    return false;
}

/* ---- saving */

struct output {
    int fd;
    const char *path;
};

static bool output_write(void *opaque, uint64_t offset, const void *data, uint64_t bytes,
                         GError **error)
{
    const struct output *out = opaque;
    const uint8_t *p = data;

    while (bytes > 0) {
        ssize_t n = pwrite(out->fd, p, MIN(bytes, 1u << 30), (off_t)offset);

        if (n < 0 && errno != EINTR) {
            return fail(error, out->path, "cannot write");
        }
        if (n > 0) {
            p += n;
            offset += (uint64_t)n;
            bytes -= (uint64_t)n;
        }
    }
    return true;
}

static bool write_file(struct machine *m, const char *path, int fd, GError **error)
{
    struct output out = {fd, path};
    const struct snapshot_sink sink = {HOLE_BYTES, output_write, &out};
    uint64_t bytes;

    if (!snapshot_image_write(m, &sink, &bytes, error)) {
        return false;
    }
    if (ftruncate(fd, (off_t)bytes) < 0) {
        return fail(error, path, "cannot set its length");
    }
    return fsync(fd) == 0 || fail(error, path, "cannot write");
}

/* The file takes the place of an older one, not that of a device or a pipe. */
static bool may_replace(const char *path, GError **error)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return fail(error, path, "is no regular file");
    }
    return true;
}

static bool save(struct machine *m, const char *path, GError **error)
{
    g_autofree char *partial = g_strdup_printf("%s.partial", path);
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok;

    if (fd < 0) {
        return fail(error, path, "cannot be created");
    }
    ok = write_file(m, path, fd, error);
    if (close(fd) < 0 && ok) {
        ok = fail(error, path, "cannot write");
    }
    if (ok && rename(partial, path) < 0) {
        ok = fail(error, path, "cannot get its name");
    }
    if (!ok) {
        unlink(partial);
    }
    return ok;
}

bool snapshot_file_save(struct machine *m, const char *path, GError **error)
{
    bool resume = runstate_is_running(m->run), ok;
    struct thread_doing outer;
    const char *why = runstate_get(m->run) == RUN_STATE_INMIGRATE
                          ? "Guest is waiting for an incoming migration"
                          : migration_forbids_snapshot(m);

    if (why) {
        g_set_error_literal(error, SNAPSHOT_ERROR, 0, why);
        return false;
    }
    if (!may_replace(path, error)) {
        return false;
    }
    thread_doing_begin(&outer, "snapshot", "file");
    vm_stop(m, RUN_STATE_SAVE_VM);
    ok = save(m, path, error);
    if (resume) {
        vm_start(m, NULL);
    }
    thread_doing_end(&outer);
    return ok;
}

/* ---- restoring */

static bool input_read(void *opaque, uint64_t offset, void *data, uint64_t bytes, GError **error)
{
    const struct output *in = opaque;
    uint8_t *p = data;

    while (bytes > 0) {
        ssize_t n = pread(in->fd, p, bytes, (off_t)offset);

        if (n == 0) {
            errno = ENODATA;
        }
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return fail(error, in->path, "cannot read");
        }
        if (n > 0) {
            p += n;
            offset += (uint64_t)n;
            bytes -= (uint64_t)n;
        }
    }
    return true;
}

static bool map_memory(const struct snapshot_image *image, int fd, GError **error)
{
    struct ram_block *block;
    uint64_t offset;

    for (unsigned i = 0; snapshot_image_block(image, i, &block, &offset); i++) {
        if (!ram_block_map_file(block, fd, offset, error)) {
            return false;
        }
    }
    return true;
}

static bool restore(struct machine *m, const char *path, int fd, GError **error)
{
    struct output in = {fd, path};
    struct snapshot_source source = {.read = input_read, .opaque = &in};
    struct snapshot_image *image;
    enum run_state saved;
    struct stat st;
    bool ok;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return fail(error, path, "is no regular file");
    }
    source.bytes = (uint64_t)st.st_size;
    image = snapshot_image_open(m, &source, error);
    ok = image && map_memory(image, fd, error) &&
         snapshot_image_load(m, image, false, &saved, error);
    snapshot_image_free(image);
    if (ok && saved == RUN_STATE_SUSPENDED) {
        machine_request_suspend(m);
    }
    return ok;
}

bool snapshot_file_restore(struct machine *m, const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0) {
        return fail(error, path, "cannot be opened");
    }
    ok = restore(m, path, fd, error);
    close(fd); /* the mappings keep the file */
    return ok;
}
