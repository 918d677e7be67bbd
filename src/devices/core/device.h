/*
 * Devices: class, instance, properties, and the contract that the core enforces.
 *
 * Order: set properties, realize, reset(cold), run. On restore: realize, reset(cold), load,
 * post_load, run. pause comes after all vCPUs are parked, resume before any runs again; both are
 * idempotent. A paused device starts nothing, but accepts and holds what others hand it. reset,
 * save and load happen only while paused. All ops are called with the machine lock held.
 *
 * An instance has three parts, kept apart: cfg (from properties, constant after realize), s (what a
 * guest can observe; plain data with a state table) and host handles, rebuilt from the other two.
 */
#ifndef DEVICES_CORE_DEVICE_H
#define DEVICES_CORE_DEVICE_H

#include "base/clock.h"
#include "base/state.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "cpu/vcpu.h"
#include "devices/core/irq.h"
#include "memory/address-space.h"
#include "net/net.h"

#define DEVICE_ERROR device_error_quark()
GQuark device_error_quark(void);

enum bus_kind {
    BUS_SYSTEM /* boards only, not for -device */,
    BUS_NONE,
    BUS_ISA,
    BUS_PCI,
    BUS_IDE,
    BUS_VIRTIO /* a slot with virtio registers in memory, of boards that have such */
};

enum reset_kind {
    RESET_COLD,
    RESET_WARM,
    RESET_WAKE, /* back from suspend to RAM: what is on battery or standby power was kept */
};

enum property_type {
    PROP_END,
    PROP_BOOL, /* bool */
    PROP_U8,
    PROP_U16,
    PROP_U32,
    PROP_U64,
    PROP_I32,    /* int32_t; any from -1 on */
    PROP_SIZE,   /* uint64_t, k/M/G suffixes */
    PROP_STRING, /* char * */
    PROP_ENUM,   /* an enum of the schema, 4 bytes, by the names in `values` */
    PROP_CHARDEV /* struct chardev *, by id */
};

struct property {
    const char *name;
    enum property_type type;
    uint32_t offset;   /* in the instance */
    uint64_t def;      /* default of a scalar */
    uint64_t min, max; /* inclusive, checked when max != 0 */
    const char *help;
    const struct qapi_type *values; /* PROP_ENUM */
};

/* "bool", "uint8", "size", "str", ... */
const char *property_type_name(enum property_type type);

struct device;
struct display_ops;

struct bios_geometry { /* of a disk, as the user wants the firmware to see it */
    uint32_t cyls, heads, secs;
};
#define BIOS_GEOMETRY_PROPERTIES(type, member)                                                     \
    {"lcyls", PROP_U32, offsetof(type, member.cyls),                                               \
     .help = "cylinders that the firmware shows (default: its own guess)"},                        \
        {"lheads", PROP_U32, offsetof(type, member.heads), .help = "heads that it shows"},         \
    {                                                                                              \
        "lsecs", PROP_U32, offsetof(type, member.secs), .help = "sectors of a track that it shows" \
    }

struct device_class {
    const char *name; /* as in -device: "isa-debug-exit" */
    const char *help;
    enum bus_kind bus;
    const struct device_class *same_as; /* the same device on another bus, by which it is looked
                                         * for; NULL: none */
    size_t size;                        /* of the instance; its first member is struct device */
    const struct property *props;       /* PROP_END ends it; NULL: none */
    const struct state_desc *state;     /* &state_none when there is none */
    size_t state_offset;
    bool (*realize)(struct device *, GError **); /* on failure just return: unrealize follows */
    void (*unrealize)(struct device *);          /* accepts a half-realized device */
    void (*reset)(struct device *, enum reset_kind);
    void (*pause)(struct device *);  /* NULL is fine */
    void (*resume)(struct device *); /* NULL is fine */
    bool (*post_load)(struct device *, GError **);
    /* What a paused device has under way beyond its state struct: appends sections (base/state.h)
     * and returns how many; reads so many of them, after post_load. NULL: never anything. */
    unsigned (*save_requests)(struct device *, GByteArray *out);
    bool (*load_requests)(struct device *, struct state_input *in, unsigned n, GError **);
    enum {
        HOTPLUG_BY_BUS, /* where its bus takes devices at any time; without a bus: not */
        HOTPLUG_NEVER,
        HOTPLUG_ALWAYS /* without a bus */
    } hotplug;
    /* Where firmware finds it, as in Open Firmware: "/pci@i0cf8/scsi@4/disk@0,0", owned by the
     * caller. Classes with it have the property bootindex. NULL: it cannot be booted from. */
    char *(*boot_path)(struct device *);
    /* The geometry that the firmware is to use for the disk, told it by that path; all 0: none is.
     * NULL: the device is no disk. */
    struct bios_geometry (*bios_geometry)(const struct device *);
    /* Without a bus: the device is there, tell the guest; ask the guest to give it up (what comes
     * of it is system_device_unplugged() or system_note_unplug_failed()), NULL: it goes at once.
     * With a bus: the device's own word on it comes before the bus's. */
    void (*plugged)(struct device *);
    bool (*unplug_request)(struct device *, GError **);
    const struct display_ops *display; /* of a display adapter (display/display.h), else NULL */
};

