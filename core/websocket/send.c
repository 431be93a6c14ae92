#include "internal.h"
#include "loan.h"

#include "../io/transport.h"

#include "../protocol/mask.h"

#include <stdlib.h>
#include <string.h>

/* Of one websocket in one turn: as much as is read of it. */
#define WRITTEN_AT_ONCE (FWS_READS_PER_TURN * FWS_PIECE)

bool fws_websocket_queue(fws_websocket *websocket, fws_buffer *buffer)
{
    if (buffer == NULL)
        return false;
    if (websocket->output_broken) {
        fws_buffer_drop(buffer);
        return true;
    }
    if (fws_outbox_push(&websocket->outbox, buffer))
        return true;
    fws_buffer_drop(buffer);
    return false;
}

bool fws_websocket_push(fws_websocket *websocket, const void *data, size_t size)
{
    return fws_websocket_queue(websocket, fws_buffer_join(data, size, NULL, 0));
}

void fws_websocket_note_backlog(fws_websocket *websocket)
{
    bool held_back = websocket->evented && websocket->state == FWS_STATE_OPEN &&
                     websocket->outbox.bytes > websocket->work->config.send_buffer;
    if (held_back != fws_websocket_is_held_back(websocket))
        atomic_store_explicit(&websocket->held_back, held_back, memory_order_relaxed);
}

void fws_websocket_report_counts(fws_websocket *websocket)
{
    fws_tally *tally = websocket->tally;
    bool leading = fws_work_is_leading(websocket->work);
    uint32_t messages = websocket->messages_out - websocket->reported_messages;
    if (messages > 0)
        fws_counter_add(&tally->messages_out, messages, leading);
    if (websocket->messages_out < websocket->reported_messages)
        websocket->messages_out_high++;
    websocket->reported_messages = websocket->messages_out;
    size_t now = websocket->outbox.bytes;
    if (now == websocket->reported_bytes)
        return;
    fws_counter_add(&tally->queued, now - websocket->reported_bytes, leading);
    websocket->reported_bytes = now;
}

void fws_websocket_break_output(fws_websocket *websocket)
{
    if (fws_blocking_receive_defer_failure(&websocket->blocking_receive))
        return;
    if (websocket->state != FWS_STATE_OPEN) { /* no message is given out any more */
        fws_websocket_finish(websocket);
        return;
    }
    websocket->output_broken = true;
    websocket->hung_up = true; /* so reading goes on to the end, which is there already */
    fws_outbox_clear(&websocket->outbox);
    fws_websocket_report_counts(websocket);
    fws_websocket_note_backlog(websocket);
    fws_websocket_notify(websocket); /* senders that wait for room */
    /* What decodes now, or waits for the socket, comes to the end by itself. */
    if (!websocket->decoding && websocket->pollers == 0)
        fws_websocket_adopt(websocket);
}

/* All that was queued has been written; the last of it was our close frame. */
static void on_close_frame_written(fws_websocket *websocket)
{
    bool ending = websocket->state == FWS_STATE_ENDING;
    if (ending && !websocket->output_ended) {
        websocket->output_ended = true;
        fws_transport_end_output(websocket->fd);
    }
    if (ending && websocket->nothing_more)
        fws_websocket_finish(websocket);
    else
        fws_websocket_await_peer_close(websocket);
}

/* Shortens what one call of the kernel is given: one that a fast peer empties meanwhile would not
 * end before all of it is sent. Returns the number of pieces. */
static int limit_pieces(struct iovec *vector, int count)
{
    size_t left = WRITTEN_AT_ONCE;
    for (int i = 0; i < count; i++) {
        if (vector[i].iov_len >= left) {
            vector[i].iov_len = left;
            return i + 1;
        }
        left -= vector[i].iov_len;
    }
    return count;
}

/* Has the leader flush it, even if the socket is watched for writing: one that is still ready is
 * not reported again. */
static void queue_flush(fws_websocket *websocket)
{
    if (websocket->flush_queued)
        return;
    websocket->flush_queued = true;
    if (fws_work_is_running(websocket->work, &websocket->callbacks))
        websocket->flush_after_callbacks = true;
    else
        fws_work_queue_flush(websocket->work, &fws_websocket_keep(websocket)->flush);
}

