/*
 * The log: one line per message, written with one call so that threads do not mix their lines.
 */
#include "base/log.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define GUEST_LINES_PER_SECOND 20

static struct {
    GMutex mutex;
    FILE *file; /* NULL: stderr */
    gint fd;    /* atomic: its descriptor */
    gint guest; /* atomic: log_guest() speaks */
    gint64 window_us;
    unsigned in_window, left_out;
    bool timestamp;
} logger = {.fd = STDERR_FILENO};

/* Mutex held. */
static void put_time(FILE *file)
{
    g_autoptr(GDateTime) now = logger.timestamp ? g_date_time_new_now_utc() : NULL;
    g_autofree char *text = now ? g_date_time_format(now, "%Y-%m-%dT%H:%M:%S") : NULL;

    if (text) {
        fprintf(file, "%s.%06dZ ", text, g_date_time_get_microsecond(now));
    }
}

static void log_line(const char *prefix, const char *fmt, va_list args) G_GNUC_PRINTF(2, 0);

static void log_line(const char *prefix, const char *fmt, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(fmt, args);
    FILE *file = logger.file ? logger.file : stderr;

    g_strchomp(text);
    put_time(file);
    fprintf(file, "godwit: %s%s\n", prefix, text);
    fflush(file);
}

#define LOG_WITH(prefix)                                                                           \
    do {                                                                                           \
        va_list args;                                                                              \
        va_start(args, fmt);                                                                       \
        g_mutex_lock(&logger.mutex);                                                               \
        log_line(prefix, fmt, args);                                                               \
        g_mutex_unlock(&logger.mutex);                                                             \
        va_end(args);                                                                              \
    } while (0)

void log_error(const char *fmt, ...)
{
    LOG_WITH("");
}

void log_warn(const char *fmt, ...)
{
    LOG_WITH("warning: ");
}

void log_info(const char *fmt, ...)
{
    LOG_WITH("info: ");
}

void log_from_signal(const char *text, size_t length)
{
    if (write(g_atomic_int_get(&logger.fd), text, length) < 0) {
        return; /* there is nobody to tell */
    }
}

/* True when the guest may have one more line in this second. Mutex held. */
static bool guest_line_allowed(void)
{
    gint64 now_us = g_get_monotonic_time();

    if (now_us - logger.window_us >= G_USEC_PER_SEC) {
        if (logger.left_out) {
            put_time(logger.file ? logger.file : stderr);
            fprintf(logger.file ? logger.file : stderr,
                    "godwit: guest: (%u more messages left out)\n", logger.left_out);
        }
        logger.window_us = now_us;
        logger.in_window = 0;
        logger.left_out = 0;
    }
    if (logger.in_window >= GUEST_LINES_PER_SECOND) {
        logger.left_out++;
        return false;
    }
    logger.in_window++;
    return true;
}

void log_guest(const char *fmt, ...)
{
    va_list args;

    if (!g_atomic_int_get(&logger.guest)) {
        return;
    }
    va_start(args, fmt);
    g_mutex_lock(&logger.mutex);
    if (guest_line_allowed()) {
        log_line("guest: ", fmt, args);
    }
    g_mutex_unlock(&logger.mutex);
    va_end(args);
}

void log_guest_enable(bool on)
{
    g_atomic_int_set(&logger.guest, on);
}

void log_set_file(FILE *file)
{
    g_mutex_lock(&logger.mutex);
    logger.file = file;
    g_atomic_int_set(&logger.fd, file ? fileno(file) : STDERR_FILENO);
    g_mutex_unlock(&logger.mutex);
}

void log_set_timestamp(bool on)
{
    g_mutex_lock(&logger.mutex);
    logger.timestamp = on;
    g_mutex_unlock(&logger.mutex);
}
