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

struct fws_engine {
    fws_work work;
    fws_table table;
    atomic_size_t references;    /* the owner's, and one for each thread */
    fws_histogram callback_time; /* ns; added to with the lock of `work` */
    fws_histogram turn_time;     /* the leader's; ns: so long may what is ready wait for its turn */
    fws_crew crew;               /* the lock of `work` */
    bool running;                /* there are threads; the lock of `work` */
    fws_ready ready;             /* the leader's */
    fws_ns turn_since;           /* the leader's: when the loop reported last; 0: nothing since */
    atomic_bool patient;         /* handlers in an event loop have been seen: see turn.c */
};

void fws_engine_keep(fws_engine *engine);
void fws_engine_drop(fws_engine *engine);
/* With the lock of `work`: `count` callbacks have taken so long together. */
void fws_engine_note_callbacks(fws_engine *engine, fws_ns taken, uint32_t count);

#endif
