/*
 * Memory over several channels at a time (capability multifd).
 *
 * The first channel is the one of migration.h; its "gdwt" tells of the others:
 *
 *   flags, number of channels (32 bits), an identifier (16 bytes)
 *
 * The others are connected to the same place when the description was sent. Each is a stream of its
 * own: "chan" (the identifier, and the channel's number in 32 bits), then "ram " records or such in
 * small (multi-small.h), and "fin ".
 *
 * A page is on one channel in this pass and on another in the next, and must come in that order. So
 * after each pass all channels, the first too, have a record "sync" with the number of the pass,
 * and who reads goes on with none of them before all have come to it.
 */
#ifndef MIGRATION_MULTI_H
#define MIGRATION_MULTI_H

#include "migration/migration-priv.h"

#define MULTI_ID_BYTES  16u
/* Of the payload of a record of memory, at most. */
#define MULTI_RAW_BYTES (8u + RAM_PICK_PAGES * (16u + GUEST_PAGE_SIZE))

/* ---- out; the migration's thread, but for what is said */

struct multi_out;
/* first: the first channel, which is connected. Nothing is connected yet. */
struct multi_out *multi_out_new(const struct channel *first, const struct multi_settings *settings,
                                struct ram_numbers *numbers);
/* Ends all, at whatever point it is, and closes the channels. NULL is fine. */
void multi_out_end(struct multi_out *m);
void multi_out_free(struct multi_out *m); /* the same */
/* What "gdwt" has of it. */
void multi_out_put_head(const struct multi_out *m, GByteArray *out);
/* Connects, in order, and begins. */
bool multi_out_connect(struct multi_out *m, GError **error);
/* Waits for a channel that has nothing to do, and has it send that. */
bool multi_out_send(struct multi_out *m, const struct ram_pick *pick, GError **error);
/* All that was to be sent is, and marked. */
bool multi_out_sync(struct multi_out *m, struct stream_out *first, GError **error);
/* The last record of each. */
bool multi_out_finish(struct multi_out *m, GError **error);
/* Of all these channels. Any thread. */
uint64_t multi_out_bytes(const struct multi_out *m);
/* Ends all waiting. Any thread. */
void multi_out_break(struct multi_out *m);

/* ---- in; the migration's thread, but for what is said */

struct multi_in;
/* Reads what "gdwt" has of it. blocks: where memory goes, alive as long as this. NULL and *error.
 */
struct multi_in *multi_in_new(struct channel *first, struct state_input *head, GError **error);
/* Ends all, at whatever point it is, and closes the channels. */
void multi_in_end(struct multi_in *m);
void multi_in_free(struct multi_in *m); /* the same; NULL is fine */
/* Waits for the channels, and begins. */
bool multi_in_accept(struct multi_in *m, const GPtrArray *blocks, GError **error);
/* The first channel has come to this record: waits for the others. */
bool multi_in_sync(struct multi_in *m, const struct record *record, GError **error);
/* Waits until all have come to their end. */
bool multi_in_finish(struct multi_in *m, GError **error);
/* Ends all waiting; what went wrong on one of them, which is why the first was broken, is left in
 * *error, if anything. */
void multi_in_break(struct multi_in *m); /* any thread */
bool multi_in_failed(struct multi_in *m, GError **error);

#endif
