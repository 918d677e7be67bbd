/*
 * The gdb stub's connection and the machine's stops and starts: see gdbstub.h. What packets mean is
 * in gdb-commands.c.
 *
 * Input is read only while no output waits, so a peer that sends and does not read gets a bounded
 * amount of our memory. A packet that comes while the machine runs stops it: none of them can be
 * answered otherwise.
 */
#include "cpu/gdb-priv.h"

#include "base/log.h"
#include <inttypes.h>
#include <string.h>

#define GDBSTUB_ERROR (g_quark_from_static_string("gdbstub-error"))
#define READ_BYTES    4096

/* ---------------------------------------------------------------- output */

static bool output_waits(const struct gdbstub *stub)
{
    return stub->out_sent < stub->out->len;
}

static void flush(struct gdbstub *stub)
{
    while (output_waits(stub)) {
        size_t n = chardev_write(stub->chr, stub->out->data + stub->out_sent,
                                 stub->out->len - stub->out_sent);

        if (n == 0) {
            return; /* writable() goes on */
        }
        stub->out_sent += (guint)n;
    }
    g_byte_array_set_size(stub->out, 0);
    stub->out_sent = 0;
    chardev_push(stub->chr);
}

void gdb_send(struct gdbstub *stub, const char *body, size_t length)
{
    g_byte_array_set_size(stub->last, 0);
    gdb_packet_append(stub->last, body, length);
    g_byte_array_append(stub->out, stub->last->data, stub->last->len);
    flush(stub);
}

static void send_again(struct gdbstub *stub)
{
    if (!output_waits(stub)) {
        g_byte_array_append(stub->out, stub->last->data, stub->last->len);
        flush(stub);
    }
}

static void acknowledge(struct gdbstub *stub, char sign)
{
    if (!stub->no_ack) {
        g_byte_array_append(stub->out, (const uint8_t *)&sign, 1);
        flush(stub);
    }
}

/* ---------------------------------------------------------------- stops and starts */

void gdb_append_thread(const struct vcpu *vcpu, GString *out)
{
    g_string_append_printf(out, "p01.%02x", vcpu->index + 1);
}

/* A vCPU that was taken out meanwhile is nobody's thread any more. */
static void forget_absent(struct gdbstub *stub)
{
    struct vcpu *first = stub->cpus->vcpu[0];

    stub->general = cpus_find(stub->cpus, stub->general->index) ? stub->general : first;
    stub->control = cpus_find(stub->cpus, stub->control->index) ? stub->control : first;
}

/* The vCPU that met something; else the one that gdb looks at. */
static struct vcpu *stopped_vcpu(struct gdbstub *stub)
{
    for (unsigned i = 0; i < stub->cpus->n; i++) {
        if (stub->cpus->vcpu[i]->hit.kind != DEBUG_NONE) {
            return stub->cpus->vcpu[i];
        }
    }
    return stub->general;
}

static void append_hit(const struct gdbstub *stub, const struct debug_hit *hit, GString *reply)
{
    switch (hit->kind) {
    case DEBUG_BREAK_SOFT:
        g_string_append(reply, stub->swbreak ? "swbreak:;" : "");
        break;
    case DEBUG_BREAK_HARD:
        g_string_append(reply, stub->hwbreak ? "hwbreak:;" : "");
        break;
    case DEBUG_WATCH_WRITE:
        g_string_append_printf(reply, "watch:%" PRIx64 ";", hit->addr);
        break;
    case DEBUG_WATCH_READ:
        g_string_append_printf(reply, "rwatch:%" PRIx64 ";", hit->addr);
        break;
    case DEBUG_WATCH_ACCESS:
        g_string_append_printf(reply, "awatch:%" PRIx64 ";", hit->addr);
        break;
    default:
        break;
    }
}

