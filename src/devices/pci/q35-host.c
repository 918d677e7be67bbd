/*
 * q35-host: the memory controller hub of the q35 board (Intel 3 series chipset data sheet: 82P35
 * MCH), device 0 of bus 0, and the ways to configuration space: ports 0xcf8 and 0xcfc, and the
 * memory-mapped (ECAM) window that PCIEXBAR places.
 *
 * The ECAM window is on at 0xb0000000 after reset, as firmware would leave it, because there may be
 * no firmware. Port 0xcf9 lies within 0xcf8's doubleword: a byte access there is the reset control
 * register of the LPC bridge and is handed on.
 *
 * PAM registers decide about 0xc0000 to 0xfffff (pam.c); they keep their values while the machine
 * sleeps (S3), so that firmware finds itself in its shadow.
 *
 * Left out, as a guest would notice: the registers of SMRAM and TSEG read 0, whatever is written,
 * as there is no system management mode to hide memory for; graphics, DMI and the performance
 * counters do not exist.
 */
#include "devices/pci/q35-host.h"
#include <string.h>

#define MCH_PCIEXBAR       0x60
#define PCIEXBAR_ENABLE    0x1
#define PCIEXBAR_LENGTH    0x6 /* 256, 128, 64 MiB */
#define PCIEXBAR_ADDR_MASK 0xffc000000ull
#define MCH_PAM            0x90

struct q35_host_state {
    struct pci_state pci;
    uint32_t address; /* CONFIG_ADDRESS */
    uint8_t pad[4];
};

static const struct state_field q35_host_fields[] = {
    STATE_STRUCT(struct q35_host_state, pci, pci_state_fields),
    STATE(struct q35_host_state, address),
    STATE_PAD(struct q35_host_state, pad),
    {0},
};

static const struct state_desc q35_host_desc = {
    .name = "q35-host",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct q35_host_state),
    .fields = q35_host_fields,
};

struct q35_host {
    struct pci_device pci;
    struct q35_host_state s;
    struct pci_bus *bus;
    struct pci_ports ports;
    struct region ecam;
    struct pam_wiring wiring;
    struct pam pam;
};

/* ---- ECAM */

static uint64_t ecam_read(void *opaque, gpa_t offset, unsigned size)
{
    struct q35_host *d = opaque;

    return pci_config_read(d->bus, (unsigned)(offset >> 20), (uint8_t)(offset >> 12),
                           (unsigned)offset & 0xfff, size);
}

static void ecam_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct q35_host *d = opaque;

    pci_config_write(d->bus, (unsigned)(offset >> 20), (uint8_t)(offset >> 12),
                     (unsigned)offset & 0xfff, (uint32_t)value, size);
}

static const struct region_ops ecam_ops = {
    .read = ecam_read, .write = ecam_write, .min_size = 1, .max_size = 4};

static void ecam_update(struct q35_host *d)
{
    struct address_space *mem = d->pci.dev.env->mem;
    uint64_t bar = pci_get32(&d->pci, MCH_PCIEXBAR) | (uint64_t)pci_get32(&d->pci, MCH_PCIEXBAR + 4)
                                                          << 32;
    unsigned length = (bar & PCIEXBAR_LENGTH) >> 1;

    address_space_begin(mem);
    address_space_unmap(mem, &d->ecam);
    if ((bar & PCIEXBAR_ENABLE) && length < 3) {
        d->ecam.size = 256u << 20 >> length;
        address_space_map(mem, bar & PCIEXBAR_ADDR_MASK & ~(d->ecam.size - 1), &d->ecam, -1);
    }
    address_space_commit(mem);
}

static void q35_host_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    if (offset < MCH_PCIEXBAR + 8 && offset + size > MCH_PCIEXBAR) {
        ecam_update((struct q35_host *)dev);
    }
    if (offset < MCH_PAM + PAM_REGISTERS && offset + size > MCH_PAM) {
        pam_update(&((struct q35_host *)dev)->pam, dev->s->config + MCH_PAM);
    }
}

/* ---- class */

static bool q35_host_realize(struct device *dev, GError **error)
{
    struct q35_host *d = (struct q35_host *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x29c0,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0600};

    d->bus = pci_bus_new(dev->env, "pcie.0", NULL);
    d->bus->express = true;
    if (!pci_init(&d->pci, &d->s.pci, "0", &ids, 0, error)) {
        return false;
    }
    memset(d->pci.writable + MCH_PCIEXBAR, 0, 8);
    d->pci.writable[MCH_PCIEXBAR] = PCIEXBAR_ENABLE | PCIEXBAR_LENGTH;
    d->pci.writable[MCH_PCIEXBAR + 3] = 0xfc;
    d->pci.writable[MCH_PCIEXBAR + 4] = 0x0f;
    memset(d->pci.writable + MCH_PAM, 0x33, PAM_REGISTERS);
    d->pci.writable[MCH_PAM] = 0x30;
    pam_init(&d->pam, dev->env, &d->wiring);
    d->pci.config_written = q35_host_config_written;

    pci_ports_init(&d->ports, d->bus, &d->s.address);
    d->ecam = (struct region){
        .name = "ecam", .kind = REGION_IO, .size = 256u << 20, .ops = &ecam_ops, .opaque = d};
    return true;
}

static void q35_host_unrealize(struct device *dev)
{
    struct q35_host *d = (struct q35_host *)dev;

    pci_ports_finish(&d->ports);
    address_space_unmap(dev->env->mem, &d->ecam);
    pam_finish(&d->pam);
    pci_finish(&d->pci);
    pci_bus_free(d->bus);
}

static void q35_host_reset(struct device *dev, enum reset_kind kind)
{
    struct q35_host *d = (struct q35_host *)dev;
    uint8_t *pam = d->s.pci.config + MCH_PAM, kept[PAM_REGISTERS];

    memcpy(kept, pam, sizeof(kept));
    pci_reset(&d->pci);
    d->s.address = 0;
    pci_put32(&d->pci, MCH_PCIEXBAR, Q35_HOST_ECAM | PCIEXBAR_ENABLE);
    ecam_update(d);
    if (kind == RESET_WAKE) {
        memcpy(pam, kept, sizeof(kept));
    } else {
        pam_reset(&d->pam, pam);
    }
    pam_update(&d->pam, pam);
}

static bool q35_host_post_load(struct device *dev, GError **error)
{
    struct q35_host *d = (struct q35_host *)dev;

    ecam_update(d);
    pam_update(&d->pam, d->s.pci.config + MCH_PAM);
    return pci_post_load(&d->pci, error);
}

const struct device_class q35_host_class = {
    .name = "q35-pcihost",
    .help = "host bridge of the q35 board",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct q35_host),
    .state = &q35_host_desc,
    .state_offset = offsetof(struct q35_host, s),
    .realize = q35_host_realize,
    .unrealize = q35_host_unrealize,
    .reset = q35_host_reset,
    .post_load = q35_host_post_load,
};

struct device *q35_host_create(struct device_env *env, const struct pam_wiring *pam, GError **error)
{
    struct device *dev = device_new(&q35_host_class, env);

    if (pam) {
        ((struct q35_host *)dev)->wiring = *pam;
    }
    return device_realize(dev, error) ? dev : NULL;
}
