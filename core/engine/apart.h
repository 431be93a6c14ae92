/* Callbacks that run apart from the leader, each in a thread of its own: those of websockets that
 * are known as slow, because a callback of theirs was overtaken, until FWS_REHABILITATED in a row
 * were fast; and, for FWS_SUSPICIOUS_FOR after one was overtaken anywhere, those of websockets that
 * have not been fast FWS_PROVEN times in a row.
 *
 * Nobody watches them: they hold up nobody but their own websocket.
 *
 * Threads: as in crew.h, with the lock.
 */
#ifndef FWS_ENGINE_APART_H
#define FWS_ENGINE_APART_H

#include "../io/clock.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;
typedef struct fws_websocket fws_websocket;

#define FWS_FAST FWS_NS_PER_MS /* callbacks of one turn that take less are fast */
#define FWS_PROVEN 8
#define FWS_REHABILITATED 32
#define FWS_SUSPICIOUS_FOR FWS_NS_PER_S

/* Are its callbacks to run apart? */
bool fws_apart_is_for(const fws_engine *engine, const fws_websocket *websocket);

/* Queues it, with a reference, and sees to it that somebody comes. */
void fws_apart_queue(fws_engine *engine, fws_websocket *websocket);

/* Sees to it that somebody comes for what is queued: a thread that stands by, or one more, which
 * calls this in turn. So the leader never starts more than one at a time. */
void fws_apart_provide_thread(fws_engine *engine);

/* By the leader, between two batches: if nobody else is there for what is queued, the watch is. */
void fws_apart_claim_watch(fws_engine *engine);

/* Could this thread run something that is queued, now? */
bool fws_apart_is_possible(fws_engine *engine);

/* Runs the callbacks of the first; gives the lock away meanwhile. */
void fws_apart_run(fws_engine *engine, void **thread);

/* A turn of callbacks was fast, or not. */
void fws_apart_note_speed(fws_websocket *websocket, bool fast);

#endif
