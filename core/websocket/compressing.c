/* Compresses long messages before they are sent: in pieces, and without the lock.
 *
 * With context takeover a compressed message refers to those that were compressed before it (RFC
 * 7692 section 7.1.1), so messages must be sent in the order in which they are compressed. So a
 * long message first reserves its place in the outbox. What is queued meanwhile (publications,
 * pongs, a close frame) lies behind that place, and nothing behind it is written before the place
 * is filled. Other senders wait until then (fws_websocket_may_send).
 *
 * A thread that may wait compresses the message itself. For an event loop, a greenlet, or callbacks
 * in the leader's batch, which must not wait, the leader compresses one piece in each turn of the
 * loop.
 *
 * The message is copied, so that the caller's bytes are read once. Another thread may write to them
 * meanwhile; because of the copy, the compressed message, the message that is sent uncompressed as
 * compression makes it no smaller, and the length in the header all stand for the same bytes.
 *
 * Threads: every function expects the websocket's lock to be held, unless it says otherwise; it
 * protects `websocket->compressing`. While `busy` is set, one thread uses the other fields, and the
 * deflater of the connection, without the lock.
 */
#include "internal.h"

#include "../protocol/mask.h"

#include <stdlib.h>
#include <string.h>

struct fws_compressing {
    fws_opcode opcode;
    bool busy;
    bool reset_first;   /* the deflater is to be reset first */
    bool failed;        /* compression makes it no smaller: it is sent as it is */
    size_t length;      /* of the message */
    size_t read;        /* how many of its bytes are compressed */
    fws_buffer *plain;  /* room for a header, and a copy of the message */
    fws_buffer *packed; /* room for a header, and the compressed message */
    uint8_t *out;       /* where the next compressed bytes go */
    size_t room;        /* how many more of them there may be */
    fws_deflater *deflater;
    fws_buffer *place; /* its place in the outbox; NULL: none is reserved */
};

static void free_compressing(fws_compressing *compressing)
{
    if (compressing->plain)
        fws_buffer_drop(compressing->plain);
    if (compressing->packed)
        fws_buffer_drop(compressing->packed);
    if (compressing->place)
        fws_buffer_drop(compressing->place);
    free(compressing);
}

/* ---- the work itself: no lock ---- */

/* With a copy of the message, and room for its compressed form; NULL when there is no memory. No
 * lock. */
static fws_compressing *new_compressing(const fws_outgoing *message)
{
    fws_compressing *compressing = calloc(1, sizeof *compressing);
    if (compressing == NULL || message->length > SIZE_MAX - FWS_FRAME_HEADER_MAX) {
        free(compressing);
        return NULL;
    }
    size_t whole = FWS_FRAME_HEADER_MAX + message->length;
    compressing->opcode = message->opcode;
    compressing->length = compressing->room = message->length;
    compressing->plain = fws_buffer_new(whole);
    compressing->packed = fws_buffer_new(whole);
    if (compressing->plain == NULL || compressing->packed == NULL) {
        free_compressing(compressing);
        return NULL;
    }
    memcpy(compressing->plain->data + FWS_FRAME_HEADER_MAX, message->data, message->length);
    compressing->out = compressing->packed->data + FWS_FRAME_HEADER_MAX;
    return compressing;
}

/* Compresses one piece more. True when that was the last. */
static bool compress_piece(fws_websocket *websocket, fws_compressing *compressing)
{
    fws_compression *compression = websocket->protocol.compression;
    const uint8_t *data = compressing->plain->data + FWS_FRAME_HEADER_MAX;
    if (compressing->read == 0) {
        if (fws_deflate_pool_promising(compression->pool, data, compressing->length))
            compressing->deflater =
                fws_compression_borrow_deflater(compression, compressing->reset_first);
        compressing->failed = compressing->deflater == NULL;
    }
    if (compressing->failed)
        return true;
    size_t piece = fws_deflate_pool_piece(compression->pool);
    size_t left = compressing->length - compressing->read;
    bool last = piece >= left;
    if (last)
        piece = left;
    compressing->failed = !fws_deflater_feed(compressing->deflater, data + compressing->read, piece,
                                             last, &compressing->out, &compressing->room);
    compressing->read += piece;
    return last || compressing->failed;
}

