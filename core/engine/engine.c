#include "internal.h"
#include "turn.h"

#include "../io/os.h"
#include "../io/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void destroy(fws_work *work)
{
    fws_engine *engine = (fws_engine *)(void *)((char *)work - offsetof(fws_engine, work));
    fws_crew_destroy(&engine->crew);
    pthread_cond_destroy(&engine->stopped);
    fws_table_clear(&engine->table);
    fws_work_destroy(&engine->work);
    free(engine);
}

fws_engine *fws_engine_new(const fws_engine_config *config)
{
    fws_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return NULL;
    fws_work_init(&engine->work, config, destroy);
    fws_table_init(&engine->table);
    fws_os_init_condition(&engine->stopped);
    fws_crew_init(&engine->crew, config->callback_threads);
    return engine;
}

void fws_engine_free(fws_engine *engine)
{
    fws_engine_stop(engine);
    fws_work_drop(&engine->work);
}

/* ---- starting ---- */

/* With the lock of `work`: there is a thread from now on; false with errno. */
static bool start(fws_engine *engine)
{
    if (engine->life == FWS_ENGINE_RUNNING)
        return true;
    if (engine->life != FWS_ENGINE_NEW) {
        errno = ESHUTDOWN;
        return false;
    }
    engine->work.loop = fws_loop_new();
    if (engine->work.loop == NULL)
        return false;
    if (!fws_crew_start(engine)) {
        int error = errno;
        fws_loop_free(engine->work.loop);
        engine->work.loop = NULL;
        errno = error;
        return false;
    }
    engine->life = FWS_ENGINE_RUNNING;
    return true;
}

/* ---- stopping ---- */

/* False when another thread stops the engine, or has stopped it: returns when that is done. */
static bool claim_stop(fws_engine *engine, bool *started)
{
    pthread_mutex_lock(&engine->work.lock);
    bool first = engine->life < FWS_ENGINE_STOPPING;
    *started = engine->life == FWS_ENGINE_RUNNING;
    if (first)
        engine->life = FWS_ENGINE_STOPPING;
    while (!first && engine->life != FWS_ENGINE_STOPPED)
        pthread_cond_wait(&engine->stopped, &engine->work.lock);
    pthread_mutex_unlock(&engine->work.lock);
    return first;
}

/* Finishes all websockets; the loop must still exist. No further websocket is attached. One that
 * is being attached at this moment is waited for, because the attaching thread holds its lock. */
static void finish_all(fws_engine *engine)
{
    for (;;) {
        pthread_mutex_lock(&engine->work.lock);
        fws_work_entry *first = engine->work.all;
        fws_websocket *websocket =
            first ? fws_websocket_keep(FWS_WEBSOCKET_OF(first, entry)) : NULL;
        pthread_mutex_unlock(&engine->work.lock);
        if (websocket == NULL)
            return;
        fws_websocket_lock(websocket);
        fws_websocket_finish(websocket);
        fws_websocket_unlock(websocket);
        fws_websocket_drop(websocket);
    }
}

/* With the lock of `work`, which it releases meanwhile: ends the threads. Before that, callbacks
 * that are queued are run, such as those of the websockets that were just cut off. */
static void end_threads(fws_engine *engine)
{
    fws_ns deadline = fws_clock_now() + FWS_STOP_TIMEOUT;
    fws_crew_drain(engine, deadline);
    engine->work.stopping = true;
    fws_loop_wake(engine->work.loop);
    fws_crew_stop(engine, deadline);
    engine->work.sleeping = false;
    engine->ready.next = engine->ready.count = 0;
}

/* No thread leads any more: drops the references of what is still queued. */
static void drop_queued(fws_engine *engine)
{
    fws_crew *crew = &engine->crew;
    fws_run_queue rest;
    fws_work_link *link;
    fws_run_queue_init(&rest);
    pthread_mutex_lock(&engine->work.lock);
    fws_websocket *overtaken = crew->overtaken;
    crew->overtaken = NULL;
    fws_run_queue_move(&engine->work.arrived, &rest);
    fws_run_queue_move(&engine->work.run_queue, &rest);
    fws_apart_move(&crew->apart, &rest);
    fws_run_queue_move(&crew->done, &rest);
    pthread_mutex_unlock(&engine->work.lock);
    while ((link = fws_run_queue_pop(&rest)) != NULL)
        fws_websocket_drop(FWS_WEBSOCKET_OF(link, callbacks));
    if (overtaken != NULL)
        fws_websocket_drop(overtaken);
    fws_turn_finish(engine); /* what was to be written or dropped in the next turn */
}

