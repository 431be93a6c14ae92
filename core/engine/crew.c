#include "crew.h"

#include "internal.h"
#include "turn.h"

#include "../io/os.h"
#include "../tuning.h"

#include <errno.h>

/* The engine whose crew the calling thread belongs to; NULL: none. */
static _Thread_local const fws_engine *engine_of_thread;

/* ---- life ---- */

static void init_waiting(fws_crew *crew)
{
    fws_os_init_condition(&crew->work);
    fws_os_init_condition(&crew->quiet);
    fws_watch_init(&crew->watch);
    fws_apart_init(&crew->apart);
    fws_run_queue_init(&crew->done);
}

void fws_crew_init(fws_crew *crew, uint32_t limit)
{
    crew->limit = limit;
    init_waiting(crew);
}

void fws_crew_destroy(fws_crew *crew)
{
    fws_watch_destroy(&crew->watch);
    pthread_cond_destroy(&crew->work);
    pthread_cond_destroy(&crew->quiet);
}

void fws_crew_after_fork(fws_crew *crew)
{
    engine_of_thread = NULL; /* it is none of the threads that are to come */
    init_waiting(crew);
    crew->threads = crew->inside = crew->idle = crew->coming = 0;
    crew->led = crew->in_batch = crew->draining = false;
    crew->term++;
    crew->epoch++;
    crew->hire_at = crew->enter_at = 0;
    crew->overtaken = NULL;
    crew->of_batch = NULL;
}

#ifdef FWS_CHECKS
#undef NDEBUG
#include <assert.h>

void fws_crew_check(const fws_engine *engine)
{
    const fws_crew *crew = &engine->crew;
    const fws_watch *watch = &crew->watch;
    assert(crew->threads <= crew->limit + 1);
    assert(crew->inside <= crew->limit);
    assert(crew->inside + crew->idle + crew->coming <= crew->threads);
    if (engine->work.stopping) /* no thread leads or watches any more */
        return;
    assert(!watch->open || watch->appointed);
    assert(!watch->open || crew->idle + crew->coming > 0);
    assert(!crew->in_batch || (crew->led && watch->appointed));
    assert(crew->threads == 0 || crew->led || crew->threads > crew->inside);
}
#endif

/* ---- counting ---- */

uint32_t fws_crew_spare(const fws_crew *crew)
{
    return crew->idle + crew->coming - (crew->watch.open ? 1 : 0);
}

/* Has the time come, or was none set? Then it is set no more. */
static bool is_over(fws_ns *at)
{
    if (*at != 0 && fws_clock_now() < *at)
        return false;
    *at = 0;
    return true;
}

bool fws_crew_may_enter_callbacks(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    return !engine->work.stopping && is_over(&crew->enter_at);
}

void fws_crew_leave_callbacks(fws_crew_inside *self)
{
    fws_crew *crew = &self->engine->crew;
    if (crew->epoch != self->epoch)
        return;
    fws_computing_end(&crew->apart.computing, &self->entry);
    if (crew->of_batch == &self->entry)
        crew->of_batch = NULL;
    crew->inside--;
    if (crew->draining)
        pthread_cond_broadcast(&crew->quiet);
}

void fws_crew_end_inside(void *argument)
{
    fws_crew_inside *self = argument;
    fws_crew *crew = &self->engine->crew;
    pthread_mutex_lock(&self->engine->work.lock);
    fws_crew_leave_callbacks(self);
    if (crew->epoch == self->epoch) {
        crew->threads--;
        pthread_cond_broadcast(&crew->quiet);
    }
    pthread_mutex_unlock(&self->engine->work.lock);
}

static void note_refused_thread(fws_engine *engine, fws_ns *try_at)
{
    *try_at = fws_clock_now() + FWS_RETRY_AFTER;
    atomic_fetch_add_explicit(&engine->work.counters.threads_refused, 1, memory_order_relaxed);
    fws_work_wake_leader(&engine->work); /* so that it sleeps until that time, and no longer */
}

