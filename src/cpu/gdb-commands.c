/*
 * What the packets of the GDB remote serial protocol mean (gdb's manual, appendix E, "Packets").
 *
 * Answers to what goes wrong are QEMU's: E22 for a packet that makes no sense, E14 for memory that
 * is not there. Packets that we do not have are answered with nothing, as the protocol wants it.
 *
 * Left out: non-stop mode, reverse execution, files of the target, tracepoints.
 */
#include "cpu/gdb-priv.h"

#include "cpu/x86/gdb-regs.h"
#include <inttypes.h>
#include <string.h>

#define SIGNAL_MAX 0xff

static bool error_reply(GString *reply)
{
    g_string_assign(reply, "E22");
    return true;
}

static bool memory_error(GString *reply)
{
    g_string_assign(reply, "E14");
    return true;
}

static bool ok(GString *reply)
{
    g_string_assign(reply, "OK");
    return true;
}

/* ---------------------------------------------------------------- threads */

struct threads {
    bool any;          /* the stub chooses */
    bool all;          /* every vCPU */
    struct vcpu *vcpu; /* otherwise */
};

/* "-1" or a hexadecimal number */
static bool parse_id(const char **text, int64_t *id)
{
    uint64_t value;

    if (g_str_has_prefix(*text, "-1")) {
        *text += 2;
        *id = -1;
        return true;
    }
    if (!gdb_hex_number(text, &value) || value > G_MAXINT32) {
        return false;
    }
    *id = (int64_t)value;
    return true;
}

/* "p1.2", "p1", "2", each number also -1 or 0 */
static bool parse_threads(struct gdbstub *stub, const char **text, struct threads *t)
{
    int64_t process = 1, thread = -1;

    *t = (struct threads){0};
    if (**text == 'p') {
        (*text)++;
        if (!parse_id(text, &process) || process > 1) {
            return false;
        }
        if (**text == '.') {
            (*text)++;
            if (!parse_id(text, &thread)) {
                return false;
            }
        }
    } else if (!parse_id(text, &thread)) {
        return false;
    }
    t->any = thread == 0;
    t->all = thread == -1;
    if (thread > 0) {
        t->vcpu = cpus_find(stub->cpus, (unsigned)thread - 1);
        if (!t->vcpu) {
            return false;
        }
    }
    return true;
}

static bool run_set_thread(struct gdbstub *stub, const char *args, GString *reply)
{
    char what = *args;
    struct threads t;

    if (what != 'g' && what != 'c') {
        return error_reply(reply);
    }
    args++;
    if (!parse_threads(stub, &args, &t) || *args) {
        return error_reply(reply);
    }
    if (what == 'g') {
        stub->general = t.vcpu ? t.vcpu : stub->general;
    } else {
        stub->control = t.vcpu ? t.vcpu : stub->control;
    }
    return ok(reply);
}

static bool run_thread_alive(struct gdbstub *stub, const char *args, GString *reply)
{
    struct threads t;

    return parse_threads(stub, &args, &t) && !*args ? ok(reply) : error_reply(reply);
}

static bool run_thread_list(struct gdbstub *stub, const char *args, GString *reply)
{
    for (unsigned i = 0; i < stub->cpus->n; i++) {
        g_string_append_c(reply, i ? ',' : 'm');
        gdb_append_thread(stub->cpus->vcpu[i], reply);
    }
    return true;
}

static bool run_thread_list_end(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, "l");
    return true;
}

static const char *vcpu_condition(const struct vcpu *vcpu)
{
    switch (atomic_load(&vcpu->mp_state)) {
    case MP_RUNNABLE:
        return "running";
    case MP_HALTED:
        return "halted";
    default:
        return "waits for start-up";
    }
}

static bool run_thread_info(struct gdbstub *stub, const char *args, GString *reply)
{
    struct threads t;
    g_autofree char *text = NULL;

    if (!parse_threads(stub, &args, &t) || *args || !t.vcpu) {
        return error_reply(reply);
    }
    text = g_strdup_printf("CPU#%u [%s]", t.vcpu->index, vcpu_condition(t.vcpu));
    gdb_hex_append(reply, text, strlen(text));
    return true;
}

static bool run_current_thread(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, "QC");
    gdb_append_thread(stub->general, reply);
    return true;
}