/* Frees the buffer that is not needed, and returns the other one as a frame. */
static fws_buffer *make_frame(fws_websocket *websocket, fws_compressing *compressing)
{
    fws_buffer **kept = compressing->failed ? &compressing->plain : &compressing->packed;
    fws_buffer **spare = compressing->failed ? &compressing->packed : &compressing->plain;
    size_t size = compressing->length;
    if (!compressing->failed)
        size -= compressing->room + FWS_DEFLATE_TAIL_SIZE;
    fws_buffer_drop(*spare);
    *spare = NULL;
    fws_buffer *frame = fws_buffer_shrink(*kept, FWS_FRAME_HEADER_MAX + size);
    *kept = NULL;

    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t header_size = fws_connection_encode_header(&websocket->protocol, header, true,
                                                      compressing->opcode, size, key);
    if (!compressing->failed)
        fws_frame_mark_compressed(header);
    size_t unused = FWS_FRAME_HEADER_MAX - header_size;
    memcpy(frame->data + unused, header, header_size);
    if (websocket->protocol.role == FWS_ROLE_CLIENT)
        fws_mask_apply(frame->data + FWS_FRAME_HEADER_MAX, size, key, 0);
    frame->bytes = frame->data + unused;
    frame->size = header_size + size;
    return frame;
}

/* ---- its place ---- */

/* False when there is no memory. */
static bool reserve_place(fws_websocket *websocket, fws_compressing *compressing)
{
    fws_compression *compression = websocket->protocol.compression;
    compressing->place = fws_buffer_new_place(compressing->length);
    if (compressing->place == NULL ||
        !fws_outbox_push(&websocket->outbox, compressing->place)) /* takes over a reference */
        return false;
    fws_buffer_keep(compressing->place);
    compressing->reset_first = compression->stale;
    compression->stale = false; /* a publication that is queued behind it sets this again */
    compressing->busy = true;
    websocket->compressing = compressing;
    fws_websocket_report_counts(websocket);
    fws_websocket_note_backlog(websocket);
    return true;
}

/* No thread compresses the message any more. Does what had to wait for that. */
static void release_place(fws_websocket *websocket, fws_compressing *compressing)
{
    if (compressing->deflater)
        fws_compression_return_deflater(websocket->protocol.compression, compressing->deflater);
    compressing->deflater = NULL;
    websocket->compressing = NULL;
    if (websocket->state == FWS_STATE_CLOSED)
        fws_connection_abandon_sending(&websocket->protocol);
    fws_websocket_notify(websocket); /* others may send now */
}

/* Takes over the reference of the frame. */
static fws_status fill_place(fws_websocket *websocket, fws_compressing *compressing,
                             fws_buffer *frame)
{
    bool there = fws_outbox_replace(&websocket->outbox, compressing->place, frame, 0);
    if (!there)
        fws_buffer_drop(frame); /* the connection has failed meanwhile */
    if (compressing->failed || !there)
        fws_compression_mark_stale(websocket->protocol.compression);
    release_place(websocket, compressing);
    free_compressing(compressing);
    if (!there)
        return FWS_CLOSED;
    fws_websocket_count_message(websocket);
    fws_websocket_write(websocket);
    return FWS_OK;
}

/* ---- by the leader ---- */

bool fws_websocket_is_compressing_unfinished(const fws_websocket *websocket)
{
    return websocket->compressing != NULL && !websocket->compressing->busy;
}

void fws_websocket_compress_piece(fws_websocket *websocket)
{
    fws_compressing *compressing = websocket->compressing;
    if (compressing->busy)
        return;
    compressing->busy = true;
    fws_websocket_unlock(websocket);
    bool last = compress_piece(websocket, compressing);
    fws_buffer *frame = last ? make_frame(websocket, compressing) : NULL;
    fws_websocket_lock(websocket);
    compressing->busy = false;
    if (last)
        fill_place(websocket, compressing, frame);
    else if (websocket->state == FWS_STATE_CLOSED)
        fws_websocket_abandon_compressing(websocket);
}

