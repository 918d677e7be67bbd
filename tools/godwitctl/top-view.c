/*
 * The picture of the live view: see top-view.h. From the top: who; the state with its neighbours in
 * the state diagram; the time line of states; vCPUs; the last events. In few rows the lower parts
 * share what is left.
 */
#include "top-view.h"

#include "output.h"
#include "runstates.h"

#include <string.h>

#define DIAGRAM_ROWS_MAX 3 /* of names on either side */
#define VCPU_ROWS_MIN    2
#define EVENT_ROWS_MIN   3

struct frame {
    GString *out;
    const struct top_size *size;
    unsigned row, column;
};

static bool frame_full(const struct frame *frame)
{
    return frame->size->rows && frame->row >= frame->size->rows;
}

static unsigned char_width(gunichar c)
{
    return g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
}

/* Adds text to the line as far as it has room. */
static void frame_text(struct frame *frame, enum style style, const char *text)
{
    const char *end = text;
    unsigned width = 0, room = frame->size->columns - frame->column;
    while (*end && width + char_width(g_utf8_get_char(end)) <= room) {
        width += char_width(g_utf8_get_char(end));
        end = g_utf8_next_char(end);
    }
    if (end == text || frame_full(frame)) {
        return;
    }
    g_autofree char *part = g_strndup(text, (gsize)(end - text));
    text_append(frame->out, frame->size->colour, style, part);
    frame->column += width;
}

G_GNUC_PRINTF(3, 4)
static void frame_printf(struct frame *frame, enum style style, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    frame_text(frame, style, text);
}

static void frame_pad(struct frame *frame, unsigned column)
{
    while (frame->column < MIN(column, frame->size->columns) && !frame_full(frame)) {
        g_string_append_c(frame->out, ' ');
        frame->column++;
    }
}

static void frame_newline(struct frame *frame)
{
    if (frame_full(frame)) {
        return;
    }
    frame->row++;
    frame->column = 0;
    if (!frame_full(frame)) { /* a newline behind the last row would scroll */
        g_string_append_c(frame->out, '\n');
    }
}

static void frame_title(struct frame *frame, const char *title)
{
    frame_text(frame, STYLE_BOLD, title);
}

/* "3:05" or "2:03:05". */
static char *duration_text(int64_t us)
{
    int64_t seconds = us / G_USEC_PER_SEC;
    if (seconds >= 3600) {
        return g_strdup_printf("%" G_GINT64_FORMAT ":%02d:%02d", seconds / 3600,
                               (int)(seconds / 60 % 60), (int)(seconds % 60));
    }
    return g_strdup_printf("%d:%02d", (int)(seconds / 60), (int)(seconds % 60));
}

static const struct top_change *change_at(const struct top_model *model, guint i)
{
    return &g_array_index(model->changes, struct top_change, i);
}

static const char *present_state(const struct top_model *model)
{
    return model->changes->len ? change_at(model, model->changes->len - 1)->state : "unknown";
}

/* The state before the present one; NULL when none was seen. */
static const char *former_state(const struct top_model *model)
{
    return model->changes->len > 1 ? change_at(model, model->changes->len - 2)->state : NULL;
}

static void draw_head(struct frame *frame, const struct top_model *model)
{
    frame_text(frame, STYLE_BOLD, *model->name ? model->name : "machine");
    frame_printf(frame, STYLE_DIM, "  %s", model->server);
    frame_newline(frame);
}

static void draw_state(struct frame *frame, const struct top_model *model)
{
    const struct runstate_info *info = runstate_find(present_state(model));
    guint n = model->changes->len;
    g_autofree char *since = duration_text(n ? model->now_us - change_at(model, n - 1)->at_us : 0);
    g_autofree char *state = text_safe(present_state(model), false);
    frame_title(frame, "State  ");
    frame_text(frame, info ? info->style : STYLE_BOLD, state);
    frame_printf(frame, STYLE_PLAIN, " %s%s", n > 1 || model->knows_past ? "for " : "for at least ",
                 since);
    if (info) {
        frame_printf(frame, STYLE_DIM, "  %s", info->meaning);
    }
    frame_newline(frame);
}

/* Names in lines of at most width columns, at most rows of them; elements are char *. */
static GPtrArray *wrap_names(char **names, unsigned width, unsigned rows)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    GString *line = g_string_new(NULL);
    for (unsigned i = 0; names[i]; i++) {
        if (line->len && line->len + 1 + strlen(names[i]) > width) {
            g_ptr_array_add(lines, g_string_free(line, FALSE));
            line = g_string_new(NULL);
        }
        g_string_append_printf(line, "%s%s", line->len ? " " : "", names[i]);
    }
    g_ptr_array_add(lines, g_string_free(line, FALSE));
    if (lines->len > rows) {
        g_ptr_array_set_size(lines, (int)rows);
    }
    return lines;
}

