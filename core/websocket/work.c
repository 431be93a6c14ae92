#include "work.h"

#include "../io/os.h"
#include "../tuning.h"

#include <stdlib.h>

static _Thread_local bool is_engine_thread;

static void init_lock(fws_work *work)
{
    pthread_mutex_init(&work->lock, NULL);
    fws_os_init_condition(&work->empty);
}

static void init_lists(fws_work *work)
{
    fws_timers_init(&work->timers);
    fws_cork_init(&work->cork);
    fws_run_queue_init(&work->unfinished);
    fws_run_queue_init(&work->run_queue);
    fws_run_queue_init(&work->arrived);
    work->all = work->unfreed = NULL;
    work->flush = work->retired = NULL;
    work->count = work->retired_count = 0;
}

void fws_work_init(fws_work *work, const fws_engine_config *config, void (*destroy)(fws_work *))
{
    atomic_init(&work->references, 1);
    work->destroy = destroy;
    work->config = *config;
    fws_pool_init(&work->pool);
    fws_deflate_pool_init(&work->deflate, config->compression_level);
    init_lists(work);
    init_lock(work);
}

void fws_work_destroy(fws_work *work)
{
    fws_timers_clear(&work->timers);
    fws_pool_clear(&work->pool);
    free(work->leaders_buffer);
    fws_tally_free_others(&work->tally);
    fws_deflate_pool_clear(&work->deflate);
    pthread_cond_destroy(&work->empty);
    pthread_mutex_destroy(&work->lock);
}

void fws_work_after_fork(fws_work *work)
{
    fws_pool_init(&work->pool);
    fws_deflate_pool_init(&work->deflate, work->config.compression_level);
    init_lock(work);
    init_lists(work);
    work->stopping = work->sleeping = false;
    atomic_store(&work->leading, 0);
    atomic_store(&work->receiving, 0);
    atomic_store(&work->batching, 0);
    atomic_store(&work->running, NULL);
    is_engine_thread = false; /* the child goes on in one, inside a callback: it may wait as any */
}

void fws_work_keep(fws_work *work)
{
    atomic_fetch_add_explicit(&work->references, 1, memory_order_relaxed);
}

void fws_work_drop(fws_work *work)
{
    if (atomic_fetch_sub_explicit(&work->references, 1, memory_order_acq_rel) == 1)
        work->destroy(work);
}

/* ---- the leader's sleep ---- */

void fws_work_wake_leader(fws_work *work)
{
    if (!work->sleeping)
        return;
    work->sleeping = false;
    fws_loop_wake(work->loop);
}

/* Wakes the leader if it sleeps for longer than until `deadline`. */
static void wake_leader_before(fws_work *work, fws_ns deadline)
{
    if (work->sleep_until == FWS_FOREVER || deadline < work->sleep_until)
        fws_work_wake_leader(work);
}

/* ---- what websockets ask for ---- */

void fws_work_arm(fws_work *work, fws_timer *timer, fws_ns deadline)
{
    pthread_mutex_lock(&work->lock);
    fws_timers_arm(&work->timers, timer, deadline);
    wake_leader_before(work, deadline);
    pthread_mutex_unlock(&work->lock);
}

bool fws_work_watch(fws_work *work, int fd, uint8_t old_events, uint8_t new_events, void *owner)
{
    /* The loop exists as long as a websocket is not finished, because fws_engine_stop finishes
     * them first. */
    return fws_loop_watch(work->loop, fd, old_events, new_events, owner);
}

void fws_work_call_leader(fws_work *work)
{
    /* The leader says that it sleeps before it looks for the last time whether there is something
     * to do (prepare_sleep in engine/turn.c). Both write to `sleeping`, so one of them comes first:
     * the leader then sees the work, or this thread that it sleeps. So a thread that publishes all
     * the time does not keep the lock from a leader that is awake. */
    if (!atomic_fetch_or(&work->sleeping, 0))
        return;
    pthread_mutex_lock(&work->lock);
    fws_work_wake_leader(work);
    pthread_mutex_unlock(&work->lock);
}

