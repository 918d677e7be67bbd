/*
 * The register door: requests of one line each, answered in order on the main loop.
 *
 * A request is carried out only when the answer to the one before has been handed to the chardev,
 * so what is queued here is bounded by one answer and the IRQ lines that came with it. A line
 * longer than 16 MiB is answered FAIL and skipped; so is a read of more than 8 MiB.
 *
 * Interrupts can be watched at the I/O APIC's inputs; other devices have no named lines.
 */
#include "devices/qtest.h"
#include "base/log.h"
#include "devices/ioapic.h"
#include "devices/isa/i8259.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES  (16u << 20)
#define READ_BYTES  (8u << 20)
#define IRQ_BACKLOG (1u << 20) /* bytes of IRQ lines that a client may leave unread */
#define MAX_WORDS   8

struct qtest {
    struct device_env *env;
    struct chardev *chr;
    struct chardev_frontend frontend;
    FILE *log;
    int64_t start_us;
    GString *rest; /* received, and waits until the answer before is out */
    GString *in;   /* the line that is being received */
    bool skipping; /* it was too long: up to its end it is dropped */
    GString *out;  /* not yet taken by the chardev */
    struct device *intercepted;
};

/* ---- sending */

static void qtest_log(struct qtest *q, char what, const char *text)
{
    double seconds = (double)(g_get_monotonic_time() - q->start_us) / G_USEC_PER_SEC;

    fprintf(q->log, "[%c +%f] %s\n", what, seconds, text);
    fflush(q->log);
}

static void qtest_push(struct qtest *q)
{
    size_t n = chardev_write(q->chr, (const uint8_t *)q->out->str, q->out->len);

    g_string_erase(q->out, 0, (gssize)n);
    chardev_push(q->chr);
}

static void qtest_send(struct qtest *q, const char *line)
{
    qtest_log(q, 'S', line);
    g_string_append(q->out, line);
    g_string_append_c(q->out, '\n');
}

static void G_GNUC_PRINTF(2, 3) qtest_reply(struct qtest *q, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    va_start(args, fmt);
    line = g_strdup_vprintf(fmt, args);
    va_end(args);
    qtest_send(q, line);
}

static void qtest_on_irq(void *opaque, int pin, bool level)
{
    struct qtest *q = opaque;

    if (q->out->len < IRQ_BACKLOG) {
        qtest_reply(q, "IRQ %s %d", level ? "raise" : "lower", pin);
        qtest_push(q);
    }
}

/* ---- arguments */

struct request {
    struct qtest *q;
    char **word; /* of which word[0] is the command; words + 1 is NULL */
    unsigned n;
};

static bool parse_u64(const char *text, uint64_t *value)
{
    char *end;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    errno = 0;
    *value = strtoull(text, &end, 0);
    return !errno && end != text && *end == '\0';
}

/* Argument i (from 1) as a number of at most max; answers FAIL when it is none. */
static bool number(struct request *r, unsigned i, uint64_t max, uint64_t *value)
{
    if (!parse_u64(r->word[i], value)) {
        qtest_reply(r->q, "FAIL %s: '%.64s' is not a number", r->word[0], r->word[i]);
        return false;
    }
    if (*value > max) {
        qtest_reply(r->q, "FAIL %s: %.64s exceeds %" G_GUINT64_FORMAT, r->word[0], r->word[i], max);
        return false;
    }
    return true;
}

