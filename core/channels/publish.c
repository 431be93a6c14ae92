#include "publish.h"

#include "../websocket/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- publishing ---- */

/* The subscribers of the excluded websockets, each of which gets one, so that it stays excluded if
 * another thread subscribes it at this moment. False when there is no memory. */
static bool find_excluded(fws_work *work, fws_table *table, fws_websocket *const *excluded,
                          size_t excluded_count, fws_subscriber ***found, size_t *found_count)
{
    *found = NULL;
    *found_count = 0;
    if (excluded_count == 0)
        return true;
    *found = malloc(excluded_count * sizeof **found);
    bool done = *found != NULL;
    for (size_t i = 0; i < excluded_count && done; i++) {
        fws_subscriber *subscriber = NULL;
        if (excluded[i]->work == work)
            done = fws_websocket_subscriber(excluded[i], table, &subscriber) != FWS_TABLE_NO_MEMORY;
        if (subscriber)
            (*found)[(*found_count)++] = subscriber;
    }
    if (!done)
        free(*found);
    return done;
}

/* FWS_JOIN_DONE: it is queued for *reached subscribers. */
static fws_join_status send_to_members(fws_work *work, fws_table *table, fws_dispatch *dispatch,
                                       fws_opcode opcode, const void *data, size_t length,
                                       size_t *reached)
{
    uint16_t windows = fws_dispatch_windows(table, dispatch);
    if (windows == 0)
        return FWS_JOIN_NOBODY;
    if (!fws_publication_init(&dispatch->publication, &work->deflate,
                              work->config.compression_threshold, opcode, data, length))
        return FWS_JOIN_NO_MEMORY;
    fws_join_status status;
    do {
        fws_publication_compress(&dispatch->publication, windows);
        status = fws_backlog_join(table, dispatch, reached);
        windows = status == FWS_JOIN_FRAMES ? fws_dispatch_windows(table, dispatch) : 0;
    } while (status == FWS_JOIN_FRAMES);
    return status;
}

long fws_publish(fws_work *work, fws_table *table, fws_opcode opcode, const void *data,
                 size_t length, const fws_channel_name *names, size_t count,
                 fws_websocket *const *excluded, size_t excluded_count)
{
    fws_subscriber **found;
    size_t found_count, reached = 0;
    if (!find_excluded(work, table, excluded, excluded_count, &found, &found_count))
        return -1;
    fws_dispatch *dispatch = fws_dispatch_new(table, names, count, found, found_count);
    if (dispatch == NULL)
        return -1;
    fws_join_status status = send_to_members(work, table, dispatch, opcode, data, length, &reached);
    if (status == FWS_JOIN_DONE)
        fws_work_call_leader(work);
    else
        fws_dispatch_free(table, dispatch);
    return status == FWS_JOIN_NO_MEMORY ? -1 : (long)reached;
}

/* ---- delivering ---- */

static void keep(void *owner)
{
    fws_websocket_keep(owner);
}

/* A piece; false when there is nothing more. Expects `delivering` to be held. */
static bool deliver_some(fws_table *table)
{
    fws_target targets[FWS_DELIVERED_TOGETHER];
    bool more;
    size_t count = fws_backlog_collect(table, targets, FWS_DELIVERED_TOGETHER, keep, &more);
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count)
            fws_websocket_fetch(targets[i + 1].owner);
        fws_websocket_deliver(targets[i].owner);
        fws_websocket_drop(targets[i].owner);
    }
    return more;
}

static bool has_backlog(const fws_table *table)
{
    return atomic_load_explicit(&table->backlog.newest, memory_order_relaxed) != 0;
}

void fws_publish_deliver(fws_table *table, fws_ns time)
{
    if (!has_backlog(table) || pthread_mutex_trylock(&table->backlog.delivering) != 0)
        return;
    fws_ns until = fws_clock_now() + time;
    while (deliver_some(table) && fws_clock_now() < until)
        ;
    pthread_mutex_unlock(&table->backlog.delivering);
}

/* A piece, by another thread than the leader, which need not try meanwhile. */
static void help(fws_work *work, fws_table *table)
{
    fws_backlog *backlog = &table->backlog;
    pthread_mutex_lock(&backlog->delivering);
    atomic_store(&backlog->is_busy, true);
    deliver_some(table);
    atomic_store(&backlog->is_busy, false);
    pthread_mutex_unlock(&backlog->delivering);
    if (has_backlog(table))
        fws_work_call_leader(work);
}

void fws_publish_relieve(fws_work *work, fws_table *table)
{
    while (atomic_load_explicit(&table->backlog.is_over, memory_order_relaxed))
        help(work, table);
}

void fws_publish_deliver_all(fws_work *work, fws_table *table)
{
    uint64_t last = atomic_load_explicit(&table->backlog.newest, memory_order_relaxed);
    while (fws_backlog_has_until(table, last))
        help(work, table);
}

bool fws_publish_has_work(const fws_table *table)
{
    return (has_backlog(table) && !atomic_load(&table->backlog.is_busy)) ||
           atomic_load_explicit(&table->is_untidy, memory_order_relaxed);
}