void fws_crew_note_refusal(fws_engine *engine)
{
    note_refused_thread(engine, &engine->crew.enter_at);
}

void fws_crew_try_again(fws_engine *engine)
{
    is_over(&engine->crew.hire_at);
    is_over(&engine->crew.enter_at);
    fws_apart_provide_thread(engine);
    if (engine->work.run_queue.count == 0)
        fws_apart_claim_watch(engine);
}

fws_ns fws_crew_next_try(const fws_engine *engine)
{
    const fws_crew *crew = &engine->crew;
    bool waiting = engine->work.run_queue.count > 0 || fws_apart_count(&crew->apart) > 0;
    fws_ns hire = waiting && crew->hire_at != 0 ? crew->hire_at : FWS_FOREVER;
    fws_ns enter = waiting && crew->enter_at != 0 ? crew->enter_at : FWS_FOREVER;
    return hire == FWS_FOREVER || (enter != FWS_FOREVER && enter < hire) ? enter : hire;
}

void fws_crew_note_sleep(fws_crew *crew)
{
    if (crew->draining)
        pthread_cond_broadcast(&crew->quiet);
}

/* ---- the leader ---- */

void fws_crew_depose(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    atomic_store(&engine->work.running, NULL);
    atomic_store(&engine->work.batching, 0);
    atomic_store(&engine->work.leading, 0);
    atomic_store(&crew->watch.running_since, 0);
    crew->led = crew->in_batch = false;
    crew->term++;
    fws_watch_end_appointment(&crew->watch);
}

void fws_crew_release_callbacks(fws_websocket *websocket)
{
    fws_websocket_release_callbacks(websocket);
    fws_websocket_drop(websocket);
}

/* With the lock, which it releases: finishes what the leader before this one has left. */
static void finish_previous_term(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    fws_websocket *overtaken = crew->overtaken;
    fws_run_queue done;
    fws_work_link *link;
    fws_run_queue_init(&done);
    fws_run_queue_move(&crew->done, &done);
    crew->overtaken = NULL;
    fws_apart_provide_thread(engine);
    fws_crew_check(engine);
    pthread_mutex_unlock(&engine->work.lock);
    while ((link = fws_run_queue_pop(&done)) != NULL)
        fws_crew_release_callbacks(FWS_WEBSOCKET_OF(link, callbacks));
    if (overtaken != NULL) { /* writes what it has sent until now */
        fws_websocket_on_overtaken(overtaken);
        fws_websocket_drop(overtaken);
    }
}

static void lead(fws_engine *engine, void **thread)
{
    fws_crew *crew = &engine->crew;
    crew->led = true;
    atomic_store(&engine->work.leading, fws_work_this_thread());
    uint64_t term = ++crew->term;
    finish_previous_term(engine);
    fws_turn_lead(engine, term, thread);
    pthread_mutex_lock(&engine->work.lock);
    if (crew->term == term)
        fws_crew_depose(engine);
}

/* ---- a thread ---- */

/* Stands by. False when there was nothing to do for FWS_IDLE_TIME. */
static bool stand_by(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    struct timespec until = fws_clock_timespec(fws_clock_now() + FWS_IDLE_TIME);
    crew->idle++;
    int error = pthread_cond_timedwait(&crew->work, &engine->work.lock, &until);
    crew->idle--;
    return error != ETIMEDOUT || crew->watch.open || fws_apart_count(&crew->apart) > 0;
}

/* With the lock: works until the engine stops, or there is nothing to do for this thread, or
 * this is a forked child, to whose crew the thread does not belong. */
static void work(fws_engine *engine, uint64_t epoch, void **thread)
{
    fws_crew *crew = &engine->crew;
    bool dismissed = false, stays = true;
    while (stays && crew->epoch == epoch && !engine->work.stopping) {
        bool due = engine->work.run_queue.count > 0, apart = fws_apart_is_possible(engine);
        if (crew->watch.open)
            dismissed = fws_watch_serve(engine);
        else if (!crew->led)
            lead(engine, thread);
        else if (apart && (dismissed || !due || crew->watch.appointed)) {
            dismissed = false;
            fws_apart_run(engine, thread);
        } else if (!crew->watch.appointed)
            dismissed = fws_watch_serve(engine);
        else
            stays = stand_by(engine);
    }
}

