/*
 * The journal of events (see journal.h): a ring of references by number, and the log file.
 *
 * A line of the file is complete when the event reaches a client, for it is handed to the kernel
 * first: what a client saw is in the file, however the process ends.
 */
#include "monitor/journal.h"

#include "base/log.h"
#include "qapi-events.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Lines that wait for a file that takes none; more are left out of it. */
#define LOG_PENDING_MAX_BYTES (256u << 10)

struct journal {
    struct event_line **ring; /* by number modulo max_events */
    unsigned max_events;
    size_t max_bytes, bytes;
    int64_t first, next;
    char boot_id[37];

    int fd;             /* -1: no file */
    GMutex write_mutex; /* who writes to the file */
    GMutex log_mutex;   /* guards pending and lost; never held while writing */
    GString *pending;
    unsigned lost;
    bool failing; /* write_mutex */
};

struct event_line *event_line_ref(struct event_line *line)
{
    return g_atomic_rc_box_acquire(line);
}

void event_line_unref(struct event_line *line)
{
    g_atomic_rc_box_release(line);
}

struct journal *journal_new(unsigned max_events, size_t max_bytes)
{
    struct journal *j = g_new0(struct journal, 1);
    g_autofree char *uuid = g_uuid_string_random();

    j->ring = g_new0(struct event_line *, max_events);
    j->max_events = max_events;
    j->max_bytes = max_bytes;
    j->first = 1;
    j->next = 1;
    g_strlcpy(j->boot_id, uuid, sizeof(j->boot_id));
    j->fd = -1;
    g_mutex_init(&j->write_mutex);
    g_mutex_init(&j->log_mutex);
    j->pending = g_string_new(NULL);
    return j;
}

static struct event_line **journal_slot(const struct journal *j, int64_t seq)
{
    return &j->ring[seq % j->max_events];
}

static size_t line_cost(const struct event_line *line)
{
    return sizeof(*line) + line->length + 1;
}

static void drop_first(struct journal *j)
{
    struct event_line **slot = journal_slot(j, j->first++);

    j->bytes -= line_cost(*slot);
    event_line_unref(g_steal_pointer(slot));
}

void journal_free(struct journal *j)
{
    if (!j) {
        return;
    }
    journal_write_log(j, true);
    while (j->first < j->next) {
        drop_first(j);
    }
    if (j->fd >= 0) {
        close(j->fd);
    }
    g_mutex_clear(&j->write_mutex);
    g_mutex_clear(&j->log_mutex);
    g_string_free(j->pending, TRUE);
    g_free(j->ring);
    g_free(j);
}

const char *journal_boot_id(const struct journal *j)
{
    return j->boot_id;
}

int64_t journal_first(const struct journal *j)
{
    return j->first;
}

int64_t journal_next(const struct journal *j)
{
    return j->next;
}

/* ---- adding */

/* What every client gets, less the closing brace. */
static void append_event(GString *out, const char *name, const char *data_json, int64_t now_us)
{
    g_string_append_printf(out,
                           "{\"timestamp\": {\"seconds\": %" G_GINT64_FORMAT
                           ", \"microseconds\": %" G_GINT64_FORMAT "}, \"event\": \"%s\"",
                           now_us / G_USEC_PER_SEC, now_us % G_USEC_PER_SEC, name);
    if (data_json) {
        g_string_append(out, ", \"data\": ");
        g_string_append(out, data_json);
    }
}

static void append_own_members(GString *out, const char *boot_id, int64_t seq)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    g_string_append_printf(out,
                           ", \"seq\": %" G_GINT64_FORMAT ", \"boot-id\": \"%s\""
                           ", \"monotonic-ns\": %" G_GINT64_FORMAT,
                           seq, boot_id, (gint64)now.tv_sec * 1000000000 + now.tv_nsec);
}

GString *journal_unkept_event(const char *boot_id, int64_t seq, unsigned event,
                              const char *data_json)
{
    GString *text = g_string_sized_new(256);

    append_event(text, qapi_event_str((enum qapi_event)event), data_json, g_get_real_time());
    append_own_members(text, boot_id, seq);
    g_string_append(text, "}\r\n");
    return text;
}

static struct event_line *make_line(const struct journal *j, unsigned event, const char *data_json,
                                    const char *cause_json)
{
    g_autoptr(GString) text = g_string_sized_new(384);
    struct event_line *line;
    size_t plain_length;

    append_event(text, qapi_event_str((enum qapi_event)event), data_json, g_get_real_time());
    plain_length = text->len;
    append_own_members(text, j->boot_id, j->next);
    if (cause_json) {
        g_string_append(text, ", \"cause\": ");
        g_string_append(text, cause_json);
    }
    g_string_append(text, "}\r\n");

    line = g_atomic_rc_box_alloc(sizeof(*line) + text->len + 1);
    line->name = qapi_event_str((enum qapi_event)event);
    line->id = event;
    line->seq = j->next;
    line->plain_length = plain_length;
    line->length = text->len;
    memcpy(line->text, text->str, text->len + 1);
    return line;
}

