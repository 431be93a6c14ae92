/* Callbacks that run apart from the leader, those of each websocket in a thread of the crew of its
 * own, so that they hold up no other websocket, and no thread watches them.
 *
 * They are those of a websocket that is marked as slow, because one of its callbacks was overtaken
 * (watch.h), until FWS_PROVEN runs in a row were fast, as the watch would not have overtaken them.
 * And, for FWS_SUSPICIOUS_FOR after a callback of any websocket of a route was overtaken, those of
 * each websocket of that route whose last FWS_TRUSTED were not all fast.
 *
 * Where callbacks need something that only one thread has at a time (the GIL), `enter` takes it,
 * and may wait long for it. A thread takes a websocket from the queue only when it has entered: so
 * who is next is decided when somebody can run, and not while dozens of threads wait.
 *
 * Invariant: when a thread has entered and a websocket is queued whose last callbacks were fast,
 * one of those is taken, unless the websocket taken before was such a one as well and others are
 * queued. So one that is fast waits for one turn of the others each, however many they are; and
 * the others have every second turn, however many are fast. While too many compute that are under
 * way, none is taken of those that would make them more (computing.h).
 *
 * One of FWS_KEPT places inside callbacks is kept: one for the leader, whom another thread can
 * watch then, and the rest for those that are known to be fast. So callbacks that wait for seconds,
 * however many, hold up neither; but with fewer than FWS_KEPT places none is kept.
 *
 * Threads: as in crew.h: every function is called with the lock of fws_work held. Memory: an entry
 * in a queue stands for one reference.
 */
#ifndef FWS_ENGINE_APART_H
#define FWS_ENGINE_APART_H

#include "computing.h"

#include "../websocket/run_queue.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;
typedef struct fws_websocket fws_websocket;

typedef struct {
    fws_run_queue fast;   /* those whose last callbacks were fast, while their route is trusted */
    fws_run_queue others; /* those of which nothing is known, or that they were slow */
    bool fast_was_taken;  /* from which of the two the last one was taken */
    uint32_t entering;    /* threads inside `enter`, each of which will take one, if one is left */
    fws_computing computing; /* those that are under way */
} fws_apart;

void fws_apart_init(fws_apart *apart);

/* How many websockets are queued. */
size_t fws_apart_count(const fws_apart *apart);

/* Moves all that are queued behind those of `to`. */
void fws_apart_move(fws_apart *apart, fws_run_queue *to);

/* Are the callbacks of this websocket to run apart? */
bool fws_apart_is_for(const fws_websocket *websocket);

/* Queues the websocket, taking over a reference, and provides a thread for it. */
void fws_apart_queue(fws_engine *engine, fws_websocket *websocket);

/* Provides a thread for what is queued: wakes one that stands by, or starts one more, which calls
 * this when it is there. So the leader never starts more than one at a time. */
void fws_apart_provide_thread(fws_engine *engine);

/* By the leader, between two batches: if no other thread is there for what is queued, dismisses
 * the watch, which then runs it. */
void fws_apart_claim_watch(fws_engine *engine);

/* When the leader is to look whether more may begin, although nothing has happened; FWS_FOREVER: it
 * need not. */
fws_ns fws_apart_next_look(fws_engine *engine);

/* Is something queued that the calling thread may run now, and no other thread is about to? */
bool fws_apart_is_possible(fws_engine *engine);

/* Runs the callbacks of a websocket that is queued; releases the lock meanwhile. */
void fws_apart_run(fws_engine *engine, void **thread);

/* A callback of this websocket was overtaken. */
void fws_apart_note_overtaken(fws_websocket *websocket, fws_ns now);

/* Notes whether the last run of callbacks of this websocket was fast. */
void fws_apart_note_speed(fws_websocket *websocket, bool fast);

#endif
