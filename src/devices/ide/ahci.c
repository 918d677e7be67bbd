/*
 * AHCI: the SATA controller of the ICH9 (Serial ATA AHCI 1.3.1), six ports, 32 commands each, NCQ.
 *
 * A command is taken from the list in guest memory when its bit in PxCI is set, and goes to the
 * drive (ata.h) as an operation of its own; the bit stays until it is done. So what is under way
 * needs no state: after a load the commands whose bits are set are simply begun again.
 *
 * The registers are reached through an index and a data port, too (1.3.1, 2.4 and 2.5).
 *
 * Left out: port multipliers, staggered spin-up, power management, enclosure messages, command
 * completion coalescing.
 */
#include "devices/ide/ahci.h"

#include "devices/ide/ata.h"
#include "devices/pci/pci.h"
#include <string.h>

#define PORTS         6
#define SLOTS         32
#define BAR_BYTES     4096
#define PORT_BASE     0x100
#define PORT_BYTES    0x80

#define PCI_PCS       0x92 /* port control and status: ports that firmware has enabled */

#define IDP_BAR       4
#define IDP_BYTES     32
#define IDP_INDEX     0x10
#define IDP_DATA      0x14

/* The serial ATA capability (1.3.1, 2.4): it says where the index is. */
#define SATACAP_REV   2
#define SATACAP_WHERE 4

#define HBA_CAP       0x00
#define HBA_GHC       0x04
#define HBA_IS        0x08
#define HBA_PI        0x0c
#define HBA_VS        0x10
#define CAP_VALUE     (0xc0140000u | (SLOTS - 1) << 8 | (PORTS - 1)) /* 64 bit, NCQ, AHCI only */
#define GHC_AE        0x80000000u
#define GHC_IE        0x2
#define GHC_HR        0x1

#define PX_CLB        0x00
#define PX_CLBU       0x04
#define PX_FB         0x08
#define PX_FBU        0x0c
#define PX_IS         0x10
#define PX_IE         0x14
#define PX_CMD        0x18
#define PX_TFD        0x20
#define PX_SIG        0x24
#define PX_SSTS       0x28
#define PX_SCTL       0x2c
#define PX_SERR       0x30
#define PX_SACT       0x34
#define PX_CI         0x38

#define IS_DHRS       0x00000001u
#define IS_PSS        0x00000002u
#define IS_SDBS       0x00000008u
#define IS_PCS        0x00000040u
#define IS_TFES       0x40000000u

#define CMD_ST        0x0001u
#define CMD_SUD       0x0002u
#define CMD_POD       0x0004u
#define CMD_CLO       0x0008u
#define CMD_FRE       0x0010u
#define CMD_CCS       0x1f00u
#define CMD_FR        0x4000u
#define CMD_CR        0x8000u
#define CMD_WRITABLE  0xf3000017u

#define SSTS_PRESENT  0x113 /* device, 1.5 Gb/s, active */
#define SERR_CHANGED  0x04000000u

#define HEADER_BYTES  32
#define PACKET_BYTES  12
#define TABLE_ACMD    0x40
#define TABLE_PRDT    0x80
#define PRD_BYTES     16
#define HEADER_ATAPI  0x20
#define HEADER_CLEAR  0x400 /* clear busy on R_OK: of a software reset */

#define FIS_H2D       0x27
#define FIS_AREA      256
#define RFIS_PIO      0x20
#define RFIS_D2H      0x40
#define RFIS_SDB      0x58

struct ahci_port_state {
    uint64_t clb, fb;
    uint32_t is, ie, cmd, tfd, sig, sctl, serr, sact, ci;
    bool resetting; /* software reset: between the two control FISes */
    uint8_t pad[3];
};

struct ahci_state {
    struct pci_state pci;
    struct ahci_port_state port[PORTS];
    uint32_t ghc, is;
    uint32_t index, pad;
};

