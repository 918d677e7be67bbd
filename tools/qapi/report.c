/*
 * Complaints about the schema, collected so that several can be shown in one run.
 */
#include "report.h"

#include <string.h>

#include "source.h"

#define COMPLAINTS_MAX 100

struct complaint {
    struct place place;
    unsigned number;
    char *text;
};

struct report {
    GArray *complaints;
    unsigned count;
};

static void complaint_clear(void *data)
{
    g_free(((struct complaint *)data)->text);
}

struct report *report_new(void)
{
    struct report *report = g_new0(struct report, 1);

    report->complaints = g_array_new(FALSE, FALSE, sizeof(struct complaint));
    g_array_set_clear_func(report->complaints, complaint_clear);
    return report;
}

void report_free(struct report *report)
{
    if (report) {
        g_array_free(report->complaints, TRUE);
        g_free(report);
    }
}

void report_addv(struct report *report, struct place place, const char *format, va_list args)
{
    struct complaint c = {place, report->count++, NULL};

    if (report->complaints->len < COMPLAINTS_MAX) {
        c.text = g_strdup_vprintf(format, args);
        g_array_append_val(report->complaints, c);
    }
}

void report_add(struct report *report, struct place place, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report_addv(report, place, format, args);
    va_end(args);
}

bool report_is_empty(const struct report *report)
{
    return report->count == 0;
}

static int complaint_compare(const void *a, const void *b)
{
    const struct complaint *x = a, *y = b;

    if (x->place.source != y->place.source) {
        return x->place.source->number < y->place.source->number ? -1 : 1;
    }
    if (x->place.line != y->place.line) {
        return x->place.line < y->place.line ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

void report_print(const struct report *report, FILE *out)
{
    g_array_sort(report->complaints, complaint_compare);
    for (guint i = 0; i < report->complaints->len; i++) {
        const struct complaint *c = &g_array_index(report->complaints, struct complaint, i);

        fprintf(out, "%s:%u: %s\n", c->place.source->path, c->place.line, c->text);
    }
    if (report->count > report->complaints->len) {
        fprintf(out, "%u more errors are not shown\n", report->count - report->complaints->len);
    }
}
