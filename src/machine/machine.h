/*
 * A machine: its life (run state, requests, actions) and its parts (spaces, clock, vCPUs, devices).
 *
 * Owner: the main thread, under the machine lock, unless a function says otherwise. There may be
 * several machines in a process; nothing here is global.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/clock.h"
#include "base/lock.h"
#include "base/loop.h"
#include "cpu/vcpu.h"
#include "devices/core/device.h"
#include "machine/cause.h"
#include "machine/runstate.h"
#include "qapi-types.h"
#include "qapi/event.h"

struct machine;
struct debugger;
struct dump;

#define MACHINE_ERROR (machine_error_quark())
GQuark machine_error_quark(void);

/* -boot. Text as given, owned; NULL: not given. */
struct boot_options {
    char *order, *once; /* letters: a floppy, c disk, d CD, n network */
    bool menu, strict;
    bool no_floppy_check;    /* -no-fd-bootchk: a floppy need not bear a boot signature */
    uint16_t splash_time_ms; /* how long the firmware's menu prompt stays */
    bool has_splash_time;
    char *splash;              /* a picture's file name: JPEG, or BMP of 24 bits */
    int32_t reboot_timeout_ms; /* when nothing boots; -1: never */
};

/* -numa. Nodes are numbered from 0 without gaps. */
#define NUMA_NODES 64
#define NUMA_LOCAL 10 /* distance of a node to itself (ACPI specification 5.0, 5.2.17) */
#define NUMA_FAR   20
struct numa_config {
    unsigned n; /* nodes; 0: nothing was said, and no memory can be plugged in */
    struct {
        bool given;
        char *memdev;
        uint64_t bytes; /* of the machine's own RAM */
        struct ram_place place;
    } node[NUMA_NODES];
    bool has_distances;
    uint8_t distance[NUMA_NODES][NUMA_NODES];
    uint8_t *of_cpu; /* a node for each vCPU that there can be */
};

#define MACHINE_FLASHES 2

/* What the command line takes, for clients that make one; the lists end with a NULL name. */
struct option_param {
    const char *name;
    enum command_line_parameter_type type;
};

struct option_desc {
    const char *option;                /* without the dash */
    const struct option_param *params; /* NULL: none, or they depend on the first word */
};

/* A file of the firmware configuration interface, from the user. */
struct fw_file {
    char *name;
    GBytes *content;
};

struct machine_config { /* what the command line said; strings owned */
    char *machine_type; /* "q35", "none" */
    char *name;         /* -name; NULL */
    char *uuid;         /* canonical text, or NULL */
    uint64_t ram_bytes;
    struct ram_backing ram_backing; /* all zero: anonymous */
    GPtrArray *ram_objects;         /* struct object_options: what it is made of; none: pc.ram */
    uint64_t max_ram_bytes;         /* -m maxmem=; 0: no more can be plugged in */
    unsigned ram_slots;             /* -m slots= */
    struct numa_config numa;
    struct cpu_topology topology;
    char *cpu_spec;    /* -cpu; NULL: default */
    GPtrArray *accels; /* names in order of preference */
    struct accel_config accel;
    char *kernel, *initrd, *append;
    char *firmware;                /* a path: -bios, or the default firmware's; NULL: none */
    char *pflash[MACHINE_FLASHES]; /* -machine pflash0=, pflash1=: node names */
    struct boot_options boot;
    GPtrArray *data_dirs;                   /* -L: where firmware files are looked for first */
    bool no_hpet, no_acpi, no_smbus;        /* -machine hpet=off, acpi=off, smbus=off */
    bool no_pic, no_pit, no_rtc, no_serial; /* of microvm: pic=off, ..., isa-serial=off */
    bool kernel_by_firmware;                /* -machine kernel-boot=firmware: not directly */
    bool nographic;                         /* firmware's screen is to be on COM1 */
    bool start_paused;                      /* -S */
    bool preconfig;                         /* --preconfig */
    bool incoming;                          /* -incoming: the guest comes from another machine */
    char *rtc_base, *rtc_clock;             /* -rtc; NULL: defaults */
    GPtrArray *globals;                     /* struct device_global */
    GPtrArray *smbios;                      /* struct smbios_field (smbios-field.h) */
    GPtrArray *fw_files;                    /* struct fw_file */
    GPtrArray *acpi_tables;                 /* GBytes: whole tables of the user's */
    char *black_box_dir, *symbols;          /* see blackbox_new() */
    /* Makes what devices stand on (block nodes): before the board's own devices. Machine lock held.
     * NULL: none. */
    bool (*prepare)(struct machine *m, void *opaque, GError **error);
    /* Adds devices that the command line asks for: after the board's own, before the first reset.
     * Machine lock held. NULL: none. */
    bool (*populate)(struct machine *m, void *opaque, GError **error);
    void *populate_opaque;
    const struct option_desc *option_descs; /* constant; NULL: nobody tells */
};