static const struct state_field port_fields[] = {
    STATE(struct ahci_port_state, clb),     STATE(struct ahci_port_state, fb),
    STATE(struct ahci_port_state, is),      STATE(struct ahci_port_state, ie),
    STATE(struct ahci_port_state, cmd),     STATE(struct ahci_port_state, tfd),
    STATE(struct ahci_port_state, sig),     STATE(struct ahci_port_state, sctl),
    STATE(struct ahci_port_state, serr),    STATE(struct ahci_port_state, sact),
    STATE(struct ahci_port_state, ci),      STATE(struct ahci_port_state, resetting),
    STATE_PAD(struct ahci_port_state, pad), {0},
};

static const struct state_field ahci_fields[] = {
    STATE_STRUCT(struct ahci_state, pci, pci_state_fields),
    STATE_STRUCT_ARRAY(struct ahci_state, port, port_fields),
    STATE(struct ahci_state, ghc),
    STATE(struct ahci_state, is),
    STATE_SINCE(struct ahci_state, index, 2),
    STATE_PAD(struct ahci_state, pad),
    {0},
};

static const struct state_desc ahci_desc = {.name = "ich9-ahci",
                                            .version = 2,
                                            .min_version = 1,
                                            .size = sizeof(struct ahci_state),
                                            .fields = ahci_fields};

struct ahci_op {
    struct ata_op ata; /* first */
    struct ahci *d;    /* NULL: the port was reset meanwhile, nobody waits for it */
    unsigned port, slot;
    gpa_t table; /* of the command */
    uint16_t n_prd;
    uint16_t limit; /* of a block that a packet command moves by PIO */
    bool queued;
    /* how far move() has come */
    unsigned prd;
    uint32_t prd_at, moved;
};

struct ahci {
    struct pci_device pci;
    struct ahci_state s;
    struct region bar, idp;
    struct ide_bus *bus[PORTS];
    struct ahci_op *op[PORTS][SLOTS];
    bool msi_level; /* what the last message told of */
};

static uint32_t le32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_le32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static struct ata_drive *port_drive(const struct ahci *d, unsigned port)
{
    return d->bus[port] ? d->bus[port]->drive[0] : NULL;
}

/* ---- interrupts */

static void irq_update(struct ahci *d)
{
    bool level;

    for (unsigned i = 0; i < PORTS; i++) {
        if (d->s.port[i].is & d->s.port[i].ie) {
            d->s.is |= 1u << i;
        }
    }
    level = (d->s.ghc & GHC_IE) && d->s.is;
    if (pci_msi_enabled(&d->pci)) {
        if (level && !d->msi_level) {
            pci_msi_notify(&d->pci, 0);
        }
        pci_set_intx(&d->pci, false);
    } else {
        pci_set_intx(&d->pci, level);
    }
    d->msi_level = level;
}

static void port_event(struct ahci *d, unsigned port, uint32_t bits)
{
    d->s.port[port].is |= bits;
    irq_update(d);
}

/* ---- what a drive sends: frame information structures into guest memory */

static void fis_write(struct ahci *d, unsigned port, unsigned at, const uint8_t *fis,
                      unsigned bytes)
{
    const struct ahci_port_state *p = &d->s.port[port];

    if (p->cmd & CMD_FRE) {
        pci_dma_write(&d->pci, p->fb + at, fis, bytes);
    }
}

static void fis_fill(uint8_t fis[20], uint8_t type, const struct ata_regs *r)
{
    memset(fis, 0, 20);
    fis[0] = type;
    fis[1] = 0x40; /* interrupt */
    fis[2] = r->status;
    fis[3] = r->error;
    memcpy(fis + 4, r->lba, 3);
    fis[7] = r->device;
    memcpy(fis + 8, r->lba + 3, 3);
    fis[12] = r->count;
    fis[13] = r->count_hob;
}

static void tfd_set(struct ahci *d, unsigned port, const struct ata_regs *r)
{
    d->s.port[port].tfd = r->status | (uint32_t)r->error << 8;
}

static void send_registers(struct ahci *d, unsigned port, const struct ata_regs *r)
{
    uint8_t fis[20];

    tfd_set(d, port, r);
    fis_fill(fis, 0x34, r);
    fis_write(d, port, RFIS_D2H, fis, sizeof(fis));
    port_event(d, port, IS_DHRS | (r->status & ATA_ERR ? IS_TFES : 0));
}

