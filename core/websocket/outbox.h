/* What one connection still has to send: reference-counted buffers, sent in the order in which they
 * were queued; the first may have been sent in part.
 *
 * Published buffers lie in a ring of their own, so that the oldest of them is dropped in O(1),
 * whatever is queued before it. Every other buffer is in one outbox only, and records how many
 * published ones go before it (fws_buffer.after). The buffer that was sent in part is in neither
 * ring: its frame must be finished, because the peer could not read what follows otherwise.
 *
 * Every function is O(1) for each buffer that it adds, writes or removes.
 *
 * Threads: no lock of its own; the lock of the websocket that owns the outbox protects it. Memory:
 * the outbox holds one reference to each of its buffers; one buffer of each kind needs no other
 * memory. An outbox does not move while it is not empty.
 */
#ifndef FWS_WEBSOCKET_OUTBOX_H
#define FWS_WEBSOCKET_OUTBOX_H

#include "../memory/buffer.h"
#include "../memory/ring.h"

#include <sys/uio.h>

typedef struct {
    size_t bytes;           /* still to send, over all buffers */
    uint32_t count;         /* of all buffers */
    uint32_t batch;         /* bytes appended since it was empty, up to a limit */
    fws_ring own;           /* what is not published */
    fws_buffer *partial;    /* the buffer that was sent in part; NULL: none */
    size_t sent;            /* how many bytes of `partial` were sent */
    size_t published_bytes; /* of all buffers in `published` */
    fws_ring published;
    uint32_t pongs;       /* of the buffers, how many are pongs */
    uint32_t newest_pong; /* the place in `own` of the newest, if that has not been sent, not even
                             in part */
} fws_outbox;

void fws_outbox_init(fws_outbox *outbox);
void fws_outbox_clear(fws_outbox *outbox);

/* Makes room, so that `count` pushes of what is not published cannot fail; false when there is no
 * memory. */
bool fws_outbox_reserve(fws_outbox *outbox, uint32_t count);

/* Takes over one reference of the buffer; false, and the reference stays the caller's, when there
 * is no memory. */
bool fws_outbox_push(fws_outbox *outbox, fws_buffer *buffer);

/* Queues a copy of the frame, in the last buffer if that has room, because one long piece is
 * written faster than many short ones. False when there is no memory. */
bool fws_outbox_append(fws_outbox *outbox, const void *header, size_t header_size, const void *data,
                       size_t size);

/* Is the first buffer, of at least one, something else than a place (fws_buffer_new_place)? */
bool fws_outbox_first_is_ready(const fws_outbox *outbox);

/* Is there something that can be written? Not while a place is the first. */
static inline bool fws_outbox_is_ready(const fws_outbox *outbox)
{
    return outbox->count > 0 && fws_outbox_first_is_ready(outbox);
}

/* Describes up to `maximum` pieces for one writev, up to the first place; returns how many. */
int fws_outbox_vector(const fws_outbox *outbox, struct iovec *vector, int maximum);

/* `size` bytes from the front have been written. */
void fws_outbox_consume(fws_outbox *outbox, size_t size);

/* How many bytes of this buffer have been written; 0 also when it is not in the outbox. */
size_t fws_outbox_sent_of(const fws_outbox *outbox, const fws_buffer *buffer);

/* Replaces `old` by a buffer, and takes over its reference. `old` is a place, or its first `from`
 * bytes have been written and the buffer has the bytes after those. False, and the reference stays
 * the caller's, when `old` is not in the outbox. */
bool fws_outbox_replace(fws_outbox *outbox, const fws_buffer *old, fws_buffer *by, size_t from);

/* Drops the oldest published buffer of which nothing was sent; false when there is none. */
bool fws_outbox_drop_oldest(fws_outbox *outbox);

/* Replaces the newest pong, if nothing of it was sent, and takes over the reference of the new
 * one; else false. */
bool fws_outbox_replace_pong(fws_outbox *outbox, fws_buffer *pong);

/* Drops every frame of which nothing was sent, so that a close frame goes out next. A frame that
 * was sent in part must be finished, because the peer could not read what follows otherwise. */
void fws_outbox_drop_unsent(fws_outbox *outbox);

#endif
