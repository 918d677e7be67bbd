/*
 * DATA SET MANAGEMENT with its TRIM bit (ATA8-ACS, 7.5): the guest lists ranges of sectors whose
 * contents it does not need any more, and they are discarded one after the other.
 *
 * A range past the disk's end fails the command before anything is discarded.
 */
#include "devices/ide/ata.h"

#include "base/bytes.h"
#include <errno.h>

#define FEATURE_TRIM 0x01
#define BLOCK_BYTES  512u
#define RANGE_BYTES  8u /* 48 bits of address, 16 of length in sectors; 0: not used */
#define SECTOR       512u

static void range_of(const struct ata_op *op, uint64_t n, uint64_t *first, uint64_t *sectors)
{
    uint64_t range = bytes_get_le(op->buf + n * RANGE_BYTES, RANGE_BYTES);

    *first = range & ((UINT64_C(1) << 48) - 1);
    *sectors = range >> 48;
}

static bool ranges_fit(const struct ata_op *op)
{
    uint64_t total = ata_sectors(op->drive), first, sectors;

    for (uint64_t i = 0; i < op->left; i++) {
        range_of(op, i, &first, &sectors);
        if (sectors && (first >= total || sectors > total - first)) {
            return false;
        }
    }
    return true;
}

static void discard_next(struct ata_op *op)
{
    uint64_t first, sectors = 0;

    while (op->offset < op->left) {
        range_of(op, op->offset, &first, &sectors);
        op->offset++;
        if (sectors) {
            op->request.offset = first * SECTOR;
            op->request.bytes = sectors * SECTOR;
            block_backend_submit(op->drive->blk, &op->request);
            return;
        }
    }
    ata_op_end(op, 0);
}

void ata_trim_next(struct ata_op *op, int result)
{
    if (result < 0 && result != -ENOTSUP) { /* it is advice: storage that can't take it needn't */
        ata_op_failed(op, result);
        return;
    }
    discard_next(op);
}

void ata_trim(struct ata_op *op)
{
    unsigned blocks = op->regs.count; /* the high half may be stale, and is never needed */
    size_t bytes = blocks * BLOCK_BYTES;

    if (op->regs.feature != FEATURE_TRIM || blocks == 0 || blocks > ATA_TRIM_BLOCKS) {
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    op->buf = g_malloc(bytes);
    if (op->move(op, op->buf, bytes, false) < bytes) {
        op->short_of_room = true;
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    op->offset = 0;
    op->left = bytes / RANGE_BYTES;
    if (!ranges_fit(op)) {
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    ata_op_request(op, BLOCK_DISCARD);
    discard_next(op);
}
