#include "engine.h"

#include "../io/transport.h"
#include "turn.h"
#include "../websocket/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define RETIRED_MAX 64 /* that wait for the loop thread's next turn */

#define STOP_TIMEOUT FWS_NS_PER_S /* for callbacks to end */

void fws_engine_entropy(uint8_t out[4])
{
    while (getrandom(out, 4, 0) < 0 && errno == EINTR)
        ;
}

static void init_lock(fws_engine *engine)
{
    pthread_mutex_init(&engine->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->empty, &attributes);
    pthread_condattr_destroy(&attributes);
}

fws_engine *fws_engine_new(const fws_engine_config *config)
{
    fws_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return NULL;
    atomic_init(&engine->references, 1);
    engine->config = *config;
    engine->crew.callbacks = config->callbacks;
    engine->crew.maximum = config->callback_threads + 1; /* one stands by */
    fws_crew_init(&engine->crew);
    fws_table_init(&engine->table);
    fws_pool_init(&engine->pool);
    fws_deflate_pool_init(&engine->deflate, config->compression_level);
    fws_timers_init(&engine->timers);
    fws_cork_init(&engine->cork);
    init_lock(engine);
    return engine;
}

void fws_engine_keep(fws_engine *engine)
{
    atomic_fetch_add_explicit(&engine->references, 1, memory_order_relaxed);
}