void gdb_append_stop_reply(struct gdbstub *stub, GString *reply)
{
    struct vcpu *vcpu = stopped_vcpu(stub);
    int signal = vcpu->hit.kind != DEBUG_NONE ? GDB_SIGNAL_TRAP : stub->hooks->signal(stub->opaque);

    stub->general = stub->control = vcpu;
    g_string_append_printf(reply, "T%02xthread:", signal);
    gdb_append_thread(vcpu, reply);
    g_string_append_c(reply, ';');
    append_hit(stub, &vcpu->hit, reply);
}

static void send_stop(struct gdbstub *stub)
{
    g_autoptr(GString) reply = g_string_new(NULL);

    stub->awaited = false;
    forget_absent(stub);
    gdb_append_stop_reply(stub, reply);
    gdb_send(stub, reply->str, reply->len);
}

/* After a stop a client of another kind may let the machine run: then all of it does. */
static void release_all(struct gdbstub *stub)
{
    for (unsigned i = 0; i < stub->cpus->n; i++) {
        struct vcpu *vcpu = stub->cpus->vcpu[i];
        struct debug_hit hit = vcpu->hit;

        if (vcpu->step) {
            debug_set_step(vcpu, 0);
            vcpu->hit = hit;
        }
        vcpu_hold(vcpu, false);
    }
}

void gdbstub_stopped(struct gdbstub *stub)
{
    release_all(stub);
    if (stub->awaited) {
        send_stop(stub);
    }
}

void gdbstub_exited(struct gdbstub *stub, int status)
{
    g_autofree char *reply = g_strdup_printf("W%02x;process:1", status & 0xff);

    if (stub->awaited) {
        stub->awaited = false;
        gdb_send(stub, reply, strlen(reply));
    }
}

static void send_console(struct gdbstub *stub, const char *text)
{
    g_autoptr(GString) packet = g_string_new("O");

    gdb_hex_append(packet, text, strlen(text));
    gdb_send(stub, packet->str, packet->len);
}

void gdb_resume(struct gdbstub *stub, const struct gdb_action *action)
{
    g_autoptr(GError) error = NULL;
    bool hold_timers = false;

    for (unsigned i = 0; i < stub->cpus->n; i++) {
        struct vcpu *vcpu = stub->cpus->vcpu[i];
        bool step = action[i].what == 's';

        debug_set_step(vcpu, step ? stub->step_flags | DEBUG_STEP_ENABLE : 0);
        debug_set_range(vcpu, action[i].from, action[i].to);
        vcpu_hold(vcpu, action[i].what == 0);
        hold_timers |= step && (stub->step_flags & DEBUG_STEP_NOTIMER);
    }
    stub->awaited = true;
    if (!stub->hooks->start(stub->opaque, hold_timers, &error)) {
        g_autofree char *text = g_strdup_printf("%s\n", error->message);

        release_all(stub);
        send_console(stub, text);
        send_stop(stub);
    }
}

void gdb_detach(struct gdbstub *stub)
{
    debug_remove_all(stub->cpus);
    for (unsigned i = 0; i < stub->cpus->n; i++) {
        debug_set_step(stub->cpus->vcpu[i], 0);
    }
    stub->hooks->start(stub->opaque, false, NULL); /* refused: then it stays as it is */
}

static void interrupt(struct gdbstub *stub)
{
    stub->hooks->stop(stub->opaque);
    if (stub->awaited) { /* it was not running, but asleep */
        send_stop(stub);
    }
}

/* ---------------------------------------------------------------- input */

static void run_packet(struct gdbstub *stub)
{
    g_autoptr(GString) reply = g_string_new(NULL);

    acknowledge(stub, '+');
    if (stub->hooks->running(stub->opaque)) {
        interrupt(stub);
    }
    forget_absent(stub);
    stub->busy = true;
    if (gdb_command_run(stub, stub->reader.body, stub->reader.length, reply)) {
        gdb_send(stub, reply->str, reply->len);
    }
    stub->busy = false;
}

