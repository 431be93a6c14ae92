#include "internal.h"
#include "turn.h"

#include "../io/os.h"

#include <errno.h>
#include <signal.h>

/* Between two looks of the watch: shortly after a callback was overtaken, and else. A look costs
 * some 20 us, and interrupts the leader. */
#define WATCH_INTERVAL (2 * FWS_NS_PER_MS)
#define WATCH_CALM_INTERVAL (8 * FWS_NS_PER_MS)
#define WATCH_QUIET 13 /* looks without a callback, after which the watch sleeps */
#define IDLE_TIME (5 * FWS_NS_PER_S)
#define FAST FWS_NS_PER_MS /* a callback that takes less is no trouble */
#define PROVEN 8           /* fast callbacks in a row that make a websocket known as fast */
#define REHABILITATED 32   /* the same, after one of its callbacks was overtaken */
#define SUSPICIOUS_FOR FWS_NS_PER_S

/* ---- life ---- */

static void init_waiting(fws_crew *crew)
{
    fws_os_init_condition(&crew->watch);
    fws_os_init_condition(&crew->work);
    fws_os_init_condition(&crew->left);
    fws_run_queue_init(&crew->apart);
    fws_run_queue_init(&crew->done);
}

void fws_crew_init(fws_crew *crew, uint32_t callback_threads)
{
    crew->maximum = callback_threads + 1; /* one stands by */
    init_waiting(crew);
}

void fws_crew_destroy(fws_crew *crew)
{
    pthread_cond_destroy(&crew->watch);
    pthread_cond_destroy(&crew->work);
    pthread_cond_destroy(&crew->left);
}

void fws_crew_after_fork(fws_crew *crew)
{
    init_waiting(crew);
    crew->threads = crew->calling = crew->idle = 0;
    crew->led = crew->watched = false;
    crew->term++;
    crew->epoch++;
    atomic_store(&crew->running_since, 0);
    atomic_store(&crew->dozing, false);
    crew->overtaken = NULL;
}

static void wait_for(pthread_cond_t *condition, fws_engine *engine, fws_ns timeout)
{
    struct timespec until = fws_clock_timespec(fws_clock_now() + timeout);
    pthread_cond_timedwait(condition, &engine->work.lock, &until);
}

static void note_speed(fws_websocket *websocket, bool fast)
{
    if (!fast)
        websocket->fast = 0;
    else if (websocket->fast < REHABILITATED)
        websocket->fast++;
}

/* Without the lock. */
static void end_turn(fws_websocket *websocket)
{
    fws_websocket_end_callbacks(websocket);
    fws_websocket_drop(websocket);
}

/* ---- running apart ---- */

/* By a thread that stands by. */
static void run_apart(fws_engine *engine, void **thread)
{
    fws_crew *crew = &engine->crew;
    fws_websocket *websocket = FWS_WEBSOCKET_OF(fws_run_queue_pop(&crew->apart), callbacks);
    uint64_t epoch = crew->epoch;
    crew->calling++;
    pthread_mutex_unlock(&engine->work.lock);
    fws_ns begun = fws_clock_now(), taken = 0;
    uint32_t count = 0;
    if (engine->work.config.callbacks.enter(engine->work.config.callbacks.context, thread)) {
        begun = fws_clock_now();
        count = engine->work.config.callbacks.run(engine->work.config.callbacks.context, websocket,
                                                  NULL);
        taken = fws_clock_now() - begun;
        engine->work.config.callbacks.leave(engine->work.config.callbacks.context, thread);
    }
    pthread_mutex_lock(&engine->work.lock);
    fws_engine_note_callbacks(engine, taken, count);
    if (crew->epoch == epoch)
        crew->calling--;
    note_speed(websocket, taken < FAST);
    if (websocket->fast >= REHABILITATED)
        websocket->slow = false;
    pthread_mutex_unlock(&engine->work.lock);
    end_turn(websocket);
    pthread_mutex_lock(&engine->work.lock);
}

/* Was a callback overtaken a moment ago? */
static bool is_suspicious(const fws_crew *crew)
{
    return crew->overtaken_at != 0 && fws_clock_now() - crew->overtaken_at < SUSPICIOUS_FOR;
}

