/* The work that websockets have for the threads that serve them: timers to arm, descriptors to
 * watch, outboxes to write, callbacks to run, finished websockets to drop. Websockets also ask here
 * whether the calling thread is the leader, or inside callbacks.
 *
 * The leader of the crew (engine/crew.h), one thread at a time, does this work.
 *
 * This file knows nothing of the inside of a websocket: each websocket contains a fws_work_entry,
 * which the lists here link, and the engine finds the websocket that contains an entry.
 *
 * Threads: every function may be called from any thread, unless it says otherwise. `lock` protects
 * all fields that are neither atomic nor said to be the leader's. It may be taken with a
 * websocket's lock held; no lock is taken under it, and it is never held while a system call waits.
 *
 * Memory: an entry in a list stands for one reference to its websocket. Where a function says that
 * an entry comes with a reference, the list takes over the caller's; the code that removes the
 * entry gives it back.
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
#include "../stats/tally.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct fws_work {
    atomic_size_t references; /* the owner's, one for each thread and for each websocket */
    void (*destroy)(struct fws_work *); /* called when the last reference is dropped */
    fws_engine_config config;           /* read-only once the first websocket is attached */
    fws_counters counters;
    fws_tally tally; /* of websockets without a route; the others of the engine come behind it */
    fws_pool pool;
    fws_deflate_pool deflate;
    uint8_t *leaders_buffer; /* what the leader receives into; NULL until it does */

    pthread_mutex_t lock;
    pthread_cond_t empty; /* `count` became 0 */
    fws_loop *loop;       /* NULL until the first thread starts */
    fws_timers timers;
    bool stopping;
    atomic_uchar sleeping; /* the leader waits in the loop, and no thread has woken it yet */
    fws_ns sleep_until;    /* while sleeping: until when; FWS_FOREVER: until it is woken */
    fws_work_entry *all;   /* attached and not finished, doubly linked; no references */
    size_t count;          /* length of `all` */
    fws_work_entry
        *unfreed;         /* the last that was attached, of all that are not freed; no references */
    fws_work_link *flush; /* to be written by the leader */
    fws_cork cork;        /* to be written by their handlers, or else by the leader */
    fws_work_link *retired; /* finished: the leader drops the engine's reference */
    size_t retired_count;   /* length of `retired` */
    fws_run_queue
        unfinished;          /* the leader does one piece for each of these in a turn of the loop */
    fws_run_queue run_queue; /* callbacks for the leader to run */
    fws_run_queue
        arrived; /* the same, of websockets that the leader has just received from; the leader's */

    atomic_uintptr_t leading;   /* the leader's thread, while it is not inside callbacks; else 0 */
    atomic_uintptr_t receiving; /* the leader's thread, while it receives; else 0 */
    atomic_uintptr_t batching;  /* the leader's thread, while it is inside callbacks; else 0 */
    _Atomic(fws_work_link *)
        running; /* the websocket whose callbacks the leader runs; NULL: none */
} fws_work;

/* With one reference. `destroy` is called when the last one is dropped. */
void fws_work_init(fws_work *work, const fws_engine_config *config, void (*destroy)(fws_work *));
void fws_work_destroy(fws_work *work);
/* In a forked child: empties the lists, without touching their entries, and makes the locks
 * anew. There are no threads. */
void fws_work_after_fork(fws_work *work);

void fws_work_keep(fws_work *work);
void fws_work_drop(fws_work *work);

/* ---- what websockets ask for; with that websocket's lock held ---- */

void fws_work_arm(fws_work *work, fws_timer *timer, fws_ns deadline);

bool fws_work_watch(fws_work *work, int fd, uint8_t old_events, uint8_t new_events, void *owner);

/* The leader is to write this outbox soon. Comes with a reference. */
void fws_work_queue_flush(fws_work *work, fws_work_link *flush);

/* The leader is to continue with what is unfinished, one piece in each turn. Comes with a
 * reference. */
void fws_work_queue_unfinished(fws_work *work, fws_work_link *unfinished);

/* Its handler is to write this outbox, or the leader if the handler does not; see cork.h. Comes
 * with a reference. */
void fws_work_cork(fws_work *work, fws_work_link *flush);
/* The leader is to write at once what is corked. */
void fws_work_uncork(fws_work *work);

/* Its callbacks are to be run. Comes with a reference. False when the engine is stopping and no
 * thread would run them: then the reference stays the caller's. */
bool fws_work_queue_callbacks(fws_work *work, fws_work_link *callbacks);

/* The websocket is finished: removes it from `all`, and has the leader drop the engine's
 * reference. */
void fws_work_retire(fws_work *work, fws_work_entry *entry);

/* There is something for the leader to do. */
void fws_work_call_leader(fws_work *work);

/* ---- what they ask about it; no lock ---- */

static inline uintptr_t fws_work_this_thread(void)
{
    return (uintptr_t)pthread_self();
}

/* Is the calling thread one of an engine's? Then a callback calls. */
bool fws_work_is_engine_thread(void);

/* Is this thread the leader, and not inside callbacks? */
static inline bool fws_work_is_leading(const fws_work *work)
{
    return atomic_load_explicit(&work->leading, memory_order_relaxed) == fws_work_this_thread();
}

/* Is the calling thread the leader, and inside callbacks? What callbacks send is written after
 * the batch. */
static inline bool fws_work_is_batching(const fws_work *work)
{
    return atomic_load_explicit(&work->batching, memory_order_relaxed) == fws_work_this_thread();
}

/* Does the leader run the callbacks of this websocket? Then the websocket is written when they
 * end or are overtaken. The caller holds the websocket's lock. */
static inline bool fws_work_is_running(const fws_work *work, const fws_work_link *callbacks)
{
    return atomic_load(&work->running) == callbacks;
}

/* The calling thread is one of an engine's from now on. */
void fws_work_mark_engine_thread(void);

/* ---- what the engine asks for; with `lock` held ---- */

/* Wakes the leader if it sleeps. */
void fws_work_wake_leader(fws_work *work);

/* A websocket is attached: adds it to `all`. False when there is no memory for its timer. */
bool fws_work_enlist(fws_work *work, fws_work_entry *entry);

/* A websocket is about to be freed: removes it from `unfreed`. Takes the lock. */
void fws_work_unlist(fws_work *work, fws_work_entry *entry);

#endif
