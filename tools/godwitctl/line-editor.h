/*
 * Lines from the user: edited at a terminal, with history and completion (libedit, when it was
 * built in), or read as they are from anything else. While it waits, it watches another descriptor.
 */
#ifndef GODWITCTL_LINE_EDITOR_H
#define GODWITCTL_LINE_EDITOR_H

#include "complete.h"

struct line_editor;

struct line_editor_ops {
    /* The watched descriptor is readable. What is printed appears above the line that is being
     * edited. False ends the reading: LINE_WATCH_ENDED. */
    bool (*watch)(void *data);
    /* Fills completion for a line that ends at the cursor. */
    void (*complete)(void *data, const char *line, struct completion *completion);
};

enum line_result {
    LINE_READ,        /* a line is there */
    LINE_END,         /* end of input */
    LINE_INTERRUPTED, /* Ctrl-C: the line is given up */
    LINE_TERMINATED,  /* SIGTERM or the like */
    LINE_WATCH_ENDED,
};

/* interactive: edit on the terminal. history: the file it is kept in, NULL for none. */
struct line_editor *line_editor_new(bool interactive, const char *history,
                                    const struct line_editor_ops *ops, void *data);
/* Restores the terminal; saves the history. */
void line_editor_free(struct line_editor *editor);
/* Reads one line without its newline; *line is the caller's on LINE_READ. A line longer than 1 MiB
 * ends the input. Prompt, shown when interactive, must stay valid; see line_editor_set_prompt(). */
enum line_result line_editor_read(struct line_editor *editor, const char *prompt, int watch_fd,
                                  char **line);
/* Changes the prompt while reading, from ops->watch. */
void line_editor_set_prompt(struct line_editor *editor, const char *prompt);
/* Adds a line to the history. */
void line_editor_remember(struct line_editor *editor, const char *line);

#endif