static bool is_for_others(const fws_crew *crew, const fws_websocket *websocket)
{
    return websocket->slow || (websocket->fast < PROVEN && is_suspicious(crew));
}

static bool hire(fws_engine *engine);

static void give_to_others(fws_engine *engine, fws_websocket *websocket)
{
    fws_crew *crew = &engine->crew;
    fws_run_queue_push(&crew->apart, &websocket->callbacks);
    if (crew->idle >= crew->apart.count || (!hire(engine) && crew->idle > 0))
        pthread_cond_signal(&crew->work);
    else
        pthread_cond_signal(&crew->watch); /* there may be nobody else */
}

/* ---- the leader ---- */

bool fws_crew_is_due(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    return engine->work.due.count > 0 && (crew->watched || crew->idle > 0 || hire(engine));
}

static void set_running(fws_engine *engine, fws_websocket *websocket, fws_ns since)
{
    atomic_store_explicit(&engine->work.running, websocket ? &websocket->callbacks : NULL,
                          memory_order_relaxed);
    atomic_store_explicit(&engine->crew.running_since, since, memory_order_relaxed);
}

/* The next for the leader itself, of `*left`; those that are not for it are given away. */
static fws_websocket *next_of(fws_engine *engine, size_t *left, fws_ns now)
{
    fws_crew *crew = &engine->crew;
    while (*left > 0 && engine->work.due.count > 0) {
        (*left)--;
        fws_websocket *websocket =
            FWS_WEBSOCKET_OF(fws_run_queue_pop(&engine->work.due), callbacks);
        if (!is_for_others(crew, websocket)) {
            set_running(engine, websocket, now);
            return websocket;
        }
        give_to_others(engine, websocket);
    }
    set_running(engine, NULL, 0);
    return NULL;
}

/* Without the lock: the watch sleeps while there is nothing to watch. */
static void call_the_watch(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    if (!atomic_load(&crew->dozing))
        return;
    pthread_mutex_lock(&engine->work.lock);
    pthread_cond_signal(&crew->watch);
    pthread_mutex_unlock(&engine->work.lock);
}

/* The running callback has ended: notes how it was. False when the leader was deposed. */
static bool note_end(fws_engine *engine, uint64_t term, fws_websocket *websocket)
{
    fws_crew *crew = &engine->crew;
    if (crew->term != term)
        return false;
    note_speed(websocket, true);
    fws_run_queue_push(&crew->done, &websocket->callbacks);
    return true;
}

void fws_crew_begin_receiving(fws_engine *engine)
{
    atomic_store_explicit(&engine->work.receiving, fws_work_this_thread(), memory_order_relaxed);
}

/* Without the lock. */
static void end_turns(fws_run_queue *done)
{
    fws_work_link *link;
    while ((link = fws_run_queue_pop(done)) != NULL)
        end_turn(FWS_WEBSOCKET_OF(link, callbacks));
}

/* Whose callbacks are likely to come next. Its owner lives as long as nobody else can run them,
 * which takes what `enter` has taken. */
static void *owner_of_next(const fws_engine *engine)
{
    fws_work_link *first = engine->work.due.first;
    return first != NULL ? FWS_WEBSOCKET_OF(first, callbacks)->owner : NULL;
}