void fws_engine_drop(fws_engine *engine)
{
    if (atomic_fetch_sub_explicit(&engine->references, 1, memory_order_acq_rel) != 1)
        return;
    fws_crew_destroy(&engine->crew);
    fws_timers_clear(&engine->timers);
    fws_table_clear(&engine->table);
    fws_pool_clear(&engine->pool);
    free(engine->leaders_buffer);
    fws_deflate_pool_clear(&engine->deflate);
    pthread_cond_destroy(&engine->empty);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

void fws_engine_free(fws_engine *engine)
{
    fws_engine_stop(engine);
    fws_engine_drop(engine);
}

/* ---- called by websockets ---- */

void fws_engine_rouse(fws_engine *engine)
{
    if (!engine->sleeping)
        return;
    engine->sleeping = false;
    fws_loop_wake(engine->loop);
}

/* Unless it wakes before that by itself. */
static void rouse_before(fws_engine *engine, fws_ns deadline)
{
    if (engine->sleep_until == FWS_FOREVER || deadline < engine->sleep_until)
        fws_engine_rouse(engine);
}

void fws_engine_arm(fws_engine *engine, fws_timer *timer, fws_ns deadline)
{
    pthread_mutex_lock(&engine->lock);
    fws_timers_arm(&engine->timers, timer, deadline);
    rouse_before(engine, deadline);
    pthread_mutex_unlock(&engine->lock);
}

void fws_engine_queue_flush(fws_engine *engine, fws_websocket *websocket)
{
    fws_websocket_keep(websocket);
    pthread_mutex_lock(&engine->lock);
    websocket->next_flush = engine->flush;
    engine->flush = websocket;
    fws_engine_rouse(engine);
    pthread_mutex_unlock(&engine->lock);
}

void fws_engine_cork(fws_engine *engine, fws_websocket *websocket)
{
    fws_websocket_keep(websocket);
    pthread_mutex_lock(&engine->lock);
    if (fws_cork_push(&engine->cork, websocket))
        rouse_before(engine, engine->cork.look_at);
    pthread_mutex_unlock(&engine->lock);
}

void fws_engine_uncork(fws_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    fws_cork_hurry(&engine->cork);
    fws_engine_rouse(engine);
    pthread_mutex_unlock(&engine->lock);
}

void fws_engine_retire(fws_engine *engine, fws_websocket *websocket)
{
    pthread_mutex_lock(&engine->lock);
    fws_timers_cancel(&engine->timers, &websocket->timer);
    if (websocket->previous)
        websocket->previous->next = websocket->next;
    else
        engine->all = websocket->next;
    if (websocket->next)
        websocket->next->previous = websocket->previous;
    websocket->next_retired = engine->retired;
    engine->retired = websocket;
    engine->retired_count++;
    if (--engine->count == 0)
        pthread_cond_broadcast(&engine->empty);
    /* There is no hurry: the descriptor is closed, and a wake-up for each would cost as much as the
     * rest of a short connection. */
    if (engine->count == 0 || engine->retired_count >= RETIRED_MAX)
        fws_engine_rouse(engine);
    pthread_mutex_unlock(&engine->lock);
}

bool fws_engine_watch(fws_engine *engine, int fd, uint8_t old_events, uint8_t new_events,
                      fws_websocket *websocket)
{
    /* The loop exists as long as a websocket is attached: fws_engine_stop finishes them first. */
    return fws_loop_watch(engine->loop, fd, old_events, new_events, websocket);
}

/* ---- starting and stopping ---- */

/* With the engine's lock. */
static bool start(fws_engine *engine)
{
    if (engine->running)
        return true;
    engine->loop = fws_loop_new();
    if (engine->loop == NULL)
        return false;
    engine->stopping = false;
    engine->sleeping = false;
    if (!fws_crew_start(engine)) {
        int error = errno;
        fws_loop_free(engine->loop);
        engine->loop = NULL;
        errno = error;
        return false;
    }
    engine->running = true;
    return true;
}

void fws_engine_stop(fws_engine *engine)
{
    fws_websocket *websocket;
    for (;;) { /* cut off what is left, while the loop still exists */
        pthread_mutex_lock(&engine->lock);
        websocket = engine->all;
        if (websocket)
            fws_websocket_keep(websocket);
        pthread_mutex_unlock(&engine->lock);
        if (websocket == NULL)
            break;
        fws_websocket_lock(websocket);
        fws_websocket_finish(websocket);
        fws_websocket_unlock(websocket);
        fws_websocket_drop(websocket);
    }
    pthread_mutex_lock(&engine->lock);
    bool running = engine->running;
    engine->stopping = true;
    engine->running = false;
    if (running) {
        fws_loop_wake(engine->loop);
        fws_crew_stop(engine, STOP_TIMEOUT);
        fws_loop_free(engine->loop);
        engine->loop = NULL;
    }
    pthread_mutex_unlock(&engine->lock);
    fws_turn_finish(engine); /* what was queued after the leader looked for the last time */
}

/* ---- attaching ---- */

/* With the engine's lock. */
static bool enlist(fws_engine *engine, fws_websocket *websocket)
{
    if (!start(engine))
        return false;
    if (!fws_timers_reserve(&engine->timers, engine->count + 1)) {
        errno = ENOMEM;
        return false;
    }
    websocket->next = engine->all;
    if (engine->all)
        engine->all->previous = websocket;
    engine->all = websocket;
    engine->count++;
    return true;
}

static bool prepare(fws_websocket *websocket, const fws_attachment *attachment)
{
    /* Now, while the handshake can be refused, and not when the handler has to wait. */
    bool has_thread = attachment->notifier == NULL && attachment->owner == NULL;
    if (has_thread && !fws_wakeup_open(&websocket->wakeup))
        return false;
    errno = ENOMEM;
    if (attachment->compression &&
        !fws_connection_use_compression(&websocket->protocol, &websocket->engine->deflate,
                                        attachment->compression))
        return false;
    if (attachment->reply_size > 0 &&
        !fws_websocket_push(websocket, attachment->reply, attachment->reply_size))
        return false;
    if (attachment->received_size > 0) {
        websocket->undecoded = malloc(attachment->received_size);
        if (websocket->undecoded == NULL)
            return false;
        memcpy(websocket->undecoded, attachment->received, attachment->received_size);
        websocket->undecoded_end = attachment->received_size;
    }
    return true;
}

fws_websocket *fws_engine_attach(fws_engine *engine, int fd, const fws_attachment *attachment)
{
    fws_websocket *websocket = fws_websocket_new(engine, fd, attachment->role);
    if (websocket == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    bool done = prepare(websocket, attachment);
    if (done) {
        pthread_mutex_lock(&engine->lock);
        done = enlist(engine, websocket);
        pthread_mutex_unlock(&engine->lock);
    }
    if (!done) {
        int error = errno;
        fws_websocket_drop(websocket);
        errno = error;
        return NULL;
    }
    fws_websocket_keep(websocket); /* the engine's */
    if (attachment->notifier) {
        websocket->notifier = fws_notifier_keep(attachment->notifier);
        atomic_store_explicit(&engine->patient, true, memory_order_relaxed);
    }
    websocket->short_waits = FWS_SHORT_WAITS; /* most peers say something at once */
    websocket->evented = attachment->owner != NULL;
    websocket->owner = attachment->owner;
    websocket->callbacks_state = FWS_CALLBACKS_RUNNING; /* until whoever attaches it has done */
    fws_transport_prepare(fd);
    fws_ns now = fws_clock_now();
    fws_websocket_lock(websocket);
    if (!fws_websocket_is_read_by_loop(websocket))
        websocket->adopt_at = now + FWS_ADOPT_AFTER;
    if (engine->config.ping_interval > 0)
        websocket->ping_at = now + engine->config.ping_interval;
    fws_websocket_flush(websocket);
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_is_read_by_loop(websocket))
        fws_websocket_adopt(websocket);
    if (websocket->state == FWS_STATE_OPEN) {
        fws_websocket_update_watch(websocket);
        fws_websocket_schedule(websocket);
    }
    fws_websocket_unlock(websocket);
    return websocket;
}

/* ---- all of them ---- */

/* The attached websockets, each with a reference taken; NULL when there are none, or no memory. */
static fws_websocket **snapshot(fws_engine *engine, size_t *count)
{
    pthread_mutex_lock(&engine->lock);
    fws_websocket **list =
        engine->count > 0 ? malloc(engine->count * sizeof(fws_websocket *)) : NULL;
    *count = 0;
    for (fws_websocket *w = engine->all; list && w; w = w->next)
        list[(*count)++] = fws_websocket_keep(w);
    pthread_mutex_unlock(&engine->lock);
    return list;
}

size_t fws_engine_close_all(fws_engine *engine, uint16_t code, const char *reason)
{
    size_t count, closed = 0;
    fws_websocket **list = snapshot(engine, &count);
    for (size_t i = 0; i < count; i++) {
        if (fws_websocket_close(list[i], code, reason, strlen(reason)) == FWS_OK)
            closed++;
        fws_websocket_drop(list[i]);
    }
    free(list);
    return closed;
}

bool fws_engine_wait_empty(fws_engine *engine, fws_ns timeout)
{
    struct timespec until = fws_clock_timespec(fws_clock_now() + timeout);
    int error = 0;
    pthread_mutex_lock(&engine->lock);
    while (engine->count > 0 && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&engine->empty, &engine->lock, &until);
    bool empty = engine->count == 0;
    pthread_mutex_unlock(&engine->lock);
    return empty;
}

size_t fws_engine_count(fws_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    size_t count = engine->count;
    pthread_mutex_unlock(&engine->lock);
    return count;
}

/* ---- fork ---- */

/* Threads of the parent may have been anywhere inside this websocket, so its queues are left behind
 * unfreed; only what the kernel holds is given back. */
static void abandon(fws_websocket *websocket)
{
    fws_websocket_init_lock(websocket);
    if (websocket->fd >= 0)
        close(websocket->fd); /* no shutdown: the connection goes on, in the parent */
    websocket->fd = -1;
    fws_wakeup_close(&websocket->wakeup);
    websocket->state = FWS_STATE_CLOSED;
    if (websocket->close_code == 0)
        websocket->close_code = FWS_CLOSE_ABNORMAL;
    websocket->close_reason = NULL;
    websocket->close_reason_size = 0;
    websocket->sleepers = websocket->pollers = 0;
    websocket->receiving = false;
    websocket->watched = 0;
    websocket->adopted = websocket->flush_queued = websocket->corked = websocket->awaited = false;
    websocket->evented = false; /* and whoever was to be called is left behind as well */
    websocket->notifier = NULL; /* and its descriptors are the parent's */
    websocket->undecoded = NULL;
    websocket->pings = NULL;
    memset(&websocket->subscriptions, 0, sizeof websocket->subscriptions);
    websocket->subscriptions.ended = true;
    fws_connection_init(&websocket->protocol, websocket->protocol.role, &(fws_limits){0},
                        fws_engine_entropy);
    fws_inbox_init(&websocket->inbox);
    fws_outbox_init(&websocket->outbox);
    fws_timer_init(&websocket->timer);
}

void fws_engine_after_fork(fws_engine *engine)
{
    fws_table_after_fork(&engine->table);
    fws_pool_init(&engine->pool);
    fws_deflate_pool_init(&engine->deflate, engine->config.compression_level);
    init_lock(engine);
    atomic_store(&engine->references, 1); /* the threads that had the others are not here */
    fws_crew_after_fork(&engine->crew);
    engine->ready.next = engine->ready.count = 0;
    engine->turn_since = 0;
    fws_timers_init(&engine->timers);
    fws_cork_init(&engine->cork);
    fws_websocket *websocket = engine->all;
    while (websocket) {
        fws_websocket *next = websocket->next;
        abandon(websocket);
        websocket->previous = websocket->next = NULL;
        websocket = next; /* its memory stays: the parent's threads held references to it */
    }
    if (engine->loop)
        fws_loop_free(engine->loop);
    engine->loop = NULL;
    engine->all = engine->flush = engine->retired = NULL;
    engine->count = engine->retired_count = 0;
    engine->running = engine->stopping = engine->sleeping = false;
}

/* ---- callbacks ---- */

void fws_engine_note_callbacks(fws_engine *engine, fws_ns taken, uint32_t count)
{
    if (count > 0) /* each as long as the average of its turn */
        fws_histogram_add(&engine->callback_time, (uint64_t)taken / count, count);
}