/* Zeroed, with empty lists. */
struct machine_config *machine_config_new(void);
/* -global: strings are copied. */
void machine_config_add_global(struct machine_config *config, const char *driver,
                               const char *property, const char *value);
/* -smbios, likewise. */
void machine_config_add_smbios(struct machine_config *config, unsigned type, const char *name,
                               const char *value);
/* -fw_cfg: the name is copied, a reference to the content taken. */
void machine_config_add_fw_file(struct machine_config *config, const char *name, GBytes *content);
void machine_config_free(struct machine_config *config); /* NULL is fine */

struct board {
    const char *name, *alias; /* "pc-q35-7.2", "q35" */
    const char *desc;
    const char *firmware; /* what starts when there is no -kernel: a file name; NULL: nothing */
    bool is_default;
    unsigned max_cpus;
    bool has_dies;      /* sockets may have more than one */
    const char *ram_id; /* of the main memory where no -object is it; NULL: there is no memory */
    bool cpu_hotplug;   /* with -smp maxcpus= */
    bool wakeup_suspend;
    struct drive_rules drives; /* of -drive without if= */
    /* Builds memory map and devices; config is checked. Errors name what is wrong. */
    bool (*init)(struct machine *, GError **);
    /* After devices were reset: puts kernel and tables back, sets vCPU 0's start state. */
    bool (*reset)(struct machine *, GError **);
    void (*power_button)(struct machine *); /* system_powerdown; NULL: no effect */
    /* Suspend to RAM, for a board whose devices ask for it. asleep(true): the machine is parked and
     * suspended, arm what may wake it; asleep(false): that is over, before wake() or a reset.
     * wake(): devices had RESET_WAKE and vCPUs are reset; sets vCPU 0 to go on. false and *error
     * when the guest left no way: it is reset then. */
    void (*asleep)(struct machine *, bool asleep);
    bool (*wake)(struct machine *, GError **error);
    void (*finish)(struct machine *); /* accepts a half-built machine */
};

struct migration;

struct machine {
    const struct board *board;
    struct machine_config *config;
    struct big_lock lock;
    struct loop *loop; /* the main thread's, dispatching under lock */
    struct vclock *clock;
    struct vtimer disk_timer; /* limits of disks, where the clock is stepped */
    struct address_space *mem, *io;
    const struct accel_ops *accel; /* the chosen one */
    struct cpus *cpus;             /* NULL: none */
    struct cpu_model *cpu_model;
    struct device_env env;
    struct event_sink *events;       /* where QMP events go, with their causes; never NULL */
    struct causes *causes;           /* cause.c */
    struct blackbox *blackbox;       /* blackbox.c */
    struct host_memory *host_memory; /* host-memory.c */
    struct runstate *run;            /* runstate.c */
    struct requests *requests;       /* requests.c */
    void *board_data;
    struct block_graph *block;
    struct jobs *jobs; /* block/job.h */
    struct net *net;
    struct debugger *debugger; /* debugger.c; NULL: none */
    struct dump *dump;         /* migration/dump.c; NULL: none was made yet */
    /* When the guest has failed, before anything is done about it; vCPUs are parked, main thread,
     * lock held. NULL: nobody. Whoever sets it frees the opaque. */
    void (*on_failure)(void *opaque, enum godwit_black_box_trigger trigger);
    void *on_failure_opaque;
    GPtrArray *chardevs; /* struct chardev *, owned: freed after the devices */
    int exit_status;
    unsigned parts_gone;         /* devices and vCPUs that have been taken out so far */
    struct migration *migration; /* of the room above, which makes and frees it; NULL: none */
    /* Written by the main thread, read by the control thread: what may be asked of the machine. */
    _Atomic bool preconfig;
};

extern const struct board *const boards[];        /* ended by NULL */
const struct board *board_find(const char *name); /* by name or alias */