/* ---------------------------------------------------------------- registers */

static bool run_get_registers(struct gdbstub *stub, const char *args, GString *reply)
{
    struct gdb_regs *regs = gdb_regs_load(stub->general);
    unsigned n = gdb_regs_count(stub->cpus->model);

    for (unsigned i = 0; i < n; i++) {
        uint8_t value[GDB_REG_MAX_BYTES];

        gdb_reg_get(regs, i, value);
        gdb_hex_append(reply, value, gdb_reg_bytes(i));
    }
    gdb_regs_free(regs);
    return true;
}

static bool store_registers(struct gdb_regs *regs, bool parsed, GString *reply)
{
    bool stored = parsed && gdb_regs_store(regs, NULL);

    gdb_regs_free(regs);
    return stored ? ok(reply) : error_reply(reply);
}

/* Fewer than all registers are fine: the others stay. */
static bool run_set_registers(struct gdbstub *stub, const char *args, GString *reply)
{
    struct gdb_regs *regs = gdb_regs_load(stub->general);
    unsigned n = gdb_regs_count(stub->cpus->model);
    bool parsed = true;

    for (unsigned i = 0; i < n && *args && parsed; i++) {
        uint8_t value[GDB_REG_MAX_BYTES];

        parsed = gdb_hex_parse(args, value, gdb_reg_bytes(i));
        if (parsed) {
            gdb_reg_set(regs, i, value);
            args += 2 * gdb_reg_bytes(i);
        }
    }
    return store_registers(regs, parsed && !*args, reply);
}

static bool run_get_register(struct gdbstub *stub, const char *args, GString *reply)
{
    uint8_t value[GDB_REG_MAX_BYTES];
    struct gdb_regs *regs;
    uint64_t n;

    if (!gdb_hex_number(&args, &n) || *args || n >= gdb_regs_count(stub->cpus->model)) {
        return error_reply(reply);
    }
    regs = gdb_regs_load(stub->general);
    gdb_reg_get(regs, (unsigned)n, value);
    gdb_regs_free(regs);
    gdb_hex_append(reply, value, gdb_reg_bytes((unsigned)n));
    return true;
}

static bool run_set_register(struct gdbstub *stub, const char *args, GString *reply)
{
    uint8_t value[GDB_REG_MAX_BYTES];
    struct gdb_regs *regs;
    uint64_t n;

    if (!gdb_hex_number(&args, &n) || *args != '=' || n >= gdb_regs_count(stub->cpus->model) ||
        !gdb_hex_parse(args + 1, value, gdb_reg_bytes((unsigned)n))) {
        return error_reply(reply);
    }
    regs = gdb_regs_load(stub->general);
    gdb_reg_set(regs, (unsigned)n, value);
    return store_registers(regs, true, reply);
}

/* ---------------------------------------------------------------- memory */

static bool parse_range(const char **args, uint64_t *addr, uint64_t *length)
{
    if (!gdb_hex_number(args, addr) || **args != ',') {
        return false;
    }
    (*args)++;
    return gdb_hex_number(args, length) && *length <= GDB_PACKET_BYTES;
}

static bool run_read_memory(struct gdbstub *stub, const char *args, GString *reply)
{
    g_autofree uint8_t *bytes = NULL;
    uint64_t addr, length;

    if (!parse_range(&args, &addr, &length) || *args || length > GDB_PACKET_BYTES / 2) {
        return error_reply(reply);
    }
    bytes = g_malloc0(length + 1);
    if (!debug_read(stub->general, addr, bytes, length, stub->physical)) {
        return memory_error(reply);
    }
    gdb_hex_append(reply, bytes, length);
    return true;
}

static bool write_memory(struct gdbstub *stub, uint64_t addr, const void *bytes, size_t length,
                         GString *reply)
{
    return debug_write(stub->general, addr, bytes, length, stub->physical) ? ok(reply)
                                                                           : memory_error(reply);
}

static bool run_write_memory(struct gdbstub *stub, const char *args, GString *reply)
{
    g_autofree uint8_t *bytes = NULL;
    uint64_t addr, length;

    if (!parse_range(&args, &addr, &length) || *args != ':' || strlen(args + 1) != 2 * length) {
        return error_reply(reply);
    }
    bytes = g_malloc0(length + 1);
    if (!gdb_hex_parse(args + 1, bytes, length)) {
        return error_reply(reply);
    }
    return write_memory(stub, addr, bytes, length, reply);
}

