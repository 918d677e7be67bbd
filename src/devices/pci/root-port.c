/*
 * pcie-root-port: a PCI Express root port with one hot-plug slot behind it (PCI Express Base
 * Specification 3.0, sections 6.7 and 7.8.9 to 7.8.11), under the ids that QEMU's has.
 *
 * The slot has an attention button, a power controller and both indicators; presence and the data
 * link's state are seen in its registers, and changes of them, a pressed button and each command
 * that the guest wrote are told by an interrupt (MSI or INTA).
 *
 * A device that is plugged in is seen as present; the guest gives it power, and with that the link
 * comes up. A device that is to go has its button pressed. The guest blinks with the power
 * indicator while it thinks about that; when it has taken power away and the indicator is off, the
 * device goes, and when it stops blinking and leaves the power on, it has refused. Whatever is in
 * the slot goes when the guest takes its power away by itself, too.
 *
 * Where nobody has written the slot's control register since a reset, as before firmware or a guest
 * runs, power follows presence: what is plugged in then is as if it had been there at the start.
 *
 * Left out: the electromechanical interlock, a manual retention latch; errors (AER) and power
 * management events.
 */
#include "devices/pci/bridge.h"

#define SLOT_CAP              0x14
#define SLOT_CAP_ATTENTION    0x00000001u /* button */
#define SLOT_CAP_POWER        0x00000002u /* controller */
#define SLOT_CAP_INDICATORS   0x00000018u
#define SLOT_CAP_SURPRISE     0x00000020u
#define SLOT_CAP_HOTPLUG      0x00000040u
#define SLOT_CAP_NUMBER_SHIFT 19

#define SLOT_CONTROL          0x18
#define CONTROL_EVENTS        0x001f /* as in the status register */
#define CONTROL_COMMAND       0x0010
#define CONTROL_INTERRUPT     0x0020
#define CONTROL_INDICATOR     0x0300 /* power */
#define INDICATOR_ON          0x0100
#define INDICATOR_BLINK       0x0200
#define INDICATOR_OFF         0x0300
#define CONTROL_ATTENTION_OFF 0x00c0
#define CONTROL_POWER_OFF     0x0400
#define CONTROL_LINK_EVENTS   0x1000
#define CONTROL_WRITABLE      0x17ff

#define SLOT_STATUS           0x1a
#define STATUS_BUTTON         0x0001
#define STATUS_PRESENCE       0x0008 /* changed */
#define STATUS_COMMAND        0x0010 /* completed */
#define STATUS_PRESENT        0x0040
#define STATUS_LINK           0x0100 /* changed */
#define STATUS_EVENTS         0x011f

#define LINK_CAP              0x0c
#define LINK_CAP_REPORTS      0x00100000u
#define LINK_CAP_PORT_SHIFT   24
#define LINK_CONTROL          0x10
#define LINK_CONTROL_DISABLE  0x0010
#define LINK_STATUS           0x12
#define LINK_STATUS_ACTIVE    0x2000

#define EXPRESS_FLAGS         0x02
#define EXPRESS_FLAGS_SLOT    0x0100
#define ROOT_CONTROL          0x1c

#define TYPE_ROOT_PORT        4
#define ASK_AGAIN_NS          (5 * NS_PER_SEC)

struct root_port_state {
    struct pci_state pci;
    uint16_t control; /* the slot control register, as it was before a write */
    bool managed;     /* somebody has written it since the reset */
    bool event;       /* an enabled event is pending */
    uint8_t pad[4];
};

static const struct state_field root_port_fields[] = {
    STATE_STRUCT(struct root_port_state, pci, pci_state_fields),
    STATE(struct root_port_state, control),
    STATE(struct root_port_state, managed),
    STATE(struct root_port_state, event),
    STATE_PAD(struct root_port_state, pad),
    {0},
};

static const struct state_desc root_port_desc = {
    .name = "pcie-root-port",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct root_port_state),
    .fields = root_port_fields,
};

struct root_port {
    struct pci_bridge bridge;
    struct {
        uint8_t port, chassis;
        uint16_t slot;
        bool hotplug;
    } cfg;
    struct root_port_state s;
    uint8_t express; /* the capability */
};

/* ---- registers */

static uint16_t get(const struct root_port *d, unsigned at)
{
    return pci_get16(&d->bridge.pci, d->express + at);
}

static void put(struct root_port *d, unsigned at, uint16_t value)
{
    pci_put16(&d->bridge.pci, d->express + at, value);
}

static bool is_populated(const struct root_port *d)
{
    for (unsigned i = 0; i < 8; i++) {
        if (d->bridge.behind->device[i]) {
            return true;
        }
    }
    return false;
}

