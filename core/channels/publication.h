/* One message on its way to many websockets: framed once, and compressed once for each window that
 * their peers have.
 *
 * The message is copied before anything else is done with it: its bytes may be changing, as those
 * of a bytearray that another thread reads into, and what is read twice must be the same twice.
 *
 * A compressed publication refers to nothing outside itself, so it also fits a connection with
 * context takeover, whose own deflater then begins anew (fws_compression_mark_stale).
 *
 * Threads: the publisher's alone while frames are made; then it does not change, and any may use
 * it.
 */
#ifndef FWS_CHANNELS_PUBLICATION_H
#define FWS_CHANNELS_PUBLICATION_H

#include "../memory/buffer.h"

#include "../protocol/deflate.h"
#include "../protocol/frame.h"

typedef struct {
    fws_opcode opcode;
    size_t length;          /* of the message; bytes */
    size_t threshold;       /* smaller messages are not compressed; bytes */
    fws_deflate_pool *pool; /* of the engine */
    fws_buffer *plain;
    fws_buffer *compressed[FWS_DEFLATE_BITS_MAX + 1]; /* by window bits */
} fws_publication;

/* Copies and frames the message; false when there is no memory. */
bool fws_publication_init(fws_publication *publication, fws_deflate_pool *pool, size_t threshold,
                          fws_opcode opcode, const void *data, size_t length);
/* Also of one that is all zero. */
void fws_publication_clear(fws_publication *publication);

/* Makes the frames for these windows, a bit for each (bit 0: without compression). */
void fws_publication_compress(fws_publication *publication, uint16_t windows);
bool fws_publication_has_frames(const fws_publication *publication, uint16_t windows);

/* The frame for a peer with this window, which has been made; it belongs to the publication. */
fws_buffer *fws_publication_frame(const fws_publication *publication, uint8_t window_bits);

/* Bytes of all frames. */
size_t fws_publication_size(const fws_publication *publication);

#endif
