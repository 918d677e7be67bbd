/*
 * Virtio over PCI (VIRTIO 1.2, section 4.1), with the legacy interface for transitional devices
 * (4.1.4.10).
 *
 * A device's instance begins with struct virtio_pci, its state struct with struct virtio_pci_state,
 * listed as STATE_STRUCT(struct X_state, proxy, virtio_pci_state_fields). realize() calls
 * virtio_init() and virtio_add_queue() on d->proxy.virtio, then virtio_pci_realize(); the other ops
 * of the class can be virtio_pci_*() themselves.
 *
 * A second class of the same device whose bus is BUS_VIRTIO has its registers in memory, without
 * PCI (virtio-mmio.h): the same functions do for it, and pci is not used.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

struct virtio_pci_state {
    struct pci_state pci;
    struct virtio_state virtio;
};
extern const struct state_field virtio_pci_state_fields[];

struct virtio_pci {
    struct pci_device pci; /* first */
    struct virtio virtio;
    struct {
        bool disable_modern, event_idx, indirect, packed, queue_reset, iommu_platform;
        bool page_per_vq, ioeventfd;
        uint32_t disable_legacy; /* enum on_off_auto */
        uint32_t vectors;        /* UINT32_MAX: as many as there are queues, and one */
    } cfg;
    struct virtio_mmio_slot *slot; /* of a device that is not on PCI: virtio-mmio.h */
    bool transitional;
    uint8_t window; /* of the capability through which configuration space reaches the registers */
    struct region legacy, modern;
    GSource *intx; /* a bell: the pin is to follow the ISR; only where home is not the main loop */
};

/* Properties of all virtio devices; the device's own come first. */
#define VIRTIO_PROPERTIES(type)                                                                    \
    {"event_idx", PROP_BOOL, offsetof(type, proxy.cfg.event_idx), .def = 1,                        \
     .help = "offer VIRTIO_F_EVENT_IDX"},                                                          \
        {"iommu_platform", PROP_BOOL, offsetof(type, proxy.cfg.iommu_platform),                    \
         .help = "offer VIRTIO_F_ACCESS_PLATFORM"},                                                \
        {"indirect_desc", PROP_BOOL, offsetof(type, proxy.cfg.indirect), .def = 1,                 \
         .help = "offer VIRTIO_F_INDIRECT_DESC"},                                                  \
    {                                                                                              \
        "packed", PROP_BOOL, offsetof(type, proxy.cfg.packed),                                     \
            .def = 0, .help = "offer VIRTIO_F_RING_PACKED"                                         \
    }

/* And of those on PCI. */
#define VIRTIO_PCI_PROPERTIES(type, vectors_)                                                      \
    {"disable-legacy",                                                                             \
     PROP_ENUM,                                                                                    \
     offsetof(type, proxy.cfg.disable_legacy),                                                     \
     .def = ON_OFF_AUTO_AUTO,                                                                      \
     .values = &on_off_auto_type,                                                                  \
     .help = "no interface for drivers from before VIRTIO 1.0"},                                   \
        {"disable-modern", PROP_BOOL, offsetof(type, proxy.cfg.disable_modern),                    \
         .help = "only that interface"},                                                           \
        {"queue_reset", PROP_BOOL, offsetof(type, proxy.cfg.queue_reset), .def = 1,                \
         .help = "offer VIRTIO_F_RING_RESET"},                                                     \
        {"page-per-vq", PROP_BOOL, offsetof(type, proxy.cfg.page_per_vq),                          \
         .help = "a page of its own for each queue's notifications"},                              \
        {"ioeventfd", PROP_BOOL, offsetof(type, proxy.cfg.ioeventfd), .def = 1,                    \
         .help = "the host's kernel may take notifications"},                                      \
        VIRTIO_PROPERTIES(type),                                                                   \
    {                                                                                              \
        "vectors", PROP_U32, offsetof(type, proxy.cfg.vectors),                                    \
            .def = (vectors_),                                                                     \
            .help = "MSI-X vectors, 0: none; else one for each queue and one more"                 \
    }

/* class: PCI class code, 0x0100 for a disk. */
bool virtio_pci_realize(struct virtio_pci *p, struct virtio_pci_state *state, uint16_t class,
                        GError **error);
void virtio_pci_unrealize(struct device *dev);
void virtio_pci_reset(struct device *dev, enum reset_kind kind);
void virtio_pci_pause(struct device *dev);
void virtio_pci_resume(struct device *dev);
/* For virtio-mmio.c. */
void virtio_pci_interrupt(struct virtio *v, uint16_t vector, bool config);
void virtio_intx_update(void *proxy);
void virtio_offer_core_features(struct virtio_pci *p, bool modern);
char *virtio_pci_boot_path(struct device *dev); /* of a disk or a network card */
bool virtio_pci_post_load(struct device *dev, GError **error);

/* The two classes of a device NAME: virtio-NAME-pci, and virtio-NAME-device on the board's own
 * virtio slots. They differ in nothing but bus and properties; what follows `type` is in both. */
#define VIRTIO_CLASSES(name_, text, type, ...)                                                     \
    const struct device_class virtio_##name_##_pci_class = {.name = "virtio-" #name_ "-pci",       \
                                                            .help = text,                          \
                                                            .bus = BUS_PCI,                        \
                                                            .props = virtio_##name_##_props,       \
                                                            .state = &virtio_##name_##_desc,       \
                                                            .size = sizeof(type),                  \
                                                            .state_offset = offsetof(type, s),     \
                                                            __VA_ARGS__};                          \
    const struct device_class virtio_##name_##_device_class = {                                    \
        .name = "virtio-" #name_ "-device",                                                        \
        .help = text ", in a slot of the board",                                                   \
        .bus = BUS_VIRTIO,                                                                         \
        .same_as = &virtio_##name_##_pci_class,                                                    \
        .props = virtio_##name_##_props_mmio,                                                      \
        .state = &virtio_##name_##_desc,                                                           \
        .size = sizeof(type),                                                                      \
        .state_offset = offsetof(type, s),                                                         \
        __VA_ARGS__}

#endif
