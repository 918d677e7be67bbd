/* Internal snapshots of qcow2 images, between the two files that make them. The worker's, but for
 * what says otherwise. 0 or -errno. */
#ifndef BLOCK_QCOW2_SNAPSHOT_H
#define BLOCK_QCOW2_SNAPSHOT_H

#include "block/qcow2-priv.h"

struct qcow2_snapshot {
    uint64_t l1_offset;
    uint32_t l1_size;
    char *id, *name;
    uint32_t date_s, date_ns;
    uint64_t clock_ns, state_bytes, disk_bytes, icount;
    GByteArray *extra; /* what we do not know of its extra data; NULL: nothing */
};
void qcow2_snapshot_free(gpointer snapshot);

/* struct qcow2_snapshot; NULL and a log line when the table makes no sense. */
GPtrArray *qcow2_snapshots_read(struct qcow2 *q);
/* The table with these takes the old one's place, on the disk too. */
int qcow2_snapshots_write(struct qcow2 *q, const GPtrArray *snapshots);
struct qcow2_snapshot *qcow2_snapshot_find(const GPtrArray *snapshots, const char *name);

/* Entries of an L1 table that a disk of that size needs. */
uint64_t qcow2_l1_entries(const struct qcow2 *q, uint64_t disk_bytes);
int qcow2_l1_read(struct qcow2 *q, uint64_t offset, uint32_t n, uint64_t **l1);
/* A table of its own for these entries. */
int qcow2_l1_store(struct qcow2 *q, const uint64_t *l1, uint32_t n, uint64_t *offset);
void qcow2_l1_drop(struct qcow2 *q, uint64_t offset, uint32_t n);

/* One reference more, or less, to all that these entries lead to, L2 tables included. On failure
 * all counts are as before. */
int qcow2_refs_change(struct qcow2 *q, const uint64_t *l1, uint64_t n, int by);
/* Makes QCOW2_COPIED of all entries of these, and of the tables that they lead to, agree with the
 * counts. The tables are written, the L1 entries are changed in memory only. */
int qcow2_flags_fix(struct qcow2 *q, uint64_t *l1, uint64_t n);
/* The same for the image's own tables, all written. */
int qcow2_own_flags_fix(struct qcow2 *q);

/* What is in memory is read again. On failure the image is not written any more. */
int qcow2_reload(struct qcow2 *q);

#endif
