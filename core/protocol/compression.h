/* permessage-deflate on one connection (RFC 7692): the agreed parameters, and the compression
 * states that belong to the connection.
 *
 * Without context takeover in a direction, which is the default, no state is kept between two
 * messages of that direction: one is borrowed from the pool for each.
 *
 * Threads: no function locks; one thread at a time may call, which the owner of the connection
 * arranges. Only `pool`, `send_bits` and `send_takeover`, which never change, may be read by any
 * thread. Memory: the connection owns this and its two states; the pool is its caller's.
 */
#ifndef FWS_PROTOCOL_COMPRESSION_H
#define FWS_PROTOCOL_COMPRESSION_H

#include "deflate.h"
#include "negotiation.h"

typedef struct {
    fws_deflate_pool *pool;
    uint8_t send_bits; /* the window of the peer's inflater */
    uint8_t receive_bits;
    bool send_takeover;
    bool receive_takeover;
    bool stale; /* the deflater's history differs from the last bytes that the peer has inflated */
    fws_deflater *deflater; /* with send_takeover: from the first message on; else NULL */
    fws_inflater *inflater; /* with receive_takeover: from the first message on; else while a
                               message arrives */
} fws_compression;

/* `is_server`: our role. The pool must exist longer. NULL: there is no memory. */
fws_compression *fws_compression_new(fws_deflate_pool *pool,
                                     const fws_deflate_parameters *parameters, bool is_server);
void fws_compression_free(fws_compression *compression);

/* Frees the states that belong to the connection. */
void fws_compression_clear_deflater(fws_compression *compression);
void fws_compression_clear_inflater(fws_compression *compression);

/* Compresses one message, which must be sent next. False when it does not fit into `capacity`
 * bytes, or when there is no memory: then it is sent as it is. */
bool fws_compression_deflate(fws_compression *compression, const uint8_t *data, size_t length,
                             uint8_t *out, size_t capacity, size_t *size);

/* The deflater for a message that is compressed in parts, with fws_deflater_feed, and sent next.
 * With context takeover it is the connection's, and `reset` resets it; else it is borrowed from
 * the pool. NULL: there is no memory. */
fws_deflater *fws_compression_borrow_deflater(fws_compression *compression, bool reset);
void fws_compression_return_deflater(fws_compression *compression, fws_deflater *deflater);

/* The deflater's history is not the peer's any more: a compressed message was sent that this
 * deflater has not compressed, or one that it has compressed was not sent. */
static inline void fws_compression_mark_stale(fws_compression *compression)
{
    compression->stale = true;
}

/* Decompresses a part of a message; as fws_inflater_feed. */
fws_inflate_status fws_compression_inflate(fws_compression *compression, const uint8_t **data,
                                           size_t *length, uint8_t **out, size_t *capacity);

/* The message that was being decompressed is complete, or was dropped. */
void fws_compression_end_message(fws_compression *compression);

#endif
