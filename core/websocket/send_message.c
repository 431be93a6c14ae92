/* Sends a message: compressed at once, or compressed in pieces because it is long (compressing.c),
 * or as it is.
 *
 * The compressor reads its input more than once, and a message that it makes no smaller is read
 * once more to be sent. So the compressor gets a copy: the caller's bytes, which another thread
 * may be writing to, are read once. */
#include "internal.h"
#include "loan.h"

#include <stdlib.h>
#include <string.h>

#define COMPRESSED_MAX ((size_t)16 << 20) /* larger ones are sent as they are: no second copy */

/* Buffers to compress a message in; not on the stack: a handler's thread would keep those pages
 * of its stack for good. */
typedef struct {
    uint8_t *copy;
    uint8_t *out; /* of the same size; in the same buffer if that has room for both */
} scratch_space;

/* Half of a buffer for a copy of the message, half for what it is compressed to; or two buffers. */
static bool needs_two(size_t length)
{
    return length > FWS_PIECE / 2;
}

/* False, with nothing borrowed, when there is no memory. */
static bool borrow_scratch(fws_pool *pool, size_t length, scratch_space *scratch)
{
    scratch->copy = fws_pool_borrow(pool);
    if (scratch->copy == NULL)
        return false;
    scratch->out = needs_two(length) ? fws_pool_borrow(pool) : scratch->copy + FWS_PIECE / 2;
    if (scratch->out == NULL)
        fws_pool_return(pool, scratch->copy);
    return scratch->out != NULL;
}

static void return_scratch(fws_pool *pool, size_t length, const scratch_space *scratch)
{
    if (needs_two(length))
        fws_pool_return(pool, scratch->out);
    fws_pool_return(pool, scratch->copy);
}

/* Replaces the message by its compressed form, if that is smaller. */
static void compress(fws_websocket *websocket, fws_outgoing *message, const scratch_space *scratch)
{
    size_t size;
    if (fws_compression_deflate(websocket->protocol.compression, message->data, message->length,
                                scratch->out, message->length, &size)) {
        message->data = scratch->out;
        message->length = size;
        message->compressed = true;
    }
}

/* Without context takeover the message is compressed without the lock, once there is room for
 * it. */
static fws_status compress_before(fws_websocket *websocket, fws_outgoing *message,
                                  const scratch_space *scratch, bool wait)
{
    fws_websocket_lock(websocket);
    fws_status status = fws_websocket_wait_for_room(websocket, wait);
    fws_websocket_unlock(websocket);
    if (status == FWS_OK)
        compress(websocket, message, scratch);
    return status;
}

static fws_status send_compressed(fws_websocket *websocket, fws_outgoing *message,
                                  const scratch_space *scratch, bool wait)
{
    bool takeover = websocket->protocol.compression->send_takeover;
    fws_status status = FWS_OK;
    if (message->length > 0)
        memcpy(scratch->copy, message->data, message->length);
    message->data = scratch->copy;
    if (!takeover)
        status = compress_before(websocket, message, scratch, wait);
    if (status != FWS_OK)
        return status;
    fws_websocket_lock(websocket);
    status = fws_websocket_wait_for_room(websocket, wait);
    if (status == FWS_OK) {
        if (takeover && websocket->compressing == NULL)
            compress(websocket, message, scratch);
        status = fws_websocket_send_message(websocket, message, wait, NULL);
    }
    fws_websocket_unlock(websocket);
    return status;
}

/* `loan`: lends the bytes if the sender does not wait; may be NULL. */
static fws_status send(fws_websocket *websocket, fws_opcode opcode, const void *data, size_t length,
                       bool wait, fws_loan *loan)
{
    fws_outgoing message = {.opcode = opcode, .data = data, .length = length};
    fws_pool *pool = &websocket->work->pool;
    scratch_space scratch;
    bool compressible = websocket->protocol.compression != NULL && length <= COMPRESSED_MAX &&
                        length >= websocket->work->config.compression_threshold;
    if (compressible && length > FWS_COMPRESSED_AT_ONCE_MAX)
        return fws_websocket_send_long(websocket, &message, wait);
    if (compressible && borrow_scratch(pool, length, &scratch)) {
        fws_status status = send_compressed(websocket, &message, &scratch, wait);
        return_scratch(pool, length, &scratch);
        return status;
    }
    fws_websocket_lock(websocket); /* also when there was no memory to compress it */
    fws_status status =
        fws_websocket_has_room(websocket) ? FWS_OK : fws_websocket_wait_for_room(websocket, wait);
    if (status == FWS_OK)
        status = fws_websocket_send_message(websocket, &message, wait, loan);
    fws_websocket_unlock(websocket);
    return status;
}

fws_status fws_websocket_send(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, bool wait)
{
    return send(websocket, opcode, data, length, wait, NULL);
}

fws_status fws_websocket_lend(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, fws_loan **lent)
{
    *lent = NULL;
    if (length <= websocket->work->config.send_buffer)
        return send(websocket, opcode, data, length, false, NULL);
    fws_loan *loan = calloc(1, sizeof *loan);
    if (loan == NULL)
        return FWS_NO_MEMORY;
    fws_status status = send(websocket, opcode, data, length, false, loan);
    if (loan->buffer != NULL)
        *lent = loan;
    else
        free(loan);
    return status;
}