/* What a device may ask of the machine: devices own this, the machine fills it in. Machine lock
 * held unless said. */
struct system_ops {
    void (*reset)(void *opaque, const char *source);    /* guest-reset: 0xCF9, 8042, ... */
    void (*shutdown)(void *opaque, const char *source); /* guest-shutdown: S5 */
    void (*suspend)(void *opaque);                      /* S3 */
    void (*suspend_disk)(void *opaque);                 /* S4: event, then shutdown */
    void (*wakeup)(void *opaque, const char *source);
    void (*panicked)(void *opaque, bool crash_loaded);
    void (*watchdog)(void *opaque, const char *source);
    void (*exit)(void *opaque, int status); /* isa-debug-exit: ends the process with that status */
    void (*rtc_change)(void *opaque, int64_t offset_s);
    void (*unplugged)(void *opaque, struct device *);     /* frees it and tells */
    void (*unplug_failed)(void *opaque, struct device *); /* the guest keeps it */
    void (*cpu_out)(void *opaque, unsigned index);        /* soon; and tells */
    void (*cpu_kept)(void *opaque, struct vcpu *);
};

/* A default of the user's for a property of each device of that class (-global). */
struct device_global {
    char *driver, *property, *value;
    bool used;
};

/* What a device is plugged into. One per machine; devices keep the pointer. */
struct device_env {
    struct address_space *mem, *io;
    struct vclock *clock;
    struct cpus *cpus; /* NULL on a bare bus (tests) */
    struct big_lock *lock;
    struct loop *loop;
    struct event_sink *events; /* NULL on a bare bus: nobody listens */
    uint64_t ram_bytes;        /* that the guest has */
    struct block_graph *block; /* NULL on a bare bus that has none */
    struct net *net;           /* the same */
    const struct system_ops *system;
    void *system_opaque;
    struct irq_line isa_irq[16]; /* into 8259 and I/O APIC together */
    struct irq_line a20;         /* the A20 gate: high is open; who set it last has it */
    void (*send_msi)(struct device_env *, gpa_t addr, uint32_t data);
    /* Of the accelerator (cpu/vcpu.h); NULL: it has none. */
    bool (*irqfd_set)(struct device_env *, int fd, gpa_t addr, uint32_t data);
    void (*irqfd_clear)(struct device_env *, int fd);
    GPtrArray *globals;                  /* struct device_global; NULL: none */
    const GPtrArray *data_dirs;          /* char *: where option ROMs are first; NULL: none */
    struct device_list *devices;         /* realized, in order of creation; the core makes it */
    GPtrArray *objects;                  /* struct object (core/object.h); NULL: none */
    struct pci_bus *pci;                 /* NULL: none */
    struct memory_slots *memory_slots;   /* NULL: none */
    struct virtio_mmio_bus *virtio_mmio; /* NULL: none */
    GPtrArray *ide_buses;                /* struct ide_bus (ide/ata.h); NULL: none */
    struct qtest *qtest;                 /* the register door; NULL: none */
    GPtrArray *ram; /* struct device_ram: memory of devices that may not be mapped; NULL: none */
    /* What chardev=ID of a property means; NULL (the function or its result): no such chardev. */
    struct chardev *(*find_chardev)(struct device_env *, const char *id);
    /* The descriptor that a client gave a name, which becomes the caller's; -1: there is none.
     * NULL: nobody gives names. */
    int (*find_fd)(void *opaque, const char *name);
    void *find_fd_opaque;
    /* Where a device is in the tree of objects; owned by the caller. NULL: there is no tree. */
    char *(*device_path)(struct device_env *, const struct device *);
};

#define BOOTINDEX_NONE (-1)

struct device {
    const struct device_class *class;
    char *id;     /* -device id=, or NULL */
    bool plugged; /* by the user, rather than the board's own */
    struct device_env *env;
    struct device *parent; /* a bridge or controller that it is behind, and goes with; or NULL */
    bool realized, paused;
    int32_t bootindex;      /* the least is tried first; BOOTINDEX_NONE: not asked for */
    bool hotplugged;        /* after the machine was built */
    bool unplug_asked;      /* the guest is to give it up */
    int64_t unplug_busy_ns; /* until then, on the virtual clock, it is not asked again */
    GError *bad_global;     /* why a default of the user's does not fit: realize fails with it */
};

