#include "connection.h"

#include "assembly.h"
#include "mask.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Section 5.2: a masked frame whose length is in its second byte. */
#define SHORT_HEADER 6
#define SHORT_MAX 125u

void fws_connection_init(fws_connection *connection, fws_role role, const fws_limits *limits,
                         fws_entropy entropy)
{
    memset(connection, 0, sizeof *connection);
    connection->role = role;
    connection->limits = *limits;
    connection->entropy = entropy;
    connection->allowance = FWS_PIECE;
    fws_utf8_reset(&connection->utf8);
}

bool fws_connection_use_compression(fws_connection *connection, fws_deflate_pool *pool,
                                    const fws_deflate_parameters *parameters)
{
    connection->compression =
        fws_compression_new(pool, parameters, connection->role == FWS_ROLE_SERVER);
    return connection->compression != NULL;
}

void fws_connection_abandon_receiving(fws_connection *connection)
{
    connection->ended = true;
    fws_assembly_drop(connection);
    if (connection->compression)
        fws_compression_clear_inflater(connection->compression);
}

void fws_connection_abandon_sending(fws_connection *connection)
{
    if (connection->compression)
        fws_compression_clear_deflater(connection->compression);
}

void fws_connection_clear(fws_connection *connection)
{
    fws_assembly_drop(connection);
    fws_compression_free(connection->compression);
    connection->compression = NULL;
    free(connection->control);
    connection->control = NULL;
}

/* ---- receiving ---- */

/* The connection fails (section 7.1.7); the close frame in event->reply tells why. */
static fws_event_type fail(fws_connection *connection, fws_event *event, uint16_t code,
                           const char *reason)
{
    connection->ended = true;
    connection->in_frame = false;
    fws_assembly_drop(connection);
    event->type = FWS_EVENT_FAILED;
    event->code = code;
    event->data = (const uint8_t *)reason;
    event->length = strlen(reason);
    event->reply_size = fws_connection_close(connection, event->reply, code, reason, event->length);
    return event->type;
}

/* Reads a header, which may have arrived in parts. */
static fws_frame_status read_header(fws_connection *connection, uint8_t **cursor, uint8_t *end)
{
    fws_frame_status status;
    bool compression = connection->compression != NULL;
    if (connection->head_size == 0) {
        size_t available = (size_t)(end - *cursor);
        status = fws_frame_decode(*cursor, available, compression, &connection->frame);
        if (status == FWS_FRAME_OK) {
            *cursor += connection->frame.size;
        } else if (status == FWS_FRAME_INCOMPLETE) {
            assert(available <
                   sizeof connection->head); /* a header of this size would be complete */
            memcpy(connection->head, *cursor, available);
            connection->head_size = (uint8_t)available;
            *cursor = end;
        }
        return status;
    }
    do {
        if (*cursor == end)
            return FWS_FRAME_INCOMPLETE;
        connection->head[connection->head_size++] = *(*cursor)++;
        status = fws_frame_decode(connection->head, connection->head_size, compression,
                                  &connection->frame);
    } while (status == FWS_FRAME_INCOMPLETE);
    connection->head_size = 0;
    return status;
}

/* Checks whether the header is legal here (sections 5.1 and 5.4): NULL, or a reason for 1002. */
static const char *check_header(const fws_connection *connection)
{
    const fws_frame_header *frame = &connection->frame;
    if (connection->role == FWS_ROLE_SERVER && !frame->masked)
        return "client frame is not masked";
    if (connection->role == FWS_ROLE_CLIENT && frame->masked)
        return "server frame is masked";
    if (fws_frame_is_control(frame->opcode))
        return NULL;
    bool between_messages = connection->opcode == FWS_OPCODE_CONTINUATION;
    if (frame->opcode == FWS_OPCODE_CONTINUATION && between_messages)
        return "continuation frame without a message to continue";
    if (frame->opcode != FWS_OPCODE_CONTINUATION && !between_messages)
        return "new message before the last one was finished";
    return NULL;
}

