/*
 * Recording (see blackbox.h): the notes that wait, the records that are kept, and their files. What
 * is in a record is capture.c's business.
 *
 * A guest can fail as often as it likes, so there is a bound on all of this: a bucket of tokens
 * that fills by one a second, four records in memory, sixteen files.
 */
#include "machine/blackbox.h"

#include "base/log.h"
#include "machine/capture.h"
#include "machine/machine-priv.h"
#include "qapi-events.h"
#include "qapi-visit.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define TOKENS_MAX  4
#define RECORDS_MAX 4
#define FILES_MAX   16

struct note {
    enum godwit_black_box_trigger trigger;
    struct vcpu *vcpu;
    char *text;
    struct guest_panic_information *info;
    struct cause *cause;
    int64_t time_us; /* wall clock */
};

struct blackbox {
    char *dir;               /* NULL: no files */
    struct symbols *symbols; /* NULL: none */
    GMutex mutex;            /* guards the rest; never held while calling out */
    struct note notes[TOKENS_MAX];
    unsigned n_notes, tokens;
    int64_t filled_us; /* monotonic: when the last token came */
    int64_t recorded, skipped;
    struct godwit_black_box *records[RECORDS_MAX]; /* by number modulo their count */
};

static bool dir_check(const char *dir, GError **error)
{
    if (!g_file_test(dir, G_FILE_TEST_IS_DIR)) {
        g_set_error(error, MACHINE_ERROR, 0, "black box: '%s' is not a folder", dir);
        return false;
    }
    if (access(dir, W_OK | X_OK) != 0) {
        g_set_error(error, MACHINE_ERROR, 0, "black box: cannot write to '%s': %s", dir,
                    g_strerror(errno));
        return false;
    }
    return true;
}

struct blackbox *blackbox_new(const char *dir, const char *symbols, GError **error)
{
    struct blackbox *box = g_new0(struct blackbox, 1);

    g_mutex_init(&box->mutex);
    box->dir = dir ? g_canonicalize_filename(dir, NULL) : NULL; /* -daemonize leaves the folder */
    box->tokens = TOKENS_MAX;
    if ((dir && !dir_check(dir, error)) ||
        (symbols && !(box->symbols = symbols_load(symbols, error)))) {
        blackbox_free(box);
        return NULL;
    }
    return box;
}

static void note_clear(struct note *note)
{
    g_free(note->text);
    guest_panic_information_free(note->info);
    cause_unref(note->cause);
}

void blackbox_free(struct blackbox *box)
{
    if (!box) {
        return;
    }
    for (unsigned i = 0; i < box->n_notes; i++) {
        note_clear(&box->notes[i]);
    }
    for (unsigned i = 0; i < RECORDS_MAX; i++) {
        godwit_black_box_free(box->records[i]);
    }
    symbols_free(box->symbols);
    g_mutex_clear(&box->mutex);
    g_free(box->dir);
    g_free(box);
}

/* ---- notes */

static bool take_token(struct blackbox *box)
{
    int64_t now = g_get_monotonic_time();
    int64_t new = (now - box->filled_us) / G_USEC_PER_SEC;

    if (new > 0) {
        box->tokens = (unsigned)MIN(TOKENS_MAX, box->tokens + new);
        box->filled_us = now;
    }
    if (box->tokens == 0 || box->n_notes == TOKENS_MAX) {
        box->skipped++;
        return false;
    }
    box->tokens--;
    return true;
}

void machine_note_failure(struct machine *m, enum godwit_black_box_trigger trigger,
                          struct vcpu *vcpu, const char *text,
                          const struct guest_panic_information *info)
{
    struct blackbox *box = m->blackbox;
    struct note note = {
        .trigger = trigger,
        .vcpu = vcpu,
        .text = g_strdup(text),
        .info = info ? guest_panic_information_clone(info) : NULL,
        .cause = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "black box"),
        .time_us = g_get_real_time(),
    };
    bool taken;

    g_mutex_lock(&box->mutex);
    taken = take_token(box);
    if (taken) {
        box->notes[box->n_notes++] = note;
    }
    g_mutex_unlock(&box->mutex);
    if (taken) {
        machine_request_record(m);
    } else {
        note_clear(&note);
    }
}

