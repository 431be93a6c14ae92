/* The inside of an engine: for the files of this folder. */
#ifndef FWS_ENGINE_INTERNAL_H
#define FWS_ENGINE_INTERNAL_H

#include "crew.h"
#include "engine.h"

#include "../io/loop.h"
#include "../websocket/internal.h"

#include <stdatomic.h>

#define FWS_READY_MAX 256

/* What the loop has reported; the leader's. */
typedef struct {
    fws_readiness list[FWS_READY_MAX];
    int next, count;
} fws_ready;

/* Where an engine is in its life; there is no way back, but for a forked child, whose engine is
 * another process's. */
typedef enum {
    FWS_ENGINE_NEW, /* no websocket has been attached, and there is no thread */
    FWS_ENGINE_RUNNING,
    FWS_ENGINE_STOPPING, /* nothing is attached any more */
    FWS_ENGINE_STOPPED,  /* no thread is left but those that are still inside a callback */
} fws_engine_life;

struct fws_engine {
    fws_work work;
    fws_table table;
    fws_histogram callback_time; /* ns; added to with the lock of `work` */
    fws_histogram turn_time;     /* the leader's; ns: so long may what is ready wait for its turn */
    fws_crew crew;               /* the lock of `work` */
    fws_engine_life life;        /* the lock of `work` */
    pthread_cond_t stopped;      /* `life` is FWS_ENGINE_STOPPED; the lock of `work` */
    fws_ready ready;             /* the leader's */
    fws_ns turn_since;           /* the leader's: when the loop reported last; 0: nothing since */
    atomic_bool has_event_loop_handlers; /* handlers in an event loop have been seen: see turn.c */
};

/* With the lock of `work`: `count` callbacks have taken so long together. */
void fws_engine_note_callbacks(fws_engine *engine, fws_ns duration, uint32_t count);

#endif