/* Would the message exceed its limit? Told by the header, before any of the payload is stored. */
static bool exceeds_limit(const fws_connection *connection)
{
    uint64_t most = fws_assembly_limit(connection);
    uint64_t length = connection->frame.length;
    if (connection->compressed) {
        /* Data that do not compress become a little larger, and a message of the full size must
         * be accepted. */
        most += most / 64 + 1024;
        return length > most || connection->compressed_size > most - length;
    }
    /* message_size never exceeds the limit, so the difference does not overflow. */
    return length > most - connection->message_size;
}

static fws_event_type receive_control(fws_connection *connection, fws_event *event,
                                      const uint8_t *payload)
{
    size_t length = (size_t)connection->frame.length;
    connection->in_frame = false;
    event->data = payload;
    event->length = length;
    switch ((fws_opcode)connection->frame.opcode) {
    case FWS_OPCODE_PING:
        if (connection->close_sent)
            return event->type = FWS_EVENT_NONE;
        event->reply_size = fws_connection_encode_control(connection, event->reply, FWS_OPCODE_PONG,
                                                          payload, length);
        return event->type = FWS_EVENT_PING;
    case FWS_OPCODE_PONG:
        return event->type = FWS_EVENT_PONG;
    case FWS_OPCODE_CLOSE:
        break;
    case FWS_OPCODE_CONTINUATION:
    case FWS_OPCODE_TEXT:
    case FWS_OPCODE_BINARY:
        return event->type = FWS_EVENT_NONE; /* not control frames: the caller has handled them */
    }
    switch (fws_close_decode(payload, length, &event->code)) {
    case FWS_CLOSE_ONE_BYTE:
        return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, "close frame of one byte");
    case FWS_CLOSE_ILLEGAL_CODE:
        return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, "illegal close code");
    case FWS_CLOSE_BAD_UTF8:
        return fail(connection, event, FWS_CLOSE_INVALID_DATA, "close reason is not UTF-8");
    case FWS_CLOSE_OK:
        break;
    }
    connection->ended = true;
    fws_assembly_drop(connection);
    /* Section 5.5.1: the answer typically echoes the status code. */
    event->reply_size = fws_connection_close(connection, event->reply, event->code, NULL, 0);
    event->data = length > 2 ? payload + 2 : payload;
    event->length = length > 2 ? length - 2 : 0;
    return event->type = FWS_EVENT_CLOSE;
}

/* Reads what has arrived of a control payload. FWS_EVENT_NONE also means that it is not
 * complete. */
