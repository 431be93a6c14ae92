/* One WebSocket connection as a state machine: bytes in, events out (RFC 6455), for either role.
 *
 * It knows no socket, no clock and no thread ("sans-I/O"). The caller hands in bytes as they
 * arrived, however cut, and pulls events until the bytes are used up:
 *
 *     uint8_t *cursor = buffer, *end = buffer + received;
 *     while (fws_connection_receive(connection, &cursor, end, &event) != FWS_EVENT_NONE) { ... }
 *
 * One call decompresses at most FWS_PIECE bytes and then returns FWS_EVENT_MORE, so that
 * the caller can serve other connections before the next call. It then keeps the bytes from *cursor
 * on, of which there is at least one, and hands them in again. They must be the same bytes in the
 * same memory or a copy of it, because the call may have unmasked them already.
 *
 * Payloads are unmasked in place, in the caller's buffer; a message that arrived whole is given out
 * from there without a copy, one that arrived in parts, or compressed, is assembled in memory of
 * the connection. What the protocol requires as an answer (a pong, a close frame) comes with the
 * event, ready to be sent.
 *
 * Threads: no function locks; one thread at a time may call, which the owner arranges. Memory: the
 * connection owns what it allocates until fws_connection_clear; the bytes are the caller's.
 */
#ifndef FWS_PROTOCOL_CONNECTION_H
#define FWS_PROTOCOL_CONNECTION_H

#include "close.h"
#include "compression.h"
#include "frame.h"
#include "utf8.h"

#include "../tuning.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    FWS_ROLE_SERVER, /* expects masked frames, sends unmasked ones */
    FWS_ROLE_CLIENT, /* the other way round */
} fws_role;

/* Fills in four bytes that a peer cannot predict (section 10.3). Only the client role calls it. */
typedef void (*fws_entropy)(uint8_t out[4]);

/* What a message may cost; 0 means no limit. */
typedef struct {
    uint64_t max_message_size; /* bytes, after decompression: 1009 */
    uint32_t max_fragments;    /* frames of one message: 1008 */
} fws_limits;

typedef enum {
    FWS_EVENT_NONE,    /* the bytes are used up */
    FWS_EVENT_MORE,    /* a piece of a message was decompressed: call again with the bytes that are
                          left */
    FWS_EVENT_MESSAGE, /* opcode, data, length: text is valid UTF-8 */
    FWS_EVENT_PING,    /* data, length; the reply is the pong */
    FWS_EVENT_PONG,    /* data, length */
    FWS_EVENT_CLOSE,  /* code, and the reason in data, length; the reply, if any, is our close frame
                       */
    FWS_EVENT_FAILED, /* the peer broke the protocol or a limit: code, reason; the reply says so */
} fws_event_type;

typedef struct {
    fws_event_type type;
    uint8_t opcode; /* of a message: FWS_OPCODE_TEXT or FWS_OPCODE_BINARY */
    uint16_t code;
    bool assembled;      /* the message lies in memory of the connection, see
                            fws_connection_detach_message */
    const uint8_t *data; /* valid until the next call, and as long as the caller's buffer is */
    size_t length;
    size_t reply_size; /* bytes to send now; 0 when there is nothing to answer */
    uint8_t reply[FWS_FRAME_CONTROL_SIZE_MAX];
} fws_event;

