/* Decompresses long messages in pieces, without the lock; compressing.c does the same for
 * compression. A handler's thread that reads continues with the next piece at once. Where the
 * loop thread reads, the leader does one piece in each turn of the loop, so that no other
 * websocket waits for longer than one piece takes. */
#include "internal.h"

#include <stdlib.h>

void fws_websocket_queue_unfinished(fws_websocket *websocket)
{
    if (websocket->unfinished_queued)
        return;
    websocket->unfinished_queued = true;
    fws_work_queue_unfinished(websocket->work, &fws_websocket_keep(websocket)->unfinished);
}

/* `rest`: the buffer of the received bytes, of which those from `start` to `end` are not
 * decompressed. */
static void end_inflating(fws_websocket *websocket, uint8_t *rest, size_t start, size_t end)
{
    websocket->inflating = false;
    fws_blocking_receive_end(websocket);
    if (websocket->state == FWS_STATE_OPEN || websocket->state == FWS_STATE_CLOSING) {
        websocket->undecoded = rest;
        websocket->undecoded_start = start;
        websocket->undecoded_end = end;
    } else {
        free(rest);
    }
    if (websocket->state == FWS_STATE_CLOSED)
        fws_connection_abandon_receiving(&websocket->protocol);
    fws_blocking_receive_catch_up(websocket);
    if (!fws_websocket_is_read_by_loop(websocket))
        fws_websocket_notify(websocket); /* another thread may read now */
}

void fws_websocket_inflate_piece(fws_websocket *websocket)
{
    uint8_t *rest = websocket->undecoded;
    size_t end = websocket->undecoded_end;
    uint8_t *cursor = rest + websocket->undecoded_start;
    websocket->undecoded = NULL;
    websocket->inflating = true;
    fws_blocking_receive_begin(websocket);
    fws_websocket_unlock(websocket);
    fws_connection_inflate(&websocket->protocol, &cursor, rest + end);
    fws_websocket_lock(websocket);
    end_inflating(websocket, rest, (size_t)(cursor - rest), end);
}

/* Is it the leader's part to decompress? Where a handler's thread reads, that thread does. */
static bool leader_inflates(const fws_websocket *websocket)
{
    return websocket->state == FWS_STATE_OPEN && fws_websocket_is_inflating(websocket) &&
           (websocket->adopted || fws_websocket_is_read_by_loop(websocket)) &&
           !fws_websocket_inbox_is_full(websocket, websocket->work->config.receive_queue);
}

void fws_websocket_on_unfinished(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    websocket->unfinished_queued = false;
    if (websocket->compressing != NULL)
        fws_websocket_compress_piece(websocket);
    if (leader_inflates(websocket)) {
        fws_websocket_inflate_piece(websocket);
        if (websocket->state != FWS_STATE_CLOSED)
            fws_websocket_adopt(websocket);
    }
    if (fws_websocket_is_compressing_unfinished(websocket))
        fws_websocket_queue_unfinished(websocket);
    fws_websocket_unlock(websocket);
}
