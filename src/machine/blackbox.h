/*
 * The black box: what the guest was doing when it failed. Who notices a failure leaves a note of it
 * (any thread); the main thread records, with all vCPUs parked, before the machine acts on it.
 */
#ifndef MACHINE_BLACKBOX_H
#define MACHINE_BLACKBOX_H

#include "cpu/vcpu.h"
#include "qapi-types.h"
#include <glib.h>

struct machine;
struct blackbox;

/* dir (NULL: none): where each record is written as a file. symbols (NULL: none): a file with the
 * guest's symbols. NULL and *error when either cannot be used. */
struct blackbox *blackbox_new(const char *dir, const char *symbols, GError **error);
void blackbox_free(struct blackbox *box); /* NULL is fine */

/* Notes a failure, on behalf of the calling thread's cause; a vCPU that calls runs no further until
 * it is recorded. vcpu, text and info may be NULL. When too many come at once, they are counted
 * only. Any thread. */
void machine_note_failure(struct machine *m, enum godwit_black_box_trigger trigger,
                          struct vcpu *vcpu, const char *text,
                          const struct guest_panic_information *info);

/* Main thread, lock held, vCPUs parked: records what was noted, and tells. */
void blackbox_record(struct machine *m);

/* Any thread, no lock. Owned by the caller. */
struct godwit_black_boxes *blackbox_query(struct blackbox *box);

#endif