/* The access size that a command's last letter says. */
static unsigned size_of(const char *command)
{
    switch (command[strlen(command) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

/* ---- ports and memory */

static void cmd_in(struct request *r)
{
    uint64_t port, value;

    if (number(r, 1, 0xffff, &port)) {
        value = address_space_io_read(r->q->env->io, port, size_of(r->word[0]));
        qtest_reply(r->q, "OK 0x%04" G_GINT64_MODIFIER "x", value);
    }
}

static void cmd_out(struct request *r)
{
    uint64_t port, value;

    if (number(r, 1, 0xffff, &port) && number(r, 2, UINT64_MAX, &value)) {
        address_space_io_write(r->q->env->io, port, value, size_of(r->word[0]));
        qtest_send(r->q, "OK");
    }
}

static void cmd_read_value(struct request *r)
{
    uint64_t addr;

    if (number(r, 1, UINT64_MAX, &addr)) {
        qtest_reply(r->q, "OK 0x%016" G_GINT64_MODIFIER "x",
                    address_space_io_read(r->q->env->mem, addr, size_of(r->word[0])));
    }
}

static void cmd_write_value(struct request *r)
{
    uint64_t addr, value;

    if (number(r, 1, UINT64_MAX, &addr) && number(r, 2, UINT64_MAX, &value)) {
        address_space_io_write(r->q->env->mem, addr, value, size_of(r->word[0]));
        qtest_send(r->q, "OK");
    }
}

/* The largest naturally aligned access at addr that fits. */
static unsigned piece_size(gpa_t addr, uint64_t length)
{
    unsigned size = 8;

    while (size > 1 && (addr % size || size > length)) {
        size /= 2;
    }
    return size;
}

/* Any length, RAM or device registers. */
static void memory_read(struct address_space *as, gpa_t addr, uint8_t *buf, uint64_t length)
{
    if (address_space_read(as, addr, buf, length)) {
        return;
    }
    while (length) {
        unsigned n = piece_size(addr, length);
        uint64_t value = address_space_io_read(as, addr, n);

        memcpy(buf, &value, n);
        buf += n;
        addr += n;
        length -= n;
    }
}

static void memory_write(struct address_space *as, gpa_t addr, const uint8_t *buf, uint64_t length)
{
    if (address_space_ram_ptr(as, addr, length)) {
        address_space_write(as, addr, buf, length);
        return;
    }
    while (length) {
        unsigned n = piece_size(addr, length);
        uint64_t value = 0;

        memcpy(&value, buf, n);
        address_space_io_write(as, addr, value, n);
        buf += n;
        addr += n;
        length -= n;
    }
}

static void cmd_read(struct request *r)
{
    static const char digits[] = "0123456789abcdef";
    g_autofree uint8_t *buf = NULL;
    g_autofree char *hex = NULL;
    uint64_t addr, length;

    if (!number(r, 1, UINT64_MAX, &addr) || !number(r, 2, READ_BYTES, &length)) {
        return;
    }
    buf = g_malloc(length);
    memory_read(r->q->env->mem, addr, buf, length);
    if (r->word[0][0] == 'b') { /* b64read */
        hex = g_base64_encode(buf, length);
        qtest_reply(r->q, "OK %s", hex);
        return;
    }
    hex = g_malloc(2 * length + 1);
    for (uint64_t i = 0; i < length; i++) {
        hex[2 * i] = digits[buf[i] >> 4];
        hex[2 * i + 1] = digits[buf[i] & 15];
    }
    hex[2 * length] = '\0';
    qtest_reply(r->q, "OK 0x%s", hex);
}

static void cmd_write(struct request *r)
{
    g_autofree uint8_t *buf = NULL;
    const char *hex = r->word[3];
    uint64_t addr, length;

    if (!number(r, 1, UINT64_MAX, &addr) || !number(r, 2, READ_BYTES, &length)) {
        return;
    }
    if (hex[0] != '0' || hex[1] != 'x' ||
        strspn(hex + 2, "0123456789abcdefABCDEF") != strlen(hex + 2)) {
        qtest_reply(r->q, "FAIL write: '%.64s' is not 0x and hexadecimal digits", hex);
        return;
    }
    buf = g_malloc0(length);
    hex += 2;
    for (uint64_t i = 0; i < length && hex[0]; i++) {
        buf[i] = (uint8_t)(g_ascii_xdigit_value(hex[0]) << 4);
        if (hex[1]) {
            buf[i] |= (uint8_t)g_ascii_xdigit_value(hex[1]);
            hex++;
        }
        hex++;
    }
    memory_write(r->q->env->mem, addr, buf, length);
    qtest_send(r->q, "OK");
}

static void cmd_b64write(struct request *r)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, length;
    gsize have;

    if (!number(r, 1, UINT64_MAX, &addr) || !number(r, 2, READ_BYTES, &length)) {
        return;
    }
    buf = g_base64_decode(r->word[3], &have);
    if (have < length) {
        qtest_reply(r->q, "FAIL b64write: %zu bytes given, %" G_GUINT64_FORMAT " announced", have,
                    length);
        return;
    }
    memory_write(r->q->env->mem, addr, buf, length);
    qtest_send(r->q, "OK");
}

static void cmd_memset(struct request *r)
{
    uint64_t addr, length, value;
    uint8_t buf[4096];

    if (!number(r, 1, UINT64_MAX, &addr) || !number(r, 2, 1ull << 32, &length) ||
        !number(r, 3, UINT64_MAX, &value)) {
        return;
    }
    memset(buf, (uint8_t)value, sizeof(buf));
    while (length) {
        uint64_t n = MIN(length, sizeof(buf));

        memory_write(r->q->env->mem, addr, buf, n);
        addr += n;
        length -= n;
    }
    qtest_send(r->q, "OK");
}

/* ---- clock */

static void cmd_clock(struct request *r)
{
    struct vclock *clock = r->q->env->clock;
    int64_t now = vclock_now(clock), to = vclock_deadline(clock);
    uint64_t value;

    if (!vclock_stepped(clock)) {
        qtest_reply(r->q, "FAIL %s: the clock runs by itself, only -accel qtest steps it",
                    r->word[0]);
        return;
    }
    if (r->n == 2) {
        if (!number(r, 1, INT64_MAX, &value)) {
            return;
        }
        to = (int64_t)value;
        if (r->word[0][6] == 's' && r->word[0][7] == 't') { /* clock_step */
            to = value > (uint64_t)(INT64_MAX - now) ? INT64_MAX : now + (int64_t)value;
        }
    }
    vclock_step(clock, MAX(to, now));
    qtest_reply(r->q, "OK %" G_GINT64_FORMAT, vclock_now(clock));
}

/* ---- interrupts */

struct search {
    const char *name;
    struct device *found;
};

static void match_device(struct device *dev, void *opaque)
{
    struct search *s = opaque;

    if (g_strcmp0(dev->id, s->name) == 0 || strcmp(dev->class->name, s->name) == 0) {
        s->found = dev;
    }
}

/* By id or class name, which may be the end of a path. Answers FAIL when there is none. */
static struct device *device_named(struct request *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct search s = {.name = slash ? slash + 1 : path};

    devices_foreach(r->q->env, match_device, &s);
    if (!s.found) {
        qtest_reply(r->q, "FAIL %s: there is no device '%.64s'", r->word[0], path);
    }
    return s.found;
}

static void cmd_intercept(struct request *r)
{
    struct device *dev = device_named(r, r->word[1]);
    bool in = g_str_has_suffix(r->word[0], "_in");

    if (!dev) {
        return;
    }
    if (!in || dev->class != &ioapic_class) {
        qtest_reply(r->q, "FAIL %s: device '%.64s' has no %s that can be watched", r->word[0],
                    r->word[1], in ? "inputs" : "outputs");
        return;
    }
    ioapic_intercept(dev, qtest_on_irq, r->q);
    r->q->intercepted = dev;
    qtest_send(r->q, "OK");
}

static void cmd_set_irq_in(struct request *r)
{
    struct device *dev = device_named(r, r->word[1]);
    uint64_t n;
    bool level = strcmp(r->word[4], "0") != 0;

    if (!dev) {
        return;
    }
    if (dev->class == &ioapic_class) {
        if (number(r, 3, IOAPIC_PINS - 1, &n)) {
            ioapic_set_irq(dev, (int)n, level);
            qtest_send(r->q, "OK");
        }
    } else if (dev->class == &i8259_class) {
        if (number(r, 3, 15, &n)) {
            i8259_set_irq(dev, (int)n, level);
            qtest_send(r->q, "OK");
        }
    } else {
        qtest_reply(r->q, "FAIL set_irq_in: device '%.64s' has no inputs that can be set",
                    r->word[1]);
    }
}

static void cmd_endianness(struct request *r)
{
    qtest_send(r->q, "OK little");
}

/* ---- requests */

static const struct {
    const char *name;
    unsigned min, max; /* words, the command included */
    void (*run)(struct request *);
} commands[] = {
    {"b64read", 3, 3, cmd_read},
    {"b64write", 4, 4, cmd_b64write},
    {"clock_set", 2, 2, cmd_clock},
    {"clock_step", 1, 2, cmd_clock},
    {"endianness", 1, 1, cmd_endianness},
    {"inb", 2, 2, cmd_in},
    {"inl", 2, 2, cmd_in},
    {"inw", 2, 2, cmd_in},
    {"irq_intercept_in", 2, 2, cmd_intercept},
    {"irq_intercept_out", 2, 3, cmd_intercept},
    {"memset", 4, 4, cmd_memset},
    {"outb", 3, 3, cmd_out},
    {"outl", 3, 3, cmd_out},
    {"outw", 3, 3, cmd_out},
    {"read", 3, 3, cmd_read},
    {"readb", 2, 2, cmd_read_value},
    {"readl", 2, 2, cmd_read_value},
    {"readq", 2, 2, cmd_read_value},
    {"readw", 2, 2, cmd_read_value},
    {"set_irq_in", 5, 5, cmd_set_irq_in},
    {"write", 4, 4, cmd_write},
    {"writeb", 3, 3, cmd_write_value},
    {"writel", 3, 3, cmd_write_value},
    {"writeq", 3, 3, cmd_write_value},
    {"writew", 3, 3, cmd_write_value},
};

static void qtest_run(struct qtest *q, struct request *r)
{
    const char *name = r->n ? r->word[0] : "";

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(commands[i].name, name) != 0) {
            continue;
        }
        if (r->n < commands[i].min || r->n > commands[i].max) {
            qtest_reply(q, "FAIL %s takes %u to %u arguments, not %u", name, commands[i].min - 1,
                        commands[i].max - 1, r->n - 1);
        } else {
            commands[i].run(r);
        }
        return;
    }
    qtest_reply(q, "FAIL unknown command '%.64s'", name);
}

