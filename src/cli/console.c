/* The human monitor on a character device: see console.h. */
#include "cli/console.h"

#include "cli/error.h"
#include <string.h>

#define PROMPT         "(qemu) " /* what programs that drive a human monitor wait for */
#define LINE_MAX_BYTES 4096

#define CTRL_C         3
#define BACKSPACE      8
#define CTRL_U         21
#define DELETE         127

struct console {
    struct machine *m;
    struct chardev *chr;
    struct chardev_frontend frontend;
    bool listening; /* the input is ours; always so unless others share the chardev */
    GString *line;
    unsigned cpu; /* what commands are about */
    bool last_was_cr;
    bool greeted;
};

static void say(struct console *c, const char *text)
{
    size_t length = strlen(text);

    while (length > 0) { /* what a slow reader does not take in time is lost, as on any terminal */
        size_t n = chardev_write(c->chr, (const uint8_t *)text, length);
        if (n == 0) {
            return;
        }
        text += n;
        length -= n;
    }
}

static void greet(struct console *c)
{
    if (!c->greeted) {
        say(c, "Godwit " GODWIT_VERSION " monitor - type 'help' for more information\r\n");
        c->greeted = true;
    }
    say(c, PROMPT);
}

static void run_line(struct console *c)
{
    g_autofree char *answer = NULL;

    say(c, "\r\n");
    if (c->line->len > 0) {
        answer = hmp_run(c->m, &c->cpu, c->line->str);
        say(c, answer);
        g_string_truncate(c->line, 0);
    }
    say(c, PROMPT);
}

static void erase(struct console *c, size_t n)
{
    while (n-- > 0 && c->line->len > 0) {
        g_string_truncate(c->line, c->line->len - 1);
        say(c, "\b \b");
    }
}

static void take_key(struct console *c, uint8_t key)
{
    bool second_half = key == '\n' && c->last_was_cr;

    c->last_was_cr = key == '\r';
    switch (key) {
    case '\r':
    case '\n':
        if (!second_half) {
            run_line(c);
        }
        break;
    case BACKSPACE:
    case DELETE:
        erase(c, 1);
        break;
    case CTRL_U:
    case CTRL_C:
        erase(c, c->line->len);
        break;
    default:
        if (key >= ' ' && c->line->len < LINE_MAX_BYTES) {
            g_string_append_c(c->line, (char)key);
            chardev_write(c->chr, &key, 1);
        }
        break;
    }
}

static int console_can_receive(void *opaque)
{
    return LINE_MAX_BYTES;
}

static void console_receive(void *opaque, const uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        take_key(opaque, buf[i]);
    }
}

static void console_event(void *opaque, enum chardev_event event)
{
    struct console *c = opaque;

    switch (event) {
    case CHARDEV_OPENED:
        c->greeted = false;
        g_string_truncate(c->line, 0);
        if (c->listening) {
            greet(c);
        }
        break;
    case CHARDEV_MUX_IN:
        c->listening = true;
        say(c, c->greeted ? "\r\n" : "");
        greet(c);
        break;
    case CHARDEV_MUX_OUT:
        c->listening = false;
        say(c, "\r\n");
        break;
    default:
        break;
    }
}

struct console *console_new(struct machine *m, struct chardev *chr, GError **error)
{
    struct console *c = g_new0(struct console, 1);

    c->m = m;
    c->chr = chr;
    c->line = g_string_new(NULL);
    c->frontend = (struct chardev_frontend){
        .can_receive = console_can_receive,
        .receive = console_receive,
        .event = console_event,
        .behind = true,
        .opaque = c,
    };
    if (!chardev_attach(chr, &c->frontend)) {
        g_set_error(error, CLI_ERROR, 0, "chardev '%s' is in use", chr->id);
        console_free(c);
        return NULL;
    }
    if (!chardev_is_mux(chr)) {
        c->listening = true;
        greet(c); /* lost when nobody is connected yet: then CHARDEV_OPENED comes */
    }
    return c;
}

void console_free(struct console *c)
{
    if (c) {
        g_string_free(c->line, TRUE);
        g_free(c);
    }
}
