#include "watch.h"

#include "apart.h"
#include "internal.h"

#include "../io/os.h"
#include "../tuning.h"

void fws_watch_end_appointment(fws_watch *watch)
{
    watch->appointed = watch->open = false;
    watch->number++;
    atomic_store(&watch->asleep, false);
}

void fws_watch_init(fws_watch *watch)
{
    fws_os_init_condition(&watch->called);
    fws_watch_end_appointment(watch);
    atomic_store(&watch->running_since, 0);
}

void fws_watch_destroy(fws_watch *watch)
{
    pthread_cond_destroy(&watch->called);
}

/* ---- the leader's side ---- */

bool fws_watch_appoint(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    if (crew->watch.appointed)
        return true;
    if (fws_crew_spare(crew) == 0 && !fws_crew_hire(engine))
        return false;
    crew->watch.appointed = crew->watch.open = true;
    pthread_cond_signal(&crew->work);
    fws_apart_provide_thread(
        engine); /* that thread may have been meant for callbacks that run apart */
    fws_crew_check(engine);
    return true;
}

void fws_watch_dismiss(fws_engine *engine)
{
    fws_watch *watch = &engine->crew.watch;
    if (!watch->appointed || watch->open)
        return;
    fws_watch_end_appointment(watch);
    pthread_cond_signal(&watch->called);
}

void fws_watch_call(fws_engine *engine)
{
    fws_watch *watch = &engine->crew.watch;
    if (!atomic_load(&watch->asleep))
        return;
    pthread_mutex_lock(&engine->work.lock);
    pthread_cond_signal(&watch->called);
    pthread_mutex_unlock(&engine->work.lock);
}

/* ---- the watch ---- */

static void overtake(fws_engine *engine, fws_websocket *running, fws_ns now)
{
    fws_crew *crew = &engine->crew;
    fws_apart_note_overtaken(running, now);
    if (crew->of_batch != NULL)
        fws_computing_begin(&crew->apart.computing, crew->of_batch, crew->of_batch->thread, false);
    crew->overtaken = fws_websocket_keep(running);
    fws_crew_depose(engine);
}

static void check_running(fws_engine *engine)
{
    fws_work_link *running = atomic_load(&engine->work.running);
    fws_ns now = fws_clock_now(), since = atomic_load(&engine->crew.watch.running_since);
    if (since != 0 && running != NULL && now - since >= FWS_CALLBACK_PATIENCE)
        overtake(engine, FWS_WEBSOCKET_OF(running, callbacks), now);
}

/* When it wakes it may have been dismissed long ago, and `asleep` be another watch's. */
static void sleep_until_called(fws_engine *engine, uint64_t number)
{
    fws_watch *watch = &engine->crew.watch;
    atomic_store(&watch->asleep, true);
    if (atomic_load(&watch->running_since) ==
        0) /* otherwise the leader may not have seen `asleep`, and would not signal */
        pthread_cond_wait(&watch->called, &engine->work.lock);
    if (watch->number == number)
        atomic_store(&watch->asleep, false);
}

static void sleep_until_next_look(fws_engine *engine)
{
    struct timespec until = fws_clock_timespec(fws_clock_now() + FWS_LOOK_INTERVAL);
    pthread_cond_timedwait(&engine->crew.watch.called, &engine->work.lock, &until);
}

bool fws_watch_serve(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    fws_watch *watch = &crew->watch;
    uint64_t number = watch->number, seen = 0;
    uint32_t quiet = 0;
    watch->appointed = true;
    watch->open = false;
    /* Callbacks may have been queued that could not be run while no thread watched: the leader
     * can run them now. If callbacks wait to run apart, the leader may have to dismiss this
     * thread for them. */
    if (engine->work.run_queue.count > 0 || fws_apart_count(&crew->apart) > 0)
        fws_work_wake_leader(&engine->work);
    fws_crew_check(engine);
    while (watch->number == number && crew->led && !engine->work.stopping) {
        if (quiet < FWS_QUIET_LOOKS) {
            sleep_until_next_look(engine);
        } else {
            sleep_until_called(engine, number);
            quiet = 0;
        }
        if (watch->number == number)
            check_running(engine);
        uint64_t batches = atomic_load_explicit(&watch->batches, memory_order_relaxed);
        quiet = batches == seen ? quiet + 1 : 0;
        seen = batches;
    }
    if (watch->number != number)
        return crew->led;
    fws_watch_end_appointment(watch);
    return false;
}