/* An interrupt for each change to something pending (6.7.3.4); INTx as long as it is. */
static void event_update(struct root_port *d)
{
    struct pci_device *pci = &d->bridge.pci;
    uint16_t control = get(d, SLOT_CONTROL), status = get(d, SLOT_STATUS);
    uint16_t wanted =
        (control & CONTROL_EVENTS) | (control & CONTROL_LINK_EVENTS ? STATUS_LINK : 0);
    bool event = (control & CONTROL_INTERRUPT) && (status & wanted), was = d->s.event;

    d->s.event = event;
    if (pci_msi_enabled(pci)) {
        pci_set_intx(pci, false);
        if (event && !was) {
            pci_msi_notify(pci, 0);
        }
    } else {
        pci_set_intx(pci, event);
    }
}

static void note_events(struct root_port *d, uint16_t events)
{
    put(d, SLOT_STATUS, get(d, SLOT_STATUS) | events);
    event_update(d);
}

/* Presence and link, from what is plugged in and has power. Returns the events. */
static uint16_t link_update(struct root_port *d)
{
    uint16_t status = get(d, SLOT_STATUS), link = get(d, LINK_STATUS);
    bool present = is_populated(d);
    bool active = present && !(get(d, SLOT_CONTROL) & CONTROL_POWER_OFF) &&
                  !(get(d, LINK_CONTROL) & LINK_CONTROL_DISABLE);
    uint16_t changed = 0;

    if (present != !!(status & STATUS_PRESENT)) {
        changed |= STATUS_PRESENCE;
    }
    if (active != !!(link & LINK_STATUS_ACTIVE)) {
        changed |= STATUS_LINK;
    }
    put(d, SLOT_STATUS, present ? status | STATUS_PRESENT : status & (uint16_t)~STATUS_PRESENT);
    put(d, LINK_STATUS, active ? link | LINK_STATUS_ACTIVE : link & (uint16_t)~LINK_STATUS_ACTIVE);
    if (d->bridge.behind->down != !active) {
        d->bridge.behind->down = !active;
        pci_bus_update(d->bridge.behind);
    }
    return changed;
}

/* ---- coming and going */

static void remove_all(struct root_port *d)
{
    struct pci_bus *bus = d->bridge.behind;

    for (unsigned i = 8; i-- > 0;) { /* function 0 goes last */
        if (bus->device[i]) {
            system_device_unplugged(&bus->device[i]->dev);
        }
    }
    note_events(d, link_update(d));
}

static struct pci_device *asked(const struct root_port *d)
{
    for (unsigned i = 0; i < 8; i++) {
        struct pci_device *dev = d->bridge.behind->device[i];

        if (dev && dev->dev.unplug_asked) {
            return dev;
        }
    }
    return NULL;
}

static void control_written(struct root_port *d)
{
    uint16_t old = d->s.control, control = get(d, SLOT_CONTROL);
    uint16_t off = CONTROL_POWER_OFF | INDICATOR_OFF;

    d->s.control = control;
    d->s.managed = true;
    note_events(d, link_update(d) | STATUS_COMMAND);
    if ((control & off) == off && (old & off) != off && is_populated(d)) {
        remove_all(d);
    } else if ((old & CONTROL_INDICATOR) == INDICATOR_BLINK &&
               (control & CONTROL_INDICATOR) == INDICATOR_ON && asked(d)) {
        system_note_unplug_failed(&asked(d)->dev);
    }
}

static bool touches(const struct root_port *d, unsigned reg, unsigned offset, unsigned size)
{
    unsigned at = d->express + reg;

    return offset < at + 2 && offset + size > at;
}

static void root_port_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct root_port *d = (struct root_port *)dev;

    pci_bridge_written(dev, offset, size);
    if (touches(d, SLOT_CONTROL, offset, size) && d->cfg.hotplug) {
        control_written(d);
    } else if (touches(d, LINK_CONTROL, offset, size)) {
        note_events(d, link_update(d));
    } else {
        event_update(d); /* an event was acknowledged, or MSI turned on */
    }
}

/* What the slot is like when nobody has managed it since the reset. */
static void power_follows(struct root_port *d)
{
    uint16_t control = get(d, SLOT_CONTROL) & (uint16_t) ~(CONTROL_INDICATOR | CONTROL_POWER_OFF);

    control |= is_populated(d) ? INDICATOR_ON : INDICATOR_OFF | CONTROL_POWER_OFF;
    put(d, SLOT_CONTROL, control);
    d->s.control = control;
}

static void slot_plugged(void *opaque, struct pci_device *dev)
{
    struct root_port *d = opaque;
    uint16_t events;

    if (!d->s.managed) {
        power_follows(d);
    }
    events = link_update(d);
    /* Whoever put it in presses the button: a system that goes by that need not enable the rest. */
    note_events(d, d->s.managed ? events | STATUS_BUTTON : 0);
}

static bool slot_unplug_request(void *opaque, struct pci_device *dev, GError **error)
{
    struct root_port *d = opaque;
    uint16_t control = get(d, SLOT_CONTROL);

    if ((control & CONTROL_INDICATOR) == INDICATOR_BLINK) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "Hot-unplug failed: guest is busy (power indicator blinking)");
        return false;
    }
    dev->dev.unplug_asked = true;
    dev->dev.unplug_busy_ns = vclock_now(dev->dev.env->clock) + ASK_AGAIN_NS;
    if ((control & CONTROL_INDICATOR) == INDICATOR_OFF && (control & CONTROL_POWER_OFF)) {
        remove_all(d); /* the guest does not use it */
    } else {
        note_events(d, STATUS_BUTTON);
    }
    return true;
}

