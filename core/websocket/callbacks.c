/* The callbacks of an event-driven websocket: when they are to be run, and what there is for
 * them. They run one after the other, in any thread of the engine; `callbacks_state` says where
 * they are. */
#include "internal.h"

static bool has_something(const fws_websocket *websocket)
{
    if (websocket->state != FWS_STATE_OPEN && !websocket->close_delivered)
        return true;
    bool undecoded = websocket->undecoded != NULL && !fws_websocket_is_inflating(websocket);
    return (websocket->inbox.count > 0 || undecoded) && !fws_websocket_is_held_back(websocket);
}

void fws_websocket_queue_callbacks(fws_websocket *websocket)
{
    if (!websocket->evented || !has_something(websocket))
        return;
    if (websocket->callbacks_state == FWS_CALLBACKS_IDLE) {
        websocket->callbacks_state = FWS_CALLBACKS_QUEUED;
        fws_websocket_keep(websocket);
        if (!fws_work_queue_callbacks(websocket->work, &websocket->callbacks))
            fws_websocket_drop(websocket); /* not the last: the caller has one */
    } else if (websocket->callbacks_state == FWS_CALLBACKS_RUNNING) {
        websocket->callbacks_state = FWS_CALLBACKS_AGAIN;
    }
}

bool fws_websocket_is_held_back(const fws_websocket *websocket)
{
    return atomic_load_explicit(&websocket->held_back, memory_order_relaxed);
}

void fws_websocket_return_messages(fws_websocket *websocket, fws_inbox *rest)
{
    fws_websocket_lock(websocket);
    fws_inbox_prepend(&websocket->inbox, rest);
    if (fws_websocket_is_closed_here(websocket))
        fws_inbox_clear(&websocket->inbox);
    fws_websocket_unlock(websocket);
}

fws_status fws_websocket_collect(fws_websocket *websocket, fws_inbox *messages)
{
    fws_status status = FWS_WOULD_BLOCK;
    fws_websocket_lock(websocket);
    websocket->callbacks_state =
        FWS_CALLBACKS_RUNNING; /* what has arrived until now is taken below */
    if (fws_websocket_is_held_back(websocket)) {
        fws_websocket_unlock(websocket);
        return FWS_WOULD_BLOCK; /* fws_websocket_flush queues them again */
    }
    if (websocket->inbox.count == 0 && websocket->undecoded != NULL &&
        websocket->state == FWS_STATE_OPEN) {
        if (!fws_websocket_is_inflating(websocket))
            fws_websocket_decode_undecoded(websocket);
    }
    if (fws_websocket_is_closed_here(websocket))
        fws_inbox_clear(&websocket->inbox);
    if (websocket->inbox.count > 0) {
        fws_inbox_take(&websocket->inbox, messages);
        status = FWS_OK;
    } else if (websocket->state != FWS_STATE_OPEN && !websocket->close_delivered) {
        websocket->close_delivered = true;
        status = FWS_CLOSED;
    }
    /* The inbox has room again, so the loop thread reads on. */
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_is_inflating(websocket))
        fws_websocket_queue_unfinished(websocket);
    if (websocket->state == FWS_STATE_OPEN && !websocket->adopted)
        fws_websocket_adopt(websocket);
    else if (websocket->unread && websocket->state != FWS_STATE_CLOSED)
        fws_websocket_watch_anew(websocket);
    fws_websocket_unlock(websocket);
    return status;
}

bool fws_websocket_is_closed_here(const fws_websocket *websocket)
{
    return atomic_load_explicit(&websocket->closed_here, memory_order_relaxed);
}

/* Writes what was to be written after the callbacks. One that is in a list of `work` instead stays
 * there, and stays marked: it would be in the list twice otherwise. */
static void write_after_callbacks(fws_websocket *websocket)
{
    if (!websocket->flush_after_callbacks)
        return;
    websocket->flush_after_callbacks = websocket->flush_queued = false;
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_write(websocket);
}

void fws_websocket_on_overtaken(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    write_after_callbacks(websocket);
    fws_websocket_unlock(websocket);
}

void fws_websocket_release_callbacks(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    write_after_callbacks(websocket);
    if (websocket->evented) {
        websocket->callbacks_state = FWS_CALLBACKS_IDLE;
        fws_websocket_queue_callbacks(websocket);
    }
    fws_websocket_unlock(websocket);
}

void fws_websocket_note_callback(fws_websocket *websocket, fws_ns duration)
{
    fws_work *work = websocket->work;
    pthread_mutex_lock(&work->lock); /* one thread at a time adds to a histogram */
    fws_histogram_add(&websocket->tally->callback_time, (uint64_t)duration, 1);
    pthread_mutex_unlock(&work->lock);
}
