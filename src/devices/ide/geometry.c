/*
 * Cylinders, heads and sectors of a disk: what IDENTIFY tells, and how the BIOS makes them fit its
 * own interface (int 13h), which knows 1024 cylinders. A disk that a partition table was written to
 * keeps what that was written with.
 */
#include "devices/ide/ata.h"

#include "base/bytes.h"

#define SECTOR          512u
#define STANDARD_HEADS  16u
#define STANDARD_SECS   63u
#define MIN_CYLS        2u
#define MAX_CYLS        16383u
#define BIOS_CYLS       1024u
#define LARGE_MAX       131072u /* cylinders times heads that TRANS_LARGE serves */

#define MBR_TABLE       0x1be
#define MBR_ENTRIES     4u
#define MBR_ENTRY_BYTES 16u
#define MBR_SIGNATURE   0x1fe

/* From the last head and sector that a partition has; false: no partition tells. */
static bool from_partitions(struct block_backend *blk, uint64_t total, struct ata_geometry *g)
{
    uint8_t mbr[SECTOR];

    if (block_backend_read(blk, 0, mbr, sizeof(mbr)) < 0 || mbr[MBR_SIGNATURE] != 0x55 ||
        mbr[MBR_SIGNATURE + 1] != 0xaa) {
        return false;
    }
    for (unsigned i = 0; i < MBR_ENTRIES; i++) {
        const uint8_t *entry = mbr + MBR_TABLE + i * MBR_ENTRY_BYTES;
        uint32_t last_head = entry[5], secs = entry[6] & 63;
        uint64_t cyls;

        if (bytes_get_le(entry + 12, 4) == 0 || last_head == 0 || secs == 0) {
            continue;
        }
        cyls = total / ((last_head + 1) * secs);
        if (cyls >= 1 && cyls <= MAX_CYLS) {
            *g =
                (struct ata_geometry){.cyls = (uint32_t)cyls, .heads = last_head + 1, .secs = secs};
            return true;
        }
    }
    return false;
}

static enum bios_ata_translation for_size(const struct ata_geometry *g)
{
    return g->cyls <= BIOS_CYLS ? BIOS_ATA_TRANSLATION_NONE : BIOS_ATA_TRANSLATION_LBA;
}

void ata_geometry_guess(struct block_backend *blk, struct ata_geometry *g)
{
    uint64_t total = block_backend_bytes(blk) / SECTOR;
    bool found = total && from_partitions(blk, total, g);
    bool translated = found && g->heads > STANDARD_HEADS; /* by a BIOS: not the disk's own */

    if (!found || translated) {
        g->cyls = (uint32_t)CLAMP(total / (STANDARD_HEADS * STANDARD_SECS), MIN_CYLS, MAX_CYLS);
        g->heads = STANDARD_HEADS;
        g->secs = STANDARD_SECS;
    }
    g->translation = !found                            ? for_size(g)
                     : !translated                     ? BIOS_ATA_TRANSLATION_NONE
                     : g->cyls * g->heads <= LARGE_MAX ? BIOS_ATA_TRANSLATION_LARGE
                                                       : BIOS_ATA_TRANSLATION_LBA;
}

bool ata_geometry_choose(struct ata_drive *d, GError **error)
{
    struct ata_geometry *g = &d->geometry;

    *g = (struct ata_geometry){.cyls = d->cfg.cyls, .heads = d->cfg.heads, .secs = d->cfg.secs};
    if (!g->cyls && !g->heads && !g->secs) {
        ata_geometry_guess(d->blk, g);
    } else if (g->cyls < 1 || g->cyls > 65535 || g->heads < 1 || g->heads > STANDARD_HEADS ||
               g->secs < 1 || g->secs > 255) {
        g_set_error(
            error, DEVICE_ERROR, 0,
            "ide-hd: cyls=%u,heads=%u,secs=%u: from 1 to 65535, to %u and to 255 are possible",
            g->cyls, g->heads, g->secs, STANDARD_HEADS);
        return false;
    } else {
        g->translation = for_size(g);
    }
    if (d->cfg.translation != BIOS_ATA_TRANSLATION_AUTO) {
        g->translation = (enum bios_ata_translation)d->cfg.translation;
    }
    return true;
}
