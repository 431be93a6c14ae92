#include "websocket_internal.h"

#include "transport.h"

#include "../protocol/mask.h"

#define VECTOR_MAX 64 /* buffers in one writev */

bool fws_websocket_push(fws_websocket *websocket, const void *data, size_t size)
{
    fws_buffer *buffer = fws_buffer_join(data, size, NULL, 0);
    if (buffer == NULL)
        return false;
    if (!fws_outbox_push(&websocket->outbox, buffer)) {
        fws_buffer_drop(buffer);
        return false;
    }
    return true;
}

void fws_websocket_flush(fws_websocket *websocket)
{
    bool was_full = websocket->outbox.bytes > websocket->engine->config.send_buffer;
    while (websocket->outbox.count > 0) {
        struct iovec vector[VECTOR_MAX];
        int count = fws_outbox_vector(&websocket->outbox, vector, VECTOR_MAX);
        size_t sent;
        fws_transport_status status = fws_transport_send(websocket->fd, vector, count, &sent);
        if (status == FWS_TRANSPORT_BROKEN) {
            fws_websocket_finish(websocket);
            return;
        }
        if (status == FWS_TRANSPORT_AGAIN)
            break;
        atomic_fetch_add_explicit(&websocket->engine->counters.bytes_out, sent,
                                  memory_order_relaxed);
        fws_outbox_consume(&websocket->outbox, sent);
    }
    if (was_full && websocket->outbox.bytes <= websocket->engine->config.send_buffer)
        fws_websocket_notify(websocket);
    if (websocket->state == FWS_STATE_ENDING && websocket->outbox.count == 0 &&
        !websocket->ended_output) {
        websocket->ended_output = true;
        fws_transport_end(websocket->fd);
    }
}

void fws_websocket_on_flush(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    websocket->flush_queued = false;
    if (websocket->state != FWS_STATE_CLOSED) {
        fws_websocket_flush(websocket);
        fws_websocket_update_watch(websocket);
    }
    fws_websocket_unlock(websocket);
}

static void sleep_until_changed(fws_websocket *websocket)
{
    websocket->sleepers++;
    pthread_cond_wait(&websocket->changed, &websocket->lock);
    websocket->sleepers--;
}

/* Writes a frame at once, when nothing waits before it; *sent says how far it got. */
static fws_status write_now(fws_websocket *websocket, const uint8_t *header, size_t header_size,
                            const void *data, size_t length, size_t *sent)
{
    struct iovec vector[2] = {{.iov_base = (void *)header, .iov_len = header_size},
                              {.iov_base = (void *)data, .iov_len = length}};
    fws_transport_status status =
        fws_transport_send(websocket->fd, vector, length > 0 ? 2 : 1, sent);
    if (status == FWS_TRANSPORT_BROKEN) {
        /* The peer is gone, but its close frame may still lie in our receive buffer. */
        fws_websocket_adopt(websocket);
        fws_websocket_finish(websocket);
        return FWS_CLOSED;
    }
    atomic_fetch_add_explicit(&websocket->engine->counters.bytes_out, *sent, memory_order_relaxed);
    return FWS_OK;
}

/* Queues what the socket did not take: the header from byte `sent` on, and the payload. */
static fws_status queue_tail(fws_websocket *websocket, const uint8_t *header, size_t header_size,
                             const uint8_t *data, size_t length, size_t sent)
{
    size_t of_header = sent < header_size ? sent : header_size;
    size_t of_data = sent - of_header;
    fws_buffer *buffer = fws_buffer_join(header + of_header, header_size - of_header,
                                         data + of_data, length - of_data);
    if (buffer != NULL && fws_outbox_push(&websocket->outbox, buffer))
        return FWS_OK;
    if (buffer != NULL)
        fws_buffer_drop(buffer);
    if (sent > 0)
        fws_websocket_finish(websocket); /* half a frame is out: the stream cannot go on */
    return FWS_NO_MEMORY;
}

