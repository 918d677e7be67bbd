/*
 * i440FX: the host bridge of PCs from 1996 on (Intel 82441FX data sheet): configuration mechanism 1
 * at ports 0xcf8 and 0xcfc, and the attribute map of the last 256 KiB below 1 MiB (pam.c).
 *
 * The byte at port 0xcf9 is the reset control register of the ISA bridge and is handed on. Left
 * out: SMRAM keeps what is written but changes nothing; DRAM timing and error registers.
 */
#include "devices/pci/i440fx.h"

#include <string.h>

#define PMC_PAM   0x59
#define PMC_SMRAM 0x72

struct i440fx_state {
    struct pci_state pci;
    uint32_t address; /* CONFIG_ADDRESS */
    uint8_t pad[4];
};

static const struct state_field i440fx_fields[] = {
    STATE_STRUCT(struct i440fx_state, pci, pci_state_fields),
    STATE(struct i440fx_state, address),
    STATE_PAD(struct i440fx_state, pad),
    {0},
};

static const struct state_desc i440fx_desc = {.name = "i440FX",
                                              .version = 1,
                                              .min_version = 1,
                                              .size = sizeof(struct i440fx_state),
                                              .fields = i440fx_fields};

struct i440fx {
    struct pci_device pci;
    struct i440fx_state s;
    struct pci_bus *bus;
    struct pci_ports ports;
    struct pam_wiring wiring;
    struct pam pam;
};

static void i440fx_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    if (offset < PMC_PAM + PAM_REGISTERS && offset + size > PMC_PAM) {
        pam_update(&((struct i440fx *)dev)->pam, dev->s->config + PMC_PAM);
    }
}

static bool i440fx_realize(struct device *dev, GError **error)
{
    struct i440fx *d = (struct i440fx *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x1237,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0600,
                                       .revision = 2};

    d->bus = pci_bus_new(dev->env, "pci.0", NULL);
    if (!pci_init(&d->pci, &d->s.pci, "0", &ids, 0, error)) {
        return false;
    }
    memset(d->pci.writable + PMC_PAM, 0x33, PAM_REGISTERS);
    d->pci.writable[PMC_PAM] = 0x30;
    d->pci.writable[PMC_SMRAM] = 0x78;
    d->pci.config_written = i440fx_config_written;
    pam_init(&d->pam, dev->env, &d->wiring);
    pci_ports_init(&d->ports, d->bus, &d->s.address);
    return true;
}

static void i440fx_unrealize(struct device *dev)
{
    struct i440fx *d = (struct i440fx *)dev;

    pci_ports_finish(&d->ports);
    pam_finish(&d->pam);
    pci_finish(&d->pci);
    pci_bus_free(d->bus);
}

static void i440fx_reset(struct device *dev, enum reset_kind kind)
{
    struct i440fx *d = (struct i440fx *)dev;
    uint8_t *pam = d->s.pci.config + PMC_PAM, kept[PAM_REGISTERS];

    memcpy(kept, pam, sizeof(kept));
    pci_reset(&d->pci);
    d->s.address = 0;
    if (kind == RESET_WAKE) { /* firmware finds itself in its shadow */
        memcpy(pam, kept, sizeof(kept));
    } else {
        pam_reset(&d->pam, pam);
    }
    pam_update(&d->pam, pam);
}

static bool i440fx_post_load(struct device *dev, GError **error)
{
    struct i440fx *d = (struct i440fx *)dev;

    pam_update(&d->pam, d->s.pci.config + PMC_PAM);
    return pci_post_load(&d->pci, error);
}

const struct device_class i440fx_class = {
    .name = "i440FX-pcihost",
    .help = "host bridge of the pc board",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct i440fx),
    .state = &i440fx_desc,
    .state_offset = offsetof(struct i440fx, s),
    .realize = i440fx_realize,
    .unrealize = i440fx_unrealize,
    .reset = i440fx_reset,
    .post_load = i440fx_post_load,
};

struct device *i440fx_create(struct device_env *env, const struct pam_wiring *pam, GError **error)
{
    struct device *dev = device_new(&i440fx_class, env);

    if (pam) {
        ((struct i440fx *)dev)->wiring = *pam;
    }
    return device_realize(dev, error) ? dev : NULL;
}
