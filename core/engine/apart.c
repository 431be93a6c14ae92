#include "apart.h"

#include "internal.h"

#include "../tuning.h"

/* ---- who runs apart ---- */

void fws_apart_note_speed(fws_websocket *websocket, bool fast)
{
    if (!fast)
        websocket->fast = 0;
    else if (websocket->fast < FWS_PROVEN)
        websocket->fast++;
}

/* How many callbacks of this route were overtaken lately: one less for each
 * FWS_SUSPICIOUS_FOR / FWS_OVERTAKEN_MOST without another one. */
static uint32_t overtaken_lately(const fws_tally *route, fws_ns now)
{
    fws_ns forgotten = (now - route->overtaken_at) / (FWS_SUSPICIOUS_FOR / FWS_OVERTAKEN_MOST);
    return forgotten < route->overtaken ? route->overtaken - (uint32_t)forgotten : 0;
}

void fws_apart_note_overtaken(fws_websocket *websocket, fws_ns now)
{
    websocket->slow = true;
    websocket->fast = 0;
    websocket->tally->overtaken = overtaken_lately(websocket->tally, now) + 1;
    websocket->tally->overtaken_at = now;
}

/* Does what is known of each websocket of this route say anything? */
static bool is_trusted(const fws_tally *route, fws_ns now)
{
    return overtaken_lately(route, now) < FWS_OVERTAKEN_MOST;
}

bool fws_apart_is_for(const fws_websocket *websocket)
{
    const fws_tally *route = websocket->tally;
    if (websocket->slow || route->overtaken_at == 0)
        return websocket->slow;
    fws_ns now = fws_clock_now();
    bool suspicious = now - route->overtaken_at < FWS_SUSPICIOUS_FOR;
    return suspicious && (websocket->fast < FWS_TRUSTED || !is_trusted(route, now));
}

/* ---- the queues ---- */

void fws_apart_init(fws_apart *apart)
{
    fws_run_queue_init(&apart->fast);
    fws_run_queue_init(&apart->others);
    apart->fast_was_taken = false;
    apart->entering = 0;
    fws_computing_init(&apart->computing);
}

size_t fws_apart_count(const fws_apart *apart)
{
    return apart->fast.count + apart->others.count;
}

void fws_apart_move(fws_apart *apart, fws_run_queue *to)
{
    fws_run_queue_move(&apart->fast, to);
    fws_run_queue_move(&apart->others, to);
}

/* For how many more of them, known to be fast or not, there are threads: see apart.h. */
static size_t vacant(const fws_engine *engine, bool fast)
{
    const fws_crew *crew = &engine->crew;
    uint32_t kept = crew->limit / FWS_KEPT;
    if (fast && kept > 1)
        kept = 1; /* for the leader, so that another one can watch it */
    uint32_t in_use = crew->inside - crew->apart.entering + kept;
    if (crew->in_batch && kept > 0)
        in_use--; /* it has what is kept for it */
    return in_use < crew->limit ? crew->limit - in_use : 0;
}

static size_t smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* How many of one queue may begin now, as to how many compute. */
static size_t ready_of(fws_apart *apart, bool fast)
{
    size_t count = fast ? apart->fast.count : apart->others.count;
    return count > 0 ? smaller(count, fws_computing_room(&apart->computing, fast)) : 0;
}

/* How many may begin now. */
static size_t ready(fws_engine *engine)
{
    fws_apart *apart = &engine->crew.apart;
    size_t others = smaller(ready_of(apart, false), vacant(engine, false));
    return smaller(ready_of(apart, true) + others, vacant(engine, true));
}

/* May the calling thread, which has entered, take one of the others? If too many more are entering,
 * it leaves instead, as each that begins makes those wait that come after it. */
static bool may_take_others(const fws_engine *engine, fws_apart *apart)
{
    size_t entering = apart->entering - 1;
    entering -= smaller(entering, apart->fast.count); /* those take one that is fast */
    return apart->others.count > 0 && vacant(engine, false) > 0 &&
           fws_computing_room(&apart->computing, false) > entering;
}

/* For a thread that has entered. NULL: none is left that may begin now. */
static fws_websocket *take(fws_engine *engine)
{
    fws_apart *apart = &engine->crew.apart;
    bool fast = ready_of(apart, true) > 0,
         others = (!fast || apart->fast_was_taken) && may_take_others(engine, apart);
    if (!fast && !others)
        return NULL;
    apart->fast_was_taken = !others;
    fws_work_link *link = fws_run_queue_pop(others ? &apart->others : &apart->fast);
    return FWS_WEBSOCKET_OF(link, callbacks);
}

