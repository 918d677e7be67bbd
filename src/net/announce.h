/*
 * announce-self: series of announcements of where a machine's cards are. Main thread, machine lock
 * held.
 */
#ifndef NET_ANNOUNCE_H
#define NET_ANNOUNCE_H

#include "net/net.h"

struct announcer;

/* cards: struct net_card *, looked at each time. send: sends the frame from that card. */
struct announcer *announcer_new(struct loop *main, const GPtrArray *cards,
                                void (*send)(struct net_card *, const uint8_t *, size_t));
void announcer_free(struct announcer *a); /* NULL is fine */
/* The first announcement is made at once. */
bool announcer_start(struct announcer *a, const struct announce_parameters *how, GError **error);

#endif
