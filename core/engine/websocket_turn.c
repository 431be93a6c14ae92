/* The callbacks of an event-driven websocket: when they are due, and what there is for them. They
 * run one after the other, by whichever thread: `turn` says where they are. */
#include "websocket_internal.h"

static bool has_something(const fws_websocket *websocket)
{
    return websocket->inbox.count > 0 || websocket->rest != NULL ||
           (websocket->state != FWS_STATE_OPEN && !websocket->told);
}

void fws_websocket_make_due(fws_websocket *websocket)
{
    if (!websocket->evented || !has_something(websocket))
        return;
    if (websocket->turn == FWS_TURN_IDLE) {
        websocket->turn = FWS_TURN_DUE;
        fws_crew_queue(websocket->engine, websocket);
    } else if (websocket->turn == FWS_TURN_RUNNING) {
        websocket->turn = FWS_TURN_AGAIN;
    }
}

fws_status fws_websocket_take(fws_websocket *websocket, fws_inbox *taken)
{
    fws_status status = FWS_WOULD_BLOCK;
    fws_websocket_lock(websocket);
    websocket->turn = FWS_TURN_RUNNING; /* what came meanwhile is seen here */
    if (websocket->inbox.count == 0 && websocket->rest != NULL &&
        websocket->state == FWS_STATE_OPEN)
        fws_websocket_decode_rest(websocket);
    if (atomic_load_explicit(&websocket->hushed, memory_order_relaxed))
        fws_inbox_clear(&websocket->inbox);
    if (websocket->inbox.count > 0) {
        *taken = websocket->inbox;
        fws_inbox_init(&websocket->inbox);
        status = FWS_OK;
    } else if (websocket->state != FWS_STATE_OPEN && !websocket->told) {
        websocket->told = true;
        status = FWS_CLOSED;
    }
    /* There is room again. */
    if (websocket->state == FWS_STATE_OPEN && !websocket->adopted)
        fws_websocket_adopt(websocket);
    else if (websocket->unread && websocket->state != FWS_STATE_CLOSED)
        fws_websocket_watch_anew(websocket);
    fws_websocket_unlock(websocket);
    return status;
}

bool fws_websocket_is_hushed(const fws_websocket *websocket)
{
    return atomic_load_explicit(&websocket->hushed, memory_order_relaxed);
}

void fws_websocket_end_turn(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    if (websocket->in_turn) { /* it is in no other list for that */
        websocket->in_turn = websocket->flush_queued = false;
        if (websocket->state != FWS_STATE_CLOSED)
            fws_websocket_write(websocket);
    }
    if (websocket->evented) {
        websocket->turn = FWS_TURN_IDLE;
        fws_websocket_make_due(websocket);
    }
    fws_websocket_unlock(websocket);
}
