/* Pings of the application, and the pongs that answer them. The engine's own are in
 * deadlines.c. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Allocated, and not on the stack of the waiting greenlet: its stack is moved while it sleeps. */
struct fws_ping {
    fws_ping *next;
    fws_ns sent_at;
    fws_ns round_trip;
    bool done;
    size_t length;
    uint8_t data[FWS_FRAME_CONTROL_MAX];
};

/* A pong answers the ping with the same payload and all that were sent before that one. */
void fws_websocket_accept_pong(fws_websocket *websocket, const void *data, size_t length)
{
    fws_ping *answered = websocket->pings;
    while (answered && (answered->length != length || memcmp(answered->data, data, length) != 0))
        answered = answered->next;
    if (answered == NULL)
        return; /* unsolicited, or the answer to the engine's own ping, for which
                   `received_since_ping` is enough */
    fws_ns now = fws_clock_now();
    fws_ping *ping = websocket->pings;
    websocket->pings = answered->next;
    for (;; ping = ping->next) {
        ping->done = true;
        ping->round_trip = now - ping->sent_at;
        if (ping == answered)
            break;
    }
    fws_websocket_notify(websocket);
}

fws_status fws_websocket_ping_send(fws_websocket *websocket, const void *data, size_t length,
                                   fws_ping **begun)
{
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    if (length > FWS_FRAME_CONTROL_MAX)
        return FWS_TOO_LONG;
    fws_ping *ping = calloc(1, sizeof *ping);
    if (ping == NULL)
        return FWS_NO_MEMORY;
    ping->length = length;
    if (length > 0)
        memcpy(ping->data, data,
               length); /* copied once: the sent bytes are those that the pong is compared with */
    fws_websocket_lock(websocket);
    fws_status status = FWS_OK;
    if (!fws_websocket_is_writable(websocket)) {
        status = FWS_CLOSED;
    } else {
        size_t size = fws_connection_encode_control(&websocket->protocol, frame, FWS_OPCODE_PING,
                                                    ping->data, ping->length);
        if (!fws_websocket_push(websocket, frame, size))
            status = FWS_NO_MEMORY;
    }
    if (status == FWS_OK) {
        fws_ping **last = &websocket->pings;
        while (*last)
            last = &(*last)->next;
        *last = ping;
        ping->sent_at = fws_clock_now();
        *begun = ping;
        fws_websocket_write(websocket);
    }
    fws_websocket_unlock(websocket);
    if (status != FWS_OK)
        free(ping);
    return status;
}

fws_status fws_websocket_ping_wait(fws_websocket *websocket, fws_ping *ping, fws_ns deadline,
                                   fws_ns *round_trip)
{
    fws_status status = FWS_OK;
    fws_websocket_lock(websocket);
    while (!ping->done && websocket->state == FWS_STATE_OPEN && status == FWS_OK)
        status = fws_websocket_wait_once(websocket, deadline);
    if (ping->done)
        status = FWS_OK;
    else if (status == FWS_OK)
        status = FWS_CLOSED;
    *round_trip = ping->round_trip;
    fws_websocket_stop_reading(websocket);
    fws_websocket_unlock(websocket);
    return status;
}

fws_status fws_websocket_ping_poll(fws_websocket *websocket, fws_ping *ping, fws_ns *round_trip)
{
    fws_status status = FWS_OK;
    fws_websocket_lock(websocket);
    *round_trip = ping->round_trip;
    if (!ping->done) {
        status = websocket->state == FWS_STATE_OPEN ? FWS_WOULD_BLOCK : FWS_CLOSED;
        if (status == FWS_WOULD_BLOCK)
            websocket->notify_on_change = true;
    }
    fws_websocket_unlock(websocket);
    return status;
}

void fws_websocket_ping_free(fws_websocket *websocket, fws_ping *ping)
{
    fws_websocket_lock(websocket);
    for (fws_ping **link = &websocket->pings; *link; link = &(*link)->next) {
        if (*link == ping) {
            *link = ping->next;
            break;
        }
    }
    fws_websocket_unlock(websocket);
    free(ping);
}
