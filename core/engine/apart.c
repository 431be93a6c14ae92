#include "apart.h"

#include "internal.h"

#include "../tuning.h"

void fws_apart_note_speed(fws_websocket *websocket, bool fast)
{
    if (!fast)
        websocket->fast = 0;
    else if (websocket->fast < FWS_PROVEN)
        websocket->fast++;
}

/* Was a callback of any websocket overtaken in the last FWS_SUSPICIOUS_FOR? */
static bool overtaken_recently(const fws_crew *crew)
{
    return crew->overtaken_at != 0 && fws_clock_now() - crew->overtaken_at < FWS_SUSPICIOUS_FOR;
}

bool fws_apart_is_for(const fws_engine *engine, const fws_websocket *websocket)
{
    return websocket->slow || (websocket->fast < FWS_TRUSTED && overtaken_recently(&engine->crew));
}

/* ---- a thread for them ---- */

void fws_apart_queue(fws_engine *engine, fws_websocket *websocket)
{
    fws_run_queue_push(&engine->crew.apart, &websocket->callbacks);
    fws_apart_provide_thread(engine);
}

void fws_apart_provide_thread(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    if (!fws_apart_is_possible(engine))
        return;
    uint32_t spare = fws_crew_spare(crew);
    if (spare > 0)
        pthread_cond_signal(&crew->work);
    if (crew->apart.count > spare && crew->coming == 0)
        fws_crew_hire(engine); /* who, once here, hires the next: to start many takes time */
}

void fws_apart_claim_watch(fws_engine *engine)
{
    if (fws_apart_is_possible(engine) && fws_crew_spare(&engine->crew) == 0)
        fws_watch_dismiss(engine);
}

bool fws_apart_is_possible(fws_engine *engine)
{
    return engine->crew.apart.count > 0 && fws_crew_may_enter_callbacks(engine);
}

/* ---- running them ---- */

/* The callbacks of this websocket could not be run: it is the first in the queue again. */
static void put_back(fws_engine *engine, fws_websocket *websocket)
{
    if (engine->work.stopping) {
        pthread_mutex_unlock(&engine->work.lock);
        fws_websocket_drop(websocket);
        pthread_mutex_lock(&engine->work.lock);
    } else {
        fws_run_queue_push_front(&engine->crew.apart, &websocket->callbacks);
        fws_crew_note_refusal(engine);
    }
}

void fws_apart_run(fws_engine *engine, void **thread)
{
    fws_crew *crew = &engine->crew;
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    fws_websocket *websocket = FWS_WEBSOCKET_OF(fws_run_queue_pop(&crew->apart), callbacks);
    uint64_t epoch = crew->epoch;
    fws_ns duration = 0;
    uint32_t count = 0;
    crew->inside++;
    fws_apart_provide_thread(engine); /* for the others that are queued */
    fws_crew_check(engine);
    pthread_mutex_unlock(&engine->work.lock);
    bool entered = callbacks->enter(callbacks->context, thread, false);
    if (entered) {
        fws_ns begun = fws_clock_now();
        count = callbacks->run(callbacks->context, websocket, NULL);
        duration = fws_clock_now() - begun;
        callbacks->leave(callbacks->context, thread);
    }
    pthread_mutex_lock(&engine->work.lock);
    fws_crew_leave_callbacks(engine, epoch);
    if (!entered) {
        put_back(engine, websocket);
        return;
    }
    fws_engine_note_callbacks(websocket, duration, count);
    fws_apart_note_speed(websocket, duration < FWS_CALLBACK_PATIENCE);
    if (websocket->fast >= FWS_PROVEN)
        websocket->slow = false;
    pthread_mutex_unlock(&engine->work.lock);
    fws_crew_release_callbacks(websocket);
    pthread_mutex_lock(&engine->work.lock);
}