/* Without the lock: `websocket` first, then `left` more. False when the leader was deposed. */
static bool run_batch(fws_engine *engine, uint64_t term, fws_websocket *websocket, size_t left,
                      void **thread)
{
    fws_crew *crew = &engine->crew;
    const fws_callbacks *callbacks = &engine->work.config.callbacks;
    /* To wait for the GIL is no callback: whoever led instead would wait for it as well. */
    bool entered = callbacks->enter(callbacks->context, thread);
    fws_ns since = fws_clock_now();
    bool leading = true;
    void *next_owner = NULL;
    atomic_store(&crew->running_since, since);
    call_the_watch(engine);
    atomic_fetch_add_explicit(&crew->batches, 1, memory_order_relaxed);
    atomic_store_explicit(&engine->work.batching, fws_work_this_thread(), memory_order_relaxed);
    while (websocket != NULL) {
        uint32_t count = entered ? callbacks->run(callbacks->context, websocket, next_owner) : 0;
        fws_ns now = fws_clock_now();
        pthread_mutex_lock(&engine->work.lock);
        fws_engine_note_callbacks(engine, now - since, count);
        since = now;
        leading = note_end(engine, term, websocket);
        fws_websocket *next = leading ? next_of(engine, &left, now) : NULL;
        next_owner = owner_of_next(engine);
        pthread_mutex_unlock(&engine->work.lock);
        if (!leading)
            end_turn(websocket);
        websocket = next;
    }
    if (leading)
        atomic_store_explicit(&engine->work.batching, 0, memory_order_relaxed);
    if (entered)
        callbacks->leave(callbacks->context, thread);
    return leading;
}

bool fws_crew_run(fws_engine *engine, uint64_t term, void **thread)
{
    fws_crew *crew = &engine->crew;
    fws_run_queue done;
    bool leading = true;
    fws_run_queue_init(&done);
    atomic_store_explicit(&engine->work.receiving, 0, memory_order_relaxed);
    pthread_mutex_lock(&engine->work.lock);
    fws_run_queue_move(&engine->work.arrived, &engine->work.due);
    size_t left = fws_crew_is_due(engine) ? engine->work.due.count : 0;
    fws_websocket *websocket = next_of(engine, &left, 0);
    if (websocket != NULL) {
        uint64_t epoch = crew->epoch;
        crew->calling++;
        pthread_mutex_unlock(&engine->work.lock);
        atomic_store_explicit(&engine->work.leading, 0, memory_order_relaxed);
        leading = run_batch(engine, term, websocket, left, thread);
        if (leading)
            atomic_store_explicit(&engine->work.leading, fws_work_this_thread(),
                                  memory_order_relaxed);
        pthread_mutex_lock(&engine->work.lock);
        if (crew->epoch == epoch)
            crew->calling--;
    }
    if (leading)
        fws_run_queue_move(&crew->done, &done);
    pthread_mutex_unlock(&engine->work.lock);
    end_turns(&done);
    return leading;
}

/* ---- standing by ---- */

static void depose_the_leader(fws_engine *engine, fws_ns now)
{
    fws_crew *crew = &engine->crew;
    fws_websocket *running = FWS_WEBSOCKET_OF(atomic_load(&engine->work.running), callbacks);
    running->slow = true;
    running->fast = 0;
    atomic_store(&engine->work.running, NULL);
    atomic_store(&crew->running_since, 0);
    atomic_store(&engine->work.batching, 0);
    /* What it has sent until now goes out now. */
    crew->overtaken = fws_websocket_keep(running);
    crew->overtaken_at = now;
    crew->led = false;
    crew->term++;
}

/* Watches the leader until it is to be replaced, or there is other work. */
static void watch(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    uint64_t seen = 0;
    uint32_t quiet = 0;
    crew->watched = true;
    while (!engine->work.stopping && crew->led && (crew->apart.count == 0 || crew->idle > 0)) {
        if (quiet < WATCH_QUIET) {
            wait_for(&crew->watch, engine,
                     is_suspicious(crew) ? WATCH_INTERVAL : WATCH_CALM_INTERVAL);
        } else {
            atomic_store(&crew->dozing, true);
            if (atomic_load(&crew->running_since) == 0)
                pthread_cond_wait(&crew->watch, &engine->work.lock);
            atomic_store(&crew->dozing, false);
            quiet = 0;
        }
        fws_ns now = fws_clock_now(), since = atomic_load(&crew->running_since);
        if (since != 0 && atomic_load(&engine->work.running) != NULL &&
            now - since >= FWS_CALLBACK_PATIENCE)
            depose_the_leader(engine, now);
        uint64_t batches = atomic_load_explicit(&crew->batches, memory_order_relaxed);
        quiet = batches == seen ? quiet + 1 : 0;
        seen = batches;
    }
    crew->watched = false;
}