/* X: the data are bytes as they are. end: of the packet. */
static bool run_write_binary(struct gdbstub *stub, const char *args, const char *end,
                             GString *reply)
{
    uint64_t addr, length;

    if (!parse_range(&args, &addr, &length) || *args != ':' ||
        (uint64_t)(end - (args + 1)) != length) {
        return error_reply(reply);
    }
    return write_memory(stub, addr, args + 1, length, reply);
}

/* ---------------------------------------------------------------- breakpoints */

static const enum debug_kind point_kinds[] = {DEBUG_BREAK_SOFT, DEBUG_BREAK_HARD, DEBUG_WATCH_WRITE,
                                              DEBUG_WATCH_READ, DEBUG_WATCH_ACCESS};

static bool run_point(struct gdbstub *stub, bool insert, const char *args, GString *reply)
{
    uint64_t type, addr, length;
    enum debug_kind kind;
    bool done;

    if (!gdb_hex_number(&args, &type) || *args++ != ',' || !parse_range(&args, &addr, &length)) {
        return error_reply(reply);
    }
    if (type >= G_N_ELEMENTS(point_kinds)) {
        return true; /* a type that we do not have */
    }
    kind = point_kinds[type];
    done = insert ? debug_insert(stub->general, kind, addr, length, NULL)
                  : debug_remove(stub->general, kind, addr, length);
    return done ? ok(reply) : error_reply(reply);
}

static bool run_insert(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_point(stub, true, args, reply);
}

static bool run_remove(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_point(stub, false, args, reply);
}

/* ---------------------------------------------------------------- running */

static void resume_one(struct gdbstub *stub, struct vcpu *vcpu, char action)
{
    g_autofree struct gdb_action *actions = g_new0(struct gdb_action, stub->cpus->n);

    for (unsigned i = 0; i < stub->cpus->n; i++) { /* one thread is chosen for steps only */
        actions[i].what = action == 'c' || stub->cpus->vcpu[i] == vcpu ? action : 0;
    }
    gdb_resume(stub, actions);
}

/* "[addr]", or after a signal (which a machine has no use for) ";addr" */
static bool run_resume(struct gdbstub *stub, const char *args, char action, bool has_signal,
                       GString *reply)
{
    uint64_t value;

    if (has_signal) {
        if (!gdb_hex_number(&args, &value) || value > SIGNAL_MAX || (*args && *args != ';')) {
            return error_reply(reply);
        }
        args += *args == ';';
    }
    if (*args &&
        (!gdb_hex_number(&args, &value) || *args || !gdb_pc_set(stub->control, value, NULL))) {
        return error_reply(reply);
    }
    resume_one(stub, stub->control, action);
    return false;
}

static bool run_continue(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_resume(stub, args, 'c', false, reply);
}

static bool run_continue_signal(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_resume(stub, args, 'c', true, reply);
}

static bool run_step(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_resume(stub, args, 's', false, reply);
}

static bool run_step_signal(struct gdbstub *stub, const char *args, GString *reply)
{
    return run_resume(stub, args, 's', true, reply);
}

/* "c", "s", "Cxx", "Sxx" or "rFROM,TO" */
static bool parse_action(const char **args, struct gdb_action *action)
{
    char letter = *(*args)++;
    uint64_t signal;

    *action = (struct gdb_action){.what = letter == 'r' ? 's' : g_ascii_tolower(letter)};
    if (letter == 'r') {
        return gdb_hex_number(args, &action->from) && *(*args)++ == ',' &&
               gdb_hex_number(args, &action->to);
    }
    if (letter == 'C' || letter == 'S') {
        return gdb_hex_number(args, &signal) && signal <= SIGNAL_MAX;
    }
    return letter == 'c' || letter == 's';
}