static void take_input(struct gdbstub *stub, enum gdb_input input)
{
    switch (input) {
    case GDB_INPUT_PACKET:
        run_packet(stub);
        break;
    case GDB_INPUT_BROKEN:
        acknowledge(stub, '-');
        break;
    case GDB_INPUT_TOO_LONG:
        acknowledge(stub, '+');
        gdb_send(stub, "E22", 3);
        break;
    case GDB_INPUT_NAK:
        send_again(stub);
        break;
    case GDB_INPUT_INTERRUPT:
        interrupt(stub);
        break;
    default:
        break;
    }
}

static int gdb_can_receive(void *opaque)
{
    struct gdbstub *stub = opaque;

    return output_waits(stub) ? 0 : READ_BYTES;
}

static void gdb_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct gdbstub *stub = opaque;

    for (size_t i = 0; i < length; i++) {
        take_input(stub, gdb_reader_put(&stub->reader, buf[i]));
    }
}

static void gdb_writable(void *opaque)
{
    struct gdbstub *stub = opaque;

    flush(stub);
    if (!output_waits(stub)) {
        chardev_accept_input(stub->chr);
    }
}

/* As at the beginning of a connection. */
static void forget_peer(struct gdbstub *stub)
{
    gdb_reader_reset(&stub->reader);
    g_byte_array_set_size(stub->out, 0);
    g_byte_array_set_size(stub->last, 0);
    stub->out_sent = 0;
    stub->awaited = stub->no_ack = stub->swbreak = stub->hwbreak = stub->physical = false;
    stub->step_flags = DEBUG_STEP_ENABLE | DEBUG_STEP_NOIRQ | DEBUG_STEP_NOTIMER;
    stub->general = stub->control = stub->cpus->vcpu[0];
}

/* Whoever is gone without a word leaves no breakpoints behind that nobody would ever hear of. They
 * can only be taken back while the machine stands, so it does for a moment. */
static void drop_points(struct gdbstub *stub)
{
    bool parked = !stub->hooks->running(stub->opaque);

    if (!parked) {
        vcpus_pause_all(stub->cpus);
    }
    release_all(stub);
    debug_remove_all(stub->cpus);
    if (!parked) {
        vcpus_resume_all(stub->cpus);
    }
}

static void gdb_event(void *opaque, enum chardev_event event)
{
    struct gdbstub *stub = opaque;

    if (event == CHARDEV_OPENED) {
        forget_peer(stub);
        stub->hooks->stop(stub->opaque);
    } else if (event == CHARDEV_CLOSED) {
        forget_peer(stub);
        drop_points(stub);
    }
}

/* ---------------------------------------------------------------- life */

struct gdbstub *gdbstub_new(struct cpus *cpus, struct chardev *chr, const struct gdb_hooks *hooks,
                            void *opaque, GError **error)
{
    struct gdbstub *stub;

    if (!cpus || cpus->n == 0) {
        g_set_error(error, GDBSTUB_ERROR, 0, "gdb: this machine has no vCPU to attach to");
        return NULL;
    }
    stub = g_new0(struct gdbstub, 1);
    stub->cpus = cpus;
    stub->hooks = hooks;
    stub->opaque = opaque;
    stub->chr = chr;
    stub->out = g_byte_array_new();
    stub->last = g_byte_array_new();
    stub->frontend = (struct chardev_frontend){.can_receive = gdb_can_receive,
                                               .receive = gdb_receive,
                                               .event = gdb_event,
                                               .writable = gdb_writable,
                                               .opaque = stub};
    forget_peer(stub);
    if (!chardev_attach(chr, &stub->frontend)) {
        g_set_error(error, GDBSTUB_ERROR, 0, "gdb: chardev '%s' is in use", chr->id);
        stub->chr = NULL;
        gdbstub_free(stub);
        return NULL;
    }
    return stub;
}

void gdbstub_free(struct gdbstub *stub)
{
    if (!stub) {
        return;
    }
    if (stub->chr) {
        chardev_detach(stub->chr, &stub->frontend);
        drop_points(stub);
    }
    g_byte_array_unref(stub->out);
    g_byte_array_unref(stub->last);
    g_free(stub);
}

bool gdbstub_busy(const struct gdbstub *stub)
{
    return stub->busy;
}
