/* What websockets ask of whoever drives them: to arm a timer, to watch a descriptor, to write an
 * outbox, to run callbacks, to forget a websocket that is finished; and what they ask about it:
 * does this thread lead, is it inside callbacks.
 *
 * It knows no websocket's inside. A websocket has a fws_work_entry, and the lists here link those;
 * the engine, which drives the work, finds the websocket around an entry.
 *
 * Who drives is the leader of the crew (engine/crew.h): one thread at a time.
 *
 * Threads: every function from any, unless it says otherwise. `lock` protects all fields that are
 * neither atomic nor said to be the leader's. It may be taken with a websocket's lock held; nothing
 * is taken under it, and it is never held while a system call waits.
 *
 * Memory: an entry in a list stands for one reference to its websocket, which whoever puts it there
 * has taken, and whoever removes it gives back.
 */
#ifndef FWS_WEBSOCKET_WORK_H
#define FWS_WEBSOCKET_WORK_H

#include "config.h"
#include "cork.h"
#include "run_queue.h"
#include "work_entry.h"

#include "../io/loop.h"
#include "../io/timers.h"
#include "../memory/pool.h"
#include "../stats/counters.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct fws_work {
    atomic_size_t references; /* the owner's, one for each thread and for each websocket */
    void (*destroy)(struct fws_work *); /* the last has gone */
    fws_engine_config config;           /* read-only once the first websocket is attached */
    fws_counters counters;
    fws_pool pool;
    fws_deflate_pool deflate;
    uint8_t *leaders_buffer; /* what the leader receives into; NULL until it does */

    pthread_mutex_t lock;
    pthread_cond_t empty; /* `count` became 0 */
    fws_loop *loop;       /* NULL until the first thread starts */
    fws_timers timers;
    bool stopping;
    bool sleeping;            /* the leader waits for the loop and nobody has woken it yet */
    fws_ns sleep_until;       /* meaningful while sleeping; FWS_FOREVER: until woken */
    fws_work_entry *all;      /* attached and not finished, doubly linked; no references */
    size_t count;             /* length of `all` */
    fws_work_entry *unfreed;  /* the youngest that was attached and is not freed; no references */
    fws_work_link *flush;     /* to be written by the leader */
    fws_cork cork;            /* the same, unless their handlers come first */
    fws_work_link *retired;   /* finished: the leader drops the engine's reference */
    size_t retired_count;     /* length of `retired` */
    fws_run_queue unfinished; /* the leader goes on with a piece of each in every turn */
    fws_run_queue run_queue;  /* callbacks for the leader to run */
    fws_run_queue arrived;    /* the same, while the leader receives: the leader's alone */

    atomic_uintptr_t leading;         /* the thread, while it cannot be deposed: no callbacks */
    atomic_uintptr_t receiving;       /* the thread, while it does */
    atomic_uintptr_t batching;        /* the thread that runs callbacks of `due` */
    _Atomic(fws_work_link *) running; /* whose callbacks the leader runs */
} fws_work;

/* With one reference. `destroy` is called when the last has gone. */
void fws_work_init(fws_work *work, const fws_engine_config *config, void (*destroy)(fws_work *));
void fws_work_destroy(fws_work *work);
/* In a forked child: nothing is queued, and no thread is here. The lists are left behind. */
void fws_work_after_fork(fws_work *work);

void fws_work_keep(fws_work *work);
void fws_work_drop(fws_work *work);

/* ---- what websockets ask for; with that websocket's lock held ---- */

void fws_work_arm(fws_work *work, fws_timer *timer, fws_ns deadline);

bool fws_work_watch(fws_work *work, int fd, uint8_t old_events, uint8_t new_events, void *owner);

/* To be written by the leader, soon. Comes with a reference. */
void fws_work_queue_flush(fws_work *work, fws_work_link *flush);

/* Something long is unfinished: the leader goes on with it, a piece in each turn. Comes with a
 * reference. */
void fws_work_queue_unfinished(fws_work *work, fws_work_link *unfinished);

/* To be written by its handler, or by the leader if that stays away; see cork.h. Comes with a
 * reference. */
void fws_work_cork(fws_work *work, fws_work_link *flush);
/* Those that are corked are to be written now. */
void fws_work_uncork(fws_work *work);

/* Its callbacks are due. Comes with a reference. False when the engine is stopping and nobody would
 * come for it: then the reference stays the caller's. */
bool fws_work_queue_callbacks(fws_work *work, fws_work_link *callbacks);

/* The websocket is finished: forgets it and has the leader drop the engine's reference. */
void fws_work_retire(fws_work *work, fws_work_entry *entry);

/* There is something for the leader to do. */
void fws_work_call_leader(fws_work *work);

/* ---- what they ask about it; no lock ---- */

static inline uintptr_t fws_work_this_thread(void)
{
    return (uintptr_t)pthread_self();
}

/* Is this one of the threads that drive websockets? What it sends, a callback sends. */
bool fws_work_is_engine_thread(void);

/* Is this thread the leader, and not inside callbacks? */
static inline bool fws_work_is_leading(const fws_work *work)
{
    return atomic_load_explicit(&work->leading, memory_order_relaxed) == fws_work_this_thread();
}

/* Is this thread inside callbacks of the leader's? What they send waits for the end of the batch.
 */
static inline bool fws_work_is_batching(const fws_work *work)
{
    return atomic_load_explicit(&work->batching, memory_order_relaxed) == fws_work_this_thread();
}

/* Does the leader run the callbacks of this websocket? Then it will be written when they end, or
 * are overtaken. The caller holds its lock. */
static inline bool fws_work_is_running(const fws_work *work, const fws_work_link *callbacks)
{
    return atomic_load(&work->running) == callbacks;
}

/* This thread drives websockets from now on. */
void fws_work_mark_engine_thread(void);

/* ---- what the engine asks for; with `lock` held ---- */

/* Calls the leader out of its sleep, once. */
void fws_work_wake_leader(fws_work *work);

/* A websocket is attached: from now on it is one of `all`. False when there is no memory for its
 * timer. */
bool fws_work_enlist(fws_work *work, fws_work_entry *entry);

/* Its memory is about to be freed. Without the lock. */
void fws_work_unlist(fws_work *work, fws_work_entry *entry);

#endif
