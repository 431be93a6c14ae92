/* A reference-counted run of bytes that never changes once it is made.
 *
 * One published message is framed once and lies in the outbox of every subscriber at the same time.
 *
 * Threads: any may take and drop references; the bytes are read-only after fws_buffer_new's caller
 * has filled them in, before the buffer is shared.
 */
#ifndef FWS_ENGINE_BUFFER_H
#define FWS_ENGINE_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    atomic_size_t references;
    size_t size;
    bool published; /* a slow consumer may lose it, see fws_slow_consumer */
    uint8_t data[];
} fws_buffer;

/* With one reference, which is the caller's; NULL when there is no memory. */
fws_buffer *fws_buffer_new(size_t size);
/* Same, with the bytes of head and then of body (either may be empty). */
fws_buffer *fws_buffer_join(const void *head, size_t head_size, const void *body, size_t body_size);
fws_buffer *fws_buffer_keep(fws_buffer *buffer);
void fws_buffer_drop(fws_buffer *buffer);

#endif
