#include "internal.h"

#include "../io/transport.h"

#include <errno.h>

void fws_blocking_receive_note_wait(fws_blocking_receive *receive, fws_ns begun)
{
    if (fws_clock_now() - begun >= FWS_SHORT_WAIT)
        receive->short_waits = 0;
    else if (receive->short_waits < FWS_SHORT_WAITS)
        receive->short_waits++;
}

bool fws_blocking_receive_should_block(fws_websocket *websocket, fws_ns deadline)
{
    fws_blocking_receive *receive = &websocket->blocking_receive;
    if (!FWS_USE_RECV_WAIT || receive->short_waits < FWS_SHORT_WAITS || deadline != FWS_FOREVER)
        return false;
    if (!receive->prepared)
        receive->prepared =
            fws_transport_allow_blocking(websocket->fd, FWS_SHORT_WAIT / FWS_NS_PER_MS);
    return receive->prepared;
}

void fws_blocking_receive_begin(fws_websocket *websocket)
{
    websocket->pollers++;
    websocket->blocking_receive.active = true;
}

void fws_blocking_receive_end(fws_websocket *websocket)
{
    websocket->pollers--;
    websocket->blocking_receive.active = false;
    fws_websocket_release_fd(websocket);
}

void fws_blocking_receive_catch_up(fws_websocket *websocket)
{
    if (websocket->state == FWS_STATE_CLOSED)
        return;
    if (websocket->blocking_receive.failed) {
        websocket->blocking_receive.failed = false; /* it is no longer left to this thread */
        fws_websocket_break_output(websocket);
    } else if (websocket->state != FWS_STATE_OPEN) {
        fws_websocket_update_watch(websocket);
    }
}

bool fws_blocking_receive_once(fws_websocket *websocket, uint32_t limit)
{
    fws_blocking_receive *receive = &websocket->blocking_receive;
    uint8_t buffer[FWS_STACK_BUFFER];
    size_t received;
    int fd = websocket->fd;
    fws_blocking_receive_begin(websocket);
    fws_websocket_unlock(websocket);
    fws_transport_status status =
        fws_transport_receive_blocking(fd, buffer, sizeof buffer, &received);
    int error = errno;
    fws_websocket_lock(websocket);
    fws_blocking_receive_end(websocket);
    if (status == FWS_TRANSPORT_AGAIN) {
        receive->short_waits = 0;
    } else if (websocket->state != FWS_STATE_CLOSED && status == FWS_TRANSPORT_OK) {
        websocket->more_expected = received == sizeof buffer;
        fws_websocket_decode_received(websocket, buffer, received, limit, false);
    } else if (websocket->state != FWS_STATE_CLOSED && status == FWS_TRANSPORT_EOF) {
        fws_websocket_accept_eof(websocket);
    } else if (websocket->state != FWS_STATE_CLOSED) {
        fws_websocket_finish(websocket);
    }
    fws_blocking_receive_catch_up(websocket);
    /* Other threads may wait for the messages that were just read, or until they may read
     * themselves. */
    fws_websocket_notify(websocket);
    return status != FWS_TRANSPORT_AGAIN || error != EINTR;
}