void fws_engine_stop(fws_engine *engine)
{
    bool started;
    if (!claim_stop(engine, &started))
        return;
    fws_publish_deliver_all(&engine->work, &engine->table); /* before they are cut off */
    finish_all(engine);
    pthread_mutex_lock(&engine->work.lock);
    if (started)
        end_threads(engine);
    engine->work.stopping = true;
    fws_loop *loop = engine->work.loop;
    engine->work.loop = NULL;
    pthread_mutex_unlock(&engine->work.lock);
    if (loop != NULL)
        fws_loop_free(loop);
    drop_queued(engine);
    pthread_mutex_lock(&engine->work.lock);
    engine->life = FWS_ENGINE_STOPPED;
    pthread_cond_broadcast(&engine->stopped);
    pthread_mutex_unlock(&engine->work.lock);
}

/* ---- attaching ---- */

/* With the lock of the websocket: from here on other threads can find it. */
static bool enlist(fws_engine *engine, fws_websocket *websocket)
{
    pthread_mutex_lock(&engine->work.lock);
    bool done = start(engine);
    if (done && !fws_work_enlist(&engine->work, &websocket->entry)) {
        errno = ENOMEM;
        done = false;
    }
    pthread_mutex_unlock(&engine->work.lock);
    return done;
}

/* Sets everything that must be complete before other threads can find the websocket; false with
 * errno. */