/* Builds the machine, reset and stopped in prelaunch. config is owned by the machine on success.
 * Takes and releases the lock itself. */
struct machine *machine_new(struct machine_config *config,
                            struct loop *(*make_loop)(struct big_lock *), struct event_sink *events,
                            GError **error);
void machine_free(struct machine *m);

/* For boards, from init(): makes m->cpus with the first accelerator of the configuration that works
 * here. hooks are the board's (constant); it uses machine_triple_fault and machine_internal_error
 * below for its own, and gets the machine as their opaque. */
bool machine_create_cpus(struct machine *m, const struct cpus_hooks *hooks, GError **error);
/* The same for a board without vCPUs: only chooses. */
bool machine_choose_accel(struct machine *m, GError **error);
void machine_triple_fault(void *machine, struct vcpu *vcpu);
void machine_internal_error(void *machine, struct vcpu *vcpu, const char *text);
void machine_host_error(void *machine, struct vcpu *vcpu, const char *text);
void machine_debug_stop(void *machine, struct vcpu *vcpu);
struct mce;
/* Holds the vCPUs of a running machine for a moment, and lets them go on. Others may do the latter
 * earlier. Main thread, lock held. */
void machine_hold_vcpus(struct machine *m, bool hold);
/* The NMI button. A machine in prelaunch is where its firmware would be, which takes an NMI and
 * goes on: nothing comes of it. false: there are no vCPUs. Any thread. */
bool machine_inject_nmi(struct machine *m);
/* Injects a machine check into a vCPU, and with broadcast one that says nothing more into all
 * others; MEMORY_FAILURE tells. What goes wrong is added to `out`, a line each. Main thread. */
void machine_inject_mce(struct machine *m, struct vcpu *vcpu, const struct mce *mce, bool broadcast,
                        GString *out);
void machine_crash(void *machine, struct vcpu *vcpu, const uint64_t arg[5]);

/* The vCPU with that index; NULL: none. */
struct vcpu *machine_vcpu(struct machine *m, int64_t index);
/* The character device of that id, the machine's; NULL: none. */
struct chardev *machine_chardev(struct machine *m, const char *id);
/* Takes the character device, whose id is nobody's yet. A multiplexer's key to quit is this
 * machine's from now on. */
void machine_add_chardev(struct machine *m, struct chardev *chr);
/* Around a look at vCPUs' registers or guest memory that must not change meanwhile: no event, guest
 * time goes on, nothing happens to a stopped machine. Do not nest. */
void machine_park_begin(struct machine *m);
void machine_park_end(struct machine *m);

/* What devices may ask of a machine (opaque: the machine); m->env.system points here. */
extern const struct system_ops machine_system_ops;

/* ---- running and stopping (lifecycle.c); machine lock held */

/* Stops: run state, clock, vCPUs, devices, STOP, in the protocol's order. When already stopped or
 * suspended: only flushes, no event, state unchanged. */
void vm_stop(struct machine *m, enum run_state state);
/* State running, RESUME, clock, vCPUs. No-op when running or suspended. false and *error in states
 * that refuse (shutdown, internal-error: "Resetting the Virtual Machine is required"; preconfig).
 */
bool vm_start(struct machine *m, GError **error);

/* While somebody reads a stopped machine from another thread: starting it is refused with this text
 * (a constant), resets and wake-ups that are asked for wait until machine_thaw(). Machine lock
 * held. Do not nest. */
void machine_freeze(struct machine *m, const char *why);
/* Whether resets are carried out all the same until then, for a reader that bears that memory and
 * devices change; not at first. */
void machine_freeze_but_resets(struct machine *m, bool resets);
/* Ends that and carries out what has waited; a reset leaves the machine in prelaunch. false: the
 * machine has ended. */
bool machine_thaw(struct machine *m);
/* That text, or NULL. */
const char *machine_frozen(const struct machine *m);
/* Puts a stopped machine that is about to be loaded into its state after a reset, without an event.
 * false: that failed. */
bool machine_reset_to_load(struct machine *m);
/* How that went on: a machine that was loaded only in part can't be started before another reset.
 * One that was loaded whole leaves internal-error and shutdown for paused. asleep: the guest that
 * was loaded is suspended; so stays a suspended machine then, and leaves for prelaunch otherwise.
 * Any other puts that guest to sleep as soon as it goes on. */
