/* The watch: the thread that makes sure that a callback which blocks does not hold up the loop.
 *
 * Before the leader runs callbacks it appoints a watch. When a callback has taken
 * FWS_CALLBACK_PATIENCE, the watch overtakes it: it deposes the leader and leads itself. The
 * deposed thread stands by when its callback has returned. The websocket is marked as slow, and its
 * callbacks run apart (apart.h).
 *
 * When a watch is appointed, it need not be running yet. A thread that stands by, or was just
 * started, takes up the appointment before it does anything else, and no thread that stands by ends
 * while an appointment is open. So a batch may begin at once.
 *
 * While callbacks run, the watch looks every FWS_LOOK_INTERVAL. When there was no batch for
 * FWS_QUIET_LOOKS looks, it sleeps until the next batch begins, so an idle process does not wake.
 *
 * Threads: as in crew.h. The leader writes running_since and batches without it.
 */
#ifndef FWS_ENGINE_WATCH_H
#define FWS_ENGINE_WATCH_H

#include "../io/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;

typedef struct {
    pthread_cond_t called; /* signalled when the watch is to look at once */
    bool appointed;        /* a thread is the watch, or will be in a moment */
    bool open;             /* `appointed` is set, and no thread has taken it up yet */
    uint64_t number;       /* number of the appointment; one with a smaller number has ended */
    atomic_bool asleep;    /* the watch sleeps until `called` is signalled */
    _Atomic(fws_ns) running_since; /* when the present callback of the leader began; 0: none runs */
    atomic_uint_least64_t batches; /* how many batches leaders have run */
} fws_watch;

void fws_watch_init(fws_watch *watch);
void fws_watch_destroy(fws_watch *watch);

/* Appoints a watch unless there is one; false when no thread can be had for that. */
bool fws_watch_appoint(fws_engine *engine);

/* By the leader, between two batches: ends the appointment, because the thread is needed for
 * something else. */
void fws_watch_dismiss(fws_engine *engine);

/* Ends the appointment. */
void fws_watch_end_appointment(fws_watch *watch);

/* By the leader, without the lock, after it has set running_since: wakes the watch if it sleeps. */
void fws_watch_call(fws_engine *engine);

/* The calling thread is the watch from now on. True when it was dismissed; false when it is to
 * lead, or the engine stops. */
bool fws_watch_serve(fws_engine *engine);

#endif
