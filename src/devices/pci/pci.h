/*
 * PCI: buses, and devices on them with configuration space, BARs, INTx, MSI and MSI-X.
 *
 * A PCI device's instance begins with struct pci_device; its state struct begins with struct
 * pci_state, listed in its table as STATE_STRUCT(struct X_state, pci, pci_state_fields). realize()
 * calls pci_init() first, then pci_add_*(); reset() calls pci_reset(), unrealize() pci_finish(),
 * post_load() pci_post_load(). Machine lock held throughout.
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include "devices/core/device.h"

#define PCI_CONFIG_BYTES          256
#define PCI_BARS                  6
#define PCI_MSIX_VECTORS          64

#define PCI_DEVFN(slot, function) ((slot) << 3 | (function))

/* configuration space (PCI Local Bus Specification 3.0, section 6.1) */
#define PCI_VENDOR_ID             0x00
#define PCI_DEVICE_ID             0x02
#define PCI_COMMAND               0x04
#define PCI_COMMAND_IO            0x0001
#define PCI_COMMAND_MEMORY        0x0002
#define PCI_COMMAND_MASTER        0x0004
#define PCI_COMMAND_PARITY        0x0040
#define PCI_COMMAND_SERR          0x0100
#define PCI_COMMAND_INTX_OFF      0x0400
#define PCI_STATUS                0x06
#define PCI_STATUS_INTX           0x0008
#define PCI_STATUS_CAPABILITIES   0x0010
#define PCI_REVISION              0x08
#define PCI_CLASS_PROG            0x09
#define PCI_CLASS                 0x0a
#define PCI_CACHE_LINE            0x0c
#define PCI_LATENCY               0x0d
#define PCI_HEADER_TYPE           0x0e
#define PCI_BAR0                  0x10
#define PCI_SUBSYSTEM_VENDOR      0x2c
#define PCI_SUBSYSTEM             0x2e
#define PCI_ROM                   0x30
#define PCI_CAPABILITIES          0x34
#define PCI_INTERRUPT_LINE        0x3c
#define PCI_INTERRUPT_PIN         0x3d

#define PCI_CAP_MSI               0x05
#define PCI_CAP_EXPRESS           0x10
#define PCI_CAP_MSIX              0x11
#define PCI_CAP_SATA              0x12

/* of bridges: header type 1 (PCI-to-PCI Bridge Architecture Specification 1.2, section 3.2) */
#define PCI_PRIMARY_BUS           0x18
#define PCI_SECONDARY_BUS         0x19
#define PCI_SUBORDINATE_BUS       0x1a
#define PCI_SECONDARY_LATENCY     0x1b
#define PCI_IO_BASE               0x1c
#define PCI_IO_LIMIT              0x1d
#define PCI_SECONDARY_STATUS      0x1e
#define PCI_MEMORY_BASE           0x20
#define PCI_MEMORY_LIMIT          0x22
#define PCI_PREFETCH_BASE         0x24
#define PCI_PREFETCH_LIMIT        0x26
#define PCI_PREFETCH_BASE_HIGH    0x28
#define PCI_PREFETCH_LIMIT_HIGH   0x2c
#define PCI_BRIDGE_CONTROL        0x3e
#define PCI_BRIDGE_CONTROL_ABORT  0x0020 /* master abort mode */
#define PCI_BRIDGE_CONTROL_RESET  0x0040

#define PCI_BAR_IO                0x1
#define PCI_BAR_MEM64             0x4
#define PCI_BAR_PREFETCHABLE      0x8

struct pci_msix_entry {
    uint64_t addr;
    uint32_t data, control; /* control bit 0: masked */
};

struct pci_state {
    uint64_t msix_pending;
    struct pci_msix_entry msix[PCI_MSIX_VECTORS];
    uint8_t config[PCI_CONFIG_BYTES];
    uint32_t msi_pending;
    bool intx; /* the device asserts its pin */
    uint8_t pad[3];
};
extern const struct state_field pci_state_fields[];

struct pci_ids {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint16_t class; /* base class and subclass: 0x0601 */
    uint8_t prog_if, revision;
};

