/* Compression of messages: raw DEFLATE streams as permessage-deflate uses them, RFC 7692 section
 * 7.2. By zlib, and short messages that refer to no other message by deflate_short.
 *
 * A message is compressed with a sync flush, whose last four bytes (00 00 FF FF) are not sent. The
 * states of zlib are large (a deflater of 15 bits 268 KB, an inflater 40 KB), so they are borrowed
 * from a pool for one message each, unless context takeover binds one to a connection.
 *
 * Threads: a state is used by one thread at a time; a pool by any threads, without a lock: its
 * slots are atomic. Memory: zlib allocates through malloc; every failure is reported. A borrowed
 * state is the caller's until it is returned.
 */
#ifndef FWS_PROTOCOL_DEFLATE_H
#define FWS_PROTOCOL_DEFLATE_H

#include "deflate_short.h"

#include "../tuning.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_DEFLATE_BITS_MIN 8
#define FWS_DEFLATE_BITS_MAX 15

/* ---- compressing ---- */

typedef struct fws_deflater fws_deflater;

/* `window_bits`: the peer's window, 8 to 15. `level`: 1 (fast) to 9 (small). NULL: no memory. */
fws_deflater *fws_deflater_new(uint8_t window_bits, int level);
void fws_deflater_free(fws_deflater *deflater);

/* Drops the history: the next message refers to no earlier one. */
void fws_deflater_reset(fws_deflater *deflater);

/* Compresses a part of a message, and flushes after the last one; moves *out and *capacity by
 * what was written. False when that does not fit: then the deflater must be reset before its
 * next message. The last FWS_DEFLATE_TAIL_SIZE bytes of a message are not to be sent. */
bool fws_deflater_feed(fws_deflater *deflater, const uint8_t *data, size_t length, bool last,
                       uint8_t **out, size_t *capacity);

/* 00 00 FF FF: what a message ends with after the last part, and what RFC 7692 section 7.2.1
 * removes. */
#define FWS_DEFLATE_TAIL_SIZE 4

/* Compresses one message; false when the message and the flush do not fit into `capacity` bytes,
 * and then the deflater must be reset before its next message. For an empty message it writes
 * the one byte of RFC 7692 section 7.2.3.6. */
bool fws_deflater_message(fws_deflater *deflater, const uint8_t *data, size_t length, uint8_t *out,
                          size_t capacity, size_t *size);

/* ---- decompressing ---- */

typedef struct fws_inflater fws_inflater;

/* For a peer whose window has at most `window_bits`. NULL: there is no memory. */
fws_inflater *fws_inflater_new(uint8_t window_bits);
void fws_inflater_free(fws_inflater *inflater);
void fws_inflater_reset(fws_inflater *inflater);

typedef enum {
    FWS_INFLATE_DONE,      /* the input is used up */
    FWS_INFLATE_FULL,      /* the output is full, and there may be more */
    FWS_INFLATE_CORRUPT,   /* the input is not a DEFLATE stream */
    FWS_INFLATE_NO_MEMORY, /* there is no memory for its window */
} fws_inflate_status;

/* Moves *data and *length forward by what was read, *out and *capacity by what was written. */
fws_inflate_status fws_inflater_feed(fws_inflater *inflater, const uint8_t **data, size_t *length,
                                     uint8_t **out, size_t *capacity);

/* Is the input so far a whole message? To be called after the tail 00 00 FF FF: false when the
 * message ended within a block. */
bool fws_inflater_at_boundary(const fws_inflater *inflater);

/* ---- the pool ---- */

typedef _Atomic(void *) fws_deflate_slots[FWS_KEPT];

typedef struct {
    int level;
    fws_deflate_slots short_deflaters; /* fws_deflate_short */
    fws_deflate_slots small_deflaters; /* fws_deflater, for small windows */
    fws_deflate_slots large_deflaters; /* the same, for large windows */
    fws_deflate_slots inflaters;       /* fws_inflater */
} fws_deflate_pool;

void fws_deflate_pool_init(fws_deflate_pool *pool, int level);
void fws_deflate_pool_clear(fws_deflate_pool *pool);

/* An inflater that was reset; NULL when there is no memory. An inflater of the pool has the
 * largest window. */
fws_inflater *fws_deflate_pool_borrow_inflater(fws_deflate_pool *pool);
void fws_deflate_pool_return_inflater(fws_deflate_pool *pool, fws_inflater *inflater);

/* The same for a deflater with this window and the level of the pool. */
fws_deflater *fws_deflate_pool_borrow_deflater(fws_deflate_pool *pool, uint8_t window_bits);
void fws_deflate_pool_return_deflater(fws_deflate_pool *pool, fws_deflater *deflater);

/* How many bytes are compressed at once when others wait: some 0.5 ms, and what repeats itself in
 * the worst way takes ten times as long at level 9. */
size_t fws_deflate_pool_piece(const fws_deflate_pool *pool);

/* The window with which a message of this length is compressed, for a peer with a window of
 * `window_bits`. */
uint8_t fws_deflate_pool_window(uint8_t window_bits, size_t length);

/* Is it worth compressing this message? False for a long one of which no sample compresses, such
 * as a picture. */
bool fws_deflate_pool_promising(fws_deflate_pool *pool, const uint8_t *data, size_t length);

/* Compresses one message that refers to nothing outside itself, for a peer with this window. False
 * when it does not fit into `capacity` bytes, or when there is no memory. */
bool fws_deflate_pool_compress(fws_deflate_pool *pool, uint8_t window_bits, const uint8_t *data,
                               size_t length, uint8_t *out, size_t capacity, size_t *size);

#endif
