/*
 * Migration: a guest goes from one machine to another while it runs.
 *
 * The stream is a sequence of records (record.h): "gdwt" (what the stream is, and whether the
 * source waits for answers), "desc" (vmstate.h), "ram " any number of times, the records of
 * vmstate_put_state(), "ask " if the source waits for answers, and "fin ", which counts and sums up
 * all before it. A destination does nothing to its disks, and does not run, before it has "fin ".
 *
 * With the capability return-path the two sides agree: at "ask " the destination loads the guest
 * and answers "rdy " or "fail" (with a text); only then does the source let go of its disks and
 * send "fin ". The destination takes them and answers "run ", or "fail", after which the source
 * goes on. Without it the source has done its part when "fin " is written.
 *
 * A source that does not get as far as "fin " goes on running. One that has written "fin " never
 * runs again by itself: when the answer to it is lost, it says so and stays in postmigrate, and
 * whoever starts it must get the locks of its images first.
 *
 * Threads: each direction has a thread of its own for the channel and the memory; all else it has
 * done on the main thread. The functions here are the main thread's, machine lock held.
 */
#ifndef MIGRATION_MIGRATION_H
#define MIGRATION_MIGRATION_H

#include "machine/machine.h"
#include "qapi-types.h"

struct migration;

/* The machine's; made at the first call. */
struct migration *migration_of(struct machine *m);
/* Ends what is under way. Main thread, without the lock and outside the main loop. */
void migration_end(struct machine *m);

/* Whether a migration could begin now, for who prepares something for it. */
bool migration_may_start(struct machine *m, GError **error);
/* One could not begin for that reason: clients hear of it as of any other that failed. */
void migration_fail(struct machine *m, const char *text);
/* fd: of an fd: URI, taken over; else -1. */
bool migration_start(struct machine *m, const char *uri, int fd, GError **error);
void migration_cancel(struct machine *m);
bool migration_continue(struct machine *m, enum migration_status state, GError **error);

/* uri "defer": migrate-incoming says more. From the command line. */
bool migration_incoming_setup(struct machine *m, const char *uri, GError **error);
/* Whether it could begin now. If so clients are told that it does, whatever comes of it. */
bool migration_incoming_begins(struct machine *m, GError **error);
/* After that. fd: of an fd: URI, taken over; else -1. */
bool migration_incoming_start(struct machine *m, const char *uri, int fd, GError **error);

/* The guest is on its way to another machine. */
bool migration_goes_out(const struct machine *m);
/* What is said then to who wants something that must wait. */
#define MIGRATION_IN_PROGRESS "There's a migration process in progress"
/* Why the guest can't go now, nor be saved; NULL: it can. */
const char *migration_blocked(const struct machine *m);
/* Why no snapshot can be taken or loaded now: the guest goes, or can't. NULL: it can be. */
const char *migration_forbids_snapshot(const struct machine *m);

struct migration_info *migration_query(struct machine *m);
bool migration_set_capabilities(struct machine *m,
                                const struct migration_capability_status_list *list,
                                GError **error);
struct migration_capability_status_list *migration_query_capabilities(struct machine *m);
bool migration_set_parameters(struct machine *m, const struct migrate_set_parameters *params,
                              GError **error);
struct migration_parameters *migration_query_parameters(struct machine *m);

#endif