void fws_work_queue_flush(fws_work *work, fws_work_link *flush)
{
    pthread_mutex_lock(&work->lock);
    flush->next = work->flush;
    work->flush = flush;
    fws_work_wake_leader(work);
    pthread_mutex_unlock(&work->lock);
}

void fws_work_queue_unfinished(fws_work *work, fws_work_link *unfinished)
{
    pthread_mutex_lock(&work->lock);
    fws_run_queue_push(&work->unfinished, unfinished);
    fws_work_wake_leader(work);
    pthread_mutex_unlock(&work->lock);
}

void fws_work_cork(fws_work *work, fws_work_link *flush)
{
    pthread_mutex_lock(&work->lock);
    if (fws_cork_push(&work->cork, flush))
        wake_leader_before(work, work->cork.flush_at);
    pthread_mutex_unlock(&work->lock);
}

void fws_work_uncork(fws_work *work)
{
    pthread_mutex_lock(&work->lock);
    fws_cork_expire(&work->cork);
    fws_work_wake_leader(work);
    pthread_mutex_unlock(&work->lock);
}

bool fws_work_queue_callbacks(fws_work *work, fws_work_link *callbacks)
{
    if (atomic_load_explicit(&work->receiving, memory_order_relaxed) == fws_work_this_thread()) {
        fws_run_queue_push(&work->arrived, callbacks);
        return true;
    }
    pthread_mutex_lock(&work->lock);
    bool stopping = work->stopping;
    if (!stopping) {
        fws_run_queue_push(&work->run_queue, callbacks);
        fws_work_wake_leader(work);
    }
    pthread_mutex_unlock(&work->lock);
    return !stopping;
}

void fws_work_retire(fws_work *work, fws_work_entry *entry)
{
    pthread_mutex_lock(&work->lock);
    fws_timers_cancel(&work->timers, &entry->timer);
    if (entry->previous)
        entry->previous->next = entry->next;
    else
        work->all = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    entry->retired.next = work->retired;
    work->retired = &entry->retired;
    work->retired_count++;
    if (--work->count == 0)
        pthread_cond_broadcast(&work->empty);
    /* The reference may be dropped later: the descriptor is closed already, and one wake-up for
     * each finished websocket would cost as much as the rest of a short connection. */
    if (work->count == 0 || work->retired_count >= FWS_BATCH)
        fws_work_wake_leader(work);
    pthread_mutex_unlock(&work->lock);
}

/* ---- whose thread this is ---- */

void fws_work_mark_engine_thread(void)
{
    is_engine_thread = true;
}

bool fws_work_is_engine_thread(void)
{
    return is_engine_thread;
}

/* ---- what the engine asks for ---- */

bool fws_work_enlist(fws_work *work, fws_work_entry *entry)
{
    if (!fws_timers_reserve(&work->timers, work->count + 1))
        return false;
    entry->previous = NULL;
    entry->next = work->all;
    entry->younger = NULL;
    entry->older = work->unfreed;
    entry->is_unfreed = true;
    /* A child that is forked at this moment follows these links, so they are set before the
     * entry is in a list. */
    atomic_thread_fence(memory_order_release);
    if (work->all)
        work->all->previous = entry;
    work->all = entry;
    work->count++;
    if (work->unfreed)
        work->unfreed->younger = entry;
    work->unfreed = entry;
    return true;
}

void fws_work_unlist(fws_work *work, fws_work_entry *entry)
{
    if (!entry->is_unfreed)
        return;
    pthread_mutex_lock(&work->lock);
    if (entry->younger)
        entry->younger->older = entry->older;
    else
        work->unfreed = entry->older;
    if (entry->older)
        entry->older->younger = entry->younger;
    pthread_mutex_unlock(&work->lock);
}
