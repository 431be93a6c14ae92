#include "connection.h"

#include "mask.h"

#include <stdlib.h>
#include <string.h>

/* A message that arrives in parts first gets this much, then doubles: what the header promises is
 * never reserved before it arrives, or a header alone would cost the whole limit. */
#define FIRST_CAPACITY 4096

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
    fws_utf8_reset(&connection->utf8);
}

bool fws_connection_use_compression(fws_connection *connection, fws_deflate_pool *pool,
                                    const fws_deflate_parameters *parameters)
{
    connection->compression =
        fws_compression_new(pool, parameters, connection->role == FWS_ROLE_SERVER);
    return connection->compression != NULL;
}

static void drop_message(fws_connection *connection)
{
    if (connection->compressed)
        fws_compression_end_message(connection->compression);
    connection->compressed = false;
    free(connection->message);
    connection->message = NULL;
    connection->message_size = 0;
    connection->message_capacity = 0;
    connection->given_out = false;
}

void fws_connection_abandon(fws_connection *connection)
{
    connection->ended = true;
    drop_message(connection);
    if (connection->compression)
        fws_compression_clear(connection->compression);
}

void fws_connection_clear(fws_connection *connection)
{
    drop_message(connection);
    fws_compression_free(connection->compression);
    connection->compression = NULL;
    free(connection->control);
    connection->control = NULL;
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
    if (spare > size / 8) { /* it may wait in a queue for long */
        uint8_t *shrunk = realloc(message, size);
        if (shrunk)
            message = shrunk;
    }
    return message;
}

/* ---- receiving ---- */

/* The connection fails, section 7.1.7: the close frame to send says why. */
static fws_event_type fail(fws_connection *connection, fws_event *event, uint16_t code,
                           const char *reason)
{
    connection->ended = true;
    connection->in_frame = false;
    drop_message(connection);
    event->type = FWS_EVENT_FAILED;
    event->code = code;
    event->data = (const uint8_t *)reason;
    event->length = strlen(reason);
    event->reply_size = fws_connection_close(connection, event->reply, code, reason, event->length);
    return event->type;
}

/* Reads a header that may be cut anywhere. */
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

/* Checks what the header means here; a reason for 1002, or NULL when it is in order. */
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

/* From the header, before anything of the payload is kept. */
static bool exceeds_limit(const fws_connection *connection)
{
    uint64_t most = connection->limits.max_message_size;
    uint64_t length = connection->frame.length;
    if (connection->compressed) {
        /* What does not compress grows a little: a message of the full size must get through. */
        if (most == 0)
            return false;
        most += most / 64 + 1024;
        return length > most || connection->compressed_size > most - length;
    }
    if (most == 0)
        return length > SIZE_MAX - connection->message_size;
    /* message_size never passes the limit, so the difference does not wrap. */
    return length > most - connection->message_size;
}

/* Makes room for `needed` bytes, at least twice what there was: a message in many pieces is copied
 * a few times, not once for each. `most`: it will hold no more; at least `needed`. When half of
 * that is there, the rest gets its room at once. */