typedef struct {
    /* What every message needs comes first, in one cache line. */
    uint8_t role;    /* fws_role */
    bool in_frame;   /* the header is read, the payload is not complete */
    bool ended;      /* a close frame came, or the connection failed: nothing more is read */
    bool close_sent; /* our close frame was written: nothing more may be sent */
    bool delivered;  /* the assembled message was given to the caller, and is freed by the next call
                      */
    uint8_t opcode;  /* of the message being received; CONTINUATION between messages */
    uint8_t head_size; /* bytes in `head` */
    bool compressed;   /* the message being received is compressed */
    bool more;         /* there is more to decompress: the last call returned FWS_EVENT_MORE, or
                          fws_connection_inflate stopped early */
    fws_utf8 utf8;
    uint32_t fragments;           /* frames of the message being received */
    fws_compression *compression; /* NULL: not agreed on */
    fws_limits limits;
    uint8_t *message; /* assembled so far; malloc'd */
    size_t message_size;
    size_t message_capacity;
    fws_frame_header frame;
    uint64_t frame_received;  /* bytes of the current payload */
    uint64_t compressed_size; /* bytes of the message before decompression, as far as announced */
    size_t unmasked;          /* bytes of the payload that were not read and are unmasked already */
    size_t allowance;         /* bytes that may be decompressed before FWS_EVENT_MORE */
    bool last_kept; /* the first of the `unmasked` bytes is decompressed already, see assembly.h */
    uint16_t problem_code; /* the close code for what fws_assembly_inflate has found to be wrong */
    const char *problem;   /* the same in words; NULL: nothing is wrong */
    fws_entropy entropy;
    uint8_t *control; /* the payload of a control frame that came in pieces; malloc'd */
    uint8_t head[FWS_FRAME_HEADER_MAX]; /* a header that has only partly arrived */
} fws_connection;

/* `entropy` may be NULL for a server. */
void fws_connection_init(fws_connection *connection, fws_role role, const fws_limits *limits,
                         fws_entropy entropy);
void fws_connection_clear(fws_connection *connection);

/* Nothing more will be received, or sent: frees the memory for that. What other threads may
 * still read (see compression.h) is freed by fws_connection_clear. */
void fws_connection_abandon_receiving(fws_connection *connection);
void fws_connection_abandon_sending(fws_connection *connection);

/* permessage-deflate was agreed on; to be called before the first byte. The pool must exist
 * longer than the connection. False when there is no memory. */
bool fws_connection_use_compression(fws_connection *connection, fws_deflate_pool *pool,
                                    const fws_deflate_parameters *parameters);

/* The next event in *cursor..end; moves *cursor. Returns event->type. After FWS_EVENT_CLOSE or
 * FWS_EVENT_FAILED all further bytes are skipped. When there is no memory, that is
 * FWS_EVENT_FAILED with code 1011. Once our own close frame was written, messages are read and
 * dropped, and pings are not answered (RFC 6455 section 1.4). */
fws_event_type fws_connection_receive(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                      fws_event *event);

/* Is there a message of which more is to be decompressed? Then the caller still has bytes of it. */
static inline bool fws_connection_is_inflating(const fws_connection *connection)
{
    return connection->more;
}

/* The next call may decompress a whole piece again. */
static inline void fws_connection_allow_piece(fws_connection *connection)
{
    connection->allowance = FWS_PIECE;
}

/* Decompresses the next piece of that message, before the next call of fws_connection_receive;
 * moves *cursor, to `end` at most. Meanwhile other threads may send and close: of what these
 * use, this function only reads `limits`, `opcode` and `frame`, and it writes only what
 * receiving alone uses. */
void fws_connection_inflate(fws_connection *connection, uint8_t **cursor, uint8_t *end);

/* After a message event with `assembled` set: hands its memory to the caller, who frees it. NULL
 * for an empty message. */
uint8_t *fws_connection_detach_message(fws_connection *connection);

/* ---- sending: connection_send.c ---- */

/* Writes the header of a data frame; the client role puts its masking key in `key` and the caller
 * masks the payload with it. `out` holds FWS_FRAME_HEADER_MAX bytes. For a message that is
 * compressed, the caller marks the header. */
size_t fws_connection_encode_header(fws_connection *connection, uint8_t *out, bool final,
                                    fws_opcode opcode, uint64_t length, uint8_t key[4]);

/* Writes a whole control frame; `out` holds FWS_FRAME_CONTROL_SIZE_MAX bytes. Returns its size; 0,
 * and nothing is written, when `length` is more than FWS_FRAME_CONTROL_MAX. */
size_t fws_connection_encode_control(fws_connection *connection, uint8_t *out, fws_opcode opcode,
                                     const uint8_t *payload, size_t length);

/* Writes our close frame and marks it as sent; 0 when one was sent before. The reason is cut to
 * FWS_CLOSE_REASON_MAX bytes, never inside a character. FWS_CLOSE_NO_STATUS gives an empty frame.
 */
size_t fws_connection_close(fws_connection *connection, uint8_t *out, uint16_t code,
                            const char *reason, size_t reason_size);

#endif