/* The states from which info may be reached, separated by spaces. */
static char **predecessors(const struct runstate_info *info)
{
    GPtrArray *names = g_ptr_array_new();
    for (size_t i = 0; i < runstates_n; i++) {
        if (runstate_may(&runstates[i], info->name)) {
            g_ptr_array_add(names, g_strdup(runstates[i].name));
        }
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

/* A line of names, each in the style of its state; marked: the one that was left last. */
static void draw_names(struct frame *frame, const char *line, const char *marked)
{
    g_auto(GStrv) names = g_strsplit(line, " ", -1);
    for (unsigned i = 0; names[i]; i++) {
        bool is_marked = marked && strcmp(names[i], marked) == 0;
        frame_text(frame, STYLE_PLAIN, i ? " " : "");
        frame_text(frame, is_marked ? STYLE_MARK : STYLE_DIM, names[i]);
    }
}

static char *repeat(const char *text, unsigned times)
{
    GString *out = g_string_new(NULL);
    while (times-- > 0) {
        g_string_append(out, text);
    }
    return g_string_free(out, FALSE);
}

/* The present state in its box, an arrow, and the states that may follow. */
static void draw_box(struct frame *frame, const struct runstate_info *info)
{
    bool utf8 = frame->size->utf8;
    unsigned box = (unsigned)strlen(info->name) + 4;
    unsigned names_column = 7 + box + 5;
    unsigned columns = frame->size->columns;
    g_autofree char *rule = repeat(utf8 ? "─" : "-", box - 2);
    g_auto(GStrv) next = g_strsplit(info->next, " ", -1);
    g_autoptr(GPtrArray) lines =
        wrap_names(next, columns > names_column ? columns - names_column : 1, DIAGRAM_ROWS_MAX);
    for (unsigned row = 0; row < 3; row++) {
        if (row == 1) {
            frame_text(frame, STYLE_DIM, utf8 ? "   ──▶ │ " : "   --> | ");
            frame_text(frame, info->style, info->name);
            frame_text(frame, STYLE_DIM, utf8 ? " │ ──▶" : " | -->");
        } else if (utf8) {
            frame_printf(frame, STYLE_DIM, "       %s%s%s", row ? "╰" : "╭", rule, row ? "╯" : "╮");
        } else {
            frame_printf(frame, STYLE_DIM, "       +%s+", rule);
        }
        /* The middle row first: few names stand beside the arrow. */
        static const unsigned line_of_row[3][3] = {{9, 0, 9}, {9, 0, 1}, {0, 1, 2}};
        unsigned line = line_of_row[lines->len - 1][row];
        frame_pad(frame, names_column);
        if (line < lines->len) {
            draw_names(frame, g_ptr_array_index(lines, line), NULL);
        }
        frame_newline(frame);
    }
}

static void draw_diagram(struct frame *frame, const struct top_model *model)
{
    const struct runstate_info *info = runstate_find(present_state(model));
    if (!info) {
        return;
    }
    unsigned columns = frame->size->columns;
    g_auto(GStrv) before = predecessors(info);
    g_autoptr(GPtrArray) lines =
        wrap_names(before, columns > 7 ? columns - 7 : 1, DIAGRAM_ROWS_MAX);
    for (guint i = 0; i < lines->len; i++) {
        frame_text(frame, STYLE_DIM, i ? "" : " from");
        frame_pad(frame, 7);
        draw_names(frame, g_ptr_array_index(lines, i), former_state(model));
        frame_newline(frame);
    }
    draw_box(frame, info);
}

/* Seconds in a column of the time line, so that all since the beginning has room. */
static int64_t line_step_s(const struct top_model *model, unsigned columns)
{
    static const int64_t steps[] = {1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600};
    int64_t seconds = (model->now_us - model->began_us) / G_USEC_PER_SEC + 1;
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (steps[i] * columns >= seconds) {
            return steps[i];
        }
    }
    return seconds / columns + 1;
}

/* The state to show for the time from_us to to_us: a short stop counts more than running on. */
static const char *state_within(const struct top_model *model, int64_t from_us, int64_t to_us)
{
    const char *shown = NULL;
    for (guint i = 0; i < model->changes->len; i++) {
        const struct top_change *change = change_at(model, i);
        bool last = i + 1 == model->changes->len;
        int64_t end_us = last ? model->now_us + 1 : change_at(model, i + 1)->at_us;
        if (change->at_us < to_us && end_us > from_us &&
            (!shown || strcmp(change->state, "running") != 0)) {
            shown = change->state;
        }
    }
    return shown;
}

static void draw_time_line(struct frame *frame, const struct top_model *model)
{
    unsigned columns = MAX(frame->size->columns, 24) - 2;
    int64_t step_us = line_step_s(model, columns) * G_USEC_PER_SEC;
    frame_title(frame, "Time line");
    /* Letters of the states in it explain themselves the first time. */
    const struct runstate_info *known[32] = {NULL};
    unsigned n_known = 0;
    g_autoptr(GPtrArray) cells = g_ptr_array_new();
    for (unsigned i = 0; i < columns; i++) {
        int64_t to_us = model->now_us + 1 - step_us * (columns - 1 - i);
        const struct runstate_info *info =
            runstate_find(state_within(model, to_us - step_us, to_us));
        g_ptr_array_add(cells, (gpointer)info);
        bool seen = !info;
        for (unsigned j = 0; j < n_known && !seen; j++) {
            seen = known[j] == info;
        }
        if (!seen && n_known < G_N_ELEMENTS(known)) {
            known[n_known++] = info;
            frame_printf(frame, info->style, "  %c", info->letter);
            frame_printf(frame, STYLE_DIM, " %s", info->name);
        }
    }
    frame_newline(frame);
    frame_text(frame, STYLE_PLAIN, " ");
    for (unsigned i = 0; i < columns; i++) {
        const struct runstate_info *info = g_ptr_array_index(cells, i);
        frame_printf(frame, info ? info->style : STYLE_DIM, "%c", info ? info->letter : ' ');
    }
    frame_newline(frame);
    g_autofree char *span = duration_text(step_us * columns);
    frame_printf(frame, STYLE_DIM, " -%s", span);
    frame_pad(frame, columns - 2);
    frame_text(frame, STYLE_DIM, "now");
    frame_newline(frame);
}

static void draw_vcpus(struct frame *frame, const struct top_model *model, unsigned rows)
{
    guint n = model->vcpus->len;
    guint shown = n > rows ? MAX(rows, 1) - 1 : n;
    frame_title(frame, "vCPUs");
    frame_printf(frame, STYLE_DIM, "  %u", n);
    frame_newline(frame);
    for (guint i = 0; i < shown; i++) {
        const struct top_vcpu *vcpu = &g_array_index(model->vcpus, struct top_vcpu, i);
        frame_printf(frame, STYLE_PLAIN, " %3" G_GINT64_FORMAT, vcpu->index);
        if (vcpu->host_percent >= 0) {
            frame_printf(frame, vcpu->host_percent >= 50 ? STYLE_GOOD : STYLE_PLAIN, " %5.1f%%",
                         vcpu->host_percent);
        } else {
            frame_text(frame, STYLE_DIM, "      -");
        }
        frame_printf(frame, STYLE_DIM, "  thread %" G_GINT64_FORMAT "  %s", vcpu->thread_id,
                     vcpu->place);
        frame_newline(frame);
    }
    if (shown < n) {
        frame_printf(frame, STYLE_DIM, " and %u more", n - shown);
        frame_newline(frame);
    }
}

static void draw_events(struct frame *frame, const struct top_model *model, unsigned rows)
{
    guint n = model->events.length, shown = MIN(n, rows);
    frame_title(frame, "Last events");
    frame_text(frame, STYLE_DIM, n ? "" : "  none seen yet");
    frame_newline(frame);
    for (guint i = n - shown; i < n; i++) {
        struct json_object *event = g_queue_peek_nth((GQueue *)&model->events, i);
        /* The name in its style, then all as one text: it is cut where the row ends. */
        g_autoptr(GString) line = g_string_new(NULL);
        event_append(line, event, false);
        const char *name = json_member_string(event, "event");
        frame_text(frame, event_style(name ? name : ""), frame->size->utf8 ? " ● " : " * ");
        frame_text(frame, STYLE_PLAIN, line->str);
        frame_newline(frame);
    }
}

static void draw_foot(struct frame *frame, const struct top_model *model)
{
    while (frame->size->rows && frame->row + 1 < frame->size->rows) {
        frame_newline(frame);
    }
    if (model->trouble) {
        g_autofree char *text = text_safe(model->trouble, false);
        frame_text(frame, STYLE_BAD, text);
    } else {
        frame_text(frame, STYLE_DIM, frame->size->rows ? "q quits" : "");
    }
}

char *top_view(const struct top_model *model, const struct top_size *size)
{
    struct frame frame = {.out = g_string_new(NULL), .size = size};
    draw_head(&frame, model);
    draw_state(&frame, model);
    draw_diagram(&frame, model);
    draw_time_line(&frame, model);
    unsigned vcpu_rows = model->vcpus->len, event_rows = model->events.length;
    if (size->rows) {
        unsigned used = frame.row + 3; /* two titles and the foot */
        unsigned left = size->rows > used ? size->rows - used : 0;
        unsigned for_events = MIN(MAX(left / 2, EVENT_ROWS_MIN), left);
        vcpu_rows = MIN(vcpu_rows, MAX(left - for_events, MIN(VCPU_ROWS_MIN, left)));
        event_rows = left > vcpu_rows ? left - vcpu_rows : 0;
    }
    draw_vcpus(&frame, model, vcpu_rows);
    draw_events(&frame, model, event_rows);
    draw_foot(&frame, model);
    return g_string_free(frame.out, FALSE);
}
