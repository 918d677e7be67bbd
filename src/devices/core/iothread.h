/*
 * The object iothread: a thread with a loop, where devices that name it have their queues served.
 * What such a device asks of its disk is still carried out on the block layer's own I/O thread.
 */
#ifndef DEVICES_CORE_IOTHREAD_H
#define DEVICES_CORE_IOTHREAD_H

#include "base/loop.h"

struct iothread;

struct iothread *iothread_new(const char *id);
/* Ends the thread; nobody uses it. NULL is fine. */
void iothread_free(struct iothread *iothread);
struct loop *iothread_loop(const struct iothread *iothread);
int iothread_tid(const struct iothread *iothread);

#endif
