#include "internal.h"

#include "../io/transport.h"
#include "../memory/prefetch.h"

#include <stdlib.h>
#include <string.h>

/* An event-driven websocket is called for FWS_BATCH messages in one turn, so that with a long queue
 * it does not starve the others: what follows is decoded in its next turn. A turn that takes long
 * all the same is overtaken (engine/watch.h). */
static uint32_t whole_queue(const fws_websocket *websocket)
{
    uint32_t limit = websocket->work->config.receive_queue;
    return websocket->evented && limit > FWS_BATCH ? FWS_BATCH : limit;
}

bool fws_websocket_inbox_is_full(const fws_websocket *websocket, uint32_t limit)
{
    uint64_t most = websocket->work->config.limits.max_message_size;
    if (fws_websocket_is_held_back(websocket))
        limit = ONE_MESSAGE; /* so that control frames are still read */
    return websocket->inbox.count >= limit || (most > 0 && websocket->inbox.bytes >= most);
}

/* ---- what arrives ---- */

/* Does the peer keep to the rate, with one message more? It may send the messages of one second
 * at once. */
static bool within_rate(fws_websocket *websocket)
{
    uint32_t rate = websocket->work->config.max_message_rate;
    if (rate == 0)
        return true;
    fws_ns now = fws_clock_now();
    if (websocket->rate_at < now)
        websocket->rate_at = now;
    websocket->rate_at += FWS_NS_PER_S / rate;
    return websocket->rate_at - now <= FWS_NS_PER_S;
}

/* `more`: how many bytes of further messages may follow at once. False when the connection failed.
 */
static bool accept_message(fws_websocket *websocket, const fws_event *event, size_t more)
{
    if (!within_rate(websocket)) {
        fws_websocket_fail(websocket, FWS_CLOSE_POLICY, "too many messages a second");
        return false;
    }
    bool pushed;
    if (event->assembled) {
        uint8_t *data = fws_connection_detach_message(&websocket->protocol);
        fws_message message = {.opcode = event->opcode, .length = event->length, .data = data};
        pushed =
            (data != NULL || event->length == 0) && fws_inbox_push(&websocket->inbox, &message);
        if (!pushed)
            free(data);
    } else {
        pushed =
            fws_inbox_push_copy(&websocket->inbox, event->opcode, event->data, event->length, more);
    }
    if (!pushed)
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
    return pushed;
}

/* Queues the pong; decode() writes it, together with other pongs. */
static void queue_pong(fws_websocket *websocket, const fws_event *event)
{
    fws_buffer *pong = fws_buffer_join(event->reply, event->reply_size, NULL, 0);
    if (pong != NULL)
        pong->pong = true;
    if (pong != NULL && websocket->outbox.pongs >= FWS_PONGS_KEPT &&
        fws_outbox_replace_pong(&websocket->outbox, pong))
        return;
    if (!fws_websocket_queue(websocket, pong))
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
}

static void send_pongs(fws_websocket *websocket)
{
    if (websocket->state == FWS_STATE_CLOSED || websocket->outbox.pongs == 0)
        return;
    fws_websocket_write(websocket);
}

/* `last`: no byte has come after the frame. */
static void accept_close(fws_websocket *websocket, const fws_event *event, bool last)
{
    /* A pong may still arrive, to a ping that was sent before the close frame arrived. A client
     * waits for the server to end the connection (RFC 6455 section 7.1.1). */
    websocket->nothing_more = last && websocket->protocol.role == FWS_ROLE_SERVER &&
                              websocket->pong_by == 0 && websocket->pings == NULL;
    websocket->closed_by_peer = websocket->close_code == 0;
    fws_websocket_note_close(websocket, event->code, event->data, event->length);
    if (event->reply_size > 0 && !fws_websocket_push(websocket, event->reply, event->reply_size)) {
        fws_websocket_finish(websocket);
        return;
    }
    fws_websocket_enter_ending(websocket);
}

static void accept_failure(fws_websocket *websocket, const fws_event *event)
{
    websocket->failed = true;
    fws_websocket_note_close(websocket, event->code, event->data, event->length);
    if (event->reply_size > 0) {
        fws_outbox_drop_unsent(&websocket->outbox);
        if (!fws_websocket_push(websocket, event->reply, event->reply_size)) {
            fws_websocket_finish(websocket);
            return;
        }
    }
    fws_websocket_enter_ending(websocket);
}

/* Decodes until the bytes are used up, the inbox holds `limit` messages, or a piece has been
 * decompressed; returns how many bytes are left. */
