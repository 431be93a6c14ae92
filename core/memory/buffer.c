#include "buffer.h"

#include <stdlib.h>
#include <string.h>

fws_buffer *fws_buffer_new(size_t size)
{
    if (size > SIZE_MAX - sizeof(fws_buffer))
        return NULL;
    fws_buffer *buffer = malloc(sizeof *buffer + size);
    if (buffer == NULL)
        return NULL;
    atomic_init(&buffer->references, 1);
    buffer->size = buffer->capacity = size;
    buffer->published = buffer->compressed = buffer->continues = buffer->pong = false;
    buffer->pending = false;
    buffer->bytes = buffer->data;
    buffer->released = NULL;
    return buffer;
}

fws_buffer *fws_buffer_borrow(const void *bytes, size_t size, bool *released)
{
    fws_buffer *buffer = fws_buffer_new(0);
    if (buffer == NULL)
        return NULL;
    buffer->bytes = bytes;
    buffer->size = size; /* with a capacity of 0 */
    buffer->released = released;
    return buffer;
}

fws_buffer *fws_buffer_new_empty(size_t capacity)
{
    fws_buffer *buffer = fws_buffer_new(capacity);
    if (buffer != NULL)
        buffer->size = 0;
    return buffer;
}

fws_buffer *fws_buffer_new_place(size_t size)
{
    fws_buffer *buffer = fws_buffer_new(0);
    if (buffer != NULL) {
        buffer->size = size;
        buffer->pending = true;
    }
    return buffer;
}

fws_buffer *fws_buffer_shrink(fws_buffer *buffer, size_t size)
{
    if (size >= buffer->capacity)
        return buffer;
    fws_buffer *shrunk = realloc(buffer, sizeof *buffer + size);
    if (shrunk == NULL)
        return buffer;
    shrunk->size = shrunk->capacity = size;
    shrunk->bytes = shrunk->data;
    return shrunk;
}

void fws_buffer_add(fws_buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
}

fws_buffer *fws_buffer_join(const void *head, size_t head_size, const void *body, size_t body_size)
{
    if (head_size > SIZE_MAX - body_size)
        return NULL;
    fws_buffer *buffer = fws_buffer_new_empty(head_size + body_size);
    if (buffer == NULL)
        return NULL;
    fws_buffer_add(buffer, head, head_size);
    fws_buffer_add(buffer, body, body_size);
    return buffer;
}

fws_buffer *fws_buffer_keep(fws_buffer *buffer)
{
    atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    return buffer;
}

void fws_buffer_drop(fws_buffer *buffer)
{
    /* The holder of the only reference sees that by a plain load, without a locked instruction. */
    if (atomic_load_explicit(&buffer->references, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) != 1)
        return;
    if (buffer->released)
        *buffer->released = true;
    free(buffer);
}