void machine_loaded(struct machine *m, bool whole, bool asleep);
/* Holds a machine still whatever its run state, which stays, without an event: vCPUs, devices, disk
 * requests and the clock. Nothing happens to one that does not run. Machine lock held. */
void machine_still_begin(struct machine *m);
void machine_still_end(struct machine *m);
/* In state inmigrate vm_start() and vm_stop() only set whether the guest will run when it has come.
 * vm_start() of a machine whose images another one has takes them first, and fails if it can't. */

/* The end of a migration to this machine, which is loaded: the state that the guest had. One that
 * ran goes on (RESUME) if it is to and `may_run`, else it is paused. */
void vm_arrive(struct machine *m, enum run_state state, bool may_run);
/* Whether a guest that ran will run when it has come. */
bool vm_will_run(const struct machine *m);
/* Stops in finish-migrate. Returns the state that the guest is to have elsewhere; one that sleeps
 * is woken by it. */
enum run_state vm_stop_to_move(struct machine *m);
/* The guest stays here: it goes on if it ran, else it has the state that vm_stop_to_move() gave. */
void vm_stay(struct machine *m, enum run_state state);

/* ---- requests: any thread, with or without the lock; carried out by machine_run_requests() on the
 * main thread in the fixed order of the protocol reference (record, debug, suspend, shutdown,
 * reset, wakeup, powerdown, stop). Each kind is one slot: the latest cause wins. source says who: a
 * constant string. A shutdown from outside (host-qmp-quit, host-signal, host-ui) ends the process
 * whatever the shutdown action is. A suspend of a machine that is not running happens when it goes
 * on. */
void machine_request_shutdown(struct machine *m, enum shutdown_cause cause, const char *source);
void machine_request_reset(struct machine *m, enum shutdown_cause cause, const char *source);
void machine_request_powerdown(struct machine *m);
void machine_request_stop(struct machine *m, enum run_state state, const char *source);
/* S3: vCPUs stop, state suspended, SUSPEND. */
void machine_request_suspend(struct machine *m);
/* Whether the guest has asked for that and waits for it until the machine goes on. Lock held. */
bool machine_suspend_pending(struct machine *m);
void machine_set_suspend_pending(struct machine *m, bool pending);
/* Ends that: RESET_WAKE, state running, WAKEUP. Nothing when the machine is not suspended. */
void machine_request_wakeup(struct machine *m, const char *source);
/* Ends the main loop with this process status, with no event (isa-debug-exit). */
void machine_request_exit(struct machine *m, int status);

/* Main thread, lock held. Called by the loop when a request is pending and by the monitor before
 * each in-band command. Returns false when the machine has ended. */
bool machine_run_requests(struct machine *m);
/* Whether there are some, or are about to be. Any thread. */
bool machine_requests_pending(struct machine *m);
/* The same after a command, so that its events precede its reply. What a vCPU of a running machine
 * has asked for meanwhile is left to the loop: a guest that the command lets go on may be so quick
 * as to ask for something already, and events of that follow the reply, as in QEMU, where vCPUs run
 * when the reply is sent. */
bool machine_run_requests_of_command(struct machine *m);

/* For who tells of the run state on another thread than the main one: waits until requests that
 * were left are carried out, for the client may have an event that came with one. Not longer than
 * 20 ms, and not again while nothing moves; returns the state that they lead to then. */
enum run_state machine_settled_state(struct machine *m);

/* Starts the guest unless start_paused or preconfig; not with the lock held. Before monitors serve
 * clients, so that none of them sees a machine that is about to run. */
void machine_start(struct machine *m);
/* The end of --preconfig: starts the guest unless start_paused. false and *error when it has ended
 * before. Lock held. */
bool machine_exit_preconfig(struct machine *m, GError **error);
/* The main thread's life: runs requests and sources until the machine ends, stops the vCPUs;
 * returns the exit status. Not with the lock held. SIGINT, SIGTERM and SIGHUP end it with cause
 * host-signal, if machine_block_signals() was called before any thread was made. */
int machine_run(struct machine *m);
void machine_block_signals(void);

/* ---- actions (action.c): what a guest event does */
struct machine_actions {
    enum reboot_action reboot;
    enum shutdown_action shutdown;
    enum panic_action panic;
    enum watchdog_action watchdog;
};
struct machine_actions *machine_actions(struct machine *m); /* lock held */

#endif
