/* A reference-counted sequence of bytes, which does not change once it is shared. As long as there
 * is only one reference, its holder may add bytes. The bytes lie in the buffer, or are borrowed
 * from a sender, who keeps them until the buffer is released.
 *
 * One published message is framed once and lies in the outbox of every subscriber at the same time.
 *
 * Threads: any thread may take and drop references; the other fields are written by the only
 * holder, before the buffer is shared. Memory: freed with the last reference.
 */
#ifndef FWS_MEMORY_BUFFER_H
#define FWS_MEMORY_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    atomic_size_t references;
    size_t size;
    size_t capacity; /* what `data` has room for */
    bool published;  /* published: slow_consumer may drop it, see fws_slow_consumer */
    bool compressed; /* a compressed message that refers to no other one: see
                        fws_compression_mark_stale */
    bool continues;  /* its frame begins in the buffer before it, so it must not be dropped alone */
    bool pending; /* reserves a place in an outbox, for a message that is still being compressed */
    bool pong;    /* a pong, which a later one may replace: RFC 6455 section 5.5.3 */
    uint32_t after;       /* of a buffer that is in one outbox only: see outbox.h */
    const uint8_t *bytes; /* `data`, or what is borrowed */
    bool *released;       /* of a borrowed buffer: set when the last reference is dropped */
    uint8_t data[];
} fws_buffer;

/* A buffer of `size` bytes, to be filled in. One reference, which is the caller's; NULL when
 * there is no memory. */
fws_buffer *fws_buffer_new(size_t size);
/* The same, filled with the bytes of head and then of body (either may be empty). */
fws_buffer *fws_buffer_join(const void *head, size_t head_size, const void *body, size_t body_size);
/* The same, empty, with room for `capacity` bytes. */
fws_buffer *fws_buffer_new_empty(size_t capacity);
/* A place for a message, which counts as `size` bytes until it is replaced. */
fws_buffer *fws_buffer_new_place(size_t size);
/* Frees the memory behind the first `size` bytes; the caller has the only reference. Returns the
 * buffer, which may have moved. */
fws_buffer *fws_buffer_shrink(fws_buffer *buffer, size_t size);
/* Adds bytes at the end; the caller has the only reference, and there is room. */
void fws_buffer_add(fws_buffer *buffer, const void *bytes, size_t size);
/* As fws_buffer_new, with bytes that stay the caller's, who keeps them until *released is set. */
fws_buffer *fws_buffer_borrow(const void *bytes, size_t size, bool *released);
/* For how many bytes there is room at the end. None where the bytes do not begin where `data` does:
 * then they end where the memory ends. */
static inline size_t fws_buffer_room(const fws_buffer *buffer)
{
    bool begins_here = buffer->bytes == buffer->data && buffer->capacity > buffer->size;
    return begins_here ? buffer->capacity - buffer->size : 0;
}
fws_buffer *fws_buffer_keep(fws_buffer *buffer);
void fws_buffer_drop(fws_buffer *buffer);

#endif
