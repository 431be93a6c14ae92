#include "outbox.h"

#include <stdlib.h>

#define SECOND_CAPACITY 4u
#define ROOM 960 /* bytes of a buffer for appended frames */
#define ROOM_MAX 4096u
#define KEPT_CAPACITY 16u /* a larger ring is given back as soon as it is empty */

void fws_outbox_init(fws_outbox *outbox)
{
    *outbox = (fws_outbox){0};
}

static fws_buffer **slot(const fws_outbox *outbox, uint32_t index)
{
    return &outbox->ring[(outbox->first + index) & (outbox->capacity - 1)];
}

static void free_ring(fws_outbox *outbox)
{
    if (outbox->ring != &outbox->only)
        free(outbox->ring);
}

void fws_outbox_clear(fws_outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->count; i++)
        fws_buffer_drop(*slot(outbox, i));
    free_ring(outbox);
    fws_outbox_init(outbox);
}

static bool grow(fws_outbox *outbox)
{
    if (outbox->capacity == 0) {
        outbox->ring = &outbox->only;
        outbox->capacity = 1;
        outbox->first = 0;
        return true;
    }
    uint32_t capacity = outbox->capacity == 1 ? SECOND_CAPACITY : outbox->capacity * 2;
    fws_buffer **ring = malloc(capacity * sizeof *ring);
    if (ring == NULL)
        return false;
    for (uint32_t i = 0; i < outbox->count; i++)
        ring[i] = *slot(outbox, i);
    free_ring(outbox);
    outbox->ring = ring;
    outbox->capacity = capacity;
    outbox->first = 0;
    return true;
}

bool fws_outbox_reserve(fws_outbox *outbox, uint32_t count)
{
    while (outbox->capacity - outbox->count < count)
        if (!grow(outbox))
            return false;
    return true;
}

bool fws_outbox_push(fws_outbox *outbox, fws_buffer *buffer)
{
    if (outbox->count == outbox->capacity && !grow(outbox))
        return false;
    *slot(outbox, outbox->count) = buffer;
    outbox->count++;
    outbox->bytes += buffer->size;
    outbox->pongs += buffer->pong;
    return true;
}

/* The last buffer, if it is nobody else's and has so much room. */
static fws_buffer *last_with_room(const fws_outbox *outbox, size_t size)
{
    if (outbox->count == 0)
        return NULL;
    fws_buffer *last = *slot(outbox, outbox->count - 1);
    bool ours = atomic_load_explicit(&last->references, memory_order_acquire) == 1 &&
                !last->published && !last->pong && !last->continues;
    return ours && last->capacity >= last->size && last->capacity - last->size >= size ? last
                                                                                       : NULL;
}

bool fws_outbox_append(fws_outbox *outbox, const void *header, size_t header_size, const void *data,
                       size_t size)
{
    size_t whole = header_size + size;
    fws_buffer *last = last_with_room(outbox, whole);
    size_t room = ROOM;
    if (outbox->count == 0) { /* there will be as much as the last time */
        room = outbox->batch < ROOM_MAX ? outbox->batch : ROOM_MAX;
        outbox->batch = 0;
    }
    outbox->batch += (uint32_t)whole;
    if (last == NULL) {
        last = fws_buffer_new_empty(whole > room ? whole : room);
        if (last == NULL)
            return false;
        if (!fws_outbox_push(outbox, last)) {
            fws_buffer_drop(last);
            return false;
        }
    }
    fws_buffer_add(last, header, header_size);
    fws_buffer_add(last, data, size);
    outbox->bytes += whole;
    return true;
}

int fws_outbox_vector(const fws_outbox *outbox, struct iovec *vector, int maximum)
{
    int used = 0;
    for (uint32_t i = 0; i < outbox->count && used < maximum; i++) {
        fws_buffer *buffer = *slot(outbox, i);
        size_t skip = i == 0 ? outbox->sent : 0;
        vector[used].iov_base = (void *)(uintptr_t)(buffer->bytes + skip);
        vector[used].iov_len = buffer->size - skip;
        used++;
    }
    return used;
}

void fws_outbox_consume(fws_outbox *outbox, size_t size)
{
    outbox->bytes -= size;
    outbox->sent += size;
    while (outbox->count > 0 && outbox->sent >= (*slot(outbox, 0))->size) {
        fws_buffer *buffer = *slot(outbox, 0);
        outbox->sent -= buffer->size;
        outbox->first = (outbox->first + 1) & (outbox->capacity - 1);
        outbox->count--;
        outbox->pongs -= buffer->pong;
        fws_buffer_drop(buffer);
    }
    if (outbox->count == 0 && outbox->capacity > KEPT_CAPACITY)
        fws_outbox_clear(outbox);
}

static void remove_at(fws_outbox *outbox, uint32_t index)
{
    fws_buffer *buffer = *slot(outbox, index);
    for (uint32_t i = index; i + 1 < outbox->count; i++)
        *slot(outbox, i) = *slot(outbox, i + 1);
    outbox->count--;
    outbox->bytes -= buffer->size;
    outbox->pongs -= buffer->pong;
    fws_buffer_drop(buffer);
}

bool fws_outbox_drop_oldest(fws_outbox *outbox)
{
    for (uint32_t i = outbox->sent > 0 ? 1 : 0; i < outbox->count; i++) {
        if ((*slot(outbox, i))->published) {
            remove_at(outbox, i);
            return true;
        }
    }
    return false;
}

bool fws_outbox_drop_newest_pong(fws_outbox *outbox)
{
    uint32_t begun = outbox->sent > 0 ? 1 : 0;
    for (uint32_t i = outbox->count; i-- > begun;) {
        if ((*slot(outbox, i))->pong) {
            remove_at(outbox, i);
            return true;
        }
    }
    return false;
}

void fws_outbox_drop_unsent(fws_outbox *outbox)
{
    uint32_t kept = outbox->sent > 0 ? 1 : 0;
    while (kept < outbox->count && (*slot(outbox, kept))->continues)
        kept++; /* its frame has begun to be sent */
    while (outbox->count > kept)
        remove_at(outbox, outbox->count - 1);
}
