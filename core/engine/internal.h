/* The inside of an engine: for the files of this folder.
 *
 * Threads: each field names the lock that protects it; those that are the leader's are used by
 * the leading thread alone. Memory: the engine owns all of it. */
#ifndef FWS_ENGINE_INTERNAL_H
#define FWS_ENGINE_INTERNAL_H

#include "crew.h"
#include "engine.h"

#include "../io/loop.h"
#include "../tuning.h"
#include "../websocket/internal.h"

#include <stdatomic.h>

/* What the loop has reported and the leader has not handled yet; the leader's. */
typedef struct {
    fws_readiness list[FWS_READY_MAX];
    int next, count;
} fws_ready;

/* The life of an engine goes through these in order. Only in a forked child it is new again,
 * because the child has an engine of its own. */
typedef enum {
    FWS_ENGINE_NEW, /* no websocket has been attached, and there is no thread */
    FWS_ENGINE_RUNNING,
    FWS_ENGINE_STOPPING, /* websockets are not attached any more */
    FWS_ENGINE_STOPPED,  /* no thread is left except those that are still inside a callback */
} fws_engine_life;

struct fws_engine {
    fws_work work;
    fws_table table;
    fws_histogram
        turn_time; /* ns; values are added by the leader. What becomes ready may wait so long */
    fws_crew crew; /* the lock of `work` */
    fws_engine_life life;    /* the lock of `work` */
    pthread_cond_t stopped;  /* `life` is FWS_ENGINE_STOPPED; the lock of `work` */
    fws_ready ready;         /* the leader's */
    fws_work_link *flushing; /* to be written, before what is in `work`; the leader's */
    fws_ns turn_since;       /* when the loop reported last; 0: not in this turn; the leader's */
    atomic_bool has_event_loop_handlers; /* a websocket with a notifier was attached: see turn.c */
};

/* With the lock of `work`: `count` callbacks of the websocket have taken `duration` together. */
void fws_engine_note_callbacks(fws_websocket *websocket, fws_ns duration, uint32_t count);

#endif