static const struct pci_hotplug slot_hotplug = {.plugged = slot_plugged,
                                                .unplug_request = slot_unplug_request};

/* ---- class */

static void slot_init(struct root_port *d)
{
    struct pci_device *pci = &d->bridge.pci;
    uint32_t capabilities = (uint32_t)d->cfg.slot << SLOT_CAP_NUMBER_SHIFT;
    unsigned at = d->express;

    pci_put16(pci, at + EXPRESS_FLAGS, get(d, EXPRESS_FLAGS) | EXPRESS_FLAGS_SLOT);
    pci_put32(pci, at + LINK_CAP,
              pci_get32(pci, at + LINK_CAP) | LINK_CAP_REPORTS |
                  (uint32_t)d->cfg.port << LINK_CAP_PORT_SHIFT);
    pci->writable[at + LINK_CONTROL] |= LINK_CONTROL_DISABLE;
    pci->writable[at + ROOT_CONTROL] = 0x0f;
    if (d->cfg.hotplug) {
        capabilities |= SLOT_CAP_ATTENTION | SLOT_CAP_POWER | SLOT_CAP_INDICATORS |
                        SLOT_CAP_SURPRISE | SLOT_CAP_HOTPLUG;
        pci->writable[at + SLOT_CONTROL] = (uint8_t)CONTROL_WRITABLE;
        pci->writable[at + SLOT_CONTROL + 1] = CONTROL_WRITABLE >> 8;
        pci->clearable[at + SLOT_STATUS] = (uint8_t)STATUS_EVENTS;
        pci->clearable[at + SLOT_STATUS + 1] = STATUS_EVENTS >> 8;
    }
    pci_put32(pci, at + SLOT_CAP, capabilities);
}

static bool root_port_realize(struct device *dev, GError **error)
{
    struct root_port *d = (struct root_port *)dev;
    static const struct pci_ids ids = {.vendor = 0x1b36, .device = 0x000c, .class = 0x0604};

    if (!pci_bridge_init(&d->bridge, &d->s.pci, &ids, 1, error)) {
        return false;
    }
    if (!d->bridge.pci.bus->express || d->bridge.pci.bus->bridge) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "pcie-root-port: bus '%s' is not a root complex's (as pcie.0 is)",
                    d->bridge.pci.bus->name);
        return false;
    }
    d->bridge.behind->express = true;
    d->bridge.behind->one_slot = true;
    d->bridge.behind->down = true;
    if (d->cfg.hotplug) {
        d->bridge.behind->hotplug = &slot_hotplug;
        d->bridge.behind->hotplug_opaque = d;
    }
    d->bridge.pci.config_written = root_port_written;
    d->express = pci_add_express(&d->bridge.pci, TYPE_ROOT_PORT);
    d->bridge.pci.writable[PCI_BRIDGE_CONTROL] &= (uint8_t)~PCI_BRIDGE_CONTROL_ABORT;
    slot_init(d);
    pci_add_msi(&d->bridge.pci, 1, true);
    return true;
}

static void root_port_unrealize(struct device *dev)
{
    pci_bridge_finish(&((struct root_port *)dev)->bridge);
}

static void root_port_reset(struct device *dev, enum reset_kind kind)
{
    struct root_port *d = (struct root_port *)dev;

    pci_bridge_reset(&d->bridge);
    put(d, SLOT_CONTROL, CONTROL_ATTENTION_OFF);
    power_follows(d);
    link_update(d);
    d->s.managed = false;
    d->s.event = false;
}

static bool root_port_post_load(struct device *dev, GError **error)
{
    struct root_port *d = (struct root_port *)dev;

    d->bridge.behind->down = !(get(d, LINK_STATUS) & LINK_STATUS_ACTIVE);
    return pci_bridge_post_load(&d->bridge, error);
}

#define CFG(member) offsetof(struct root_port, cfg.member)
static const struct property root_port_props[] = {
    {"port", PROP_U8, CFG(port), .help = "port number, as the link's registers tell it"},
    {"chassis", PROP_U8, CFG(chassis), .help = "number of the chassis; changes nothing here"},
    {"slot", PROP_U16, CFG(slot), .max = 0x1fff,
     .help = "number of the slot, by which the guest's system calls it"},
    {"hotplug", PROP_BOOL, CFG(hotplug), .def = true,
     .help = "devices may come and go while the guest runs"},
    {NULL},
};

const struct device_class pcie_root_port_class = {
    .name = "pcie-root-port",
    .help = "PCI Express root port",
    .bus = BUS_PCI,
    .size = sizeof(struct root_port),
    .props = root_port_props,
    .state = &root_port_desc,
    .state_offset = offsetof(struct root_port, s),
    .realize = root_port_realize,
    .unrealize = root_port_unrealize,
    .reset = root_port_reset,
    .post_load = root_port_post_load,
};
