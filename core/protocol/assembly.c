#include "assembly.h"

#include "mask.h"

#include "../tuning.h"

#include <stdlib.h>
#include <string.h>

uint64_t fws_assembly_limit(const fws_connection *connection)
{
    uint64_t limit = connection->limits.max_message_size;
    return limit == 0 || limit > FWS_ASSEMBLY_MAX ? FWS_ASSEMBLY_MAX : limit;
}

void fws_assembly_drop(fws_connection *connection)
{
    if (connection->compressed)
        fws_compression_end_message(connection->compression);
    connection->compressed = false;
    free(connection->message);
    connection->message = NULL;
    connection->message_size = 0;
    connection->message_capacity = 0;
    connection->delivered = false;
    connection->more = connection->last_kept = false;
    connection->unmasked = 0;
}

uint8_t *fws_connection_detach_message(fws_connection *connection)
{
    uint8_t *message = connection->message;
    size_t size = connection->message_size, spare = connection->message_capacity - size;
    connection->message = NULL;
    if (size == 0) {
        free(message);
        return NULL;
    }
    if (spare > size / 8) { /* the message may wait in a queue for long */
        uint8_t *shrunk = realloc(message, size);
        if (shrunk)
            message = shrunk;
    }
    return message;
}

/* Makes room for `needed` bytes, at least twice as many as before, so that a message in many
 * pieces is copied only a few times. The first capacity is FWS_AHEAD_MAX: the length in the header
 * is never reserved before the bytes arrive, because a header alone would cost the whole limit
 * then. `most`: the largest size that the message can have, at
 * least `needed`, and at most FWS_ASSEMBLY_MAX + 1. From half of that on, room for all of it is
 * made. */
static bool grow(fws_connection *connection, size_t needed, uint64_t most)
{
    if (needed <= connection->message_capacity)
        return true;
    size_t capacity = connection->message_capacity * 2; /* at most SIZE_MAX / 2 until now */
    if (capacity < FWS_AHEAD_MAX)
        capacity = FWS_AHEAD_MAX;
    if (capacity < needed)
        capacity = needed;
    if (capacity > most || most / 2 <= needed)
        capacity = (size_t)most;
    uint8_t *grown = realloc(connection->message, capacity);
    if (grown == NULL)
        return false;
    connection->message = grown;
    connection->message_capacity = capacity;
    return true;
}

bool fws_assembly_append(fws_connection *connection, const uint8_t *data, size_t length)
{
    size_t needed = connection->message_size + length;
    uint64_t most = fws_assembly_limit(connection);
    if (connection->frame.final) /* then the header tells the size of the whole message */
        most = needed + (connection->frame.length - connection->frame_received - length);
    if (!grow(connection, needed, most))
        return false;
    if (length > 0)
        memcpy(connection->message + connection->message_size, data, length);
    connection->message_size = needed;
    return true;
}

/* ---- decompressing ---- */

static void note_problem(fws_connection *connection, uint16_t code, const char *reason)
{
    connection->problem = reason;
    connection->problem_code = code;
}

/* Decompresses, checks and appends at most `most` bytes, and never more than one byte beyond the
 * limit. True: it stopped because of `most`, and there may be more. */
static bool inflate_some(fws_connection *connection, const uint8_t **data, size_t *length,
                         size_t most)
{
    uint64_t whole = fws_assembly_limit(connection) + 1;
    fws_inflate_status status = FWS_INFLATE_FULL;
    while (status == FWS_INFLATE_FULL) {
        if (most == 0)
            return true;
        if (!grow(connection, connection->message_size + 1, whole)) {
            note_problem(connection, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
            return false;
        }
        uint8_t *start = connection->message + connection->message_size, *out = start;
        size_t room = connection->message_capacity - connection->message_size;
        if (room > most)
            room = most;
        status = fws_compression_inflate(connection->compression, data, length, &out, &room);
        size_t written = (size_t)(out - start);
        connection->message_size += written;
        most -= written;
        if (status == FWS_INFLATE_NO_MEMORY)
            note_problem(connection, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        else if (connection->opcode == FWS_OPCODE_TEXT &&
                 !fws_utf8_feed(&connection->utf8, start, written))
            note_problem(connection, FWS_CLOSE_INVALID_DATA, "text is not valid UTF-8");
        else if (connection->message_size >= whole)
            note_problem(connection, FWS_CLOSE_TOO_BIG, "message too big after decompression");
        else if (status == FWS_INFLATE_CORRUPT)
            note_problem(connection, FWS_CLOSE_INVALID_DATA,
                         "compressed message is not a DEFLATE stream");
        if (connection->problem)
            return false;
    }
    return false;
}

void fws_assembly_inflate(fws_connection *connection, uint8_t **cursor, size_t length)
{
    const fws_frame_header *frame = &connection->frame;
    if (frame->masked)
        fws_mask_apply(*cursor + connection->unmasked, length - connection->unmasked, frame->key,
                       connection->frame_received + connection->unmasked);
    const uint8_t *data = *cursor + connection->last_kept;
    size_t left = length - connection->last_kept, before = connection->message_size;
    connection->more = inflate_some(connection, &data, &left, connection->allowance);
    connection->allowance -= connection->message_size - before;
    connection->last_kept = connection->more && left == 0;
    if (connection->last_kept)
        left = 1;
    connection->unmasked = left;
    *cursor += length - left;
    connection->frame_received += length - left;
}

void fws_assembly_end_inflating(fws_connection *connection)
{
    static const uint8_t tail[] = {0x00, 0x00, 0xFF, 0xFF};
    if (connection->compressed_size == 0)
        return; /* some peers send an empty message with an empty payload, not with the one byte of
                   RFC 7692 section 7.2.3.6 */
    const uint8_t *data = tail;
    size_t length = sizeof tail;
    /* All output of the input before the tail has been read, so the four bytes of the tail give
     * a few kilobytes at most. */
    inflate_some(connection, &data, &length, SIZE_MAX);
    if (connection->problem == NULL && !fws_inflater_at_boundary(connection->compression->inflater))
        note_problem(connection, FWS_CLOSE_INVALID_DATA, "compressed message ends within a block");
    if (connection->problem == NULL && connection->opcode == FWS_OPCODE_TEXT &&
        !fws_utf8_complete(&connection->utf8))
        note_problem(connection, FWS_CLOSE_INVALID_DATA, "text is not valid UTF-8");
}