/* False when there has been nothing to do for a while. */
static bool stand_by(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    if (engine->work.due.count > 0) /* the leader may not run them while nobody stands by */
        fws_work_rouse(&engine->work);
    if (!crew->watched) {
        watch(engine);
        return true;
    }
    fws_ns begun = fws_clock_now();
    crew->idle++;
    wait_for(&crew->work, engine, IDLE_TIME);
    crew->idle--;
    return crew->apart.count > 0 || !crew->watched || !crew->led || engine->work.stopping ||
           fws_clock_now() - begun < IDLE_TIME;
}

/* ---- a thread ---- */

/* With the lock, which it releases: sees to what the leader before has left. */
static void take_over(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    fws_websocket *overtaken = crew->overtaken;
    fws_run_queue done;
    fws_run_queue_init(&done);
    fws_run_queue_move(&crew->done, &done);
    crew->overtaken = NULL;
    pthread_mutex_unlock(&engine->work.lock);
    end_turns(&done);
    if (overtaken != NULL) {
        fws_websocket_on_flush(overtaken);
        fws_websocket_drop(overtaken);
    }
}

static void *serve(void *argument)
{
    fws_engine *engine = argument;
    fws_crew *crew = &engine->crew;
    void *thread = NULL;
    fws_os_name_thread("fws-engine");
    pthread_mutex_lock(&engine->work.lock);
    uint64_t epoch = crew->epoch;
    bool stays = true;
    while (stays && !engine->work.stopping) {
        if (!crew->led) {
            crew->led = true;
            atomic_store(&engine->work.leading, fws_work_this_thread());
            uint64_t term = ++crew->term;
            take_over(engine);
            fws_turn_lead(engine, term, &thread);
            pthread_mutex_lock(&engine->work.lock);
            if (crew->epoch != epoch)
                break;
            if (crew->term == term) {
                atomic_store(&engine->work.leading, 0);
                crew->led = false;
            }
        } else if (crew->apart.count > 0) {
            run_apart(engine, &thread);
        } else {
            stays = stand_by(engine);
        }
        if (crew->epoch != epoch)
            break;
    }
    bool forked = crew->epoch != epoch;
    if (!forked && thread != NULL) {
        pthread_mutex_unlock(&engine->work.lock);
        engine->work.config.callbacks.end(engine->work.config.callbacks.context, &thread);
        pthread_mutex_lock(&engine->work.lock);
    }
    if (!forked) {
        crew->threads--;
        pthread_cond_broadcast(&crew->left);
    }
    pthread_mutex_unlock(&engine->work.lock);
    if (!forked)
        fws_engine_drop(engine);
    return NULL;
}

/* One thread more; false when there are enough, or with errno. */
static bool hire(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    if (crew->threads >= crew->maximum || engine->work.stopping)
        return false;
    /* Signals are for the threads of the application. */
    sigset_t every, before;
    pthread_t id;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    fws_engine_keep(engine);
    int error = pthread_create(&id, NULL, serve, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        fws_engine_drop(engine); /* not the last: the caller has one */
        errno = error;
        return false;
    }
    pthread_detach(id);
    crew->threads++;
    return true;
}

bool fws_crew_start(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    return crew->led || crew->threads > crew->calling || hire(engine);
}

void fws_crew_stop(fws_engine *engine, fws_ns timeout)
{
    fws_crew *crew = &engine->crew;
    fws_ns deadline = fws_clock_now() + timeout;
    pthread_cond_broadcast(&crew->watch);
    pthread_cond_broadcast(&crew->work);
    while (crew->threads > 0 && (crew->threads > crew->calling || fws_clock_now() < deadline))
        wait_for(&crew->left, engine, 10 * FWS_NS_PER_MS);
    fws_work_link *link;
    fws_run_queue_move(&crew->apart, &engine->work.due);
    fws_run_queue_move(&crew->done, &engine->work.due);
    while ((link = fws_run_queue_pop(&engine->work.due)) != NULL)
        fws_websocket_drop(FWS_WEBSOCKET_OF(link, callbacks));
}