struct pci_device {
    struct device dev; /* first */
    struct {
        char *bus, *addr; /* NULL: the host bridge's; the first free slot */
        char *romfile;    /* NULL: the class's own */
        uint32_t rombar;
        bool multifunction;
    } at;
    struct pci_bus *bus; /* NULL before pci_init() */
    struct pci_state *s;
    uint8_t devfn;
    bool intx_out;                       /* what it gives to its bus */
    uint8_t writable[PCI_CONFIG_BYTES];  /* 1: the guest can write the bit */
    uint8_t clearable[PCI_CONFIG_BYTES]; /* 1: writing 1 clears the bit */
    struct {
        struct region *region; /* NULL: no such BAR */
        uint8_t type;
        bool mapped;
        gpa_t addr;
    } bar[PCI_BARS];
    struct {
        struct ram_block *ram; /* NULL: none */
        struct region region;
        bool mapped;
        gpa_t addr;
    } rom;
    uint8_t next_cap;          /* where the next capability goes */
    uint8_t msi_cap, msix_cap; /* offsets, 0 none */
    unsigned msix_vectors;
    struct region msix_table;
    struct pci_line *lines; /* eventfds that raise vectors; machine lock */
    GMutex messages;        /* guards MSI-X table, pending bits: messages are sent by any thread */
    /* Called before a guest's read of configuration space, to put there what is computed; NULL is
     * fine. */
    void (*config_reading)(struct pci_device *, unsigned offset, unsigned size);
    /* Called after a guest's write to configuration space; NULL is fine. */
    void (*config_written)(struct pci_device *, unsigned offset, unsigned size);
};

/* Where devices may come and go while the guest runs. */
struct pci_hotplug {
    /* The device is there: tells the guest. */
    void (*plugged)(void *opaque, struct pci_device *);
    /* Asks the guest to give it up. What comes of it is system_device_unplug() or
     * system_unplug_failed(). */
    bool (*unplug_request)(void *opaque, struct pci_device *, GError **);
};

struct pci_bus {
    struct device_env *env;
    char *name;                     /* "pcie.0", "pci.0", or the id of the bridge */
    struct pci_device *bridge;      /* that leads to it; NULL: a host bridge */
    struct pci_bus *next;           /* all buses of env, the host bridge's first */
    struct pci_device *device[256]; /* by devfn */
    bool express;
    bool one_slot;                     /* a link: slot 0 alone */
    bool down;                         /* no power or no link: nothing behind the bridge answers */
    const struct pci_hotplug *hotplug; /* NULL: devices stay as they are */
    void *hotplug_opaque;
    uint8_t intx_held[32][4]; /* functions of a slot that hold a pin */
    /* Of a host bridge's: `pin` 0 to 3 of the slot at devfn. */
    void (*set_intx)(void *opaque, uint8_t devfn, unsigned pin, bool level);
    void *set_intx_opaque;
    /* The south bridge's register at port 0xcf9, which lies within the host bridge's ports, and the
     * bits that can be read back; NULL: none. */
    uint8_t *reset_control, reset_control_kept;
};

/* Addresses that a bridge passes on: none when base is above limit. */
struct pci_window {
    uint64_t base, limit;
};
void pci_bridge_windows(const struct pci_device *bridge, struct pci_window *io,
                        struct pci_window *memory, struct pci_window *prefetch);

/* Properties of all PCI devices that a user plugs: bus, addr, multifunction. */
extern const struct property pci_properties[];

/* The bus of a host bridge, which sets env->pci, or of a bridge. */
struct pci_bus *pci_bus_new(struct device_env *env, const char *name, struct pci_device *bridge);
void pci_bus_free(struct pci_bus *bus);                                 /* empty; NULL is fine */
struct pci_bus *pci_bus_find(struct device_env *env, const char *name); /* NULL: none */
struct pci_bus *pci_bus_behind(const struct pci_device *bridge);        /* NULL: it is none */
/* The number that firmware or the guest gave it; 0 for a host bridge's. */
unsigned pci_bus_number(const struct pci_bus *bus);
/* Windows, or the link, of a bridge on the way to it changed: what is behind is decoded anew. */
void pci_bus_update(struct pci_bus *bus);
/* Calls for each device on the bus, not for those behind bridges on it. */
void pci_bus_foreach(struct pci_bus *bus, void (*fn)(struct pci_device *, void *), void *opaque);
/* A device on a pin of its bus; for bridges, from there on. */
void pci_bus_set_pin(struct pci_bus *bus, unsigned slot, unsigned pin, bool level);
/* The bus on which a device with this bus= would be, as for -device; NULL and *error: none. */
struct pci_bus *pci_bus_for(struct device_env *env, const char *name, const char *class,
                            GError **error);
/* Where firmware finds the device, by its buses and its class, as in Open Firmware; owned by the
 * caller. */
char *pci_firmware_path(const struct pci_device *dev);
bool pci_parse_addr(const char *addr, unsigned *devfn);
/* Whether bridges let an access to these addresses through to the bus. */
bool pci_bus_decodes(const struct pci_bus *bus, bool io, gpa_t addr, uint64_t size);

/* Ports 0xcf8 to 0xcff: the address register (configuration mechanism 1), a window on what it
 * names, and within it the reset control register. */
