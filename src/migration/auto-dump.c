/* See auto-dump.h. */
#include "migration/auto-dump.h"

#include "base/log.h"
#include "base/threads.h"
#include "migration/dump.h"
#include "qapi/params.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define PREFIX       "auto-dump-"
#define PARTIAL      ".partial"
#define ABANDONED_S  60 /* it takes less from a file's birth to its lock */
#define KEEP_DEFAULT 4
#define KEEP_MAX     10000

struct auto_dump {
    struct machine *m;
    char *dir;
    enum dump_guest_memory_format format;
    uint64_t keep;
};

/* ---- files */

struct old_file {
    char *path;
    int64_t time_ns;
};

static void old_file_clear(gpointer data)
{
    g_free(((struct old_file *)data)->path);
}

static gint newest_first(gconstpointer a, gconstpointer b)
{
    const struct old_file *x = a, *y = b;

    return x->time_ns > y->time_ns ? -1 : x->time_ns < y->time_ns;
}

static GArray *list_files(const struct auto_dump *a)
{
    GArray *files = g_array_new(FALSE, FALSE, sizeof(struct old_file));
    GDir *dir = g_dir_open(a->dir, 0, NULL);
    const char *name;

    g_array_set_clear_func(files, old_file_clear);
    while (dir && (name = g_dir_read_name(dir))) {
        struct old_file file = {.path = g_build_filename(a->dir, name, NULL)};
        GStatBuf st;

        if (g_str_has_prefix(name, PREFIX) && !g_str_has_suffix(name, PARTIAL) &&
            g_stat(file.path, &st) == 0 && S_ISREG(st.st_mode)) {
            file.time_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
            g_array_append_val(files, file);
        } else {
            g_free(file.path);
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_array_sort(files, newest_first);
    return files;
}

static void remove_old(void *opaque)
{
    const struct auto_dump *a = opaque;
    g_autoptr(GArray) files = list_files(a);

    for (guint i = (guint)MIN(a->keep, files->len); i < files->len; i++) {
        g_unlink(g_array_index(files, struct old_file, i).path);
    }
}

/* Whoever writes such a file has it locked. */
static void remove_if_abandoned(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        return;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_mtim.tv_sec < g_get_real_time() / G_USEC_PER_SEC - ABANDONED_S &&
        flock(fd, LOCK_EX | LOCK_NB) == 0) {
        g_unlink(path);
    }
    close(fd);
}

/* What processes have left behind that were killed meanwhile is as large as a dump. */
static void remove_abandoned(const struct auto_dump *a)
{
    GDir *dir = g_dir_open(a->dir, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        if (g_str_has_prefix(name, PREFIX) && g_str_has_suffix(name, PARTIAL)) {
            g_autofree char *path = g_build_filename(a->dir, name, NULL);

            remove_if_abandoned(path);
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
}

/* By the time of day, so that names of several processes sort. */
static char *new_path(const struct auto_dump *a)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y%m%d-%H%M%S");
    const char *suffix = a->format == DUMP_GUEST_MEMORY_FORMAT_ELF ? "elf" : "kdump";

    return g_strdup_printf("%s/" PREFIX "%s.%06d-%ld.%s", a->dir, time,
                           g_date_time_get_microsecond(now), (long)getpid(), suffix);
}

/* ---- when the guest fails */

static bool is_cause(enum godwit_black_box_trigger trigger)
{
    return trigger == GODWIT_BLACK_BOX_TRIGGER_PANIC ||
           trigger == GODWIT_BLACK_BOX_TRIGGER_WATCHDOG ||
           trigger == GODWIT_BLACK_BOX_TRIGGER_INTERNAL_ERROR;
}

static void failed(void *opaque, enum godwit_black_box_trigger trigger)
{
    struct auto_dump *a = opaque;
    struct machine *m = a->m;
    const struct dump_options options = {.format = a->format};
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    struct thread_doing outer;

    if (!is_cause(trigger)) {
        return;
    }
    if (machine_frozen(m)) {
        log_warn("auto-dump: %s", machine_frozen(m));
        return;
    }
    thread_doing_begin(&outer, "auto-dump", NULL);
    machine_still_begin(m);
    remove_abandoned(a);
    path = new_path(a);
    if (dump_to_file(m, &options, path, remove_old, a, &error)) {
        log_info("auto-dump: %s", path);
    } else {
        log_error("auto-dump: %s", error->message);
    }
    machine_still_end(m);
    thread_doing_end(&outer);
}

/* ---- the option */

static bool take_format(const char *text, enum dump_guest_memory_format *format, GError **error)
{
    *format = DUMP_GUEST_MEMORY_FORMAT_ELF;
    if (!text || (dump_guest_memory_format_parse(text, format) && dump_format_available(*format))) {
        return true;
    }
    g_set_error(error, DUMP_ERROR, 0, "format '%s' cannot be written; elf and kdump-zlib can",
                text);
    return false;
}

static bool check_dir(const char *dir, GError **error)
{
    if (!dir || !g_file_test(dir, G_FILE_TEST_IS_DIR)) {
        g_set_error(error, DUMP_ERROR, 0, "'%s' is not a folder", dir ? dir : "");
        return false;
    }
    if (access(dir, W_OK | X_OK) != 0) {
        g_set_error(error, DUMP_ERROR, 0, "cannot write to '%s': %s", dir, g_strerror(errno));
        return false;
    }
    return true;
}

static bool take_options(struct auto_dump *a, struct params *p, GError **error)
{
    const char *dir = params_take(p, "dir");

    a->keep = KEEP_DEFAULT;
    a->dir = dir ? g_canonicalize_filename(dir, NULL) : NULL; /* -daemonize leaves the folder */
    return check_dir(a->dir, error) && take_format(params_take(p, "format"), &a->format, error) &&
           params_take_uint(p, "keep", 1, KEEP_MAX, &a->keep, error) && params_end(p, error);
}

static void auto_dump_free(struct auto_dump *a)
{
    g_free(a->dir);
    g_free(a);
}

bool auto_dump_enable(struct machine *m, const char *text, GError **error)
{
    struct params *p = params_parse_keyval(text, "dir", error);
    struct auto_dump *a;

    if (!p) {
        return false;
    }
    a = g_new0(struct auto_dump, 1);
    a->m = m;
    if (!take_options(a, p, error)) {
        auto_dump_free(a);
        params_free(p);
        return false;
    }
    params_free(p);
    m->on_failure = failed;
    m->on_failure_opaque = a;
    return true;
}

void auto_dump_disable(struct machine *m)
{
    if (m->on_failure == failed) {
        m->on_failure = NULL;
        auto_dump_free(m->on_failure_opaque);
    }
}