/* ---- records */

static char *file_path(const struct blackbox *box, int64_t number)
{
    return g_strdup_printf("%s/black-box-%ld-%" G_GINT64_FORMAT ".json", box->dir, (long)getpid(),
                           number);
}

/* The file appears complete or not at all; the oldest makes room. */
static char *file_write(const struct blackbox *box, const struct godwit_black_box *record,
                        GError **error)
{
    g_autofree char *path = file_path(box, record->number);
    g_autoptr(GString) text = g_string_sized_new(65536);

    godwit_black_box_to_json(record, text);
    g_string_append_c(text, '\n');
    if (!g_file_set_contents_full(path, text->str, (gssize)text->len,
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0600, error)) {
        return NULL;
    }
    if (record->number > FILES_MAX) {
        g_autofree char *old = file_path(box, record->number - FILES_MAX);

        g_unlink(old);
    }
    return g_steal_pointer(&path);
}

static void keep(struct blackbox *box, struct godwit_black_box *record)
{
    struct godwit_black_box **slot = &box->records[record->number % RECORDS_MAX], *old;

    g_mutex_lock(&box->mutex);
    old = *slot;
    *slot = record;
    box->recorded = record->number;
    g_mutex_unlock(&box->mutex);
    godwit_black_box_free(old);
}

static void record_note(struct machine *m, struct note *note)
{
    struct blackbox *box = m->blackbox;
    struct godwit_black_box *record = capture_new(m, box->symbols);
    g_autoptr(GError) error = NULL;
    g_autofree char *file = NULL;

    record->number = box->recorded + 1;
    record->trigger = note->trigger;
    record->timestamp = cause_timestamp(note->time_us);
    record->has_vcpu = note->vcpu != NULL;
    record->vcpu = note->vcpu ? note->vcpu->index : 0;
    record->text = g_steal_pointer(&note->text);
    record->cause = cause_info(note->cause);
    record->info = g_steal_pointer(&note->info);
    if (box->dir) {
        file = file_write(box, record, &error);
        if (error) {
            log_error("black box: %s", error->message);
        }
    }
    keep(box, record);
    qapi_event_send_godwit_black_box(m->events, record->number, record->trigger, record->has_vcpu,
                                     record->vcpu, file, error ? error->message : NULL);
}

void blackbox_record(struct machine *m)
{
    struct blackbox *box = m->blackbox;
    struct note notes[TOKENS_MAX];
    unsigned n;

    g_mutex_lock(&box->mutex);
    n = box->n_notes;
    memcpy(notes, box->notes, sizeof(notes));
    box->n_notes = 0;
    g_mutex_unlock(&box->mutex);
    for (unsigned i = 0; i < n; i++) {
        struct cause_scope scope;

        cause_enter(m, &scope, cause_ref(notes[i].cause));
        record_note(m, &notes[i]);
        if (m->on_failure) {
            m->on_failure(m->on_failure_opaque, notes[i].trigger);
        }
        cause_leave(m, &scope);
        note_clear(&notes[i]);
    }
}

struct godwit_black_boxes *blackbox_query(struct blackbox *box)
{
    struct godwit_black_boxes *all = g_new0(struct godwit_black_boxes, 1);

    all->records = godwit_black_box_list_new();
    g_mutex_lock(&box->mutex);
    all->recorded = box->recorded;
    all->skipped = box->skipped;
    for (int64_t n = box->recorded; n > 0 && n > box->recorded - RECORDS_MAX; n--) {
        godwit_black_box_list_append(all->records,
                                     godwit_black_box_clone(box->records[n % RECORDS_MAX]));
    }
    g_mutex_unlock(&box->mutex);
    return all;
}