/* interrupt: the block raises one, which those to the guest do, and of those from it all but the
 * first; with packet commands those of data (Serial ATA, device command layer: PIO protocols). */
static void send_pio_setup(struct ahci *d, unsigned port, const struct ata_regs *r, bool to_guest,
                           uint32_t bytes, bool interrupt)
{
    uint8_t fis[20];

    fis_fill(fis, 0x5f, r);
    fis[1] = (to_guest ? 0x20 : 0) | (interrupt ? 0x40 : 0);
    fis[2] = ATA_DRDY | ATA_SEEK | ATA_DRQ;
    fis[15] = r->status;
    fis[16] = (uint8_t)bytes;
    fis[17] = (uint8_t)(bytes >> 8);
    fis_write(d, port, RFIS_PIO, fis, sizeof(fis));
    tfd_set(d, port, r);
    if (interrupt) {
        port_event(d, port, IS_PSS);
    }
}

/* Queued commands end by their bit. */
static void send_device_bits(struct ahci *d, unsigned port, const struct ata_regs *r, uint32_t done)
{
    uint8_t fis[8] = {0xa1, 0x40, r->status & 0x77, r->error};

    put_le32(fis + 4, done);
    fis_write(d, port, RFIS_SDB, fis, sizeof(fis));
    tfd_set(d, port, r);
    if (r->status & ATA_ERR) {
        port_event(d, port, IS_SDBS | IS_TFES);
    } else {
        d->s.port[port].sact &= ~done;
        port_event(d, port, IS_SDBS);
    }
}

static void send_signature(struct ahci *d, unsigned port)
{
    struct ahci_port_state *p = &d->s.port[port];
    struct ata_drive *drive = port_drive(d, port);
    struct ata_regs r = {0};
    uint8_t fis[20];

    /* The drive's word on what it is waits until there is a place for it. */
    if (!drive || !(p->cmd & CMD_FRE)) {
        p->tfd = 0x7f;
        p->sig = UINT32_MAX;
        return;
    }
    ata_signature(drive, &r);
    p->sig =
        r.count | (uint32_t)r.lba[0] << 8 | (uint32_t)r.lba[1] << 16 | (uint32_t)r.lba[2] << 24;
    tfd_set(d, port, &r);
    fis_fill(fis, 0x34, &r);
    fis_write(d, port, RFIS_D2H, fis, sizeof(fis));
}

/* ---- commands */

static gpa_t prd_address(const uint8_t *prd)
{
    return (le32(prd) & ~1u) | (uint64_t)le32(prd + 4) << 32;
}

/* Between buf and the guest's scattered memory, from where the last call stopped. */
static size_t op_move(struct ata_op *ata, void *buf, size_t bytes, bool to_guest)
{
    struct ahci_op *op = (struct ahci_op *)ata;
    uint8_t *p = buf, prd[PRD_BYTES];
    size_t done = 0;

    if (!op->d) {
        return 0;
    }
    while (done < bytes && op->prd < op->n_prd) {
        uint32_t length;
        size_t n;
        bool ok;

        pci_dma_read(&op->d->pci, op->table + TABLE_PRDT + (gpa_t)op->prd * PRD_BYTES, prd,
                     sizeof(prd));
        length = (le32(prd + 12) & 0x3fffff) + 1;
        n = MIN(bytes - done, length - op->prd_at);
        ok = to_guest ? pci_dma_write(&op->d->pci, prd_address(prd) + op->prd_at, p + done, n)
                      : pci_dma_read(&op->d->pci, prd_address(prd) + op->prd_at, p + done, n);
        (void)ok; /* what the guest has not given as memory is lost, as on a bus */
        done += n;
        op->prd_at += (uint32_t)n;
        if (op->prd_at == length) {
            op->prd++;
            op->prd_at = 0;
        }
    }
    op->moved += (uint32_t)done;
    return done;
}

static void port_start(struct ahci *d, unsigned port);

/* How long the last block of a command was that moves its data by PIO: each has a set-up FIS of
 * its own, of which the last stays in the guest's memory. */
