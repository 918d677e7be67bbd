/*
 * The control thread, and the one that takes its place.
 *
 * A command that the control thread carries out itself instead of waking the main thread for it may
 * take longer than thought, or for ever: a disk that does not answer, a vCPU that does not come out
 * of guest code. So it does that outside its loop, and a second thread watches: if it is not back
 * soon, that one goes on with the loop, as the control thread, and the first watches when it is
 * done. Nothing waits for longer than that.
 */
#ifndef MONITOR_CONTROL_H
#define MONITOR_CONTROL_H

#include "base/loop.h"
#include <stdbool.h>

struct control;

struct control *control_new(struct loop *loop);
/* Starts the thread, which runs the loop; other threads only post to it from now on. */
void control_start(struct control *control);
/* Ends the threads, if they were started. NULL is fine. */
void control_free(struct control *control);

/*
 * From a function that the loop runs: has fn(arg) called by this thread when it has been through
 * with this round of the loop, without the loop. fn may wait, but nothing may wait for it that the
 * loop has to do. false: not now, do it some other way. That is so when something has been put
 * aside already, and where no second thread is to be had.
 */
bool control_put_aside(struct control *control, void (*fn)(void *arg), void *arg);
/*
 * From a function that the loop runs, when the main thread's loop has ended: what this round has
 * put aside is dropped, and what other threads do aside is waited for. That is soon over, for it
 * finds the main thread's loop closed.
 */
void control_settle(struct control *control);

#endif
