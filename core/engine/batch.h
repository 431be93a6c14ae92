/* The callbacks that the leader runs itself: one websocket after the other, with what callbacks
 * need (the GIL) taken once for all of them. What the callbacks send is written after the batch.
 *
 * For each websocket the lock is taken once, and the clock is read once, when its callbacks have
 * returned.
 *
 * Threads: by the leader. Invariant: a batch runs only while a watch is appointed (crew.h).
 */
#ifndef FWS_ENGINE_BATCH_H
#define FWS_ENGINE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;

/* With the lock of fws_work: are callbacks to be run, and may they be run now? True: a watch is
 * appointed. */
bool fws_batch_is_possible(fws_engine *engine);

/* Without the lock: the loop has reported something, and the leader receives from now on.
 * Callbacks that are queued meanwhile are run by the next batch; to queue them takes no lock. */
void fws_batch_set_receiving(fws_engine *engine);

/* By the leader of `term`, without the lock: runs the callbacks that are queued at this moment,
 * and writes what they have sent. False when the leader was deposed meanwhile: it has touched
 * nothing then that belongs to the next leader. */
bool fws_batch_run(fws_engine *engine, uint64_t term, void **thread);

#endif