static uint32_t last_block(const struct ahci_op *op)
{
    uint32_t block = op->ata.regs.command == ATA_CMD_PACKET
                         ? (op->limit && op->limit != UINT16_MAX ? op->limit : 0xfffe)
                         : ata_pio_block(&op->ata);

    return op->moved % block ? op->moved % block : MIN(op->moved, block);
}

static void op_done(struct ata_op *ata)
{
    struct ahci_op *op = (struct ahci_op *)ata;
    struct ahci *d = op->d;
    unsigned port = op->port;
    struct ahci_port_state *p = d ? &d->s.port[port] : NULL;
    const struct ata_regs *r = &ata->regs;
    bool failed = r->status & ATA_ERR;
    uint8_t count[4];

    if (!d) {
        g_free(op);
        return;
    }
    d->op[port][op->slot] = NULL;
    if (!op->queued) {
        put_le32(count, op->moved);
        pci_dma_write(&d->pci, p->clb + op->slot * HEADER_BYTES + 4, count, 4);
        if (!failed) {
            p->ci &= ~(1u << op->slot);
        }
        if (r->command == ATA_CMD_PACKET) {
            send_pio_setup(d, port, r, false, PACKET_BYTES, false);
        }
        if (ata->pio && op->moved && !failed) {
            send_pio_setup(d, port, r, ata->to_guest, last_block(op),
                           ata->to_guest || r->command == ATA_CMD_PACKET ||
                               op->moved > last_block(op));
        }
        /* SATA ends a read by PIO with the set-up FIS. A register FIS follows as on QEMU's
         * controller: software that was made on that waits for one, and to other it does no harm.
         */
        send_registers(d, port, r);
    } else {
        send_device_bits(d, port, r, 1u << (r->count >> 3));
    }
    g_free(op);
    port_start(d, port);
}

/* A control FIS: software reset, begun by one and ended by another. */
static void control_fis(struct ahci *d, unsigned port, unsigned slot, uint8_t control)
{
    struct ahci_port_state *p = &d->s.port[port];

    p->ci &= ~(1u << slot);
    if (control & 0x04) {
        p->resetting = true;
    } else if (p->resetting) {
        p->resetting = false;
        if (port_drive(d, port)) {
            ata_drive_reset(port_drive(d, port));
        }
        send_signature(d, port);
        port_event(d, port, IS_DHRS);
    }
}

static void regs_from_fis(struct ata_regs *r, const uint8_t *fis)
{
    *r = (struct ata_regs){.command = fis[2],
                           .feature = fis[3],
                           .device = fis[7],
                           .feature_hob = fis[11],
                           .count = fis[12],
                           .count_hob = fis[13],
                           .control = fis[15]};
    memcpy(r->lba, fis + 4, 3);
    memcpy(r->lba + 3, fis + 8, 3);
}

static void slot_start(struct ahci *d, unsigned port, unsigned slot)
{
    struct ahci_port_state *p = &d->s.port[port];
    uint8_t header[HEADER_BYTES], table[TABLE_PRDT];
    struct ahci_op *op;

    pci_dma_read(&d->pci, p->clb + slot * HEADER_BYTES, header, sizeof(header));
    gpa_t at = (le32(header + 8) & ~0x7fu) | (uint64_t)le32(header + 12) << 32;
    pci_dma_read(&d->pci, at, table, sizeof(table));
    if (table[0] != FIS_H2D) {
        p->ci &= ~(1u << slot);
        return;
    }
    if (!(table[1] & 0x80)) {
        control_fis(d, port, slot, table[15]);
        return;
    }
    op = g_new0(struct ahci_op, 1);
    op->d = d;
    op->port = port;
    op->slot = slot;
    op->table = at;
    op->n_prd = (uint16_t)(le32(header) >> 16);
    op->ata.drive = port_drive(d, port);
    op->ata.move = op_move;
    op->ata.done = op_done;
    regs_from_fis(&op->ata.regs, table);
    op->limit = (uint16_t)(op->ata.regs.lba[1] | op->ata.regs.lba[2] << 8);
    memcpy(op->ata.packet, table + TABLE_ACMD, sizeof(op->ata.packet));
    op->queued = ata_is_queued(op->ata.regs.command);
    d->op[port][slot] = op;
    p->cmd = (p->cmd & ~CMD_CCS) | slot << 8;
    if (op->queued) { /* accepted: the slot's bit in SACT stands for it from now on */
        p->ci &= ~(1u << slot);
        p->tfd = ATA_DRDY | ATA_SEEK;
    } else {
        p->tfd |= ATA_BSY;
    }
    ata_op_start(&op->ata);
}

