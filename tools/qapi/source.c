/*
 * Reading a schema's files. What is read here has been written by anybody: only regular files of
 * bounded size are taken, and only valid UTF-8.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOURCE_BYTES_MAX (16 * 1024 * 1024)

/* Returns what is wrong with the file, or NULL when it was read. */
static const char *file_read(const char *path, GByteArray *bytes)
{
    /* Without O_NONBLOCK, a FIFO would keep us waiting before fstat can refuse it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *wrong = NULL;
    struct stat st;

    if (fd < 0) {
        return g_strerror(errno);
    }
    if (fstat(fd, &st) < 0) {
        wrong = g_strerror(errno);
    } else if (!S_ISREG(st.st_mode)) {
        wrong = "not a regular file";
    }
    while (!wrong) {
        char buf[16384];
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n <= 0) {
            wrong = n < 0 ? g_strerror(errno) : NULL;
            break;
        }
        g_byte_array_append(bytes, (const guint8 *)buf, (guint)n);
        if (bytes->len > SOURCE_BYTES_MAX) {
            wrong = "larger than 16 MiB";
        }
    }
    close(fd);
    return wrong;
}

static unsigned line_of(const char *text, size_t offset)
{
    unsigned line = 1;

    for (size_t i = 0; i < offset; i++) {
        line += text[i] == '\n';
    }
    return line;
}

/* Says where the text holds bytes that no schema may hold. */
static bool text_check(const struct source *source, const char *text, size_t len,
                       struct report *report)
{
    const char *nul = memchr(text, '\0', len);
    const char *bad = NULL;

    if (nul) {
        report_add(report, (struct place){source, line_of(text, (size_t)(nul - text))},
                   "the file contains a NUL byte");
        return false;
    }
    if (!g_utf8_validate(text, (gssize)len, &bad)) {
        report_add(report, (struct place){source, line_of(text, (size_t)(bad - text))},
                   "the file is not valid UTF-8");
        return false;
    }
    return true;
}

struct source *source_load(struct pool *pool, struct report *report, const char *path,
                           unsigned number, struct place mentioned)
{
    struct source *source = pool_alloc(pool, sizeof(*source));
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    const char *wrong = file_read(path, bytes);
    const char *text;

    source->path = pool_strdup(pool, path);
    source->number = number;
    if (wrong) {
        if (!mentioned.source) {
            mentioned = (struct place){source, 1};
        }
        report_add(report, mentioned, "cannot read '%s': %s", path, wrong);
        return source;
    }
    text = pool_strndup(pool, bytes->len ? (const char *)bytes->data : "", bytes->len);
    if (text_check(source, text, bytes->len, report)) {
        source->text = text;
        source->len = bytes->len;
    }
    return source;
}