static size_t decode(fws_websocket *websocket, uint8_t *data, size_t size, uint32_t limit)
{
    uint8_t *cursor = data, *end = data + size;
    fws_event event;
    uint32_t messages = 0, pushed_before = websocket->inbox.pushed;
    bool more = true;
    websocket->decoding = true;
    fws_connection_allow_piece(&websocket->protocol);
    while (more && ((websocket->state == FWS_STATE_OPEN &&
                     !fws_websocket_inbox_is_full(websocket, limit)) ||
                    websocket->state == FWS_STATE_CLOSING)) {
        switch (fws_connection_receive(&websocket->protocol, &cursor, end, &event)) {
        case FWS_EVENT_NONE:
        case FWS_EVENT_MORE: /* see pieces.c */
            more = false;
            break;
        case FWS_EVENT_MESSAGE:
            messages +=
                accept_message(websocket, &event, limit > ONE_MESSAGE ? (size_t)(end - cursor) : 0);
            break;
        case FWS_EVENT_PING:
            queue_pong(websocket, &event);
            break;
        case FWS_EVENT_PONG:
            fws_websocket_accept_pong(websocket, event.data, event.length);
            break;
        case FWS_EVENT_CLOSE:
            accept_close(websocket, &event, cursor == end);
            break;
        case FWS_EVENT_FAILED:
            accept_failure(websocket, &event);
            break;
        }
    }
    if (messages > 0)
        fws_counter_add(&websocket->tally->messages_in, messages,
                        fws_work_is_leading(websocket->work));
    if (websocket->inbox.pushed < pushed_before)
        websocket->messages_in_high++;
    send_pongs(websocket);
    websocket->decoding = false;
    return websocket->state == FWS_STATE_OPEN ? (size_t)(end - cursor) : 0;
}

/* ---- reading ---- */

static void decode_kept(fws_websocket *websocket, uint32_t limit)
{
    if (websocket->undecoded == NULL)
        return;
    /* decode() may finish the websocket, which frees `undecoded`; so this function owns the
     * buffer meanwhile. */
    uint8_t *rest = websocket->undecoded;
    size_t end = websocket->undecoded_end;
    websocket->undecoded = NULL;
    size_t left = decode(websocket, rest + websocket->undecoded_start,
                         end - websocket->undecoded_start, limit);
    if (left == 0) {
        free(rest);
        websocket->undecoded_start = websocket->undecoded_end = 0;
    } else {
        websocket->undecoded = rest;
        websocket->undecoded_start = end - left;
    }
}

void fws_websocket_decode_undecoded(fws_websocket *websocket)
{
    decode_kept(websocket, whole_queue(websocket));
}

static void keep_undecoded(fws_websocket *websocket, const uint8_t *data, size_t size)
{
    websocket->undecoded = malloc(size);
    if (websocket->undecoded == NULL) {
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        return;
    }
    memcpy(websocket->undecoded, data, size);
    websocket->undecoded_start = 0;
    websocket->undecoded_end = size;
}

/* A message of FWS_PIECE comes with its header in one recv. */
#define LEADERS_BUFFER_SIZE (FWS_PIECE + FWS_FRAME_HEADER_MAX)

/* A buffer of *size bytes to receive into, or NULL when there is no memory. */
static uint8_t *borrow_buffer(fws_work *work, bool leading, size_t *size)
{
    *size = leading ? LEADERS_BUFFER_SIZE : FWS_PIECE;
    if (!leading)
        return fws_pool_borrow(&work->pool);
    if (work->leaders_buffer == NULL)
        work->leaders_buffer = malloc(LEADERS_BUFFER_SIZE);
    return work->leaders_buffer;
}

void fws_websocket_decode_received(fws_websocket *websocket, uint8_t *buffer, size_t received,
                                   uint32_t limit, bool leading)
{
    websocket->received_since_ping = true;
    fws_counter_add(&websocket->tally->bytes_in, received, leading);
    if (websocket->state == FWS_STATE_ENDING)
        return; /* both close frames were exchanged: only end-of-file matters */
    size_t left = decode(websocket, buffer, received, limit);
    if (left > 0)
        keep_undecoded(websocket, buffer + received - left, left);
}

