/* Callbacks that run apart from the leader, those of each websocket in a thread of the crew of its
 * own, so that they hold up no other websocket, and no thread watches them.
 *
 * They are those of a websocket that is marked as slow, because one of its callbacks was overtaken
 * (watch.h), until FWS_PROVEN runs in a row were fast, as the watch would not have overtaken them.
 * And, for FWS_SUSPICIOUS_FOR after a callback of any websocket was overtaken, those of each
 * websocket whose last FWS_TRUSTED were not all fast.
 *
 * Threads: as in crew.h: every function is called with the lock of fws_work held. Memory: an entry
 * in a queue stands for one reference.
 */
#ifndef FWS_ENGINE_APART_H
#define FWS_ENGINE_APART_H

#include "../io/clock.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;
typedef struct fws_websocket fws_websocket;

/* Are the callbacks of this websocket to run apart? */
bool fws_apart_is_for(const fws_engine *engine, const fws_websocket *websocket);

/* Queues the websocket, taking over a reference, and provides a thread for it. */
void fws_apart_queue(fws_engine *engine, fws_websocket *websocket);

/* Provides a thread for what is queued: wakes one that stands by, or starts one more, which calls
 * this when it is there. So the leader never starts more than one at a time. */
void fws_apart_provide_thread(fws_engine *engine);

/* By the leader, between two batches: if no other thread is there for what is queued, dismisses
 * the watch, which then runs it. */
void fws_apart_claim_watch(fws_engine *engine);

/* Is something queued that the calling thread may run now? */
bool fws_apart_is_possible(fws_engine *engine);

/* Runs the callbacks of the first websocket in the queue; releases the lock meanwhile. */
void fws_apart_run(fws_engine *engine, void **thread);

/* Notes whether the last run of callbacks of this websocket was fast. */
void fws_apart_note_speed(fws_websocket *websocket, bool fast);

#endif
