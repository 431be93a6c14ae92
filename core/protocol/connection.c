#include "connection.h"

#include "mask.h"

#include <stdlib.h>
#include <string.h>

/* A message that arrives in parts first gets this much, then doubles: what the header promises is
 * never reserved before it arrives, or a header alone would cost the whole limit. */
#define FIRST_CAPACITY 4096

void fws_connection_init(fws_connection *connection, fws_role role, uint64_t max_message_size,
                         fws_entropy entropy)
{
    memset(connection, 0, sizeof *connection);
    connection->role = role;
    connection->max_message_size = max_message_size;
    connection->entropy = entropy;
    fws_utf8_reset(&connection->utf8);
}

static void drop_message(fws_connection *connection)
{
    free(connection->message);
    connection->message = NULL;
    connection->message_size = 0;
    connection->message_capacity = 0;
    connection->given_out = false;
}

void fws_connection_clear(fws_connection *connection)
{
    drop_message(connection);
}

uint8_t *fws_connection_take(fws_connection *connection)
{
    uint8_t *message = connection->message;
    connection->message = NULL;
    return message;
}

/* ---- sending ---- */

size_t fws_connection_encode_header(fws_connection *connection, uint8_t *out, bool final,
                                    fws_opcode opcode, uint64_t length, uint8_t key[4])
{
    if (connection->role == FWS_ROLE_SERVER)
        return fws_frame_encode(out, final, opcode, length, NULL);
    connection->entropy(key);
    return fws_frame_encode(out, final, opcode, length, key);
}

size_t fws_connection_encode_control(fws_connection *connection, uint8_t *out, fws_opcode opcode,
                                     const uint8_t *payload, size_t length)
{
    uint8_t key[4];
    size_t size = fws_connection_encode_header(connection, out, true, opcode, length, key);
    if (length > 0)
        memcpy(out + size, payload, length);
    if (connection->role == FWS_ROLE_CLIENT)
        fws_mask_apply(out + size, length, key, 0);
    return size + length;
}

size_t fws_connection_close(fws_connection *connection, uint8_t *out, uint16_t code,
                            const char *reason, size_t reason_size)
{
    if (connection->close_sent)
        return 0;
    connection->close_sent = true;
    if (code == FWS_CLOSE_NO_STATUS)
        return fws_connection_encode_control(connection, out, FWS_OPCODE_CLOSE, NULL, 0);
    if (reason_size > FWS_CLOSE_REASON_MAX) {
        reason_size = FWS_CLOSE_REASON_MAX;
        while (reason_size > 0 && ((uint8_t)reason[reason_size] & 0xC0) == 0x80)
            reason_size--;
    }
    uint8_t payload[FWS_FRAME_CONTROL_MAX];
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    if (reason_size > 0)
        memcpy(payload + 2, reason, reason_size);
    return fws_connection_encode_control(connection, out, FWS_OPCODE_CLOSE, payload,
                                         2 + reason_size);
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
    if (connection->head_size == 0) {
        size_t available = (size_t)(end - *cursor);
        status = fws_frame_decode(*cursor, available, &connection->frame);
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
        status = fws_frame_decode(connection->head, connection->head_size, &connection->frame);
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

static bool exceeds_limit(const fws_connection *connection)
{
    if (connection->max_message_size == 0)
        return connection->frame.length > SIZE_MAX - connection->message_size;
    /* message_size never passes the limit, so the difference does not wrap. */
    return connection->frame.length > connection->max_message_size - connection->message_size;
}

static bool append(fws_connection *connection, const uint8_t *data, size_t length)
{
    size_t needed = connection->message_size + length;
    if (needed > connection->message_capacity) {
        /* What this message will hold if no further fragment comes. */
        size_t promised =
            needed + (size_t)(connection->frame.length - connection->frame_received - length);
        size_t capacity = connection->message_capacity * 2;
        if (capacity < FIRST_CAPACITY)
            capacity = FIRST_CAPACITY;
        if (capacity > promised)
            capacity = promised;
        if (capacity < needed)
            capacity = needed;
        uint8_t *grown = realloc(connection->message, capacity);
        if (grown == NULL)
            return false;
        connection->message = grown;
        connection->message_capacity = capacity;
    }
    if (length > 0)
        memcpy(connection->message + connection->message_size, data, length);
    connection->message_size = needed;
    return true;
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
    if (frame->masked)
        fws_mask_apply(*cursor, length, frame->key, connection->frame_received);
    if (length > 0)
        memcpy(connection->control + connection->frame_received, *cursor, length);
    connection->frame_received += length;
    *cursor += length;
    if (connection->frame_received < frame->length)
        return event->type = FWS_EVENT_NONE;
    return receive_control(connection, event, connection->control);
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
    bool whole = frame->final && connection->message_size == 0 && connection->frame_received == 0 &&
                 length == frame->length;
    bool finished = length == wanted;
    event->type = FWS_EVENT_NONE;

    if (connection->close_sent) { /* section 1.4: read, to find the close frame, but not kept */
        connection->frame_received += length;
    } else {
        if (frame->masked)
            fws_mask_apply(data, length, frame->key, connection->frame_received);
        bool text = connection->opcode == FWS_OPCODE_TEXT;
        if (text && (!fws_utf8_feed(&connection->utf8, data, length) ||
                     (finished && frame->final && !fws_utf8_complete(&connection->utf8))))
            return fail(connection, event, FWS_CLOSE_INVALID_DATA, "text is not valid UTF-8");
        if (!whole && !append(connection, data, length))
            return fail(connection, event, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        connection->frame_received += length;
    }
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
    event->type = FWS_EVENT_MESSAGE;
    event->assembled = !whole;
    event->data = whole ? data : connection->message;
    event->length = whole ? length : connection->message_size;
    connection->given_out = !whole;
    return event->type;
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
            fws_frame_status status = read_header(connection, cursor, end);
            if (status == FWS_FRAME_INCOMPLETE)
                return FWS_EVENT_NONE;
            if (status != FWS_FRAME_OK)
                return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, fws_frame_error(status));
            const char *problem = check_header(connection);
            if (problem)
                return fail(connection, event, FWS_CLOSE_PROTOCOL_ERROR, problem);
            if (!fws_frame_is_control(connection->frame.opcode)) {
                if (!connection->close_sent && exceeds_limit(connection))
                    return fail(connection, event, FWS_CLOSE_TOO_BIG, "message too big");
                if (connection->frame.opcode != FWS_OPCODE_CONTINUATION) {
                    connection->opcode = connection->frame.opcode;
                    fws_utf8_reset(&connection->utf8);
                }
            }
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