static bool grow(fws_connection *connection, size_t needed, uint64_t most)
{
    if (needed <= connection->message_capacity)
        return true;
    size_t capacity = connection->message_capacity * 2;
    if (capacity < FIRST_CAPACITY)
        capacity = FIRST_CAPACITY;
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

static bool append(fws_connection *connection, const uint8_t *data, size_t length)
{
    size_t needed = connection->message_size + length;
    uint64_t most =
        connection->limits.max_message_size ? connection->limits.max_message_size : UINT64_MAX;
    if (connection->frame.final) /* then the header says what will come */
        most = needed + (connection->frame.length - connection->frame_received - length);
    if (!grow(connection, needed, most))
        return false;
    if (length > 0)
        memcpy(connection->message + connection->message_size, data, length);
    connection->message_size = needed;
    return true;
}

/* Decompresses what arrived of a message and appends it; checks every byte of it at once. Stops one
 * byte beyond the limit. NULL, or what is wrong, with its code. */
static const char *inflate_payload(fws_connection *connection, const uint8_t *data, size_t length,
                                   uint16_t *code)
{
    uint64_t most =
        connection->limits.max_message_size ? connection->limits.max_message_size + 1 : UINT64_MAX;
    fws_inflate_status status;
    do {
        if (!grow(connection, connection->message_size + 1, most)) {
            *code = FWS_CLOSE_INTERNAL_ERROR;
            return "out of memory";
        }
        uint8_t *start = connection->message + connection->message_size, *out = start;
        size_t room = connection->message_capacity - connection->message_size;
        status = fws_compression_inflate(connection->compression, &data, &length, &out, &room);
        size_t written = (size_t)(out - start);
        connection->message_size += written;
        if (status == FWS_INFLATE_NO_MEMORY) {
            *code = FWS_CLOSE_INTERNAL_ERROR;
            return "out of memory";
        }
        if (connection->opcode == FWS_OPCODE_TEXT &&
            !fws_utf8_feed(&connection->utf8, start, written)) {
            *code = FWS_CLOSE_INVALID_DATA;
            return "text is not valid UTF-8";
        }
        if (connection->message_size >= most) {
            *code = FWS_CLOSE_TOO_BIG;
            return "message too big after decompression";
        }
        if (status == FWS_INFLATE_CORRUPT) {
            *code = FWS_CLOSE_INVALID_DATA;
            return "compressed message is not a DEFLATE stream";
        }
    } while (status == FWS_INFLATE_FULL);
    return NULL;
}

/* The last frame is complete: section 7.2.2 of RFC 7692. */
static const char *inflate_end(fws_connection *connection, uint16_t *code)
{
    static const uint8_t tail[] = {0x00, 0x00, 0xFF, 0xFF};
    if (connection->compressed_size == 0)
        return NULL; /* some peers send an empty message so, without the byte of section 7.2.3.6 */
    const char *problem = inflate_payload(connection, tail, sizeof tail, code);
    if (problem == NULL && !fws_inflater_at_boundary(connection->compression->inflater)) {
        *code = FWS_CLOSE_INVALID_DATA;
        problem = "compressed message ends within a block";
    }
    if (problem == NULL && connection->opcode == FWS_OPCODE_TEXT &&
        !fws_utf8_complete(&connection->utf8)) {
        *code = FWS_CLOSE_INVALID_DATA;
        problem = "text is not valid UTF-8";
    }
    return problem;
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
        return event->type = FWS_EVENT_NONE; /* not control frames: never come here */
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
    drop_message(connection);
    /* Section 5.5.1: the answer typically echoes the status code. */
    event->reply_size = fws_connection_close(connection, event->reply, event->code, NULL, 0);
    event->data = length > 2 ? payload + 2 : payload;
    event->length = length > 2 ? length - 2 : 0;
    return event->type = FWS_EVENT_CLOSE;
}

/* Takes what is there of a control payload; FWS_EVENT_NONE also means that it is not complete. */
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

/* Checks and keeps a piece of the payload. `whole`: it is all of the message, and stays where it
 * is. NULL, or what is wrong, with its code. */
static const char *read_payload(fws_connection *connection, uint8_t *data, size_t length, bool last,
                                bool whole, uint16_t *code)
{
    if (connection->frame.masked)
        fws_mask_apply(data, length, connection->frame.key, connection->frame_received);
    if (connection->compressed) {
        const char *problem = length > 0 ? inflate_payload(connection, data, length, code) : NULL;
        return problem || !last ? problem : inflate_end(connection, code);
    }
    if (connection->opcode == FWS_OPCODE_TEXT &&
        (!fws_utf8_feed(&connection->utf8, data, length) ||
         (last && !fws_utf8_complete(&connection->utf8)))) {
        *code = FWS_CLOSE_INVALID_DATA;
        return "text is not valid UTF-8";
    }
    if (!whole && !append(connection, data, length)) {
        *code = FWS_CLOSE_INTERNAL_ERROR;
        return "out of memory";
    }
    return NULL;
}

static fws_event_type read_data(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                fws_event *event)
{
    fws_frame_header *frame = &connection->frame;
    uint64_t wanted = frame->length - connection->frame_received;
    size_t available = (size_t)(end - *cursor);
    size_t length = available < wanted ? available : (size_t)wanted;
    uint8_t *data = *cursor;
    *cursor += length;
    bool whole = frame->final && connection->fragments == 1 && !connection->compressed &&
                 length == frame->length;
    bool finished = length == wanted;
    event->type = FWS_EVENT_NONE;

    if (!connection->close_sent) { /* else: section 1.4, read to find the close frame, not kept */
        uint16_t code = 0;
        const char *problem =
            read_payload(connection, data, length, finished && frame->final, whole, &code);
        if (problem)
            return fail(connection, event, code, problem);
    }
    connection->frame_received += length;
    if (!finished)
        return FWS_EVENT_NONE;
    connection->in_frame = false;
    if (!frame->final)
        return FWS_EVENT_NONE;

    event->opcode = connection->opcode;
    connection->opcode = FWS_OPCODE_CONTINUATION;
    if (connection->close_sent) {
        drop_message(connection); /* what had come before our close frame went out */
        return FWS_EVENT_NONE;
    }
    if (connection->compressed)
        fws_compression_end_message(connection->compression);
    connection->compressed = false;
    event->type = FWS_EVENT_MESSAGE;
    event->assembled = !whole;
    event->data = whole ? data : connection->message;
    event->length = whole ? length : connection->message_size;
    connection->given_out = !whole;
    return event->type;
}

/* What the header of a data frame means for its message; NULL, or what is wrong, with its code. */
static const char *begin_data(fws_connection *connection, uint16_t *code)
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

/* The usual frame: all of a short message, masked, not compressed, and in one piece. False: it is
 * something else, or something is wrong, and nothing has changed. */
static bool take_short_message(fws_connection *connection, uint8_t **cursor, const uint8_t *end,
                               fws_event *event)
{
    uint8_t *head = *cursor, *payload = head + SHORT_HEADER;
    size_t available = (size_t)(end - head);
    bool between_frames = !connection->in_frame && connection->head_size == 0;
    if (available < SHORT_HEADER || !between_frames || connection->role != FWS_ROLE_SERVER ||
        connection->opcode != FWS_OPCODE_CONTINUATION || connection->close_sent)
        return false;
    uint8_t opcode = head[0] ^ FWS_FRAME_FINAL_BIT;       /* with other bits, no opcode */
    size_t length = (size_t)head[1] ^ FWS_FRAME_MASK_BIT; /* without the bit, more than SHORT_MAX */
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
    if (connection->given_out)
        drop_message(connection);
    event->type = FWS_EVENT_NONE;
    event->assembled = false;
    event->reply_size = 0;
    for (;;) {
        if (connection->ended) {
            *cursor = end;
            return FWS_EVENT_NONE;
        }
        if (!connection->in_frame) {
            if (*cursor == end)
                return FWS_EVENT_NONE;
            if (take_short_message(connection, cursor, end, event))
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
                problem = begin_data(connection, &code);
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
            return FWS_EVENT_NONE; /* the payload goes on in bytes that have not arrived */
    }
}