static bool unqueued_runs(const struct ahci *d, unsigned port)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (d->op[port][i] && !d->op[port][i]->queued) {
            return true;
        }
    }
    return false;
}

/* Takes commands that wait: one at a time, or any number of queued ones; none after an error until
 * the guest has started the port again. */
static void port_start(struct ahci *d, unsigned port)
{
    struct ahci_port_state *p = &d->s.port[port];

    if (d->pci.dev.paused || !port_drive(d, port)) {
        return;
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        bool startable = (p->cmd & CMD_ST) && !(p->tfd & (ATA_BSY | ATA_DRQ | ATA_ERR));

        if (!startable || unqueued_runs(d, port)) {
            return;
        }
        if ((p->ci & 1u << slot) && !d->op[port][slot]) {
            slot_start(d, port, slot);
        }
    }
}

/* Lets go of what is under way: it ends without being noticed. */
static void port_abandon(struct ahci *d, unsigned port)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (d->op[port][slot]) {
            d->op[port][slot]->d = NULL;
            d->op[port][slot] = NULL;
        }
    }
}

/* ---- registers */

static void port_reset(struct ahci *d, unsigned port)
{
    struct ahci_port_state *p = &d->s.port[port];

    port_abandon(d, port);
    p->ci = p->sact = 0;
    p->resetting = false;
    if (port_drive(d, port)) {
        ata_drive_reset(port_drive(d, port));
    }
    send_signature(d, port);
}

static void cmd_write(struct ahci *d, unsigned port, uint32_t value)
{
    struct ahci_port_state *p = &d->s.port[port];
    uint32_t old = p->cmd;

    p->cmd = (p->cmd & ~CMD_WRITABLE) | (value & CMD_WRITABLE);
    if (value & CMD_CLO) {
        p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
    }
    p->cmd = (p->cmd & ~(CMD_FR | CMD_CR)) | (p->cmd & CMD_FRE ? CMD_FR : 0) |
             (p->cmd & CMD_ST ? CMD_CR : 0);
    if ((old & CMD_ST) && !(p->cmd & CMD_ST)) {
        port_abandon(d, port);
        p->ci = p->sact = 0;
        p->cmd &= ~CMD_CCS;
    }
    if (!(old & CMD_ST) && (p->cmd & CMD_ST)) { /* what went wrong before is over */
        p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ | ATA_ERR);
    }
    if (!(old & CMD_FRE) && (p->cmd & CMD_FRE) && !(old & CMD_ST) && p->sig == UINT32_MAX) {
        send_signature(d, port);
    }
    port_start(d, port);
}

static uint32_t port_read(const struct ahci *d, unsigned port, unsigned offset)
{
    const struct ahci_port_state *p = &d->s.port[port];

    switch (offset) {
    case PX_CLB:
        return (uint32_t)p->clb;
    case PX_CLBU:
        return (uint32_t)(p->clb >> 32);
    case PX_FB:
        return (uint32_t)p->fb;
    case PX_FBU:
        return (uint32_t)(p->fb >> 32);
    case PX_IS:
        return p->is;
    case PX_IE:
        return p->ie;
    case PX_CMD:
        return p->cmd;
    case PX_TFD:
        return p->tfd;
    case PX_SIG:
        return p->sig;
    case PX_SSTS:
        return port_drive(d, port) && (p->sctl & 15) == 0 ? SSTS_PRESENT : 0;
    case PX_SCTL:
        return p->sctl;
    case PX_SERR:
        return p->serr;
    case PX_SACT:
        return p->sact;
    case PX_CI:
        return p->ci;
    default:
        return 0;
    }
}