void fws_websocket_flush(fws_websocket *websocket)
{
    size_t limit = websocket->work->config.send_buffer;
    bool was_full = websocket->outbox.bytes > limit || fws_websocket_is_held_back(websocket);
    uint32_t count_before = websocket->outbox.count;
    bool ends = websocket->state == FWS_STATE_ENDING;
    size_t written = 0;
    while (fws_outbox_is_ready(&websocket->outbox)) {
        if (written >= WRITTEN_AT_ONCE) {
            queue_flush(websocket); /* as much as is written in one turn has been written */
            break;
        }
        struct iovec vector[FWS_BATCH];
        int count = fws_outbox_vector(&websocket->outbox, vector, FWS_BATCH);
        size_t sent;
        if (websocket->outbox.bytes > WRITTEN_AT_ONCE)
            count = limit_pieces(vector, count);
        fws_transport_status status = fws_transport_send(websocket->fd, vector, count, ends, &sent);
        if (status == FWS_TRANSPORT_BROKEN) {
            fws_websocket_break_output(websocket);
            return;
        }
        if (status == FWS_TRANSPORT_AGAIN)
            break;
        fws_counter_add(&websocket->tally->bytes_out, sent, fws_work_is_leading(websocket->work));
        fws_outbox_consume(&websocket->outbox, sent);
        websocket->bytes_written += sent;
        written += sent;
    }
    fws_progress_watch_backlog(websocket);
    fws_websocket_report_counts(websocket);
    fws_websocket_note_backlog(websocket);
    /* Wakes senders that wait for room, or for a lent buffer to be released. */
    if (websocket->outbox.count < count_before || (was_full && websocket->outbox.bytes <= limit))
        fws_websocket_notify(websocket);
    if (websocket->state != FWS_STATE_OPEN && websocket->outbox.count == 0)
        on_close_frame_written(websocket);
}

void fws_websocket_write(fws_websocket *websocket)
{
    fws_websocket_flush(websocket);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_update_watch(websocket);
}

void fws_websocket_on_flush(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    websocket->flush_queued = websocket->flush_after_callbacks = false;
    fws_corking_note_absence(websocket);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_write(websocket);
    fws_corking_clear(websocket);
    fws_websocket_unlock(websocket);
}

void fws_websocket_sleep_until_changed(fws_websocket *websocket)
{
    websocket->sleepers++;
    pthread_cond_wait(&websocket->changed, &websocket->lock);
    websocket->sleepers--;
}

/* Writes a frame to the socket; nothing is queued before it. *sent: how many bytes the socket
 * took. */
static fws_status write_now(fws_websocket *websocket, const uint8_t *header, size_t header_size,
                            const void *data, size_t length, size_t *sent)
{
    uint8_t joined[FWS_JOIN_MAX];
    struct iovec vector[2] = {{.iov_base = (void *)header, .iov_len = header_size},
                              {.iov_base = (void *)data, .iov_len = length}};
    int count = 2;
    if (header_size + length <= sizeof joined) {
        memcpy(joined, header, header_size);
        if (length > 0)
            memcpy(joined + header_size, data, length);
        vector[0] = (struct iovec){.iov_base = joined, .iov_len = header_size + length};
        count = 1;
    } else {
        count = limit_pieces(vector, count);
    }
    fws_transport_status status = fws_transport_send(websocket->fd, vector, count, false, sent);
    if (status == FWS_TRANSPORT_BROKEN) {
        fws_websocket_break_output(websocket);
        return FWS_CLOSED;
    }
    fws_counter_add(&websocket->tally->bytes_out, *sent, false);
    websocket->bytes_written += *sent;
    return FWS_OK;
}

/* How many bytes may be queued before a sender waits, see fws_websocket_send. */
static size_t most_queued(const fws_websocket *websocket)
{
    size_t limit = websocket->work->config.send_buffer;
    if (!websocket->evented && !fws_work_is_engine_thread())
        return limit;
    return limit > SIZE_MAX / FWS_CALLBACK_BUFFERS ? SIZE_MAX : limit * FWS_CALLBACK_BUFFERS;
}

