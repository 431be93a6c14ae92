/* The subscriptions of a websocket, and how published frames get into its outbox. */
#include "internal.h"

fws_table_status fws_websocket_subscriber(fws_websocket *websocket, fws_table *table,
                                          fws_subscriber **subscriber)
{
    fws_table_status status = FWS_TABLE_OK;
    fws_websocket_lock(websocket);
    if (websocket->subscriber == NULL && websocket->state != FWS_STATE_OPEN)
        status = FWS_TABLE_ENDED;
    else if (websocket->subscriber == NULL)
        websocket->subscriber =
            fws_subscriber_new(table, websocket, fws_websocket_window_bits(websocket));
    if (websocket->subscriber == NULL && status == FWS_TABLE_OK)
        status = FWS_TABLE_NO_MEMORY;
    *subscriber = websocket->subscriber;
    fws_websocket_unlock(websocket);
    return status;
}

fws_subscriber *fws_websocket_find_subscriber(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    fws_subscriber *subscriber = websocket->subscriber;
    fws_websocket_unlock(websocket);
    return subscriber;
}

/* Many published frames at once do not make a slow consumer: the outbox is written before it
 * would be over its limit, if the peer takes bytes. */
static void make_room(fws_websocket *websocket, size_t size)
{
    size_t limit = websocket->work->config.send_buffer;
    if (websocket->state == FWS_STATE_OPEN && websocket->outbox.published_bytes + size > limit &&
        !(websocket->watched & FWS_WRITABLE))
        fws_websocket_write(websocket);
}

/* Queues what is published for this websocket, up to the dispatch with the number `until`, or some
 * of it if that is 0; true when a frame was queued. */
static bool queue_published(fws_websocket *websocket, uint64_t until)
{
    fws_buffer *frames[FWS_PUBLISHED_AHEAD];
    size_t count, queued = 0;
    do {
        count = fws_backlog_take(websocket->subscriber, until, frames);
        for (size_t i = 0; i < count; i++) {
            make_room(websocket, frames[i]->size);
            queued += fws_websocket_enqueue(websocket, frames[i]);
        }
    } while (until != 0 && count == FWS_PUBLISHED_AHEAD);
    return queued > 0;
}

void fws_websocket_settle(fws_websocket *websocket)
{
    /* What is published from now on is not older than the call that this is for. If it were waited
     * for, another thread that publishes all the time would keep this one here, with the lock. */
    uint64_t until = fws_backlog_newest(websocket->subscriber);
    if (until == 0 || !queue_published(websocket, until) || websocket->state != FWS_STATE_OPEN)
        return;
    fws_websocket_flush_later(websocket);
    if (!websocket->flush_queued)
        fws_websocket_report_counts(websocket);
}

void fws_websocket_deliver(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    bool queued = websocket->state == FWS_STATE_OPEN && queue_published(websocket, 0);
    if (queued && websocket->state == FWS_STATE_OPEN) {
        /* If the socket is watched for writing, the loop writes when the peer has taken
         * something. */
        if (websocket->watched & FWS_WRITABLE)
            fws_websocket_report_counts(websocket);
        else
            fws_websocket_write(websocket);
    }
    fws_websocket_unlock(websocket);
}

/* Queues what is published for this websocket. Another thread that is doing so holds the lock,
 * and has finished when this returns. */
static void settle_now(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_has_published(websocket))
        fws_websocket_settle(websocket);
    fws_websocket_unlock(websocket);
}

bool fws_websocket_unsubscribe(fws_websocket *websocket, const fws_channel_name *names,
                               size_t count)
{
    fws_subscriber *subscriber = fws_websocket_find_subscriber(websocket);
    if (subscriber == NULL)
        return true;
    settle_now(websocket);
    bool done = fws_table_unsubscribe(subscriber, names, count);
    settle_now(websocket); /* another thread may have taken frames from the backlog before, and
                              queues them before this returns */
    return done;
}