static void log_add(struct journal *j, const struct event_line *line)
{
    g_mutex_lock(&j->log_mutex);
    if (j->pending->len + line->length > LOG_PENDING_MAX_BYTES) {
        j->lost++;
    } else {
        g_string_append_len(j->pending, line->text, (gssize)line->length - 2);
        g_string_append_c(j->pending, '\n');
    }
    g_mutex_unlock(&j->log_mutex);
}

struct event_line *journal_add(struct journal *j, unsigned event, const char *data_json,
                               const char *cause_json)
{
    struct event_line *line = make_line(j, event, data_json, cause_json);

    while (j->first < j->next && (j->next - j->first >= (int64_t)j->max_events ||
                                  j->bytes + line_cost(line) > j->max_bytes)) {
        drop_first(j);
    }
    *journal_slot(j, j->next++) = event_line_ref(line);
    j->bytes += line_cost(line);
    if (j->fd >= 0) {
        log_add(j, line);
    }
    return line;
}

GPtrArray *journal_since(const struct journal *j, int64_t since)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func((GDestroyNotify)event_line_unref);

    for (int64_t seq = MAX(since, j->first); seq < j->next; seq++) {
        g_ptr_array_add(lines, event_line_ref(*journal_slot(j, seq)));
    }
    return lines;
}

/* ---- the file */

/* A line that a crash of the host cut off must not swallow the first of ours. */
static bool ends_in_line(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    char last = '\n';

    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
        pread(fd, &last, 1, st.st_size - 1) != 1) {
        last = '\n';
    }
    close(fd);
    return last != '\n';
}

bool journal_open_log(struct journal *j, const char *path, GError **error)
{
    bool cut_off = ends_in_line(path);

    /* Without waiting for a pipe's reader, now and later. */
    j->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
    if (j->fd < 0) {
        g_set_error(error, G_FILE_ERROR, (gint)g_file_error_from_errno(errno),
                    "-event-log: cannot open '%s': %s", path, strerror(errno));
        return false;
    }
    if (cut_off) {
        g_string_append_c(j->pending, '\n');
    }
    return true;
}

/* write_mutex held. Returns whether text was written whole; if not, it holds the rest. */
static bool write_text(struct journal *j, GString *text)
{
    while (text->len) {
        ssize_t n = write(j->fd, text->str, text->len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            if (!j->failing) {
                log_warn("event log: %s; events wait for the next try", strerror(errno));
            }
            j->failing = true;
            return false;
        }
        g_string_erase(text, 0, n);
    }
    j->failing = false;
    return true;
}

/* Takes what waits; NULL when nothing does. */
static GString *take_pending(struct journal *j)
{
    GString *text = NULL;

    g_mutex_lock(&j->log_mutex);
    if (j->pending->len) {
        text = g_steal_pointer(&j->pending);
        j->pending = g_string_new(NULL);
    }
    g_mutex_unlock(&j->log_mutex);
    return text;
}

/* Gives back the rest of what was taken. */
static void untake_pending(struct journal *j, const GString *rest)
{
    g_mutex_lock(&j->log_mutex);
    g_string_prepend_len(j->pending, rest->str, (gssize)rest->len);
    g_mutex_unlock(&j->log_mutex);
}

static void tell_lost(struct journal *j)
{
    unsigned lost;

    g_mutex_lock(&j->log_mutex);
    lost = j->lost;
    j->lost = 0;
    g_mutex_unlock(&j->log_mutex);
    if (lost) {
        log_warn("event log: %u events are missing in it", lost);
    }
}

/* write_mutex held. false when the file takes no more. */
static bool write_pending(struct journal *j)
{
    GString *text;
    bool ok = true;

    while (ok && (text = take_pending(j))) {
        ok = write_text(j, text);
        if (!ok) {
            untake_pending(j, text);
        }
        g_string_free(text, TRUE);
    }
    if (ok) {
        tell_lost(j);
    }
    return ok;
}

static bool has_pending(struct journal *j)
{
    bool some;

    g_mutex_lock(&j->log_mutex);
    some = j->pending->len > 0;
    g_mutex_unlock(&j->log_mutex);
    return some;
}

void journal_write_log(struct journal *j, bool may_wait)
{
    bool ok = j->fd >= 0;

    if (ok && may_wait) {
        g_mutex_lock(&j->write_mutex);
        ok = write_pending(j);
        g_mutex_unlock(&j->write_mutex);
    }
    /* Who finds the file taken goes away; so whoever gave it back looks again. */
    while (ok && has_pending(j) && g_mutex_trylock(&j->write_mutex)) {
        ok = write_pending(j);
        g_mutex_unlock(&j->write_mutex);
    }
}
