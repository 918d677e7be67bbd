/*
 * Records of memory in small, for channels of their own (multi.h): the payload of a "ram " record
 * is made smaller as a whole.
 *
 *   "ramz", "ramd" := how many bytes it has (32 bits), and these as a zstd frame (RFC 8878) or in
 *                     zlib's format (RFC 1950)
 *
 * Each is for one thread at a time.
 */
#ifndef MIGRATION_MULTI_SMALL_H
#define MIGRATION_MULTI_SMALL_H

#include "migration/migration-priv.h"

struct packer;
/* NULL: the settings say that there is to be none, or (*error) there is no memory. */
struct packer *packer_new(const struct multi_settings *settings, GError **error);
void packer_free(struct packer *p); /* NULL is fine */
/* Of the payload's two parts. Writes the record. */
bool packer_send(struct packer *p, struct stream_out *stream, const GByteArray *head,
                 const uint8_t *pages, size_t bytes, GError **error);

struct unpacker;
struct unpacker *unpacker_new(void);
void unpacker_free(struct unpacker *u); /* NULL is fine */
/* Whether a record is such a one. */
bool unpacker_knows(const struct record *record);
/* It becomes what it was, valid until the next call. A hostile one expands to MULTI_RAW_BYTES at
 * most. */
bool unpacker_expand(struct unpacker *u, struct record *record, GError **error);

#endif
