#include "batch.h"

#include "apart.h"
#include "internal.h"

bool fws_batch_is_possible(fws_engine *engine)
{
    return engine->work.run_queue.count > 0 && fws_crew_may_enter_callbacks(engine) &&
           fws_watch_appoint(engine);
}

void fws_batch_set_receiving(fws_engine *engine)
{
    atomic_store_explicit(&engine->work.receiving, fws_work_this_thread(), memory_order_relaxed);
}

static void set_running(fws_engine *engine, fws_websocket *websocket, fws_ns since)
{
    atomic_store_explicit(&engine->work.running, websocket ? &websocket->callbacks : NULL,
                          memory_order_relaxed);
    atomic_store_explicit(&engine->crew.watch.running_since, since, memory_order_relaxed);
}

/* With the lock: the next websocket whose callbacks the leader runs, of the first `*left` in the
 * queue; NULL: there is none. Those that run apart are queued for that. */
static fws_websocket *next_of(fws_engine *engine, size_t *left, fws_ns now)
{
    while (*left > 0 && engine->work.run_queue.count > 0 && !engine->work.stopping) {
        (*left)--;
        fws_websocket *websocket =
            FWS_WEBSOCKET_OF(fws_run_queue_pop(&engine->work.run_queue), callbacks);
        if (!fws_apart_is_for(websocket)) {
            set_running(engine, websocket, now);
            return websocket;
        }
        fws_apart_queue(engine, websocket);
    }
    set_running(engine, NULL, 0);
    return NULL;
}

/* With the lock: no thread can watch, so the leader can run none of them. Those that run apart are
 * queued for that all the same: the threads that are to run them may be what could not be had. */
static void queue_apart(fws_engine *engine)
{
    fws_run_queue rest;
    fws_run_queue_init(&rest);
    fws_run_queue_move(&engine->work.run_queue, &rest);
    while (rest.count > 0 && !engine->work.stopping) {
        fws_work_link *link = fws_run_queue_pop(&rest);
        fws_websocket *websocket = FWS_WEBSOCKET_OF(link, callbacks);
        if (fws_apart_is_for(websocket))
            fws_apart_queue(engine, websocket);
        else
            fws_run_queue_push(&engine->work.run_queue, link);
    }
    fws_run_queue_move(&rest, &engine->work.run_queue);
}

/* The owner of the websocket that is probably called next. It exists as long as no other thread
 * can run its callbacks, because that takes what `enter` has taken. */
static void *owner_of_next(const fws_engine *engine)
{
    fws_work_link *first = engine->work.run_queue.first;
    return first != NULL ? FWS_WEBSOCKET_OF(first, callbacks)->owner : NULL;
}

/* What callbacks need could not be had: the websocket is the first in the queue again. False
 * when the leader was deposed. */
static bool put_back(fws_engine *engine, uint64_t term, fws_websocket *websocket)
{
    pthread_mutex_lock(&engine->work.lock);
    bool leading = engine->crew.term == term;
    if (leading) {
        set_running(engine, NULL, 0);
        fws_run_queue_push_front(&engine->work.run_queue, &websocket->callbacks);
        fws_crew_note_refusal(engine);
    }
    pthread_mutex_unlock(&engine->work.lock);
    if (!leading)
        fws_websocket_drop(websocket);
    return leading;
}

/* The callbacks of this websocket have returned. False when the leader was deposed. */
static bool note_end(fws_engine *engine, uint64_t term, fws_websocket *websocket)
{
    if (engine->crew.term != term)
        return false;
    fws_apart_note_speed(websocket, true);
    fws_run_queue_push(&engine->crew.done, &websocket->callbacks);
    return true;
}

/* Without the lock: runs the callbacks of `websocket`, and then of `left` more. False when the
 * leader was deposed. */
