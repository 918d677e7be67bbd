/*
 * ICH9-SMB: the SMBus controller of the ICH9, function 3 of the LPC bridge's slot (Intel I/O
 * Controller Hub 9 data sheet, chapter 19). Its registers are smbus-host.c's, behind BAR 4 while
 * the host configuration register enables them; SMBus interrupts are INTA's. As after power-on:
 * firmware or the guest's driver gives it its ports and enables it.
 */
#include "devices/pci/ich9-smb.h"

#include "devices/pci/pci.h"
#include "devices/pci/smbus-host.h"

#define SMB_HOSTC     0x40
#define HOSTC_ON      0x01
#define HOSTC_MASK    0x1f
#define SMB_BAR       4
#define SMB_BAR_BYTES 64 /* as QEMU; the data sheet has 32, and nothing is in the others */

struct ich9_smb_state {
    struct pci_state pci;
    struct smbus_state smbus;
};

static const struct state_field ich9_smb_fields[] = {
    STATE_STRUCT(struct ich9_smb_state, pci, pci_state_fields),
    STATE_STRUCT(struct ich9_smb_state, smbus, smbus_state_fields),
    {0},
};

static const struct state_desc ich9_smb_desc = {
    .name = "ICH9-SMB",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct ich9_smb_state),
    .fields = ich9_smb_fields,
};

struct ich9_smb {
    struct pci_device pci;
    struct ich9_smb_state s;
    struct smbus_host host;
    struct region region;
    uint64_t ram_bytes;
};

static bool enabled(const struct ich9_smb *d)
{
    return d->s.pci.config[SMB_HOSTC] & HOSTC_ON;
}

static uint64_t smb_read(void *opaque, gpa_t offset, unsigned size)
{
    struct ich9_smb *d = opaque;

    return enabled(d) ? d->host.region.ops->read(&d->host, offset, size) : 0xff;
}

static void smb_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ich9_smb *d = opaque;

    if (enabled(d)) {
        d->host.region.ops->write(&d->host, offset, value, size);
    }
}

static void set_irq(void *opaque, bool level)
{
    struct ich9_smb *d = opaque;

    if (d->pci.bus) {
        pci_set_intx(&d->pci, level);
    }
}

static bool ich9_smb_realize(struct device *dev, GError **error)
{
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x2930,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0c05,
                                       .revision = 2};
    static const struct region_ops ops = {
        .read = smb_read, .write = smb_write, .min_size = 1, .max_size = 1};
    struct ich9_smb *d = (struct ich9_smb *)dev;

    d->host.set_irq = set_irq;
    d->host.opaque = d;
    smbus_host_init(&d->host, &d->s.smbus, true, d->ram_bytes);
    if (!pci_init(&d->pci, &d->s.pci, "1f.3", &ids, 1, error)) {
        return false;
    }
    d->region = (struct region){
        .name = "smbus", .kind = REGION_IO, .size = SMB_BAR_BYTES, .ops = &ops, .opaque = d};
    pci_add_bar(&d->pci, SMB_BAR, PCI_BAR_IO, &d->region);
    d->pci.writable[SMB_HOSTC] = HOSTC_MASK;
    return true;
}

static void ich9_smb_unrealize(struct device *dev)
{
    pci_finish(&((struct ich9_smb *)dev)->pci);
}

static void ich9_smb_reset(struct device *dev, enum reset_kind kind)
{
    struct ich9_smb *d = (struct ich9_smb *)dev;

    pci_reset(&d->pci);
    smbus_host_reset(&d->host);
}

static bool ich9_smb_post_load(struct device *dev, GError **error)
{
    struct ich9_smb *d = (struct ich9_smb *)dev;

    if (!pci_post_load(&d->pci, error)) {
        return false;
    }
    smbus_host_update(&d->host);
    return true;
}

const struct device_class ich9_smb_class = {
    .name = "ICH9-SMB",
    .help = "SMBus controller with the memory modules' EEPROMs",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct ich9_smb),
    .state = &ich9_smb_desc,
    .state_offset = offsetof(struct ich9_smb, s),
    .realize = ich9_smb_realize,
    .unrealize = ich9_smb_unrealize,
    .reset = ich9_smb_reset,
    .post_load = ich9_smb_post_load,
};

struct device *ich9_smb_create(struct device_env *env, uint64_t ram_bytes, GError **error)
{
    struct device *dev = device_new(&ich9_smb_class, env);

    ((struct ich9_smb *)dev)->ram_bytes = ram_bytes;
    return device_realize(dev, error) ? dev : NULL;
}
