/* The watch: the thread that sees to it that a callback which blocks does not hold up the loop.
 *
 * Before the leader runs callbacks it appoints a watch. When a callback has taken
 * FWS_CALLBACK_PATIENCE, the watch deposes the leader and leads itself; the deposed thread stands
 * by when its callback has ended. The websocket is marked as slow, and its callbacks run apart
 * (apart.h).
 *
 * Appointed is not yet there: a thread that stands by, or was just hired, takes up the appointment
 * before it does anything else, and nobody who stands by leaves while an appointment is open. So a
 * batch may begin at once.
 *
 * Nothing polls: the watch looks every FWS_WATCH_INTERVAL while callbacks run, and sleeps when none
 * have for FWS_WATCH_QUIET looks, until a batch begins.
 *
 * Threads: as in crew.h. The atomic fields are the leader's to write, outside the lock.
 */
#ifndef FWS_ENGINE_WATCH_H
#define FWS_ENGINE_WATCH_H

#include "../io/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;

/* A callback that has taken as long is overtaken. */
#define FWS_CALLBACK_PATIENCE (3 * FWS_NS_PER_MS)
/* Between two looks: a callback that blocks is overtaken within the two together, 5 ms. A look
 * costs some 10 us, so this is half a percent of a core while callbacks run; 8 ms would save 0.4 %
 * of one, and have others wait for up to 11 ms. */
#define FWS_WATCH_INTERVAL (2 * FWS_NS_PER_MS)
/* Looks without a batch between them, after which the watch sleeps. */
#define FWS_WATCH_QUIET 50

typedef struct {
    pthread_cond_t called;         /* the watch is to look */
    bool appointed;                /* there is a watch, or will be in a moment */
    bool open;                     /* `appointed`, and no thread has taken it up yet */
    uint64_t number;               /* of the appointment: one of an earlier number is over */
    atomic_bool asleep;            /* it looks only when it is called */
    _Atomic(fws_ns) running_since; /* the leader's present callback; 0: none runs */
    atomic_uint_least64_t batches; /* that leaders have run */
} fws_watch;

void fws_watch_init(fws_watch *watch);
void fws_watch_destroy(fws_watch *watch);

/* Is there a watch, or could one be appointed? True: there is one from now on. */
bool fws_watch_appoint(fws_engine *engine);

/* By the leader, between two batches: the thread is wanted for something else. */
void fws_watch_dismiss(fws_engine *engine);

/* There is no watch any more. */
void fws_watch_end_appointment(fws_watch *watch);

/* By the leader, without the lock, once running_since is set: the watch looks again. */
void fws_watch_call(fws_engine *engine);

/* By the thread that is the watch from now on. True when it was dismissed; false when it is to
 * lead, or the engine stops. */
bool fws_watch_serve(fws_engine *engine);

#endif