static bool run_all(fws_engine *engine, uint64_t term, fws_websocket *websocket, size_t left,
                    void **thread)
{
    fws_watch *watch = &engine->crew.watch;
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    /* The wait for the GIL does not count as a callback: another leader would have to wait for
     * it as well. */
    if (!callbacks->enter(callbacks->context, thread, true))
        return put_back(engine, term, websocket);
    fws_ns since = fws_clock_now();
    bool leading = true;
    void *next_owner = NULL;
    /* Before running_since: once that is set, the watch may depose this thread, and clears it. */
    atomic_store_explicit(&engine->work.batching, fws_work_this_thread(), memory_order_relaxed);
    atomic_store(&watch->running_since, since);
    fws_watch_call(engine);
    atomic_fetch_add_explicit(&watch->batches, 1, memory_order_relaxed);
    while (websocket != NULL) {
        uint32_t count = callbacks->run(callbacks->context, websocket, next_owner);
        fws_ns now = fws_clock_now();
        pthread_mutex_lock(&engine->work.lock);
        fws_engine_note_callbacks(websocket, now - since, count);
        since = now;
        leading = note_end(engine, term, websocket);
        fws_websocket *next = leading ? next_of(engine, &left, now) : NULL;
        next_owner = owner_of_next(engine);
        pthread_mutex_unlock(&engine->work.lock);
        if (!leading)
            fws_crew_release_callbacks(websocket);
        websocket = next;
    }
    if (leading)
        atomic_store_explicit(&engine->work.batching, 0, memory_order_relaxed);
    callbacks->leave(callbacks->context, thread);
    return leading;
}

/* With the lock, which it releases meanwhile. False when the leader was deposed. */
static bool run(fws_engine *engine, uint64_t term, fws_websocket *websocket, size_t left,
                void **thread)
{
    fws_crew *crew = &engine->crew;
    fws_crew_inside self = {.engine = engine, .epoch = crew->epoch};
    self.entry.thread = pthread_self();
    crew->of_batch = &self.entry;
    crew->inside++;
    fws_crew_check(engine);
    pthread_mutex_unlock(&engine->work.lock);
    atomic_store_explicit(&engine->work.leading, 0, memory_order_relaxed);
    pthread_cleanup_push(fws_crew_end_inside, &self);
    run_all(engine, term, websocket, left, thread);
    pthread_cleanup_pop(0);
    pthread_mutex_lock(&engine->work.lock);
    fws_crew_leave_callbacks(&self);
    if (crew->term != term)
        return false;
    atomic_store_explicit(&engine->work.leading, fws_work_this_thread(), memory_order_relaxed);
    return true;
}

/* Without the lock. */
static void release_callbacks(fws_run_queue *done)
{
    fws_work_link *link;
    while ((link = fws_run_queue_pop(done)) != NULL)
        fws_crew_release_callbacks(FWS_WEBSOCKET_OF(link, callbacks));
}

bool fws_batch_run(fws_engine *engine, uint64_t term, void **thread)
{
    fws_crew *crew = &engine->crew;
    fws_run_queue done;
    bool leading = true;
    fws_run_queue_init(&done);
    atomic_store_explicit(&engine->work.receiving, 0, memory_order_relaxed);
    pthread_mutex_lock(&engine->work.lock);
    fws_run_queue_move(&engine->work.arrived, &engine->work.run_queue);
    if (fws_batch_is_possible(engine)) {
        size_t left = engine->work.run_queue.count;
        crew->in_batch = true; /* from here on the watch must not be dismissed */
        fws_websocket *websocket = next_of(engine, &left, 0);
        if (websocket != NULL)
            leading = run(engine, term, websocket, left, thread);
        if (leading)
            crew->in_batch = false;
    } else if (engine->work.run_queue.count > 0) {
        queue_apart(engine);
    }
    if (leading) {
        fws_run_queue_move(&crew->done, &done);
        fws_apart_provide_thread(engine);
        fws_apart_claim_watch(engine);
        fws_crew_check(engine);
    }
    pthread_mutex_unlock(&engine->work.lock);
    release_callbacks(&done);
    return leading;
}
