/* One message on its way to many websockets: framed once, and compressed once for each window that
 * their peers have.
 *
 * A compressed publication refers to nothing outside itself, so it also fits a connection with
 * context takeover, whose own deflater then begins anew (fws_compression_forget).
 *
 * Threads: one publisher's; no lock. The frames are shared once they are made.
 */
#ifndef FWS_CHANNELS_PUBLICATION_H
#define FWS_CHANNELS_PUBLICATION_H

#include "../memory/buffer.h"

#include "../protocol/deflate.h"
#include "../protocol/frame.h"

typedef struct {
    fws_opcode opcode;
    const void *data; /* the publisher's, for as long as the publication lives */
    size_t length;
    size_t threshold; /* smaller messages are not compressed; bytes */
    fws_deflate_pool *pool;
    fws_buffer *plain;
    fws_buffer *compressed[FWS_DEFLATE_BITS_MAX + 1]; /* by window bits */
} fws_publication;

void fws_publication_init(fws_publication *publication, fws_deflate_pool *pool, size_t threshold,
                          fws_opcode opcode, const void *data, size_t length);
void fws_publication_clear(fws_publication *publication);

/* The frame for a peer with this window (0: without compression), made at the first call; it
 * belongs to the publication. NULL when there is no memory. */
fws_buffer *fws_publication_frame(fws_publication *publication, uint8_t window_bits);

#endif