/* Queues what the socket did not take: the frame from byte `sent` on. The bytes of a large
 * payload are lent, if there is a loan for them. */
static fws_status queue_tail(fws_websocket *websocket, const uint8_t *header, size_t header_size,
                             const uint8_t *data, size_t length, size_t sent, fws_loan *loan)
{
    size_t of_header = sent < header_size ? sent : header_size;
    size_t of_data = sent - of_header;
    if (loan != NULL && length - of_data > most_queued(websocket)) {
        fws_status status =
            fws_loan_queue(websocket, loan, header + of_header, header_size - of_header,
                           data + of_data, length - of_data);
        if (status == FWS_NO_MEMORY && sent > 0)
            fws_websocket_finish(websocket);
        return status;
    }
    fws_buffer *buffer = fws_buffer_join(header + of_header, header_size - of_header,
                                         data + of_data, length - of_data);
    if (fws_websocket_queue(websocket, buffer))
        return FWS_OK;
    if (sent > 0)
        fws_websocket_finish(websocket); /* a part of the frame was sent, and the rest cannot be */
    return FWS_NO_MEMORY;
}

static size_t write_header(fws_websocket *websocket, const fws_outgoing *message,
                           uint8_t header[FWS_FRAME_HEADER_MAX], uint8_t key[4])
{
    size_t size = fws_connection_encode_header(&websocket->protocol, header, true, message->opcode,
                                               message->length, key);
    if (message->compressed)
        fws_frame_mark_compressed(header);
    return size;
}

void fws_websocket_flush_later(fws_websocket *websocket)
{
    if (fws_corking_expire(websocket))
        return;
    /* If the socket is watched for writing, the loop writes when the peer has taken something. */
    if (!(websocket->watched & FWS_WRITABLE))
        queue_flush(websocket);
}

/* Inside callbacks in the leader's batch: everything that they send is written after the batch.
 * Only when it exceeds send_buffer is it written once before, so that the peer may begin to take
 * it. */
static fws_status send_with_batch(fws_websocket *websocket, const uint8_t *header,
                                  size_t header_size, const fws_outgoing *message)
{
    size_t limit = websocket->work->config.send_buffer, before = websocket->outbox.bytes;
    if (!fws_outbox_append(&websocket->outbox, header, header_size, message->data, message->length))
        return FWS_NO_MEMORY;
    fws_websocket_flush_later(websocket);
    if (before <= limit && websocket->outbox.bytes > limit)
        fws_websocket_flush(websocket);
    return fws_websocket_is_writable(websocket) ? FWS_OK : FWS_CLOSED;
}

static fws_status send_unmasked(fws_websocket *websocket, const fws_outgoing *message,
                                fws_loan *loan)
{
    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t header_size = write_header(websocket, message, header, key);
    size_t sent = 0;
    if (fws_work_is_batching(websocket->work) && message->length <= most_queued(websocket))
        return send_with_batch(websocket, header, header_size, message);
    if (fws_corking_should_cork(websocket, header_size + message->length)) {
        if (!fws_outbox_append(&websocket->outbox, header, header_size, message->data,
                               message->length))
            return FWS_NO_MEMORY;
        fws_corking_cork(websocket);
        return FWS_OK;
    }
    fws_corking_write(websocket);
    if (!fws_websocket_is_writable(websocket))
        return FWS_CLOSED;
    if (websocket->outbox.count == 0) {
        fws_status status =
            write_now(websocket, header, header_size, message->data, message->length, &sent);
        if (status != FWS_OK || sent == header_size + message->length)
            return status;
    }
    fws_status status =
        queue_tail(websocket, header, header_size, message->data, message->length, sent, loan);
    if (websocket->state != FWS_STATE_CLOSED) {
        fws_progress_watch_backlog(websocket);
        fws_websocket_report_counts(websocket);
        fws_websocket_note_backlog(websocket);
        fws_websocket_update_watch(websocket);
    }
    return status;
}

