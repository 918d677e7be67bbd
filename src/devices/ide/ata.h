/*
 * ATA drives: commands of disks (ATA8-ACS) and of CD drives (ATAPI, MMC-3), whatever controller
 * brings them. A controller fills in struct ata_op and starts it; the drive asks it to move data,
 * piece by piece, and calls done() at the end.
 *
 * Main thread, machine lock held. A drive that is paused keeps what was read or written until it
 * goes on, so that neither guest memory nor the controller changes meanwhile.
 */
#ifndef DEVICES_IDE_ATA_H
#define DEVICES_IDE_ATA_H

#include "block/block.h"
#include "devices/core/device.h"
#include "devices/core/disk-sizes.h"

#define ATA_ERR             0x01
#define ATA_DRQ             0x08
#define ATA_SEEK            0x10 /* seek complete; drives always set it */
#define ATA_DF              0x20
#define ATA_DRDY            0x40
#define ATA_BSY             0x80

#define ATA_ERR_ABRT        0x04
#define ATA_ERR_IDNF        0x10
#define ATA_ERR_UNC         0x40

#define ATA_CMD_DSM         0x06 /* DATA SET MANAGEMENT */
#define ATA_CMD_DIAGNOSTIC  0x90
#define ATA_CMD_PACKET      0xa0
#define ATA_CMD_READ_FPDMA  0x60
#define ATA_CMD_WRITE_FPDMA 0x61

/* The task file: what a command is, and what became of it. hob: high-order bytes (48-bit). */
struct ata_regs {
    uint8_t command, feature, feature_hob, count, count_hob, device, control;
    uint8_t lba[6]; /* low, mid, high, and their high-order bytes */
    uint8_t status, error;
};

struct ata_drive;

struct ata_op {
    /* the controller's */
    struct ata_drive *drive;
    struct ata_regs regs; /* in and out */
    uint8_t packet[16];   /* of ATA_CMD_PACKET */
    /* Moves the next bytes between buf and the guest; returns how many there was room for. */
    size_t (*move)(struct ata_op *, void *buf, size_t bytes, bool to_guest);
    void (*done)(struct ata_op *);
    /* the drive's results */
    bool pio;           /* data were moved by a command of the PIO kind */
    bool to_guest;      /* in which direction */
    bool short_of_room; /* the guest's memory ended before the data of a read or write did */
    /* the drive's own */
    uint8_t *buf;
    struct iovec iov;
    struct block_request request;
    uint64_t offset, left; /* bytes; of a trim: ranges done, ranges there are */
    size_t chunk;
    bool fua; /* written to stable storage */
};

struct ata_geometry {
    uint32_t cyls, heads, secs;
    enum bios_ata_translation translation; /* not auto */
};

enum ata_kind { ATA_DISK, ATA_CD };

struct ata_state {
    uint8_t sense_key, asc, ascq;
    bool attention; /* the medium changed: the next command is told */
    bool locked, tray_open;
    bool event;                             /* the medium came or went: for GET EVENT STATUS */
    uint8_t multiple;                       /* sectors in a block of READ MULTIPLE; 0: not set */
    uint8_t ncq_tag, ncq_status, ncq_error; /* of the last failed queued command, for its log */
    bool ncq_failed;
    bool eject_requested; /* somebody pressed the button: for GET EVENT STATUS */
    uint8_t pad[3];
};
extern const struct state_field ata_state_fields[];

struct ata_drive {
    struct device dev; /* first */
    struct {
        char *bus, *drive, *serial, *model, *version;
        uint32_t unit;
        uint32_t rerror, werror; /* enum blockdev_on_error */
        uint32_t write_cache;    /* enum on_off_auto */
        uint64_t wwn;            /* 0: none */
        struct disk_sizes sizes;
        uint16_t rotation_rate; /* as in word 217 of IDENTIFY */
        bool share_rw;
        uint32_t cyls, heads, secs; /* all 0: guessed */
        struct bios_geometry bios;
        uint32_t translation; /* enum bios_ata_translation */
    } cfg;
    struct ata_geometry geometry; /* of a disk */
    struct ata_state s;
    enum ata_kind kind;
    struct block_backend *blk; /* NULL: not realized */
    struct ide_bus *bus;
    GQueue held; /* struct ata_op that wait for the machine to go on */
};

/* Starts op; done() may be called before this returns. A drive takes several at a time. */
void ata_op_start(struct ata_op *op);
/* The signature in lba[] and count after a reset. */
void ata_signature(const struct ata_drive *drive, struct ata_regs *regs);
/* A reset by the controller's register or on the line. */
void ata_drive_reset(struct ata_drive *drive);
/* Whether a command is one of NCQ's. */
static inline bool ata_is_queued(uint8_t command)
{
    return command == ATA_CMD_READ_FPDMA || command == ATA_CMD_WRITE_FPDMA;
}

/* ---- between ata.c, atapi.c and trim.c */

/* Ends op: 0, or bits of the error register. */
void ata_op_end(struct ata_op *op, uint8_t error);
/* Ends op because the medium's back end failed with result, -errno. */
void ata_op_failed(struct ata_op *op, int result);
/* Sectors of a disk. */
uint64_t ata_sectors(const struct ata_drive *drive);
/* Fills op->request in for the back end. */
void ata_op_request(struct ata_op *op, enum block_op what);
/* Moves a small answer to the guest, at most op->left bytes when that is less. */
void ata_op_answer(struct ata_op *op, void *buf, size_t bytes);
/* Reads or writes op->left bytes of the medium from op->offset on, in pieces. */
void ata_op_medium(struct ata_op *op, bool write);
/* DATA SET MANAGEMENT (trim.c): the command, and what follows when a range has been discarded. */
void ata_trim(struct ata_op *op);
void ata_trim_next(struct ata_op *op, int result);
void atapi_packet(struct ata_op *op);
void atapi_failed(struct ata_op *op, int result); /* an I/O error as sense */
void atapi_medium_changed(struct ata_drive *drive, bool loaded);

/* What a disk of the back end is taken for (geometry.c). */
void ata_geometry_guess(struct block_backend *blk, struct ata_geometry *g);
/* Sets the drive's from its properties, or guesses. */
bool ata_geometry_choose(struct ata_drive *drive, GError **error);

/* ---- drives and buses */

/* 512-byte blocks of ranges that a DATA SET MANAGEMENT command may have. */
#define ATA_TRIM_BLOCKS 8

#define IDE_UNITS       2

struct pci_device;

struct ide_bus {
    char *name; /* "ide.0" */
    unsigned units;
    struct ata_drive *drive[IDE_UNITS];
    void (*attached)(void *opaque, unsigned unit);
    void *opaque;
    /* For firmware: the controller, and which of its buses this is. */
    const struct pci_device *controller;
    unsigned number;
};

/* A controller's buses; the first controller's are ide.0, ide.1, ..., another's bear its id. */
struct ide_bus *ide_bus_new(struct device_env *env, const char *controller_id, unsigned number,
                            unsigned units);
void ide_bus_free(struct device_env *env, struct ide_bus *bus); /* empty; NULL is fine */

extern const struct device_class ide_hd_class, ide_cd_class;

/* Bytes in a block that a disk's command of the PIO kind moves at once. */
unsigned ata_pio_block(const struct ata_op *op);

#endif
