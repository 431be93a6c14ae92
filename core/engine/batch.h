/* The callbacks that the leader runs itself: those that are due, one websocket after the other,
 * with what they need (the GIL) taken once for all of them. What they send is written after the
 * batch.
 *
 * The lock is taken once for each websocket, when its callbacks have ended; nothing else is, and no
 * clock is read besides.
 *
 * Threads: by the leader.
 */
#ifndef FWS_ENGINE_BATCH_H
#define FWS_ENGINE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;

/* With the lock: are callbacks due, and may they be run now? True: a watch is appointed. */
bool fws_batch_is_possible(fws_engine *engine);

/* Without the lock: the loop has reported something, and the leader receives. What comes due
 * meanwhile is run by the next batch; to queue it takes no lock. */
void fws_batch_set_receiving(fws_engine *engine);

/* By the leader of `term`, without the lock: runs what is due at this moment, and then writes what
 * was sent. False when it was deposed meanwhile, and then it has touched nothing that belongs to
 * the next leader. */
bool fws_batch_run(fws_engine *engine, uint64_t term, void **thread);

#endif