/* The client role needs a masked copy. */
static fws_status send_masked(fws_websocket *websocket, const fws_outgoing *message)
{
    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t header_size = write_header(websocket, message, header, key);
    fws_buffer *buffer = fws_buffer_join(header, header_size, message->data, message->length);
    if (buffer == NULL)
        return FWS_NO_MEMORY;
    fws_mask_apply(buffer->data + header_size, message->length, key, 0);
    if (!fws_websocket_queue(websocket, buffer))
        return FWS_NO_MEMORY;
    fws_websocket_write(websocket);
    return fws_websocket_is_writable(websocket) ? FWS_OK : FWS_CLOSED;
}

fws_status fws_websocket_wait_for_room(fws_websocket *websocket, bool wait)
{
    bool tried = false;
    /* What this thread has published before is sent before the message. */
    if (websocket->state == FWS_STATE_OPEN && fws_websocket_has_published(websocket))
        fws_websocket_settle(websocket);
    while (fws_websocket_is_writable(websocket)) {
        bool room = websocket->outbox.bytes <= websocket->work->config.send_buffer ||
                    websocket->outbox.bytes <= most_queued(websocket);
        if (room && fws_websocket_may_send(websocket))
            return FWS_OK;
        if (websocket->flush_queued &&
            !tried) { /* what is queued was perhaps not written to the socket yet */
            tried = true;
            fws_websocket_flush(websocket);
            continue;
        }
        if (!wait)
            return FWS_WOULD_BLOCK;
        fws_websocket_sleep_until_changed(websocket);
    }
    return FWS_CLOSED;
}

void fws_websocket_count_message(fws_websocket *websocket)
{
    websocket->messages_out++;
    if (!websocket->flush_queued)
        fws_websocket_report_counts(websocket);
}

fws_status fws_websocket_send_message(fws_websocket *websocket, const fws_outgoing *message,
                                      bool wait, fws_loan *loan)
{
    fws_loan own = {0};
    if (wait && loan == NULL)
        loan = &own; /* the bytes exist as long as their sender waits */
    fws_status status = websocket->protocol.role == FWS_ROLE_SERVER
                            ? send_unmasked(websocket, message, loan)
                            : send_masked(websocket, message);
    if (status == FWS_OK && wait && loan->buffer != NULL)
        status = fws_loan_wait(websocket, loan);
    if (status == FWS_OK)
        fws_websocket_count_message(websocket);
    else if (message->compressed)
        fws_compression_mark_stale(websocket->protocol.compression);
    return status;
}

uint8_t fws_websocket_window_bits(const fws_websocket *websocket)
{
    const fws_compression *compression = websocket->protocol.compression;
    return compression != NULL ? compression->send_bits : 0;
}

/* Is there room for a published frame? Only published buffers of which nothing was sent count:
 * what the subscriber's own handler has sent does not tell whether the subscriber is slow. One
 * frame may wait, whatever its size. */
static bool has_room(const fws_outbox *outbox, size_t size, size_t limit)
{
    return outbox->published.count == 0 || outbox->published_bytes + size <= limit;
}

/* Makes room for a published frame; false when it is not to be queued. */
static bool admit(fws_websocket *websocket, size_t size)
{
    const fws_engine_config *config = &websocket->work->config;
    if (has_room(&websocket->outbox, size, config->send_buffer))
        return true;
    atomic_fetch_add_explicit(&websocket->tally->slow_consumers, 1, memory_order_relaxed);
    switch (config->slow_consumer) {
    case FWS_SLOW_CLOSE:
        fws_websocket_fail(websocket, FWS_CLOSE_TRY_AGAIN_LATER, "slow consumer");
        return false;
    case FWS_SLOW_DROP_OLDEST:
        while (!has_room(&websocket->outbox, size, config->send_buffer))
            fws_outbox_drop_oldest(&websocket->outbox);
        return true;
    case FWS_SLOW_DROP_NEWEST:
        return false;
    }
    return false;
}

bool fws_websocket_enqueue(fws_websocket *websocket, fws_buffer *frame)
{
    if (!fws_websocket_is_writable(websocket) || !admit(websocket, frame->size)) {
        fws_buffer_drop(frame);
        return false;
    }
    bool compressed = frame->compressed;
    if (!fws_websocket_queue(websocket, frame)) { /* it may not be lost in silence */
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        return false;
    }
    if (compressed)
        fws_compression_mark_stale(websocket->protocol.compression);
    websocket->messages_out++;
    return true;
}