static void qtest_line(struct qtest *q, char *line)
{
    char *word[MAX_WORDS + 1] = {NULL}, *save = NULL;
    struct request r = {.q = q, .word = word};

    qtest_log(q, 'R', line);
    for (char *w = strtok_r(line, " \t\r", &save); w && r.n < MAX_WORDS;
         w = strtok_r(NULL, " \t\r", &save)) {
        word[r.n++] = w;
    }
    qtest_run(q, &r);
    qtest_push(q);
}

/* ---- the chardev */

static int qtest_can_receive(void *opaque)
{
    struct qtest *q = opaque;

    return q->out->len || q->rest->len ? 0 : 4096;
}

static void qtest_take(struct qtest *q, const char *text, size_t length)
{
    if (q->skipping) {
        return;
    }
    if (q->in->len + length > LINE_BYTES) {
        q->skipping = true;
        g_string_truncate(q->in, 0);
        return;
    }
    g_string_append_len(q->in, text, (gssize)length);
}

/* One line, or the part of one that is there. */
static void qtest_step(struct qtest *q)
{
    const char *end = memchr(q->rest->str, '\n', q->rest->len);
    size_t n = end ? (size_t)(end - q->rest->str) : q->rest->len;
    g_autofree char *line = NULL;

    qtest_take(q, q->rest->str, n);
    g_string_erase(q->rest, 0, (gssize)(end ? n + 1 : n));
    if (!end) {
        return;
    }
    if (q->skipping) {
        q->skipping = false;
        qtest_reply(q, "FAIL the line is longer than %u bytes", LINE_BYTES);
        qtest_push(q);
        return;
    }
    line = g_strndup(q->in->str, q->in->len);
    g_string_truncate(q->in, 0);
    qtest_line(q, line);
}

