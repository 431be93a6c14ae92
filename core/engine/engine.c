#include "internal.h"
#include "turn.h"

#include "../io/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STOP_TIMEOUT FWS_NS_PER_S /* for callbacks to end */

fws_engine *fws_engine_new(const fws_engine_config *config)
{
    fws_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return NULL;
    atomic_init(&engine->references, 1);
    fws_work_init(&engine->work, config);
    fws_table_init(&engine->table);
    fws_crew_init(&engine->crew, config->callback_threads);
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
    fws_table_clear(&engine->table);
    fws_work_destroy(&engine->work);
    free(engine);
}

void fws_engine_free(fws_engine *engine)
{
    fws_engine_stop(engine);
    fws_engine_drop(engine);
}

/* ---- starting and stopping ---- */

/* With the lock of `work`. */
static bool start(fws_engine *engine)
{
    if (engine->running)
        return true;
    engine->work.loop = fws_loop_new();
    if (engine->work.loop == NULL)
        return false;
    engine->work.stopping = false;
    engine->work.sleeping = false;
    if (!fws_crew_start(engine)) {
        int error = errno;
        fws_loop_free(engine->work.loop);
        engine->work.loop = NULL;
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
        pthread_mutex_lock(&engine->work.lock);
        websocket = engine->work.all ? FWS_WEBSOCKET_OF(engine->work.all, entry) : NULL;
        if (websocket)
            fws_websocket_keep(websocket);
        pthread_mutex_unlock(&engine->work.lock);
        if (websocket == NULL)
            break;
        fws_websocket_lock(websocket);
        fws_websocket_finish(websocket);
        fws_websocket_unlock(websocket);
        fws_websocket_drop(websocket);
    }
    pthread_mutex_lock(&engine->work.lock);
    bool running = engine->running;
    engine->work.stopping = true;
    engine->running = false;
    if (running) {
        fws_loop_wake(engine->work.loop);
        fws_crew_stop(engine, STOP_TIMEOUT);
        fws_loop_free(engine->work.loop);
        engine->work.loop = NULL;
    }
    pthread_mutex_unlock(&engine->work.lock);
    fws_turn_finish(engine); /* what was queued after the leader looked for the last time */
}

/* ---- attaching ---- */

/* With the lock of `work`. */
static bool enlist(fws_engine *engine, fws_websocket *websocket)
{
    if (!start(engine))
        return false;
    errno = ENOMEM;
    return fws_work_enlist(&engine->work, &websocket->entry);
}

static bool prepare(fws_websocket *websocket, const fws_attachment *attachment)
{
    /* Now, while the handshake can be refused, and not when the handler has to wait. */
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
    return true;
}

fws_websocket *fws_engine_attach(fws_engine *engine, int fd, const fws_attachment *attachment)
{
    fws_websocket *websocket =
        fws_websocket_new(&engine->work, &engine->table, fd, attachment->role);
    if (websocket == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    bool done = prepare(websocket, attachment);
    if (done) {
        pthread_mutex_lock(&engine->work.lock);
        done = enlist(engine, websocket);
        pthread_mutex_unlock(&engine->work.lock);
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
    websocket->evented = attachment->owner != NULL;
    websocket->owner = attachment->owner;
    websocket->callbacks_state = FWS_CALLBACKS_RUNNING; /* until whoever attaches it has done */
    fws_transport_prepare(fd);
    fws_ns now = fws_clock_now();
    fws_websocket_lock(websocket);
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
    fws_websocket_unlock(websocket);
    return websocket;
}

/* ---- all of them ---- */

/* The attached websockets, each with a reference taken; NULL when there are none, or no memory. */
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

const fws_histogram *fws_engine_callback_time(const fws_engine *engine)
{
    return &engine->callback_time;
}

const fws_histogram *fws_engine_turn_time(const fws_engine *engine)
{
    return &engine->turn_time;
}

void fws_engine_note_callbacks(fws_engine *engine, fws_ns taken, uint32_t count)
{
    if (count > 0) /* each as long as the average of its turn */
        fws_histogram_add(&engine->callback_time, (uint64_t)taken / count, count);
}

/* ---- channels ---- */

fws_table_status fws_engine_subscribe(fws_engine *engine, fws_websocket *websocket,
                                      const fws_channel_name *names, size_t count)
{
    return fws_table_subscribe(&engine->table, websocket, names, count);
}

void fws_engine_unsubscribe(fws_engine *engine, fws_websocket *websocket,
                            const fws_channel_name *names, size_t count)
{
    fws_table_unsubscribe(&engine->table, websocket, names, count);
}

void fws_engine_visit_channels(fws_engine *engine, fws_websocket *websocket,
                               void (*visit)(void *context, const char *name, size_t size),
                               void *context)
{
    fws_table_visit(&engine->table, websocket, visit, context);
}

long fws_engine_publish(fws_engine *engine, fws_opcode opcode, const void *data, size_t length,
                        const fws_channel_name *names, size_t count, fws_websocket *const *excluded,
                        size_t excluded_count)
{
    fws_publication publication;
    fws_publication_init(&publication, &engine->work.deflate,
                         engine->work.config.compression_threshold, opcode, data, length);
    long delivered =
        fws_table_publish(&engine->table, &publication, names, count, excluded, excluded_count);
    fws_publication_clear(&publication);
    return delivered;
}
