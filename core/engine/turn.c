#include "turn.h"

#include "batch.h"
#include "internal.h"

#include "../io/os.h"

static void flush_all(fws_work_link *list)
{
    while (list) {
        fws_work_link *next = list->next; /* fws_websocket_on_flush may queue it again */
        fws_websocket *websocket = FWS_WEBSOCKET_OF(list, flush);
        fws_websocket_on_flush(websocket);
        fws_websocket_drop(websocket);
        list = next;
    }
}

/* With the lock: what is to be written next, unless there is something already. */
static void take_flush(fws_engine *engine)
{
    if (engine->flushing == NULL) {
        engine->flushing = engine->work.flush;
        engine->work.flush = NULL;
    }
    if (engine->flushing == NULL)
        engine->flushing = fws_cork_remove_overdue(&engine->work.cork);
}

/* Writes what is to be written, for FWS_SLICE at most; the next turn continues. */
static void flush_some(fws_engine *engine)
{
    fws_ns until = 0;
    for (uint32_t count = 1; engine->flushing; count++) {
        fws_websocket *websocket = FWS_WEBSOCKET_OF(engine->flushing, flush);
        engine->flushing = engine->flushing->next; /* it may be queued again now */
        fws_websocket_on_flush(websocket);
        fws_websocket_drop(websocket);
        if (count % FWS_BATCH != 0)
            continue;
        fws_ns now = fws_clock_now();
        if (until == 0)
            until = now + FWS_SLICE;
        else if (now >= until)
            return;
    }
}

static void drop_retired(fws_work_link *list)
{
    while (list) {
        fws_work_link *next = list->next;
        fws_websocket_drop(FWS_WEBSOCKET_OF(list, entry.retired));
        list = next;
    }
}

static void fire_timers(fws_engine *engine)
{
    fws_ns now = fws_clock_now();
    for (;;) {
        pthread_mutex_lock(&engine->work.lock);
        fws_timer *timer = fws_timers_expired(&engine->work.timers, now);
        pthread_mutex_unlock(&engine->work.lock);
        if (timer == NULL)
            return;
        fws_websocket_on_timer(FWS_WEBSOCKET_OF(timer, entry.timer));
        if (fws_clock_now() - now >= FWS_SLICE)
            return; /* the others are due still, and the loop does not sleep */
    }
}

static fws_ns earlier(fws_ns one, fws_ns other)
{
    return one == FWS_FOREVER || (other != FWS_FOREVER && other < one) ? other : one;
}

/* Does one piece for each websocket with something unfinished (decompressing, compressing), for
 * FWS_SLICE at most, so that sockets that are ready do not wait for long. */
static void continue_unfinished(fws_engine *engine)
{
    fws_work *work = &engine->work;
    fws_ns until = 0;
    size_t left = SIZE_MAX;
    for (;;) {
        pthread_mutex_lock(&work->lock);
        if (left > work->unfinished.count)
            left = work->unfinished.count; /* not those that are queued again meanwhile */
        fws_work_link *link = left > 0 ? fws_run_queue_pop(&work->unfinished) : NULL;
        pthread_mutex_unlock(&work->lock);
        if (link == NULL)
            return;
        left--;
        if (until == 0)
            until = fws_clock_now() + FWS_SLICE;
        fws_websocket *websocket = FWS_WEBSOCKET_OF(link, unfinished);
        fws_websocket_on_unfinished(websocket);
        fws_websocket_drop(websocket);
        if (fws_clock_now() >= until)
            return;
    }
}

static void drop_unfinished(fws_engine *engine)
{
    fws_work_link *link;
    do {
        pthread_mutex_lock(&engine->work.lock);
        link = fws_run_queue_pop(&engine->work.unfinished);
        pthread_mutex_unlock(&engine->work.lock);
        if (link != NULL)
            fws_websocket_drop(FWS_WEBSOCKET_OF(link, unfinished));
    } while (link != NULL);
}

static fws_ns next_deadline(fws_engine *engine)
{
    fws_ns look = engine->work.cork.flush_at;
    fws_ns deadline =
        earlier(fws_timers_next(&engine->work.timers), look != 0 ? look : FWS_FOREVER);
    deadline = earlier(deadline, fws_apart_next_look(engine));
    return earlier(deadline, fws_crew_next_try(engine));
}

/* Removes what other threads have queued, and decides how long to sleep; false when the leader
 * is to stop. */
