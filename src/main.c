/*
 * godwit: puts a machine together from the command line, runs it, and takes it apart.
 *
 * Everything that can fail fails before the guest starts, with a message on stderr and exit status
 * 1, and leaves no socket or pid file behind.
 */
#include "base/host-fault.h"
#include "base/log.h"
#include "base/threads.h"
#include "block/nbd-library.h"
#include "cli/assemble.h"
#include "cli/confine.h"
#include "cli/process.h"
#include "migration/auto-dump.h"
#include "migration/dump-compress.h"
#include "migration/dump.h"
#include "migration/migration.h"
#include "migration/snapshot-file.h"
#include "migration/snapshot.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct godwit {
    struct options *options;
    struct assembly assembly;
    struct monitor *monitor;
    struct machine *machine;
    FILE *log;
    bool pidfile_written;
    struct daemon daemon;
};

static bool open_log(struct godwit *g, GError **error)
{
    const char *path = g->options->log_file;

    log_guest_enable(g->options->log_guest);
    log_set_timestamp(g->options->log_timestamp);
    if (!path) {
        return true;
    }
    g->log = fopen(path, "ae");
    if (!g->log) {
        g_set_error(error, CLI_ERROR, 0, "-D: cannot open '%s': %m", path);
        return false;
    }
    setvbuf(g->log, NULL, _IOLBF, 0);
    log_set_file(g->log);
    return true;
}

/* On the control thread, while the main thread hangs: what must not be left behind, then the end.
 */
static void abandon(void *opaque)
{
    struct godwit *g = opaque;

    terminal_restore();
    if (g->pidfile_written) {
        unlink(g->options->pidfile);
    }
    _exit(0);
}

static bool enable_auto_dump(struct machine *m, const struct options *o, GError **error)
{
    if (o->auto_dump && !auto_dump_enable(m, o->auto_dump, error)) {
        g_prefix_error(error, "-auto-dump %s: ", o->auto_dump);
        return false;
    }
    return true;
}

/* The state that the machine begins with, when it is not that of a machine switched on. */
static bool load_state(struct machine *m, const struct options *o, GError **error)
{
    const struct snapshot_where where = {NULL, NULL};

    if (!!o->load_snapshot + !!o->restore + !!o->incoming > 1) {
        g_set_error(error, CLI_ERROR, 0, "-loadvm, -restore and -incoming: only one of them");
        return false;
    }
    if (m->preconfig && o->load_snapshot) {
        g_set_error(error, CLI_ERROR, 0, "'preconfig' and 'loadvm' options are mutually exclusive");
        return false;
    }
    if (m->preconfig && o->incoming && strcmp(o->incoming, "defer") != 0) {
        g_set_error(error, CLI_ERROR, 0, "'preconfig' supports '-incoming defer' only, not '%s'",
                    o->incoming);
        return false;
    }
    if (o->incoming) {
        return migration_incoming_setup(m, o->incoming, error);
    }
    if (o->restore) {
        return snapshot_file_restore(m, o->restore, error);
    }
    return !o->load_snapshot || snapshot_load(m, o->load_snapshot, &where, error);
}

static bool set_up(struct godwit *g, GError **error)
{
    struct options *o = g->options;
    bool ok;

    assembly_init(&g->assembly, o);
    g->monitor = monitor_new();
    if (!open_log(g, error) ||
        (o->event_log && !monitor_log_events(g->monitor, o->event_log, error)) ||
        !assemble_monitors(g->monitor, o, error)) {
        return false;
    }
    if (o->lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        g_set_error(error, CLI_ERROR, 0, "-overcommit mem-lock=on: cannot lock memory: %m");
        return false;
    }
    o->config->prepare = assemble_block;
    o->config->option_descs = option_descs;
    o->config->populate = assemble_devices;
    o->config->populate_opaque = &g->assembly;
    monitor_watch_main(g->monitor, o->stall_ms);
    monitor_set_abandon(g->monitor, abandon, g);
    g->machine = machine_new(o->config, loop_new, monitor_event_sink(g->monitor), error);
    if (!g->machine) {
        return false;
    }
    o->config = NULL;
    big_lock_acquire(&g->machine->lock);
    assemble_actions(g->machine, o);
    ok = assemble_debugger(g->machine, o, error) && enable_auto_dump(g->machine, o, error) &&
         load_state(g->machine, o, error);
    big_lock_release(&g->machine->lock);
    if (!ok) {
        return false;
    }
    g->pidfile_written = o->pidfile && pidfile_write(o->pidfile, error);
    return !o->pidfile || g->pidfile_written;
}

static void tear_down(struct godwit *g)
{
    if (g->machine) {
        big_lock_acquire(&g->machine->lock);
        auto_dump_disable(g->machine);
        dump_finish(g->machine);
        big_lock_release(&g->machine->lock);
    }
    migration_end(g->machine);
    monitor_free(g->monitor);
    machine_free(g->machine);
    assembly_finish(&g->assembly);
    terminal_restore();
    if (g->pidfile_written) {
        unlink(g->options->pidfile);
    }
    options_free(g->options);
    if (g->log) {
        log_set_file(stderr);
        fclose(g->log);
    }
}

/* Under another root libraries could not be found, or be somebody else's: they are loaded before.
 * Who needs one that is not there says so. */
static bool enclose(const struct confinement *c, GError **error)
{
    if (c->root) {
        nbd_library_load(NULL);
        dump_compress_flag(DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY);
    }
    return confine(c, error);
}

int main(int argc, char **argv)
{
    struct godwit g = {.daemon.ready_fd = -1};
    g_autoptr(GError) error = NULL;
    int status = 1;

    g.options = options_parse(argc, argv, &error);
    if (!g.options) {
        fprintf(stderr, "godwit: %s\n", error->message);
        return 1;
    }
    if (g.options->action == OPTIONS_DONE) {
        options_free(g.options);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    atexit(terminal_restore);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of the writer's */
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an I/O error of the guest's */
    machine_block_signals();
    if (!host_fault_start(&error)) {
        log_warn("%s", error->message);
        g_clear_error(&error);
    }
    if (g.options->daemonize) {
        daemon_start(&g.daemon);
    }
    thread_begin("main", THREAD_MAIN);
    if (set_up(&g, &error) && enclose(&g.options->confinement, &error)) {
        machine_start(g.machine);
        monitor_start(g.monitor, g.machine);
        daemon_ready(&g.daemon);
        status = machine_run(g.machine);
    } else {
        fprintf(stderr, "godwit: %s\n", error->message);
    }
    tear_down(&g);
    return status;
}
