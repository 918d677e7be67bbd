/* Between ide-channel.c and the controllers that have such channels. */
#ifndef DEVICES_IDE_IDE_CHANNEL_PRIV_H
#define DEVICES_IDE_IDE_CHANNEL_PRIV_H

#include "devices/ide/ata.h"
#include "devices/pci/pci.h"

#define BUF_BYTES 8192u

/* The bus master's registers. */
#define BM_START  0x01
#define BM_ACTIVE 0x01
#define BM_ERROR  0x02
#define BM_IRQ    0x04

enum phase { PHASE_IDLE, PHASE_RUNNING, PHASE_IN, PHASE_OUT, PHASE_PACKET, PHASE_DMA_WAIT };

struct ide_channel_state {
    uint64_t next_lba;        /* of a PIO transfer: the block after this one */
    uint32_t left;            /* sectors that come after this block */
    uint32_t buf_at, buf_end; /* what the data register has moved, and has to in this block */
    uint32_t buf_length;      /* bytes in buf */
    uint32_t prdt;
    uint8_t command, feature, feature_hob, count, count_hob, device, status, error, control;
    uint8_t lba[6];
    uint8_t bm_command, bm_status;
    uint8_t phase;
    bool irq;
    uint8_t packet[16];
    uint8_t buf[BUF_BYTES];
    uint8_t pad[1];
};

extern const struct state_field ide_channel_fields[];

struct ide_op;

struct ide_channel {
    struct pci_device *pci; /* whose memory accesses it makes */
    struct ide_channel_state *s;
    struct ide_bus *bus;
    struct ide_op *op;
    struct irq_line irq;
    struct region ports, control;
};

extern const struct region_ops ide_channel_ports_ops, ide_channel_control_ops;

struct ata_drive *ide_channel_drive(const struct ide_channel *ch); /* the selected one, or NULL */
void ide_channel_irq_update(struct ide_channel *ch);
void ide_channel_reset(struct ide_channel *ch); /* and its drives */
/* What is under way ends unheard. */
void ide_channel_abandon(struct ide_channel *ch);
/* The present command ends as aborted. */
void ide_channel_abort(struct ide_channel *ch);
/* What the selected drive says of itself, in the registers. */
void ide_channel_signature(struct ide_channel *ch);
/* A command that waits for the bus master begins, if that was started. */
void ide_channel_dma_start(struct ide_channel *ch);
bool ide_channel_dma_runs(const struct ide_channel *ch);

#endif