fws_pump_result fws_websocket_pump(fws_websocket *websocket, uint32_t limit)
{
    if (websocket->state == FWS_STATE_CLOSED)
        return FWS_PUMP_ENDED;
    if (fws_blocking_receive_is_active(&websocket->blocking_receive))
        return FWS_PUMP_EMPTY;
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_inbox_is_full(websocket, limit))
        return FWS_PUMP_FULL;
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_is_inflating(websocket)) {
        fws_websocket_inflate_piece(websocket);
        if (websocket->state == FWS_STATE_CLOSED)
            return FWS_PUMP_ENDED;
        /* After a close meanwhile there is no more message, but perhaps the peer's close frame. */
        if (websocket->state == FWS_STATE_OPEN && fws_websocket_is_inflating(websocket))
            return FWS_PUMP_PROGRESS;
    }
    if (websocket->undecoded) {
        decode_kept(websocket, limit);
        return FWS_PUMP_PROGRESS;
    }
    bool leading = fws_work_is_leading(websocket->work);
    size_t size;
    uint8_t *buffer = borrow_buffer(websocket->work, leading, &size);
    if (buffer == NULL) {
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        return FWS_PUMP_PROGRESS;
    }
    size_t received;
    fws_pump_result result = FWS_PUMP_PROGRESS;
    switch (fws_transport_receive(websocket->fd, buffer, size, &received)) {
    case FWS_TRANSPORT_OK:
        websocket->more_expected = received == size;
        fws_websocket_decode_received(websocket, buffer, received, limit, leading);
        break;
    case FWS_TRANSPORT_AGAIN:
        websocket->more_expected = false;
        result = FWS_PUMP_EMPTY;
        break;
    case FWS_TRANSPORT_EOF:
        fws_websocket_accept_eof(websocket);
        result = FWS_PUMP_ENDED;
        break;
    case FWS_TRANSPORT_BROKEN:
        fws_websocket_finish(websocket);
        result = FWS_PUMP_ENDED;
        break;
    }
    if (!leading)
        fws_pool_return(&websocket->work->pool, buffer);
    return result;
}

/* ---- the loop thread reads ---- */

/* Is the next step to decompress a piece? That takes long, and is done without the lock. */
static bool must_be_inflated(const fws_websocket *websocket)
{
    return websocket->state == FWS_STATE_OPEN && fws_websocket_is_inflating(websocket);
}

/* May there be more to read or to decode? */
static bool has_more(const fws_websocket *websocket)
{
    return websocket->more_expected || websocket->hung_up || websocket->undecoded;
}

/* When the inbox is full the socket is not watched, until the handler receives. */
void fws_websocket_read_for_handler(fws_websocket *websocket)
{
    fws_pump_result result = FWS_PUMP_PROGRESS;
    bool was_full = fws_websocket_inbox_is_full(websocket, whole_queue(websocket));
    int reads = 0;
    if (websocket->evented)
        websocket->more_expected = true; /* until a recv does not fill its buffer */
    while (reads++ < FWS_READS_PER_TURN && result == FWS_PUMP_PROGRESS &&
           (reads == 1 || has_more(websocket)) && !must_be_inflated(websocket))
        result = fws_websocket_pump(websocket, whole_queue(websocket));
    if (websocket->inbox.count > 0)
        fws_websocket_notify(websocket);
    if (websocket->state == FWS_STATE_CLOSED)
        return;
    bool full = fws_websocket_inbox_is_full(websocket, whole_queue(websocket));
    if (websocket->state == FWS_STATE_OPEN) {
        /* Callbacks usually take the messages in the same turn of the loop. To stop watching,
         * and to start again, would be two system calls for nothing. If the callbacks do not
         * take them, the inbox is still full the next time. */
        websocket->adopted = !full || (websocket->evented && !was_full);
    } else {
        full = false; /* no message is given out any more, so there is no limit */
    }
    bool inflating = must_be_inflated(websocket);
    if (websocket->evented && result != FWS_PUMP_EMPTY && has_more(websocket)) {
        websocket->unread = true;
        if (!full && !inflating)
            fws_websocket_watch_anew(websocket);
    }
    if (!full && inflating) /* the leader decompresses, and reads on after that */
        fws_websocket_queue_unfinished(websocket);
}

void fws_websocket_adopt(fws_websocket *websocket)
{
    fws_websocket_read_for_handler(websocket);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_update_watch(websocket);
}

void fws_websocket_on_ready(fws_websocket *websocket, uint8_t ready)
{
    fws_websocket_lock(websocket);
    fws_prefetch(websocket->owner); /* its callbacks need it, after the system calls below */
    if (ready & FWS_HUNG_UP)
        websocket->hung_up = true;
    if (websocket->state != FWS_STATE_CLOSED && (ready & FWS_WRITABLE))
        fws_websocket_flush(websocket);
    if (websocket->state != FWS_STATE_CLOSED && (ready & FWS_READABLE) && websocket->adopted)
        fws_websocket_read_for_handler(websocket);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_update_watch(websocket);
    fws_websocket_unlock(websocket);
}
