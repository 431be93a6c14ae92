/* What one connection still has to send: shared buffers, which leave in the order in which they
 * were queued, the first perhaps sent in part.
 *
 * What is published lies in a ring of its own, so that the oldest of it is dropped in O(1),
 * whatever is queued before it. Each of the other buffers, which are in no second outbox, knows how
 * many published ones go before it (fws_buffer.after). The one that has begun to be sent is in
 * neither ring: it must be finished, or the peer could not read what follows.
 *
 * Every function is O(1) for each buffer that it adds, writes or removes.
 *
 * Threads: no lock of its own; the websocket that owns it protects it with its own lock.
 * Memory: one buffer of each kind needs none of its own. An outbox does not move while it is not
 * empty.
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
    fws_buffer *partial;    /* a part of it is sent; NULL: of none */
    size_t sent;            /* so many bytes of it */
    size_t published_bytes; /* of `published`: what is published and has not begun to be sent */
    fws_ring published;
    uint32_t pongs;       /* of the buffers, how many are pongs */
    uint32_t newest_pong; /* the place in `own` of the newest, unless that has begun or is gone */
} fws_outbox;

void fws_outbox_init(fws_outbox *outbox);
void fws_outbox_clear(fws_outbox *outbox);

/* Makes room, so that `count` pushes of what is not published cannot fail; false when there is no
 * memory. */
bool fws_outbox_reserve(fws_outbox *outbox, uint32_t count);

/* Takes over one reference of the buffer; false, and the reference stays the caller's, when there
 * is no memory. */
bool fws_outbox_push(fws_outbox *outbox, fws_buffer *buffer);

/* Queues a copy of the frame, where possible behind others in the same buffer: what is written
 * together had better lie together. False when there is no memory. */
bool fws_outbox_append(fws_outbox *outbox, const void *header, size_t header_size, const void *data,
                       size_t size);

/* Is there something that can be written? Not while a place (fws_buffer_new_place) is first. */
bool fws_outbox_is_ready(const fws_outbox *outbox);

/* Puts a buffer in such a place and takes over its reference. False: the place has been dropped,
 * and the reference stays the caller's. */
bool fws_outbox_fill_place(fws_outbox *outbox, const fws_buffer *place, fws_buffer *buffer);

/* Describes up to `maximum` pieces for one writev, up to the first place; returns how many. */
int fws_outbox_vector(const fws_outbox *outbox, struct iovec *vector, int maximum);

/* `size` bytes from the front are gone. */
void fws_outbox_consume(fws_outbox *outbox, size_t size);

/* How much of this buffer is gone; 0 also when it is not in the outbox. */
size_t fws_outbox_sent_of(const fws_outbox *outbox, const fws_buffer *buffer);

/* Puts one buffer, whose reference it takes over, in the place of another, of which it has what
 * follows the first `from` bytes; those are gone. False, and nothing is taken over, when the other
 * is not there. */
bool fws_outbox_replace(fws_outbox *outbox, fws_buffer *old, fws_buffer *by, size_t from);

/* Drops the oldest published buffer of which nothing is sent yet; false when there is none. */
bool fws_outbox_drop_oldest(fws_outbox *outbox);

/* Puts a pong in the place of the newest one, if nothing of that is sent yet, and takes over its
 * reference; else false. */
bool fws_outbox_replace_pong(fws_outbox *outbox, fws_buffer *pong);

/* Drops all that has not begun to be sent: a close frame is to overtake it. A frame that has begun
 * must be finished, or the peer could not read what follows. */
void fws_outbox_drop_unsent(fws_outbox *outbox);

#endif
