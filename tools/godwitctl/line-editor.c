/*
 * Line input: see line-editor.h.
 *
 * libedit calls read_character() whenever it wants one; waiting for the server happens there, and
 * so does printing above the line: the line is wiped, the output printed, the line drawn again. A
 * line that wraps over several rows leaves its upper rows behind.
 *
 * While a line is edited the keys for signals (Ctrl-C) are characters in their place among the
 * others, and become signals when it is their turn. A terminal that makes signals of them throws
 * away what was typed before, at a moment of its own: a reader that has just been told of a
 * character would get one that was typed after Ctrl-C, and take it for the old line's.
 */
#include "line-editor.h"

#include "waiting.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>
#ifdef HAVE_LIBEDIT
#include <histedit.h>
#endif

#define LINE_BYTES_MAX (1u << 20)
#define HISTORY_LINES  1000
#define WIPE_LINE      "\r\033[K"

struct line_editor {
    bool interactive;
    const struct line_editor_ops *ops;
    void *data;
    const char *prompt;
    int watch_fd;
    enum line_result result; /* why read_character() ended the line */
    GString *input;          /* read, not yet returned (without libedit) */
#ifdef HAVE_LIBEDIT
    EditLine *edit;
    History *history;
    char *history_file;
#endif
};

/* Waits until a byte can be read from standard input. drawn: a line is on the screen. redraw may be
 * NULL. Anything but LINE_READ ends the line. */
static enum line_result wait_input(struct line_editor *editor, void (*redraw)(struct line_editor *))
{
    for (;;) {
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = editor->watch_fd, .events = POLLIN}};
        enum wait_result ready = wait_ready(fds, 2, DEADLINE_NONE);
        unsigned signals = signals_pending();
        if (signals & SIGNAL_END) {
            return LINE_TERMINATED;
        }
        if (signals & SIGNAL_INTERRUPT) {
            signals_clear(SIGNAL_INTERRUPT);
            return LINE_INTERRUPTED;
        }
        if (ready == WAIT_FAILED) {
            return LINE_END;
        }
        if (ready == WAIT_READY && fds[1].revents) {
            if (redraw) {
                fputs(WIPE_LINE, stdout);
            }
            bool goes_on = editor->ops->watch(editor->data);
            if (redraw && goes_on) {
                redraw(editor);
            }
            if (!goes_on) {
                return LINE_WATCH_ENDED;
            }
        }
        if (redraw && signals & (SIGNAL_STOP | SIGNAL_RESIZE | SIGNAL_CONTINUE)) {
            redraw(editor);
        }
        if (ready == WAIT_READY && fds[0].revents) {
            return LINE_READ;
        }
    }
}

#ifdef HAVE_LIBEDIT

static struct line_editor *editor_of(EditLine *edit)
{
    void *data = NULL;
    el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static char *editor_prompt(EditLine *edit)
{
    return (char *)editor_of(edit)->prompt;
}

static void redraw_line(struct line_editor *editor)
{
    unsigned signals = signals_pending();
    if (signals & SIGNAL_STOP) { /* Ctrl-Z: the terminal is the shell's meanwhile */
        el_set(editor->edit, EL_PREP_TERM, 0);
        signals_stop_self();
        el_set(editor->edit, EL_PREP_TERM, 1);
    }
    if (signals & SIGNAL_RESIZE) {
        el_resize(editor->edit);
    }
    signals_clear(SIGNAL_STOP | SIGNAL_RESIZE | SIGNAL_CONTINUE);
    el_set(editor->edit, EL_REFRESH);
    fflush(stdout);
}

/* Makes the signal of a key that asks for one. */
static bool key_signals(char byte)
{
    static const struct {
        unsigned key;
        int number;
    } keys[] = {{VINTR, SIGINT}, {VQUIT, SIGQUIT}, {VSUSP, SIGTSTP}};
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode) < 0 || mode.c_lflag & ISIG) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        cc_t key = mode.c_cc[keys[i].key];
        if (key != _POSIX_VDISABLE && key == (cc_t)byte) {
            raise(keys[i].number); /* blocked: it acts in wait_input() */
            return true;
        }
    }
    return false;
}

/* Whether the terminal makes signals of keys at once: for what may take long. */
static void set_key_signals(bool on)
{
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode) == 0) {
        mode.c_lflag = on ? mode.c_lflag | ISIG : mode.c_lflag & ~(tcflag_t)ISIG;
        tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    }
}

/* The next character: 1, or 0 or -1 at the end of the line's reading. */
static int read_character(EditLine *edit, wchar_t *character)
{
    struct line_editor *editor = editor_of(edit);
    mbstate_t state = {0};
    for (;;) {
        char byte;
        enum line_result result = wait_input(editor, redraw_line);
        if (result != LINE_READ) {
            editor->result = result;
            return -1;
        }
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (got <= 0) {
            editor->result = LINE_END;
            return got == 0 ? 0 : -1;
        }
        if (key_signals(byte)) {
            continue;
        }
        size_t used = mbrtowc(character, &byte, 1, &state);
        if (used == (size_t)-1) { /* no character of this locale: dropped */
            memset(&state, 0, sizeof(state));
        } else if (used != (size_t)-2) {
            return 1;
        }
    }
}

