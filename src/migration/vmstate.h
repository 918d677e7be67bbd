/*
 * The state of a machine that stands, apart from its memory: a description of the machine, and its
 * clock, vCPUs and devices. Migration, snapshots and dumps write and read it; what becomes of
 * memory is theirs.
 *
 * It is a sequence of records (record.h): a description in JSON (GodwitStreamDescription of the
 * schema) comes first and says which machine this is and what it consists of; then "mach", one
 * "vcpu" each, "devs", and "end". Device and vCPU state names its fields and their types
 * (base/state.h), so that all of it can be printed without the tables that it was made from.
 *
 * What is read is hostile. A description that does not fit the machine here is refused with both
 * sides' values; so is a record that is unknown, of an unknown version, damaged, missing or there
 * twice, and a field out of its range.
 *
 * Main thread, machine lock held; the machine stands (not running, or parked by
 * machine_park_begin() with its devices paused and its block layer drained).
 */
#ifndef MIGRATION_VMSTATE_H
#define MIGRATION_VMSTATE_H

#include "base/state.h"
#include "machine/machine.h"

/* ---- memory */

/* A block of memory that is part of the machine's state. */
struct vmstate_ram {
    char *name; /* unique in the machine; the same in another one made alike */
    struct ram_block *block;
};
/* All there are, in the same order in machines made alike; free with g_ptr_array_unref(). */
GPtrArray *vmstate_ram_blocks(struct machine *m);

/* ---- all at once */

/* Appends the state of the machine, as being in run_state (normally runstate_get(m->run)). */
void vmstate_save(struct machine *m, enum run_state run_state, GByteArray *out);

/* Takes it off the input and puts it into a machine that was reset (machine_reset() or new). On
 * failure false and *error, and unless nothing was loaded yet the machine must be reset: *touched,
 * if not NULL, tells. run_state: the one that was saved; the machine's own is left alone. */
bool vmstate_load(struct machine *m, struct state_input *in, enum run_state *run_state,
                  bool *touched, GError **error);

/* ---- in pieces, for those who put something between the description and the rest */

void vmstate_put_description(struct machine *m, GByteArray *out);
/* The payload of a "desc" record: whether this machine is like the one that is described.
 * check_uuid: if both were given one it must be the same. */
bool vmstate_check_description(struct machine *m, const uint8_t *json, size_t bytes,
                               bool check_uuid, GError **error);
/* What vmstate_save() writes, without description and end. */
void vmstate_put_state(struct machine *m, enum run_state run_state, GByteArray *out);

/* Collects records; nothing is put into the machine before vmstate_loader_finish(). */
struct vmstate_loader;
struct record;
struct vmstate_loader *vmstate_loader_new(struct machine *m);
/* Takes a record that vmstate_put_state() writes; the payload is copied. */
bool vmstate_loader_add(struct vmstate_loader *loader, const struct record *record, GError **error);
bool vmstate_loader_finish(struct vmstate_loader *loader, enum run_state *run_state, bool *touched,
                           GError **error);
void vmstate_loader_free(struct vmstate_loader *loader); /* NULL is fine */

#endif