static void qtest_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct qtest *q = opaque;

    g_string_append_len(q->rest, (const char *)buf, (gssize)length);
    while (q->rest->len && !q->out->len) {
        qtest_step(q);
    }
}

static void qtest_writable(void *opaque)
{
    struct qtest *q = opaque;

    qtest_push(q);
    while (q->rest->len && !q->out->len) {
        qtest_step(q);
    }
    if (!q->out->len) {
        chardev_accept_input(q->chr);
    }
}

static void qtest_forget(struct qtest *q)
{
    if (q->intercepted) {
        ioapic_intercept(q->intercepted, NULL, NULL);
        q->intercepted = NULL;
    }
    g_string_truncate(q->rest, 0);
    g_string_truncate(q->in, 0);
    g_string_truncate(q->out, 0);
    q->skipping = false;
}

static void qtest_event(void *opaque, enum chardev_event event)
{
    struct qtest *q = opaque;

    if (event == CHARDEV_CLOSED || event == CHARDEV_OPENED) {
        qtest_log(q, 'I', event == CHARDEV_OPENED ? "OPENED" : "CLOSED");
        qtest_forget(q); /* the next client starts afresh */
    }
}

/* ---- life */

bool qtest_start(struct device_env *env, struct chardev *chr, const char *log_path, GError **error)
{
    struct qtest *q;
    FILE *log = stderr;

    if (env->qtest) {
        g_set_error(error, DEVICE_ERROR, 0, "-qtest: there is one already");
        return false;
    }
    if (log_path) {
        log = fopen(log_path, "we");
        if (!log) {
            g_set_error(error, DEVICE_ERROR, errno, "-qtest-log: cannot open '%s': %s", log_path,
                        g_strerror(errno));
            return false;
        }
    }
    q = g_new0(struct qtest, 1);
    q->env = env;
    q->chr = chr;
    q->log = log;
    q->start_us = g_get_monotonic_time();
    q->rest = g_string_new(NULL);
    q->in = g_string_new(NULL);
    q->out = g_string_new(NULL);
    q->frontend = (struct chardev_frontend){
        .can_receive = qtest_can_receive,
        .receive = qtest_receive,
        .event = qtest_event,
        .writable = qtest_writable,
        .opaque = q,
    };
    env->qtest = q;
    if (!chardev_attach(chr, &q->frontend)) {
        g_set_error(error, DEVICE_ERROR, 0, "-qtest: chardev '%s' is already in use", chr->id);
        q->chr = NULL;
        qtest_stop(env);
        return false;
    }
    return true;
}

void qtest_stop(struct device_env *env)
{
    struct qtest *q = env->qtest;

    if (!q) {
        return;
    }
    env->qtest = NULL;
    qtest_forget(q);
    if (q->chr) {
        chardev_detach(q->chr, &q->frontend);
    }
    if (q->log != stderr) {
        fclose(q->log);
    }
    g_string_free(q->rest, TRUE);
    g_string_free(q->in, TRUE);
    g_string_free(q->out, TRUE);
    g_free(q);
}
