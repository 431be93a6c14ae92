/* What one connection still has to send: a queue of shared buffers, the first perhaps sent in part.
 *
 * Threads: no lock of its own; the websocket that owns it protects it with its own lock.
 * Memory: one buffer needs none of its own. An outbox does not move while it is not empty.
 */
#ifndef FWS_WEBSOCKET_OUTBOX_H
#define FWS_WEBSOCKET_OUTBOX_H

#include "../memory/buffer.h"

#include <sys/uio.h>

typedef struct {
    fws_buffer **ring; /* `only`, or malloc'd */
    fws_buffer *only;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t first;
    uint32_t count;
    uint32_t pongs; /* of the buffers, how many are pongs */
    uint32_t batch; /* bytes appended since it was empty */
    size_t sent;    /* bytes of the first buffer that are gone */
    size_t bytes;   /* still to send, over all buffers */
} fws_outbox;

void fws_outbox_init(fws_outbox *outbox);
void fws_outbox_clear(fws_outbox *outbox);

/* Makes room, so that `count` pushes cannot fail; false when there is no memory. */
bool fws_outbox_reserve(fws_outbox *outbox, uint32_t count);

/* Takes over one reference of the buffer; false, and the reference stays the caller's, when there
 * is no memory. */
bool fws_outbox_push(fws_outbox *outbox, fws_buffer *buffer);

/* Queues a copy of the frame, where possible behind others in the same buffer: what is written
 * together had better lie together. False when there is no memory. */
bool fws_outbox_append(fws_outbox *outbox, const void *header, size_t header_size, const void *data,
                       size_t size);

/* Describes up to `maximum` pieces for one writev; returns how many. */
int fws_outbox_vector(const fws_outbox *outbox, struct iovec *vector, int maximum);

/* `size` bytes from the front are gone. */
void fws_outbox_consume(fws_outbox *outbox, size_t size);

/* Drops the oldest published buffer of which nothing is sent yet; false when there is none. */
bool fws_outbox_drop_oldest(fws_outbox *outbox);

/* Drops the newest pong of which nothing is sent yet; false when there is none. */
bool fws_outbox_drop_newest_pong(fws_outbox *outbox);

/* Drops all that has not begun to be sent: a close frame is to overtake it. A frame that has begun
 * must be finished, or the peer could not read what follows. */
void fws_outbox_drop_unsent(fws_outbox *outbox);

#endif
