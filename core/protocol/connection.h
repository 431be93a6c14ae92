/* One WebSocket connection as a state machine: bytes in, events out (RFC 6455), for either role.
 *
 * It knows no socket, no clock and no thread ("sans-I/O"). The caller hands in bytes as they
 * arrived, however cut, and pulls events until the bytes are used up:
 *
 *     uint8_t *cursor = buffer, *end = buffer + received;
 *     while (fws_connection_receive(connection, &cursor, end, &event) != FWS_EVENT_NONE) { ... }
 *
 * One call decompresses at most FWS_INFLATE_PIECE bytes and then says FWS_EVENT_MORE, so that
 * others can have their turn before the next: whoever has others keeps the bytes that are left, of
 * which there is at least one, and hands them in again. What a call has not taken it may have
 * unmasked, so they must be the same bytes.
 *
 * Payloads are unmasked in place, in the caller's buffer; a message that arrived whole is given out
 * from there without a copy, one that arrived in parts, or compressed, is assembled in memory of
 * the connection. What the protocol requires as an answer (a pong, a close frame) comes with the
 * event, ready to be sent.
 *
 * Threads: none of this locks; one thread at a time, as its owner arranges.
 */
#ifndef FWS_PROTOCOL_CONNECTION_H
#define FWS_PROTOCOL_CONNECTION_H

#include "close.h"
#include "compression.h"
#include "frame.h"
#include "utf8.h"

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
    FWS_EVENT_MORE,    /* a piece of a message was decompressed: call again, with what is left */
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
    bool assembled; /* a message in the connection's memory, see fws_connection_detach_message */
    const uint8_t *data; /* valid until the next call, and as long as the caller's buffer is */
    size_t length;
    size_t reply_size; /* bytes to send now; 0 when there is nothing to answer */
    uint8_t reply[FWS_FRAME_CONTROL_SIZE_MAX];
} fws_event;

typedef struct {
    /* What every message needs comes first, in one cache line. */
    fws_role role;
    bool in_frame;     /* the header is read, the payload is not complete */
    bool ended;        /* a close frame came, or the connection failed: nothing more is read */
    bool close_sent;   /* our close frame is out: nothing more may be sent */
    bool delivered;    /* the assembled message was an event; drop it at the next call */
    uint8_t opcode;    /* of the message being received; CONTINUATION between messages */
    uint8_t head_size; /* bytes in `head` */
    bool compressed;   /* the message being received is */
    bool more;         /* the last call said FWS_EVENT_MORE, or fws_connection_inflate stopped so */
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
    size_t unmasked;          /* bytes of the payload that are left to the caller, and unmasked */
    size_t allowance;         /* bytes that may be decompressed before FWS_EVENT_MORE */
    bool last_kept;           /* of `unmasked`, the first is decompressed, see assembly.h */
    uint16_t problem_code;    /* what fws_assembly_inflate has found to be wrong: a close code, */
    const char *problem;      /* and in words; NULL: nothing */
    fws_entropy entropy;
    uint8_t *control; /* the payload of a control frame that came in pieces; malloc'd */
    uint8_t head[FWS_FRAME_HEADER_MAX]; /* a header that has only partly arrived */
} fws_connection;

/* `entropy` may be NULL for a server. */
void fws_connection_init(fws_connection *connection, fws_role role, const fws_limits *limits,
                         fws_entropy entropy);
void fws_connection_clear(fws_connection *connection);

/* Nothing more will be received, or sent: gives back the memory of that, but for what other threads
 * may read (see compression.h) and fws_connection_clear frees. */
void fws_connection_abandon_receiving(fws_connection *connection);
void fws_connection_abandon_sending(fws_connection *connection);

/* permessage-deflate was agreed on; before the first byte. The pool must outlive the connection.
 * False when there is no memory. */
bool fws_connection_use_compression(fws_connection *connection, fws_deflate_pool *pool,
                                    const fws_deflate_parameters *parameters);

/* The next event in *cursor..end; moves *cursor. Returns event->type. After FWS_EVENT_CLOSE or
 * FWS_EVENT_FAILED all further bytes are skipped. Memory that cannot be had is FWS_EVENT_FAILED
 * with code 1011. Once our own close frame is out, messages and pings are read but not given out
 * (section 1.4). */
fws_event_type fws_connection_receive(fws_connection *connection, uint8_t **cursor, uint8_t *end,
                                      fws_event *event);

/* How much one call decompresses; bytes. Takes some 0.2 ms. */
#define FWS_INFLATE_PIECE ((size_t)64 * 1024)

/* Is there a message of which more is to be decompressed? Then bytes are left to the caller. */
static inline bool fws_connection_is_inflating(const fws_connection *connection)
{
    return connection->more;
}

/* What the next call may decompress is a whole piece again. */
static inline void fws_connection_allow_piece(fws_connection *connection)
{
    connection->allowance = FWS_INFLATE_PIECE;
}

/* Decompresses the next piece of it ahead of fws_connection_receive, which is called next; moves
 * *cursor, to `end` at most. Meanwhile other threads may send and close: nothing that these use is
 * read or written but `limits`, `opcode`, `frame` and what only receiving uses. */
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