struct pci_ports {
    struct region region;
    struct pci_bus *bus;
    uint32_t *address; /* of the host bridge's state */
};
void pci_ports_init(struct pci_ports *ports, struct pci_bus *bus, uint32_t *address);
void pci_ports_finish(struct pci_ports *ports); /* half-initialised is fine */

/* A host bridge's access to bus `bus_number`; where nothing is a read gives all ones. offset and
 * size are as the guest gave them: any offset, size 1, 2 or 4. */
uint32_t pci_config_read(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset,
                         unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset,
                      uint32_t value, unsigned size);

/* Plugs the device in. addr: "SLOT" or "SLOT.FUNCTION" in hexadecimal on the host bridge's bus, of
 * a board's own device; NULL: where the properties say. A bridge has its ids, but no subsystem.
 * pin: 0 none, 1 to 4 INTA to INTD. */
bool pci_init(struct pci_device *dev, struct pci_state *state, const char *addr,
              const struct pci_ids *ids, unsigned pin, GError **error);
void pci_finish(struct pci_device *dev); /* a half-realized device is fine */
void pci_reset(struct pci_device *dev);
/* BARs as registers and bridges have it. */
void pci_bars_update(struct pci_device *dev);
/* Where the function's registers put a BAR that it has, or its ROM, whether or not the bridges
 * above let that through; false: nowhere, *addr is undefined. */
bool pci_bar_address(const struct pci_device *dev, unsigned number, gpa_t *addr);
bool pci_rom_address(const struct pci_device *dev, gpa_t *addr);
bool pci_post_load(struct pci_device *dev, GError **error);

/* region->size must be a power of two, at least 4 for I/O and 16 for memory. A 64-bit BAR takes the
 * next number too. */
void pci_add_bar(struct pci_device *dev, unsigned number, unsigned type, struct region *region);

/* The expansion ROM of a class that has one, from a file that comes with the system, unless the
 * user wants another (which pci_init() loads) or none. Without the file: a warning. */
bool pci_standard_rom(struct pci_device *dev, const char *name, GError **error);

/* A capability of `length` bytes (header included); returns its offset. Contents are zero and
 * read-only until the caller says otherwise in config[] and writable[]. */
uint8_t pci_add_capability(struct pci_device *dev, uint8_t id, uint8_t length);

/* The PCI Express capability, 60 bytes, version 2. port: 0 an endpoint, 4 a root port, 7 a bridge
 * to PCI. */
uint8_t pci_add_express(struct pci_device *dev, unsigned port);

/* vectors: 1 to 32, a power of two. masks: each can be held back. With 64-bit addresses. */
void pci_add_msi(struct pci_device *dev, unsigned vectors, bool masks);

/* vectors: 1 to PCI_MSIX_VECTORS. Table and pending bits are in a memory BAR of their own, 4 KiB.
 */
void pci_add_msix(struct pci_device *dev, unsigned vectors, unsigned bar);

bool pci_msi_enabled(const struct pci_device *dev);
bool pci_msix_enabled(const struct pci_device *dev);
/* Sends vector n if MSI or MSI-X is enabled; else nothing. Any thread, if an address space's reader
 * where it does not hold the machine lock. */
void pci_msi_notify(struct pci_device *dev, unsigned n);

/*
 * An eventfd by which somebody else, the host's kernel say, raises an interrupt. While MSI-X vector
 * `vector` may be sent, the accelerator sends it by itself if it can; else raise(opaque) is called
 * on the main loop, for one signal or several. The fd is non-blocking and stays the caller's, who
 * must not read it. vector may be beyond those that there are. Machine lock held; all are freed
 * before pci_finish().
 */
struct pci_line *pci_line_new(struct pci_device *dev, int fd, unsigned vector,
                              void (*raise)(void *opaque), void *opaque);
void pci_line_set_vector(struct pci_line *line, unsigned vector);
void pci_line_free(struct pci_line *line); /* NULL is fine */

/* The level of the device's INTx pin. */
void pci_set_intx(struct pci_device *dev, bool level);

/* DMA; false, and ones read, when the guest has not made the device a bus master. */
bool pci_dma_read(struct pci_device *dev, gpa_t addr, void *buf, uint64_t length);
bool pci_dma_write(struct pci_device *dev, gpa_t addr, const void *buf, uint64_t length);

uint16_t pci_get16(const struct pci_device *dev, unsigned offset);
uint32_t pci_get32(const struct pci_device *dev, unsigned offset);
void pci_put16(struct pci_device *dev, unsigned offset, uint16_t value);
void pci_put32(struct pci_device *dev, unsigned offset, uint32_t value);

#endif