static bool prepare_sleep(fws_engine *engine, uint64_t term, fws_work_link **retired,
                          fws_ns *timeout)
{
    pthread_mutex_lock(&engine->work.lock);
    if (engine->work.stopping || engine->crew.term != term) {
        pthread_mutex_unlock(&engine->work.lock);
        return false;
    }
    take_flush(engine);
    *retired = engine->work.retired;
    engine->work.retired = NULL;
    engine->work.retired_count = 0;
    *timeout = 0;
    fws_crew_try_again(engine);
    /* From here on every thread that queues something for the leader wakes it; see
     * fws_work_wake_leader. */
    atomic_exchange(&engine->work.sleeping, true);
    if (engine->flushing == NULL && *retired == NULL && engine->work.unfinished.count == 0 &&
        !fws_batch_is_possible(engine) && !fws_publish_has_work(&engine->table)) {
        engine->work.sleep_until = next_deadline(engine);
        fws_crew_note_sleep(&engine->crew);
        *timeout = FWS_FOREVER;
        if (engine->work.sleep_until != FWS_FOREVER) {
            fws_ns now = fws_clock_now();
            *timeout = engine->work.sleep_until > now ? engine->work.sleep_until - now : 0;
        }
    } else {
        engine->work.sleeping = false;
    }
    pthread_mutex_unlock(&engine->work.lock);
    return true;
}

/* Writes what the callbacks have sent, before anything else. */
static void flush_queued(fws_engine *engine)
{
    pthread_mutex_lock(&engine->work.lock);
    take_flush(engine);
    pthread_mutex_unlock(&engine->work.lock);
    flush_some(engine);
}

/* Waits until the loop reports something; false when this thread is not to lead any more. */
static bool wait_for_readiness(fws_engine *engine, uint64_t term)
{
    fws_work_link *retired;
    fws_ns timeout;
    if (engine->turn_since != 0)
        fws_histogram_add(&engine->turn_time, (uint64_t)(fws_clock_now() - engine->turn_since), 1);
    engine->turn_since = 0;
    if (!prepare_sleep(engine, term, &retired, &timeout))
        return false;
    /* All events of earlier waits have been handled, so none refers to a websocket that is
     * dropped here. */
    flush_some(engine);
    drop_retired(retired);
    fws_ready *ready = &engine->ready;
    ready->next = 0;
    ready->count = fws_loop_wait(engine->work.loop, ready->list, FWS_READY_MAX, timeout);
    atomic_fetch_add_explicit(&engine->work.counters.loop_wakeups, 1, memory_order_relaxed);
    engine->turn_since = fws_clock_now();
    pthread_mutex_lock(&engine->work.lock);
    engine->work.sleeping = false;
    pthread_mutex_unlock(&engine->work.lock);
    return true;
}

/* Handlers in an event loop run in one thread, one after the other. If this thread preempted
 * that one for each message, it would cost two switches of threads for each, and the handler of
 * the message would still have to wait for the one that runs. */
static bool stop_preempting(void)
{
    fws_os_do_not_preempt();
    return true;
}

void fws_turn_lead(fws_engine *engine, uint64_t term, void **thread)
{
    fws_ready *ready = &engine->ready; /* with what a deposed leader has not handled */
    bool leading = true, preempts_nobody = false;
    while (leading && (ready->next < ready->count || wait_for_readiness(engine, term))) {
        if (!preempts_nobody &&
            atomic_load_explicit(&engine->has_event_loop_handlers, memory_order_relaxed))
            preempts_nobody = stop_preempting();
        fws_batch_set_receiving(engine);
        for (int i = 0; i < FWS_BATCH && ready->next < ready->count; i++) {
            fws_readiness *one = &ready->list[ready->next++];
            if (ready->next < ready->count)
                fws_websocket_fetch(ready->list[ready->next].owner);
            fws_websocket_on_ready(one->owner, one->ready);
        }
        if (ready->next == ready->count)
            fire_timers(engine);
        continue_unfinished(engine);
        leading = fws_batch_run(engine, term, thread);
        if (!leading)
            break;
        flush_queued(engine);
        fws_publish_deliver(&engine->table, FWS_SLICE);
        fws_table_tidy(&engine->table);
    }
}

void fws_turn_finish(fws_engine *engine)
{
    pthread_mutex_lock(&engine->work.lock);
    fws_work_link *flush = engine->work.flush, *retired = engine->work.retired;
    fws_work_link *corked = fws_cork_remove_all(&engine->work.cork), *rest = engine->flushing;
    engine->flushing = NULL;
    engine->work.flush = engine->work.retired = NULL;
    engine->work.retired_count = 0;
    pthread_mutex_unlock(&engine->work.lock);
    flush_all(rest);
    flush_all(flush);
    flush_all(corked);
    drop_unfinished(engine);
    drop_retired(retired);
}