static unsigned terminal_width(void)
{
    struct winsize size = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* The TAB key. */
static unsigned char complete_line(EditLine *edit, int key)
{
    struct line_editor *editor = editor_of(edit);
    const LineInfo *info = el_line(edit);
    g_autofree char *line = g_strndup(info->buffer, (gsize)(info->cursor - info->buffer));
    struct completion completion;
    set_key_signals(true);
    editor->ops->complete(editor->data, line, &completion);
    set_key_signals(false);

    size_t there = strlen(line) - completion.start;
    g_autofree char *common = completion_common(&completion);
    guint n = completion.candidates->len;
    unsigned char result = CC_REFRESH;
    if (n == 0) {
        result = CC_REFRESH_BEEP;
    } else if (strlen(common) > there || n == 1) {
        g_autofree char *insert =
            g_strconcat(common + there, n == 1 && !completion.open ? " " : "", NULL);
        el_insertstr(edit, insert);
    } else {
        g_autofree char *columns = completion_columns(&completion, terminal_width());
        fputc('\n', stdout);
        fputs(columns, stdout);
        fflush(stdout);
        result = CC_REDISPLAY;
    }
    completion_clear(&completion);
    return result;
}

static void open_history(struct line_editor *editor, const char *file)
{
    HistEvent event;
    editor->history = history_init();
    history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->edit, EL_HIST, history, editor->history);
    if (file) {
        editor->history_file = g_strdup(file);
        history(editor->history, &event, H_LOAD, file);
    }
}

static void open_editor(struct line_editor *editor, const char *history_file)
{
    editor->edit = el_init("godwitctl", stdin, stdout, stderr);
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT, editor_prompt);
    el_set(editor->edit, EL_EDITOR, "emacs");
    open_history(editor, history_file);
    el_set(editor->edit, EL_ADDFN, "godwitctl-complete", "complete from the schema", complete_line);
    el_set(editor->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(editor->edit, NULL); /* the user's own ~/.editrc */
    el_set(editor->edit, EL_BIND, "^I", "godwitctl-complete", NULL);
    el_set(editor->edit, EL_SETTY, "-d", "-isig", NULL);
    el_set(editor->edit, EL_GETCFN, read_character);
}

static void close_editor(struct line_editor *editor)
{
    HistEvent event;
    if (editor->history_file) {
        g_autofree char *folder = g_path_get_dirname(editor->history_file);
        g_mkdir_with_parents(folder, 0700);
        history(editor->history, &event, H_SAVE, editor->history_file);
        g_chmod(editor->history_file, 0600);
    }
    history_end(editor->history);
    el_end(editor->edit);
    g_free(editor->history_file);
}

static enum line_result edit_line(struct line_editor *editor, char **line)
{
    int length = 0;
    editor->result = LINE_END;
    /* Before the prompt, not after it as el_gets() would: a Ctrl-D typed in between would be lost.
     */
    el_set(editor->edit, EL_PREP_TERM, 1);
    const char *text = el_gets(editor->edit, &length);
    if (!text || length <= 0) {
        fputc('\n', stdout);
        fflush(stdout);
        return editor->result;
    }
    *line = g_strchomp(g_strndup(text, (gsize)length));
    return LINE_READ;
}

#endif

/* Takes a line out of what was read; false when none is complete. */
static bool take_line(struct line_editor *editor, bool at_end, char **line)
{
    GString *input = editor->input;
    char *newline = memchr(input->str, '\n', input->len);
    if (!newline && !(at_end && input->len > 0)) {
        return false;
    }
    gsize length = newline ? (gsize)(newline - input->str) : input->len;
    *line = g_strndup(input->str, length);
    g_string_erase(input, 0, (gssize)(newline ? length + 1 : length));
    return true;
}

static enum line_result plain_line(struct line_editor *editor, char **line)
{
    if (editor->interactive) {
        fputs(editor->prompt, stdout);
        fflush(stdout);
    }
    while (!take_line(editor, false, line)) {
        enum line_result result = wait_input(editor, NULL);
        if (result != LINE_READ) {
            return result;
        }
        char chunk[4096];
        ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (got <= 0 || editor->input->len > LINE_BYTES_MAX) {
            return take_line(editor, true, line) ? LINE_READ : LINE_END;
        }
        g_string_append_len(editor->input, chunk, got);
    }
    return LINE_READ;
}

struct line_editor *line_editor_new(bool interactive, const char *history_file,
                                    const struct line_editor_ops *ops, void *data)
{
    struct line_editor *editor = g_new0(struct line_editor, 1);
    editor->interactive = interactive;
    editor->ops = ops;
    editor->data = data;
    editor->prompt = "";
    editor->input = g_string_new(NULL);
#ifdef HAVE_LIBEDIT
    if (interactive) {
        open_editor(editor, history_file);
    }
#endif
    return editor;
}

void line_editor_free(struct line_editor *editor)
{
#ifdef HAVE_LIBEDIT
    if (editor->edit) {
        close_editor(editor);
    }
#endif
    g_string_free(editor->input, TRUE);
    g_free(editor);
}

enum line_result line_editor_read(struct line_editor *editor, const char *prompt, int watch_fd,
                                  char **line)
{
    editor->prompt = prompt;
    editor->watch_fd = watch_fd;
#ifdef HAVE_LIBEDIT
    if (editor->edit) {
        return edit_line(editor, line);
    }
#endif
    return plain_line(editor, line);
}

void line_editor_set_prompt(struct line_editor *editor, const char *prompt)
{
    editor->prompt = prompt;
}

void line_editor_remember(struct line_editor *editor, const char *line)
{
#ifdef HAVE_LIBEDIT
    if (editor->edit) {
        HistEvent event;
        history(editor->history, &event, H_ENTER, line);
    }
#endif
}