void fws_websocket_abandon_compressing(fws_websocket *websocket)
{
    fws_compressing *compressing = websocket->compressing;
    if (compressing != NULL && compressing->busy)
        return;
    if (compressing != NULL) {
        release_place(websocket, compressing);
        free_compressing(compressing);
    }
    fws_connection_abandon_sending(&websocket->protocol);
}

/* ---- by the thread that sends ---- */

/* Without the lock. False when the websocket was closed meanwhile. */
static bool compress_all(fws_websocket *websocket, fws_compressing *compressing)
{
    while (!compress_piece(websocket, compressing)) {
        fws_websocket_lock(websocket);
        bool closed = websocket->state == FWS_STATE_CLOSED;
        fws_websocket_unlock(websocket);
        if (closed)
            return false;
    }
    return true;
}

/* The place is reserved. Releases the lock while it compresses. */
static fws_status compress_in_place(fws_websocket *websocket, fws_compressing *compressing)
{
    fws_websocket_unlock(websocket);
    bool alive = compress_all(websocket, compressing);
    fws_buffer *frame = alive ? make_frame(websocket, compressing) : NULL;
    fws_websocket_lock(websocket);
    compressing->busy = false;
    if (alive)
        return fill_place(websocket, compressing, frame);
    fws_websocket_abandon_compressing(websocket);
    return FWS_CLOSED;
}

/* For a message that refers to no other one: it needs a place only when it is compressed. */
static fws_status compress_first(fws_websocket *websocket, fws_compressing *compressing)
{
    fws_websocket_unlock(websocket);
    bool alive = compress_all(websocket, compressing);
    fws_buffer *frame = alive ? make_frame(websocket, compressing) : NULL;
    if (compressing->deflater)
        fws_compression_return_deflater(websocket->protocol.compression, compressing->deflater);
    compressing->deflater = NULL;
    free_compressing(compressing);
    fws_websocket_lock(websocket);
    if (!alive)
        return FWS_CLOSED;
    fws_status status = fws_websocket_wait_for_room(websocket, true);
    if (status != FWS_OK) {
        fws_buffer_drop(frame);
        return status;
    }
    if (!fws_websocket_queue(websocket, frame))
        return FWS_NO_MEMORY;
    fws_websocket_count_message(websocket);
    fws_websocket_write(websocket);
    return websocket->state == FWS_STATE_CLOSED ? FWS_CLOSED : FWS_OK;
}

/* There is room in the outbox, and a copy of the message. */
static fws_status send_copy(fws_websocket *websocket, fws_compressing *compressing, bool by_leader)
{
    if (!by_leader && !websocket->protocol.compression->send_takeover)
        return compress_first(websocket, compressing);
    bool first = websocket->compressing == NULL;
    if (!first || !reserve_place(websocket, compressing)) {
        /* Compression is optional: the message is sent as it is, behind the one that is being
         * compressed. */
        fws_outgoing message = {.opcode = compressing->opcode,
                                .data = compressing->plain->data + FWS_FRAME_HEADER_MAX,
                                .length = compressing->length};
        fws_status status = fws_websocket_send_message(websocket, &message, !by_leader, NULL);
        free_compressing(compressing);
        return status;
    }
    if (!by_leader)
        return compress_in_place(websocket, compressing);
    compressing->busy = false;
    fws_websocket_queue_unfinished(websocket);
    return FWS_OK;
}

fws_status fws_websocket_send_long(fws_websocket *websocket, const fws_outgoing *message, bool wait)
{
    bool by_leader = !wait || fws_work_is_batching(websocket->work);
    fws_websocket_lock(websocket); /* first, so that nothing is copied in vain */
    fws_status status = fws_websocket_wait_for_room(websocket, wait);
    fws_websocket_unlock(websocket);
    if (status != FWS_OK)
        return status;
    fws_compressing *compressing = new_compressing(message);
    fws_websocket_lock(websocket);
    status = fws_websocket_wait_for_room(websocket, wait);
    if (status == FWS_OK)
        status = compressing != NULL ? send_copy(websocket, compressing, by_leader)
                                     : fws_websocket_send_message(websocket, message, wait, NULL);
    else if (compressing != NULL)
        free_compressing(compressing);
    fws_websocket_unlock(websocket);
    return status;
}