static void *serve(void *argument)
{
    fws_engine *engine = argument;
    fws_crew *crew = &engine->crew;
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    void *thread = NULL;
    fws_os_name_thread("fws-engine");
    engine_of_thread = engine;
    fws_work_mark_engine_thread();
    pthread_mutex_lock(&engine->work.lock);
    uint64_t epoch = crew->epoch;
    crew->coming--;
    work(engine, epoch, &thread);
    bool forked = crew->epoch != epoch;
    if (!forked && thread != NULL) {
        pthread_mutex_unlock(&engine->work.lock);
        callbacks->end_thread(callbacks->context, &thread);
        pthread_mutex_lock(&engine->work.lock);
    }
    if (!forked) {
        crew->threads--;
        pthread_cond_broadcast(&crew->quiet);
        if (engine->work.run_queue.count > 0 || fws_apart_count(&crew->apart) > 0)
            fws_work_wake_leader(&engine->work); /* another thread may be started now */
    }
    pthread_mutex_unlock(&engine->work.lock);
    if (!forked)
        fws_work_drop(&engine->work);
    return NULL;
}

bool fws_crew_hire(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    errno = EAGAIN;
    if (crew->threads > crew->limit || engine->work.stopping || !is_over(&crew->hire_at))
        return false;
    pthread_t id;
    fws_work_keep(&engine->work);
    /* Signals are not blocked: what a callback starts would inherit that, and could not be ended.
     */
    int error = pthread_create(&id, NULL, serve, engine);
    if (error != 0) {
        fws_work_drop(&engine->work); /* not the last: the caller has one */
        note_refused_thread(engine, &crew->hire_at);
        errno = error;
        return false;
    }
    pthread_detach(id);
    crew->threads++;
    crew->coming++;
    return true;
}

/* ---- start and stop ---- */

bool fws_crew_start(fws_engine *engine)
{
    engine->crew.hire_at = 0; /* at once, because a handshake waits for the result */
    return fws_crew_hire(engine);
}

static bool is_quiet(const fws_engine *engine, uint32_t self)
{
    const fws_crew *crew = &engine->crew;
    return engine->work.run_queue.count == 0 && fws_apart_count(&crew->apart) == 0 &&
           crew->inside <= self && (engine->work.sleeping || !crew->led);
}

void fws_crew_drain(fws_engine *engine, fws_ns deadline)
{
    fws_crew *crew = &engine->crew;
    uint32_t self = engine_of_thread == engine ? 1 : 0;
    struct timespec until = fws_clock_timespec(deadline);
    crew->draining = true;
    while (!is_quiet(engine, self) &&
           pthread_cond_timedwait(&crew->quiet, &engine->work.lock, &until) != ETIMEDOUT)
        ;
    crew->draining = false;
}

void fws_crew_stop(fws_engine *engine, fws_ns deadline)
{
    fws_crew *crew = &engine->crew;
    uint32_t self = engine_of_thread == engine ? 1 : 0;
    pthread_cond_broadcast(&crew->watch.called);
    pthread_cond_broadcast(&crew->work);
    while (crew->threads > self) {
        /* A thread that is not inside callbacks ends in any case, and may touch the engine until
         * then: it is waited for without a limit. */
        bool all_inside = crew->threads == crew->inside;
        if (all_inside && fws_clock_now() >= deadline)
            break;
        struct timespec until =
            fws_clock_timespec(all_inside ? deadline : fws_clock_now() + FWS_NS_PER_S);
        pthread_cond_timedwait(&crew->quiet, &engine->work.lock, &until);
    }
    fws_crew_depose(engine);
}