/* Requests to the machine; without a machine (bare bus) or a hook they do nothing. */
void system_request_reset(struct device_env *env, const char *source);
void system_request_shutdown(struct device_env *env, const char *source);
void system_request_suspend(struct device_env *env);
void system_request_suspend_disk(struct device_env *env);
void system_request_wakeup(struct device_env *env, const char *source);
void system_request_exit(struct device_env *env, int status);
void system_note_rtc_change(struct device_env *env, int64_t offset_s);
/* The guest has given the device up: it is freed, with all that is behind it. */
void system_device_unplugged(struct device *dev);
/* The guest does not give it up. */
void system_note_unplug_failed(struct device *dev);
/* The same for vCPUs. One that is given up goes soon, not at once. */
void system_request_cpu_out(struct device_env *env, unsigned index);
void system_note_cpu_kept(struct device_env *env, struct vcpu *vcpu);
void system_note_panicked(struct device_env *env, bool crash_loaded);
void system_note_watchdog(struct device_env *env, const char *source); /* source: a constant */

/* A class's nth property: its own, then those of what it is plugged into; NULL: no more. */
const struct property *device_class_property(const struct device_class *class, unsigned n);

/* The table of all classes, ended by NULL; order is that of -device help. */
extern const struct device_class *const device_classes[];
const struct device_class *device_class_find(const char *name); /* a variant's name will do */

/* Another name of a class for -device: the same device with a property set beforehand. */
struct device_variant {
    const char *name;
    const struct device_class *class;
    const char *property, *value;
};
/* The table of all variants, ended by an entry without a name. */
extern const struct device_variant device_variants[];
const struct device_variant *device_variant_find(const char *name); /* NULL: not a variant's name */

/* New instance with default properties, the user's defaults among them, not realized, paused. */
struct device *device_new(const struct device_class *class, struct device_env *env);
/* The same by class name, for boards; NULL and *error when there is none. */
struct device *device_new_named(const char *name, struct device_env *env, GError **error);
/* From text; an unknown property, a wrong value or one out of range is an error naming all three.
 */
bool device_set_property(struct device *dev, const char *name, const char *value, GError **error);
/* A descriptor for the device: a number, or a client's name for it. The caller's, close-on-exec. -1
 * and *error. From realize. */
int device_take_fd(struct device *dev, const char *text, GError **error);
/* Adds it to env->devices. On failure the device is freed. Those whose parent it is go before it.
 */
bool device_realize(struct device *dev, GError **error);
void device_free(
    struct device *dev); /* unrealizes and takes it out of env->devices; NULL is fine */

/* At the guest's wish, of one device that may be running. */
void device_reset_alone(struct device *dev);
/* Ends all unplugs that the guest was asked for and did not come to: before a reset. */
void devices_end_unplugs(struct device_env *env);
void devices_reset(struct device_env *env, enum reset_kind kind);
void devices_pause(struct device_env *env);
void devices_resume(struct device_env *env);
void devices_free(struct device_env *env);
/* Memory of a device's own that is part of the machine's state whether it is
 * mapped or not: from realize, taken back before the block is freed (never added is fine). */
struct device_ram {
    struct device *owner;
    struct ram_block *block;
};
void device_add_ram(struct device *dev, struct ram_block *block);
void device_remove_ram(struct device *dev, struct ram_block *block);
/* The state of all devices, as base/state.h has it; paused. */
void devices_save(struct device_env *env, GByteArray *out);
/* The same into devices that were reset: each state, then each post_load(). A stream for other
 * devices than there are, or with values that cannot be, is refused with a message that names the
 * device; the machine must be reset then. */
bool devices_load(struct device_env *env, struct state_input *in, GError **error);
/* A name in streams for each of the devices, by device; free with g_hash_table_unref(). */
GHashTable *devices_keys(struct device_env *env);
struct device *devices_find(struct device_env *env, const char *id); /* by id; NULL: none */
/* Whether it is of this class, or the same device on another bus. */
bool device_is(const struct device *dev, const struct device_class *class);
/* The first realized device of this class; NULL: none. */
struct device *devices_find_class(struct device_env *env, const struct device_class *class);
/* The nth (from 0) realized device of this class; NULL: no more. */
struct device *devices_nth_of_class(struct device_env *env, const struct device_class *class,
                                    unsigned n);
/* How many realized devices of this class there are. */
unsigned devices_count(struct device_env *env, const struct device_class *class);
void devices_foreach(struct device_env *env, void (*fn)(struct device *, void *), void *opaque);

#endif