/* One action of vCont: for each vCPU the first that names it counts. */
static bool vcont_action(struct gdbstub *stub, const char **args, struct gdb_action *actions)
{
    struct gdb_action action;
    struct threads t = {.all = true};

    if (!parse_action(args, &action)) {
        return false;
    }
    if (**args == ':') {
        (*args)++;
        if (!parse_threads(stub, args, &t)) {
            return false;
        }
    }
    for (unsigned i = 0; i < stub->cpus->n; i++) {
        bool meant = t.all || stub->cpus->vcpu[i] == (t.any ? stub->control : t.vcpu);

        actions[i] = meant && !actions[i].what ? action : actions[i];
    }
    return true;
}

static bool run_vcont(struct gdbstub *stub, const char *args, GString *reply)
{
    g_autofree struct gdb_action *actions = g_new0(struct gdb_action, stub->cpus->n);

    do {
        if (*args++ != ';' || !vcont_action(stub, &args, actions)) {
            return error_reply(reply);
        }
    } while (*args);
    gdb_resume(stub, actions);
    return false;
}

static bool run_vcont_query(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, "vCont;c;C;s;S;r");
    return true;
}

static bool run_reason(struct gdbstub *stub, const char *args, GString *reply)
{
    gdb_append_stop_reply(stub, reply);
    return true;
}

static bool run_attach(struct gdbstub *stub, const char *args, GString *reply)
{
    uint64_t process;

    if (!gdb_hex_number(&args, &process) || *args || process != 1) {
        return error_reply(reply);
    }
    return run_reason(stub, args, reply);
}

static bool run_detach(struct gdbstub *stub, const char *args, GString *reply)
{
    uint64_t process;

    if (*args && (*args++ != ';' || !gdb_hex_number(&args, &process) || *args || process != 1)) {
        return error_reply(reply);
    }
    gdb_detach(stub);
    return ok(reply);
}

static bool run_kill(struct gdbstub *stub, const char *args, GString *reply)
{
    stub->hooks->kill(stub->opaque);
    return false;
}

static bool run_vkill(struct gdbstub *stub, const char *args, GString *reply)
{
    stub->hooks->kill(stub->opaque);
    return ok(reply);
}

static bool run_extended(struct gdbstub *stub, const char *args, GString *reply)
{
    return ok(reply);
}

/* ---------------------------------------------------------------- queries */

static bool list_has(const char *list, const char *word)
{
    g_auto(GStrv) words = g_strsplit(list, ";", 64);

    return g_strv_contains((const char *const *)words, word);
}

static bool run_supported(struct gdbstub *stub, const char *args, GString *reply)
{
    stub->swbreak = list_has(args, "swbreak+");
    stub->hwbreak = list_has(args, "hwbreak+");
    g_string_printf(reply,
                    "PacketSize=%x;qXfer:features:read+;vContSupported+;multiprocess+;"
                    "QStartNoAckMode+;swbreak+;hwbreak+",
                    GDB_PACKET_BYTES);
    return true;
}

/* "target.xml:OFFSET,LENGTH" */
static bool run_features(struct gdbstub *stub, const char *args, GString *reply)
{
    g_autoptr(GString) xml = gdb_regs_xml(stub->cpus->model);
    uint64_t offset, length, n;

    if (!g_str_has_prefix(args, "target.xml:")) {
        g_string_assign(reply, "E00");
        return true;
    }
    args += strlen("target.xml:");
    if (!parse_range(&args, &offset, &length) || *args || offset > xml->len) {
        return error_reply(reply);
    }
    n = MIN(MIN(length, GDB_PACKET_BYTES / 2), xml->len - offset); /* escapes may double it */
    g_string_append_c(reply, offset + n < xml->len ? 'm' : 'l');
    g_string_append_len(reply, xml->str + offset, (gssize)n);
    return true;
}

static bool run_attached(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, "1");
    return true;
}

static bool run_no_ack(struct gdbstub *stub, const char *args, GString *reply)
{
    stub->no_ack = true;
    return ok(reply);
}

/* The output goes out as text for gdb's console, in as many packets as it takes. */
static bool run_monitor(struct gdbstub *stub, const char *args, GString *reply)
{
    size_t length = strlen(args) / 2;
    g_autofree char *line = g_malloc0(length + 1);
    g_autofree char *output = NULL;
    const size_t piece = GDB_PACKET_BYTES / 2 - 1;

    if (!gdb_hex_parse(args, (uint8_t *)line, length)) {
        return error_reply(reply);
    }
    output = stub->hooks->command(stub->opaque, stub->general, line);
    for (size_t at = 0, total = strlen(output); at < total; at += piece) {
        g_autoptr(GString) packet = g_string_new("O");

        gdb_hex_append(packet, output + at, MIN(piece, total - at));
        gdb_send(stub, packet->str, packet->len);
    }
    return ok(reply);
}