static void port_write(struct ahci *d, unsigned port, unsigned offset, uint32_t value)
{
    struct ahci_port_state *p = &d->s.port[port];

    switch (offset) {
    case PX_CLB:
        p->clb = (p->clb & ~0xffffffffull) | (value & ~0x3ffu);
        break;
    case PX_CLBU:
        p->clb = (p->clb & 0xffffffff) | (uint64_t)value << 32;
        break;
    case PX_FB:
        p->fb = (p->fb & ~0xffffffffull) | (value & ~0xffu);
        break;
    case PX_FBU:
        p->fb = (p->fb & 0xffffffff) | (uint64_t)value << 32;
        break;
    case PX_IS:
        p->is &= ~value;
        irq_update(d);
        break;
    case PX_IE:
        p->ie = value & 0xfdc000ff;
        irq_update(d);
        break;
    case PX_CMD:
        cmd_write(d, port, value);
        break;
    case PX_SCTL:
        if ((p->sctl & 15) == 1 && (value & 15) == 0) {
            port_reset(d, port);
            p->serr = port_drive(d, port) ? SERR_CHANGED : 0;
        }
        p->sctl = value & 0xfff;
        break;
    case PX_SERR:
        p->serr &= ~value;
        break;
    case PX_SACT:
        p->sact |= p->cmd & CMD_ST ? value : 0;
        break;
    case PX_CI:
        p->ci |= p->cmd & CMD_ST ? value : 0;
        port_start(d, port);
        break;
    default:
        break;
    }
}

static void hba_reset(struct ahci *d)
{
    d->s.ghc = GHC_AE;
    d->s.is = 0;
    for (unsigned i = 0; i < PORTS; i++) {
        port_abandon(d, i);
        d->s.port[i] = (struct ahci_port_state){.cmd = CMD_SUD | CMD_POD};
        port_reset(d, i);
    }
    d->msi_level = false;
    irq_update(d);
}

static uint64_t ahci_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct ahci *d = opaque;
    unsigned port = (unsigned)(offset - PORT_BASE) / PORT_BYTES;

    switch (offset) {
    case HBA_CAP:
        return CAP_VALUE;
    case HBA_GHC:
        return d->s.ghc;
    case HBA_IS:
        return d->s.is;
    case HBA_PI:
        return (1u << PORTS) - 1;
    case HBA_VS:
        return 0x10000;
    default:
        return offset >= PORT_BASE && port < PORTS
                   ? port_read(d, port, (unsigned)(offset - PORT_BASE) % PORT_BYTES)
                   : 0;
    }
}

static void ahci_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ahci *d = opaque;
    unsigned port = (unsigned)(offset - PORT_BASE) / PORT_BYTES;

    switch (offset) {
    case HBA_GHC:
        if (value & GHC_HR) {
            hba_reset(d);
        } else {
            d->s.ghc = GHC_AE | (value & GHC_IE);
            irq_update(d);
        }
        break;
    case HBA_IS:
        d->s.is &= ~(uint32_t)value;
        d->msi_level = false; /* what is still there is told again */
        irq_update(d);
        break;
    default:
        if (offset >= PORT_BASE && port < PORTS) {
            port_write(d, port, (unsigned)(offset - PORT_BASE) % PORT_BYTES, (uint32_t)value);
        }
        break;
    }
}

static const struct region_ops ahci_ops = {
    .read = ahci_read, .write = ahci_write, .min_size = 4, .max_size = 4};

/* ---- index and data */

static uint64_t idp_read(void *opaque, gpa_t offset, unsigned size)
{
    struct ahci *d = opaque;

    switch (offset) {
    case IDP_INDEX:
        return d->s.index;
    case IDP_DATA:
        return ahci_read(d, d->s.index, 4);
    default:
        return 0;
    }
}

static void idp_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ahci *d = opaque;

    switch (offset) {
    case IDP_INDEX:
        d->s.index = (uint32_t)value & (BAR_BYTES - 1) & ~3u;
        break;
    case IDP_DATA:
        ahci_write(d, d->s.index, value, 4);
        break;
    default:
        break;
    }
}