/* How many may begin, and no thread has come for them yet. */
static size_t unclaimed(fws_engine *engine)
{
    size_t count = ready(engine);
    uint32_t entering = engine->crew.apart.entering;
    return count > entering ? count - entering : 0;
}

/* ---- a thread for them ---- */

void fws_apart_queue(fws_engine *engine, fws_websocket *websocket)
{
    fws_apart *apart = &engine->crew.apart;
    bool fast = websocket->fast > 0 && is_trusted(websocket->tally, fws_clock_now());
    fws_run_queue_push(fast ? &apart->fast : &apart->others, &websocket->callbacks);
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
    if (unclaimed(engine) > spare && crew->coming == 0)
        fws_crew_hire(engine); /* who, once here, hires the next: to start many takes time */
}

void fws_apart_claim_watch(fws_engine *engine)
{
    if (fws_apart_is_possible(engine) && fws_crew_spare(&engine->crew) == 0)
        fws_watch_dismiss(engine);
}

fws_ns fws_apart_next_look(fws_engine *engine)
{
    fws_apart *apart = &engine->crew.apart;
    bool waiting = (apart->fast.count > 0 && ready_of(apart, true) == 0) ||
                   (apart->others.count > 0 && ready_of(apart, false) == 0);
    return waiting ? fws_clock_now() + FWS_COMPUTING_LOOK : FWS_FOREVER;
}

bool fws_apart_is_possible(fws_engine *engine)
{
    return unclaimed(engine) > 0 && fws_crew_may_enter_callbacks(engine);
}

/* ---- running them ---- */

/* Without the lock, with what `enter` has taken: so who has entered next sees that this one has
 * ended. */
static void run(fws_engine *engine, fws_websocket *websocket, fws_crew_inside *self)
{
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    uint32_t count;
    fws_ns begun = fws_clock_now();
    pthread_cleanup_push(fws_crew_end_inside, self);
    count = callbacks->run(callbacks->context, websocket, NULL);
    pthread_cleanup_pop(0);
    fws_ns duration = fws_clock_now() - begun;
    pthread_mutex_lock(&engine->work.lock);
    fws_engine_note_callbacks(websocket, duration, count);
    fws_apart_note_speed(websocket, duration < FWS_CALLBACK_PATIENCE);
    if (websocket->fast >= FWS_PROVEN)
        websocket->slow = false;
    if (engine->crew.epoch == self->epoch)
        fws_computing_end(&engine->crew.apart.computing, &self->entry);
    pthread_mutex_unlock(&engine->work.lock);
}

/* With the lock, and what `enter` has taken: begins what the thread has taken from the queue, if
 * there was something. */
static void begin(fws_engine *engine, const fws_websocket *taken, fws_computing_entry *entry)
{
    fws_apart *apart = &engine->crew.apart;
    if (taken != NULL) {
        fws_computing_begin(&apart->computing, entry, pthread_self(), apart->fast_was_taken);
        fws_apart_provide_thread(engine); /* there may be room for one more */
    } else if (fws_apart_count(apart) > 0) {
        fws_work_wake_leader(&engine->work); /* see fws_apart_next_look */
    }
}

void fws_apart_run(fws_engine *engine, void **thread)
{
    fws_crew *crew = &engine->crew;
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    fws_crew_inside self = {.engine = engine, .epoch = crew->epoch};
    fws_websocket *websocket = NULL;
    crew->inside++;
    crew->apart.entering++;
    fws_apart_provide_thread(engine); /* for the others that are queued */
    fws_crew_check(engine);
    pthread_mutex_unlock(&engine->work.lock);
    fws_ns asked = fws_clock_now();
    bool entered = callbacks->enter(callbacks->context, thread, false);
    pthread_mutex_lock(&engine->work.lock);
    fws_computing_note_wait(&crew->apart.computing, fws_clock_now() - asked);
    if (entered && !engine->work.stopping)
        websocket = take(engine);
    crew->apart.entering--;
    if (entered) {
        begin(engine, websocket, &self.entry);
        pthread_mutex_unlock(&engine->work.lock);
        if (websocket != NULL)
            run(engine, websocket, &self);
        callbacks->leave(callbacks->context, thread);
        pthread_mutex_lock(&engine->work.lock);
    } else if (!engine->work.stopping) {
        fws_crew_note_refusal(engine);
    }
    fws_crew_leave_callbacks(&self);
    if (websocket == NULL)
        return;
    pthread_mutex_unlock(&engine->work.lock);
    fws_crew_release_callbacks(websocket);
    pthread_mutex_lock(&engine->work.lock);
}