static bool prepare(fws_websocket *websocket, const fws_attachment *attachment)
{
    /* The wake-up is opened now, when the handshake can still be refused, and not when the
     * handler has to wait. */
    bool has_thread = attachment->notifier == NULL && attachment->owner == NULL;
    if (has_thread && !fws_wakeup_open(&websocket->wakeup))
        return false;
    errno = ENOMEM;
    if (attachment->compression &&
        !fws_connection_use_compression(&websocket->protocol, &websocket->work->deflate,
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
    if (attachment->notifier)
        websocket->notifier = fws_notifier_keep(attachment->notifier);
    if (attachment->tally)
        websocket->tally = attachment->tally;
    websocket->evented = attachment->owner != NULL;
    websocket->owner = attachment->owner;
    websocket->callbacks_state = FWS_CALLBACKS_RUNNING; /* until the code that attaches it calls
                                                           fws_websocket_release_callbacks */
    return true;
}

/* Sets the deadlines, writes the first bytes, and has the loop watch. With the websocket's lock. */
static void activate(fws_engine *engine, fws_websocket *websocket)
{
    fws_ns now = fws_clock_now();
    fws_transport_set_no_delay(websocket->fd);
    websocket->opened_at = now;
    websocket->connected_at = fws_clock_of_system();
    atomic_fetch_add_explicit(&websocket->tally->opens, 1, memory_order_relaxed);
    if (websocket->notifier != NULL)
        atomic_store_explicit(&engine->has_event_loop_handlers, true, memory_order_relaxed);
    if (!fws_websocket_is_read_by_loop(websocket))
        websocket->adopt_at = now + FWS_ADOPT_AFTER;
    if (engine->work.config.ping_interval > 0)
        websocket->ping_at = now + engine->work.config.ping_interval;
    fws_websocket_flush(websocket);
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_is_read_by_loop(websocket))
        fws_websocket_adopt(websocket);
    if (websocket->state == FWS_STATE_OPEN) {
        fws_websocket_update_watch(websocket);
        fws_websocket_schedule(websocket);
    }
}

fws_websocket *fws_engine_attach(fws_engine *engine, int fd, const fws_attachment *attachment)
{
    fws_websocket *websocket = fws_websocket_new(&engine->work, fd, attachment->role);
    if (websocket == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    int error = 0;
    fws_websocket_lock(websocket); /* a thread that finds it waits until it is attached */
    if (prepare(websocket, attachment) && enlist(engine, websocket)) {
        fws_websocket_keep(websocket); /* the engine's reference; it cannot be dropped before this
                                          lock is released */
        activate(engine, websocket);
    } else {
        error = errno;
    }
    fws_websocket_unlock(websocket);
    if (error == 0)
        return websocket;
    fws_websocket_drop(websocket);
    errno = error;
    return NULL;
}

/* ---- all of them ---- */

/* The attached websockets, each with a reference duration; NULL when there are none, or no memory.
 */
static fws_websocket **snapshot(fws_engine *engine, size_t *count)
{
    pthread_mutex_lock(&engine->work.lock);
    fws_websocket **list =
        engine->work.count > 0 ? malloc(engine->work.count * sizeof(fws_websocket *)) : NULL;
    *count = 0;
    for (fws_work_entry *e = engine->work.all; list && e; e = e->next)
        list[(*count)++] = fws_websocket_keep(FWS_WEBSOCKET_OF(e, entry));
    pthread_mutex_unlock(&engine->work.lock);
    return list;
}

size_t fws_engine_close_all(fws_engine *engine, uint16_t code, const char *reason, size_t size)
{
    size_t count, closed = 0;
    fws_websocket **list = snapshot(engine, &count);
    for (size_t i = 0; i < count; i++) {
        if (fws_websocket_close(list[i], code, reason, size) == FWS_OK)
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
    pthread_mutex_lock(&engine->work.lock);
    while (engine->work.count > 0 && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&engine->work.empty, &engine->work.lock, &until);
    bool empty = engine->work.count == 0;
    pthread_mutex_unlock(&engine->work.lock);
    return empty;
}

size_t fws_engine_count(fws_engine *engine)
{
    pthread_mutex_lock(&engine->work.lock);
    size_t count = engine->work.count;
    pthread_mutex_unlock(&engine->work.lock);
    return count;
}

/* ---- what it has counted ---- */

const fws_counters *fws_engine_counters(const fws_engine *engine)
{
    return &engine->work.counters;
}

fws_tally *fws_engine_new_tally(fws_engine *engine)
{
    return fws_tally_new(&engine->work.tally);
}

void fws_engine_add_tallies(const fws_engine *engine, fws_tally *sum)
{
    for (const fws_tally *tally = &engine->work.tally; tally; tally = atomic_load(&tally->next))
        fws_tally_add_to(tally, sum);
}

const fws_histogram *fws_engine_turn_time(const fws_engine *engine)
{
    return &engine->turn_time;
}

void fws_engine_note_callbacks(fws_websocket *websocket, fws_ns duration, uint32_t count)
{
    if (count > 0) /* each counts as the average of its run */
        fws_histogram_add(&websocket->tally->callback_time, (uint64_t)duration / count, count);
}

/* ---- channels ---- */

fws_table_status fws_engine_subscribe(fws_engine *engine, fws_websocket *websocket,
                                      const fws_channel_name *names, size_t count)
{
    fws_subscriber *subscriber;
    if (websocket->work != &engine->work)
        return FWS_TABLE_ENDED;
    fws_table_status status = fws_websocket_subscriber(websocket, &engine->table, &subscriber);
    return status == FWS_TABLE_OK ? fws_table_subscribe(subscriber, names, count) : status;
}

bool fws_engine_unsubscribe(fws_engine *engine, fws_websocket *websocket,
                            const fws_channel_name *names, size_t count)
{
    return websocket->work != &engine->work || fws_websocket_unsubscribe(websocket, names, count);
}

/* The websocket's subscriber, if it is one of this engine's; else NULL. */
static fws_subscriber *subscriber_of(fws_engine *engine, fws_websocket *websocket)
{
    return websocket->work == &engine->work ? fws_websocket_find_subscriber(websocket) : NULL;
}

size_t fws_engine_count_channels(fws_engine *engine, fws_websocket *websocket)
{
    fws_subscriber *subscriber = subscriber_of(engine, websocket);
    return subscriber ? fws_table_count(subscriber) : 0;
}

void fws_engine_visit_channels(fws_engine *engine, fws_websocket *websocket,
                               void (*visit)(void *context, const char *name, size_t size),
                               void *context)
{
    fws_subscriber *subscriber = subscriber_of(engine, websocket);
    if (subscriber)
        fws_table_visit(subscriber, visit, context);
}

long fws_engine_publish(fws_engine *engine, fws_opcode opcode, const void *data, size_t length,
                        const fws_channel_name *names, size_t count, fws_websocket *const *excluded,
                        size_t excluded_count)
{
    return fws_publish(&engine->work, &engine->table, opcode, data, length, names, count, excluded,
                       excluded_count);
}

bool fws_engine_is_behind(const fws_engine *engine)
{
    return atomic_load_explicit(&engine->table.backlog.is_over, memory_order_relaxed);
}

void fws_engine_catch_up(fws_engine *engine)
{
    fws_publish_relieve(&engine->work, &engine->table);
}