static bool run_qemu_supported(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, "sstepbits;sstep;PhyMemMode");
    return true;
}

static bool run_step_bits(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_printf(reply, "ENABLE=%x,NOIRQ=%x,NOTIMER=%x", DEBUG_STEP_ENABLE, DEBUG_STEP_NOIRQ,
                    DEBUG_STEP_NOTIMER);
    return true;
}

static bool run_get_step(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_printf(reply, "0x%x", stub->step_flags);
    return true;
}

static bool run_set_step(struct gdbstub *stub, const char *args, GString *reply)
{
    const unsigned all = DEBUG_STEP_ENABLE | DEBUG_STEP_NOIRQ | DEBUG_STEP_NOTIMER;
    uint64_t flags;

    args += g_str_has_prefix(args, "0x") ? 2 : 0;
    if (!gdb_hex_number(&args, &flags) || *args || flags & ~(uint64_t)all) {
        return error_reply(reply);
    }
    stub->step_flags = (unsigned)flags;
    return ok(reply);
}

static bool run_get_physical(struct gdbstub *stub, const char *args, GString *reply)
{
    g_string_assign(reply, stub->physical ? "1" : "0");
    return true;
}

static bool run_set_physical(struct gdbstub *stub, const char *args, GString *reply)
{
    uint64_t value;

    if (!gdb_hex_number(&args, &value) || *args || value > 1) {
        return error_reply(reply);
    }
    stub->physical = value;
    return ok(reply);
}

/* ---------------------------------------------------------------- the table */

struct command {
    const char *name;
    bool whole; /* nothing may follow the name */
    bool (*run)(struct gdbstub *, const char *args, GString *reply);
};

/* The first that a packet begins with. */
static const struct command commands[] = {
    {"!", true, run_extended},
    {"?", true, run_reason},
    {"C", false, run_continue_signal},
    {"D", false, run_detach},
    {"G", false, run_set_registers},
    {"H", false, run_set_thread},
    {"M", false, run_write_memory},
    {"P", false, run_set_register},
    {"Qqemu.PhyMemMode:", false, run_set_physical},
    {"Qqemu.sstep=", false, run_set_step},
    {"QStartNoAckMode", true, run_no_ack},
    {"S", false, run_step_signal},
    {"T", false, run_thread_alive},
    {"Z", false, run_insert},
    {"c", false, run_continue},
    {"g", true, run_get_registers},
    {"k", true, run_kill},
    {"m", false, run_read_memory},
    {"p", false, run_get_register},
    {"qAttached:", false, run_attached},
    {"qAttached", true, run_attached},
    {"qC", true, run_current_thread},
    {"qRcmd,", false, run_monitor},
    {"qSupported:", false, run_supported},
    {"qSupported", true, run_supported},
    {"qThreadExtraInfo,", false, run_thread_info},
    {"qXfer:features:read:", false, run_features},
    {"qfThreadInfo", true, run_thread_list},
    {"qqemu.PhyMemMode", true, run_get_physical},
    {"qqemu.Supported", true, run_qemu_supported},
    {"qqemu.sstepbits", true, run_step_bits},
    {"qqemu.sstep", true, run_get_step},
    {"qsThreadInfo", true, run_thread_list_end},
    {"s", false, run_step},
    {"vAttach;", false, run_attach},
    {"vCont?", true, run_vcont_query},
    {"vCont", false, run_vcont},
    {"vKill;", false, run_vkill},
    {"z", false, run_remove},
};

bool gdb_command_run(struct gdbstub *stub, const char *body, size_t length, GString *reply)
{
    if (*body == 'X') { /* the only one that may hold NUL bytes */
        return run_write_binary(stub, body + 1, body + length, reply);
    }
    if (strlen(body) != length) {
        return error_reply(reply);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        size_t n = strlen(commands[i].name);

        if (strncmp(body, commands[i].name, n) == 0 && (!commands[i].whole || !body[n])) {
            return commands[i].run(stub, body + n, reply);
        }
    }
    return true;
}