static fws_event_type read_control(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                   fws_event *event)
{
    fws_frame_header *frame = &connection->frame;
    size_t wanted = (size_t)(frame->length - connection->frame_received);
    size_t available = (size_t)(end - *cursor);
    size_t length = available < wanted ? available : wanted;
    uint8_t *payload = *cursor;
    if (frame->masked)
        fws_mask_apply(payload, length, frame->key, connection->frame_received);
    *cursor += length;
    if (length == frame->length)
        return receive_control(connection, event, payload);
    if (connection->control == NULL)
        connection->control = malloc(FWS_FRAME_CONTROL_MAX);
    if (connection->control == NULL)
        return fail(connection, event, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
    if (length > 0)
        memcpy(connection->control + connection->frame_received, payload, length);
    connection->frame_received += length;
    if (connection->frame_received < frame->length)
        return event->type = FWS_EVENT_NONE;
    return receive_control(connection, event, connection->control);
}

/* Checks and stores a part of the payload, which is not compressed. `whole`: the part is all of
 * the message, and is not copied. NULL, or what is wrong, with its close code. */
static const char *read_payload(fws_connection *connection, uint8_t *data, size_t length, bool last,
                                bool whole, uint16_t *code)
{
    if (connection->frame.masked)
        fws_mask_apply(data, length, connection->frame.key, connection->frame_received);
    if (connection->opcode == FWS_OPCODE_TEXT &&
        (!fws_utf8_feed(&connection->utf8, data, length) ||
         (last && !fws_utf8_complete(&connection->utf8)))) {
        *code = FWS_CLOSE_INVALID_DATA;
        return "text is not valid UTF-8";
    }
    if (!whole && !fws_assembly_append(connection, data, length)) {
        *code = FWS_CLOSE_INTERNAL_ERROR;
        return "out of memory";
    }
    return NULL;
}

/* How many bytes of the current payload have arrived. */
static size_t available_payload(const fws_connection *connection, const uint8_t *cursor,
                                const uint8_t *end)
{
    uint64_t wanted = connection->frame.length - connection->frame_received;
    size_t available = (size_t)(end - cursor);
    return available < wanted ? available : (size_t)wanted;
}

void fws_connection_inflate(fws_connection *connection, uint8_t **cursor, uint8_t *end)
{
    size_t length = available_payload(connection, *cursor, end);
    connection->allowance = FWS_PIECE;
    if (length > 0)
        fws_assembly_inflate(connection, cursor, length);
}

/* The payload of a data frame is complete, and with the last frame the message, which lies at
 * `data`. */
static fws_event_type end_data_frame(fws_connection *connection, fws_event *event,
                                     const uint8_t *data, size_t length, bool whole)
{
    connection->in_frame = false;
    if (!connection->frame.final)
        return FWS_EVENT_NONE;
    event->opcode = connection->opcode;
    connection->opcode = FWS_OPCODE_CONTINUATION;
    if (connection->close_sent) {
        fws_assembly_drop(
            connection); /* the first part had arrived before our close frame was written */
        return FWS_EVENT_NONE;
    }
    if (connection->compressed)
        fws_compression_end_message(connection->compression);
    connection->compressed = false;
    event->type = FWS_EVENT_MESSAGE;
    event->assembled = !whole;
    event->data = whole ? data : connection->message;
    event->length = whole ? length : connection->message_size;
    connection->delivered = !whole;
    return event->type;
}

/* As read_data, for a message that is compressed. */
static fws_event_type read_compressed(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                      fws_event *event)
{
    size_t length = available_payload(connection, *cursor, end);
    if (connection->problem == NULL && length > 0)
        fws_assembly_inflate(connection, cursor, length);
    if (connection->more)
        return event->type = FWS_EVENT_MORE;
    bool finished = connection->frame_received == connection->frame.length;
    if (connection->problem == NULL && finished && connection->frame.final)
        fws_assembly_end_inflating(connection);
    if (connection->problem)
        return fail(connection, event, connection->problem_code, connection->problem);
    return finished ? end_data_frame(connection, event, NULL, 0, false) : FWS_EVENT_NONE;
}

static fws_event_type read_data(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                fws_event *event)
{
    fws_frame_header *frame = &connection->frame;
    if (connection->compressed && !connection->close_sent)
        return read_compressed(connection, cursor, end, event);
    size_t length = available_payload(connection, *cursor, end);
    uint8_t *data = *cursor;
    *cursor += length;
    bool whole = frame->final && connection->fragments == 1 && length == frame->length;
    bool finished = length == frame->length - connection->frame_received;

    if (!connection->close_sent) { /* otherwise it is read only to find the peer's close frame,
                                      section 1.4 */
        uint16_t code = 0;
        const char *problem =
            read_payload(connection, data, length, finished && frame->final, whole, &code);
        if (problem)
            return fail(connection, event, code, problem);
    }
    connection->frame_received += length;
    return finished ? end_data_frame(connection, event, data, length, whole) : FWS_EVENT_NONE;
}

/* The header of a data frame was read: updates the message that it belongs to. NULL, or what is
 * wrong, with its close code. */
static const char *start_data_frame(fws_connection *connection, uint16_t *code)
{
    const fws_frame_header *frame = &connection->frame;
    if (frame->opcode != FWS_OPCODE_CONTINUATION) {
        connection->opcode = frame->opcode;
        connection->compressed = frame->compressed;
        connection->compressed_size = 0;
        connection->fragments = 0;
        fws_utf8_reset(&connection->utf8);
    }
    if (connection->close_sent)
        return NULL;
    if (exceeds_limit(connection)) {
        *code = FWS_CLOSE_TOO_BIG;
        return "message too big";
    }
    connection->compressed_size += frame->length;
    connection->fragments++;
    if (connection->limits.max_fragments > 0 &&
        connection->fragments > connection->limits.max_fragments) {
        *code = FWS_CLOSE_POLICY;
        return "message in too many fragments";
    }
    return NULL;
}

/* Reads the usual frame in one step: a short message, masked, not compressed, and all of it in
 * the buffer. False: it is another frame, or something is wrong, and nothing has changed. */
static bool read_short_message(fws_connection *connection, uint8_t **cursor, const uint8_t *end,
                               fws_event *event)
{
    uint8_t *head = *cursor, *payload = head + SHORT_HEADER;
    size_t available = (size_t)(end - head);
    bool between_frames = !connection->in_frame && connection->head_size == 0;
    if (available < SHORT_HEADER || !between_frames || connection->role != FWS_ROLE_SERVER ||
        connection->opcode != FWS_OPCODE_CONTINUATION || connection->close_sent)
        return false;
    uint8_t opcode = head[0] ^ FWS_FRAME_FINAL_BIT; /* no opcode if other bits are set */
    size_t length =
        (size_t)head[1] ^ FWS_FRAME_MASK_BIT; /* more than SHORT_MAX if the bit is not set */
    if ((opcode != FWS_OPCODE_TEXT && opcode != FWS_OPCODE_BINARY) || length > SHORT_MAX ||
        length > available - SHORT_HEADER ||
        (connection->limits.max_message_size > 0 && length > connection->limits.max_message_size))
        return false;
    fws_mask_apply(payload, length, head + 2, 0);
    if (opcode == FWS_OPCODE_TEXT && !fws_utf8_valid(payload, length)) {
        fws_mask_apply(payload, length, head + 2, 0);
        return false;
    }
    *cursor = payload + length;
    event->opcode = opcode;
    event->data = payload;
    event->length = length;
    event->type = FWS_EVENT_MESSAGE;
    return true;
}

fws_event_type fws_connection_receive(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                      fws_event *event)
{
    if (connection->delivered)
        fws_assembly_drop(connection);
    event->type = FWS_EVENT_NONE;
    event->assembled = false;
    event->reply_size = 0;
    if (connection->more)
        connection->allowance = FWS_PIECE;
    connection->more = false;
    for (;;) {
        if (connection->ended) {
            *cursor = end;
            return FWS_EVENT_NONE;
        }
        if (!connection->in_frame) {
            if (*cursor == end)
                return FWS_EVENT_NONE;
            if (read_short_message(connection, cursor, end, event))
                return event->type;
            fws_frame_status status = read_header(connection, cursor, end);
            if (status == FWS_FRAME_INCOMPLETE)
                return FWS_EVENT_NONE;
            if (status != FWS_FRAME_OK)
                return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, fws_frame_error(status));
            const char *problem = check_header(connection);
            if (problem)
                return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, problem);
            uint16_t code = FWS_CLOSE_PROTOCOL_ERROR;
            if (!fws_frame_is_control(connection->frame.opcode))
                problem = start_data_frame(connection, &code);
            if (problem)
                return fail(connection, event, code, problem);
            connection->in_frame = true;
            connection->frame_received = 0;
        }
        fws_event_type type = fws_frame_is_control(connection->frame.opcode)
                                  ? read_control(connection, cursor, end, event)
                                  : read_data(connection, cursor, end, event);
        if (type != FWS_EVENT_NONE)
            return type;
        if (connection->in_frame)
            return FWS_EVENT_NONE; /* the rest of the payload has not arrived */
    }
}