static fws_status send_unmasked(fws_websocket *websocket, fws_opcode opcode, const void *data,
                                size_t length)
{
    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t header_size =
        fws_connection_encode_header(&websocket->protocol, header, true, opcode, length, key);
    size_t sent = 0;
    if (websocket->outbox.count == 0) {
        fws_status status = write_now(websocket, header, header_size, data, length, &sent);
        if (status != FWS_OK || sent == header_size + length)
            return status;
    }
    fws_status status = queue_tail(websocket, header, header_size, data, length, sent);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_update_watch(websocket);
    return status;
}

/* The client role needs a masked copy. */
static fws_status send_masked(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length)
{
    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t header_size =
        fws_connection_encode_header(&websocket->protocol, header, true, opcode, length, key);
    fws_buffer *buffer = fws_buffer_join(header, header_size, data, length);
    if (buffer == NULL)
        return FWS_NO_MEMORY;
    fws_mask_apply(buffer->data + header_size, length, key, 0);
    if (!fws_outbox_push(&websocket->outbox, buffer)) {
        fws_buffer_drop(buffer);
        return FWS_NO_MEMORY;
    }
    fws_websocket_flush(websocket);
    if (websocket->state == FWS_STATE_CLOSED)
        return FWS_CLOSED;
    fws_websocket_update_watch(websocket);
    return FWS_OK;
}

fws_status fws_websocket_send(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, bool wait)
{
    fws_status status;
    fws_websocket_lock(websocket);
    for (;;) {
        if (websocket->state != FWS_STATE_OPEN) {
            status = FWS_CLOSED;
            break;
        }
        if (websocket->outbox.bytes > websocket->engine->config.send_buffer) {
            if (!wait) {
                status = FWS_WOULD_BLOCK;
                break;
            }
            sleep_until_changed(websocket);
            continue;
        }
        status = websocket->protocol.role == FWS_ROLE_SERVER
                     ? send_unmasked(websocket, opcode, data, length)
                     : send_masked(websocket, opcode, data, length);
        if (status == FWS_OK)
            atomic_fetch_add_explicit(&websocket->engine->counters.messages_out, 1,
                                      memory_order_relaxed);
        break;
    }
    fws_websocket_unlock(websocket);
    return status;
}

/* Makes room for a published frame, or decides that it is not to be queued. */
static bool admit(fws_websocket *websocket, size_t size)
{
    const fws_engine_config *config = &websocket->engine->config;
    if (websocket->outbox.count == 0 || websocket->outbox.bytes + size <= config->send_buffer)
        return true;
    atomic_fetch_add_explicit(&websocket->engine->counters.slow_consumers, 1, memory_order_relaxed);
    switch (config->slow_consumer) {
    case FWS_SLOW_CLOSE:
        fws_websocket_fail(websocket, FWS_CLOSE_TRY_AGAIN_LATER, "slow consumer");
        return false;
    case FWS_SLOW_DROP_OLDEST:
        while (websocket->outbox.bytes + size > config->send_buffer)
            if (!fws_outbox_drop_oldest(&websocket->outbox))
                return false;
        return true;
    case FWS_SLOW_DROP_NEWEST:
        return false;
    }
    return false;
}

bool fws_websocket_enqueue(fws_websocket *websocket, fws_buffer *frame)
{
    bool queued = false;
    fws_websocket_lock(websocket);
    if (websocket->state == FWS_STATE_OPEN && admit(websocket, frame->size) &&
        fws_outbox_push(&websocket->outbox, frame)) {
        fws_buffer_keep(frame);
        queued = true;
        /* Watched for writing: the loop comes by itself, once the peer reads on. */
        if (!websocket->flush_queued && !(websocket->watched & FWS_WRITABLE)) {
            websocket->flush_queued = true;
            fws_engine_queue_flush(websocket->engine, websocket);
        }
        atomic_fetch_add_explicit(&websocket->engine->counters.messages_out, 1,
                                  memory_order_relaxed);
    }
    fws_websocket_unlock(websocket);
    return queued;
}