static const struct region_ops idp_ops = {
    .read = idp_read, .write = idp_write, .min_size = 4, .max_size = 4};

/* ---- class */

static void drive_attached(void *opaque, unsigned unit)
{
    struct ahci *d = opaque;

    for (unsigned i = 0; i < PORTS; i++) {
        if (d->s.port[i].sig == UINT32_MAX) {
            send_signature(d, i);
        }
    }
}

static bool ahci_realize(struct device *dev, GError **error)
{
    struct ahci *d = (struct ahci *)dev;
    uint8_t cap;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x2922,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0106,
                                       .prog_if = 0x01,
                                       .revision = 2};

    if (!pci_init(&d->pci, &d->s.pci, NULL, &ids, 1, error)) {
        return false;
    }
    d->pci.writable[PCI_PCS] = (1u << PORTS) - 1;
    d->bar = (struct region){
        .name = "ahci", .kind = REGION_IO, .size = BAR_BYTES, .ops = &ahci_ops, .opaque = d};
    pci_add_bar(&d->pci, 5, 0, &d->bar);
    d->idp = (struct region){
        .name = "ahci-idp", .kind = REGION_IO, .size = IDP_BYTES, .ops = &idp_ops, .opaque = d};
    pci_add_bar(&d->pci, IDP_BAR, PCI_BAR_IO, &d->idp);
    cap = pci_add_capability(&d->pci, PCI_CAP_SATA, 8);
    d->pci.s->config[cap + SATACAP_REV] = 0x10;
    put_le32(&d->pci.s->config[cap + SATACAP_WHERE], (IDP_BAR + 4) | IDP_INDEX / 4 << 4);
    pci_add_msi(&d->pci, 1, false);
    for (unsigned i = 0; i < PORTS; i++) {
        d->bus[i] = ide_bus_new(dev->env, dev->id, i, 1);
        d->bus[i]->attached = drive_attached;
        d->bus[i]->opaque = d;
        d->bus[i]->controller = &d->pci;
    }
    return true;
}

static void ahci_unrealize(struct device *dev)
{
    struct ahci *d = (struct ahci *)dev;

    for (unsigned i = 0; i < PORTS; i++) {
        port_abandon(d, i);
        ide_bus_free(dev->env, d->bus[i]);
        d->bus[i] = NULL;
    }
    pci_finish(&d->pci);
}

static void ahci_reset(struct device *dev, enum reset_kind kind)
{
    struct ahci *d = (struct ahci *)dev;

    pci_reset(&d->pci);
    d->s.index = 0;
    hba_reset(d);
}

static void ahci_resume(struct device *dev)
{
    for (unsigned i = 0; i < PORTS; i++) {
        port_start((struct ahci *)dev, i);
    }
}

/* Queued commands have left CI; their bits in SACT tell of them. */
static bool ahci_post_load(struct device *dev, GError **error)
{
    struct ahci *d = (struct ahci *)dev;

    for (unsigned i = 0; i < PORTS; i++) {
        struct ahci_port_state *p = &d->s.port[i];

        port_abandon(d, i);
        if (p->cmd & CMD_ST) {
            p->ci |= p->tfd & ATA_ERR ? 0 : p->sact;
            p->tfd &= ~(uint32_t)ATA_BSY;
        }
    }
    irq_update(d);
    return pci_post_load(&d->pci, error);
}

const struct device_class ahci_class = {
    .name = "ich9-ahci",
    .help = "SATA controller with six ports",
    .bus = BUS_PCI,
    .hotplug = HOTPLUG_NEVER,
    .size = sizeof(struct ahci),
    .state = &ahci_desc,
    .state_offset = offsetof(struct ahci, s),
    .realize = ahci_realize,
    .unrealize = ahci_unrealize,
    .reset = ahci_reset,
    .resume = ahci_resume,
    .post_load = ahci_post_load,
};

struct device *ahci_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&ahci_class, env);

    return device_set_property(dev, "addr", "1f.2", error) && device_realize(dev, error) ? dev
                                                                                         : NULL;
}
