/* A reference-counted run of bytes that never changes once it is made, but that whoever holds the
 * only reference may add to it. The bytes lie in the buffer, or are borrowed from a sender who
 * waits until the buffer is gone.
 *
 * One published message is framed once and lies in the outbox of every subscriber at the same time.
 *
 * Threads: any may take and drop references; the bytes are read-only after fws_buffer_new's caller
 * has filled them in, before the buffer is shared.
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
    bool published;  /* a slow consumer may lose it, see fws_slow_consumer */
    bool compressed; /* a message, by itself: see fws_compression_mark_stale */
    bool continues;  /* a frame that the buffer before it begins: it may not be dropped alone */
    bool pending;    /* a place in an outbox, for a message that is still being compressed */
    bool pong;       /* a later one makes it superfluous: RFC 6455 section 5.5.3 */
    uint32_t after;  /* of one that is in one outbox only: see outbox.h */
    const uint8_t *bytes; /* `data`, or what is borrowed */
    bool *released;       /* of a borrowed buffer: set when the last reference is dropped */
    uint8_t data[];
} fws_buffer;

/* With one reference, which is the caller's; NULL when there is no memory. */
fws_buffer *fws_buffer_new(size_t size);
/* Same, with the bytes of head and then of body (either may be empty). */
fws_buffer *fws_buffer_join(const void *head, size_t head_size, const void *body, size_t body_size);
/* With room for `capacity` bytes, and nothing in it. */
fws_buffer *fws_buffer_new_empty(size_t capacity);
/* A place for a message, which counts for `size` bytes until it is replaced. */
fws_buffer *fws_buffer_new_place(size_t size);
/* Gives back the memory behind the first `size` bytes; the caller has the only reference. */
fws_buffer *fws_buffer_shrink(fws_buffer *buffer, size_t size);
/* Adds bytes at the end; the caller has the only reference, and there is room. */
void fws_buffer_add(fws_buffer *buffer, const void *bytes, size_t size);
/* Same as fws_buffer_new, with bytes that stay the caller's: they must live until *gone is set. */
fws_buffer *fws_buffer_borrow(const void *bytes, size_t size, bool *released);
fws_buffer *fws_buffer_keep(fws_buffer *buffer);
void fws_buffer_drop(fws_buffer *buffer);

#endif
