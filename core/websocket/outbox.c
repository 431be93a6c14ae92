#include "outbox.h"

#include "../tuning.h"

/* Of a buffer for appended frames, without its own fields. */
#define ROOM (FWS_JOIN_MAX - sizeof(fws_buffer))

void fws_outbox_init(fws_outbox *outbox)
{
    *outbox = (fws_outbox){0};
}

static void drop(fws_outbox *outbox, fws_buffer *buffer)
{
    outbox->count--;
    outbox->pongs -= buffer->pong;
    fws_buffer_drop(buffer);
}

static void drop_unsent(fws_outbox *outbox, fws_buffer *buffer)
{
    outbox->bytes -= buffer->size;
    if (buffer->published)
        outbox->published_bytes -= buffer->size;
    drop(outbox, buffer);
}

void fws_outbox_clear(fws_outbox *outbox)
{
    if (outbox->partial != NULL)
        drop(outbox, outbox->partial);
    while (outbox->own.count > 0)
        drop(outbox, fws_ring_pop(&outbox->own));
    while (outbox->published.count > 0)
        drop(outbox, fws_ring_pop(&outbox->published));
    fws_ring_free(&outbox->own);
    fws_ring_free(&outbox->published);
    fws_outbox_init(outbox);
}

bool fws_outbox_reserve(fws_outbox *outbox, uint32_t count)
{
    return fws_ring_reserve(&outbox->own, count);
}

bool fws_outbox_push(fws_outbox *outbox, fws_buffer *buffer)
{
    if (buffer->published) {
        if (!fws_ring_push(&outbox->published, buffer))
            return false;
        outbox->published_bytes += buffer->size;
    } else {
        uint32_t place = fws_ring_tail(&outbox->own);
        buffer->after = fws_ring_tail(&outbox->published);
        if (!fws_ring_push(&outbox->own, buffer))
            return false;
        if (buffer->pong) {
            outbox->pongs++;
            outbox->newest_pong = place;
        }
    }
    outbox->count++;
    outbox->bytes += buffer->size;
    return true;
}

/* The last buffer, if it is in no other outbox, nothing of it was sent, and it has room for
 * `size` bytes; else NULL. */
static fws_buffer *last_with_room(const fws_outbox *outbox, size_t size)
{
    if (outbox->own.count == 0)
        return NULL;
    fws_buffer *last = fws_ring_at(&outbox->own, fws_ring_tail(&outbox->own) - 1);
    bool is_last = last->after == fws_ring_tail(&outbox->published);
    bool ours = atomic_load_explicit(&last->references, memory_order_acquire) == 1 && !last->pong &&
                !last->continues;
    return is_last && ours && fws_buffer_room(last) >= size ? last : NULL;
}

bool fws_outbox_append(fws_outbox *outbox, const void *header, size_t header_size, const void *data,
                       size_t size)
{
    if (header_size > SIZE_MAX - size)
        return false;
    size_t whole = header_size + size;
    fws_buffer *last = last_with_room(outbox, whole);
    size_t room = ROOM;
    if (outbox->count == 0) { /* probably as much will be queued as the last time */
        room = outbox->batch;
        outbox->batch = 0;
    }
    outbox->batch =
        whole < FWS_AHEAD_MAX - outbox->batch ? outbox->batch + (uint32_t)whole : FWS_AHEAD_MAX;
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

/* Is the buffer at place `published` of the one ring to be sent before that at place `own` of
 * the other? */
static bool is_published_next(const fws_outbox *outbox, uint32_t published, uint32_t own)
{
    if (!fws_ring_has(&outbox->published, published))
        return false;
    return !fws_ring_has(&outbox->own, own) ||
           (int32_t)(fws_ring_at(&outbox->own, own)->after - published) > 0;
}

bool fws_outbox_first_is_ready(const fws_outbox *outbox)
{
    uint32_t published = outbox->published.head, own = outbox->own.head;
    if (outbox->partial != NULL || is_published_next(outbox, published, own))
        return true;
    return fws_ring_has(&outbox->own, own) && !fws_ring_at(&outbox->own, own)->pending;
}

static struct iovec piece(const fws_buffer *buffer, size_t skip)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)(buffer->bytes + skip),
                          .iov_len = buffer->size - skip};
}

int fws_outbox_vector(const fws_outbox *outbox, struct iovec *vector, int maximum)
{
    uint32_t published = outbox->published.head, own = outbox->own.head;
    int used = 0;
    if (outbox->partial != NULL)
        vector[used++] = piece(outbox->partial, outbox->sent);
    while (used < maximum) {
        if (is_published_next(outbox, published, own))
            vector[used++] = piece(fws_ring_at(&outbox->published, published++), 0);
        else if (fws_ring_has(&outbox->own, own) && !fws_ring_at(&outbox->own, own)->pending)
            vector[used++] = piece(fws_ring_at(&outbox->own, own++), 0);
        else
            break;
    }
    return used;
}

/* Takes the first buffer out of its ring; there is one. */
static fws_buffer *pop(fws_outbox *outbox)
{
    if (!is_published_next(outbox, outbox->published.head, outbox->own.head))
        return fws_ring_pop(&outbox->own);
    fws_buffer *buffer = fws_ring_pop(&outbox->published);
    outbox->published_bytes -= buffer->size;
    return buffer;
}

void fws_outbox_consume(fws_outbox *outbox, size_t size)
{
    outbox->bytes -= size;
    outbox->sent += size;
    while (outbox->count > 0) {
        if (outbox->partial == NULL) {
            if (outbox->sent == 0)
                break;
            outbox->partial = pop(outbox);
        }
        if (outbox->sent < outbox->partial->size)
            break;
        outbox->sent -= outbox->partial->size;
        drop(outbox, outbox->partial);
        outbox->partial = NULL;
    }
    if (outbox->count > 0)
        return;
    fws_ring_shrink(&outbox->own);
    fws_ring_shrink(&outbox->published);
}

size_t fws_outbox_sent_of(const fws_outbox *outbox, const fws_buffer *buffer)
{
    return outbox->partial == buffer ? outbox->sent : 0;
}

/* Where it is, or NULL. */
static fws_buffer **find(fws_outbox *outbox, const fws_buffer *buffer)
{
    if (outbox->partial == buffer)
        return &outbox->partial;
    for (uint32_t at = outbox->own.head; fws_ring_has(&outbox->own, at); at++)
        if (fws_ring_at(&outbox->own, at) == buffer)
            return fws_ring_slot(&outbox->own, at);
    return NULL;
}

/* Puts a buffer where another is that is not published, and counts it instead. */
static void exchange(fws_outbox *outbox, fws_buffer **slot, fws_buffer *by)
{
    by->after = (*slot)->after;
    outbox->bytes += by->size;
    outbox->bytes -= (*slot)->size;
    fws_buffer_drop(*slot);
    *slot = by;
}

bool fws_outbox_replace(fws_outbox *outbox, const fws_buffer *old, fws_buffer *by, size_t from)
{
    fws_buffer **slot = find(outbox, old);
    if (slot == NULL)
        return false;
    if (slot == &outbox->partial) { /* what is gone is not counted */
        outbox->sent -= from;
        outbox->bytes += from;
    }
    exchange(outbox, slot, by);
    return true;
}

bool fws_outbox_drop_oldest(fws_outbox *outbox)
{
    if (outbox->published.count == 0)
        return false;
    drop_unsent(outbox, fws_ring_pop(&outbox->published));
    return true;
}

bool fws_outbox_replace_pong(fws_outbox *outbox, fws_buffer *pong)
{
    if (outbox->pongs == 0 || !fws_ring_has(&outbox->own, outbox->newest_pong))
        return false;
    fws_buffer **slot = fws_ring_slot(&outbox->own, outbox->newest_pong);
    if (!(*slot)->pong)
        return false;
    exchange(outbox, slot, pong);
    return true;
}

void fws_outbox_drop_unsent(fws_outbox *outbox)
{
    uint32_t kept = outbox->own.head;
    while (fws_ring_has(&outbox->own, kept) && fws_ring_at(&outbox->own, kept)->continues)
        kept++; /* the first part of its frame was sent */
    while (fws_ring_has(&outbox->own, kept))
        drop_unsent(outbox, fws_ring_pop_last(&outbox->own));
    while (outbox->published.count > 0)
        drop_unsent(outbox, fws_ring_pop_last(&outbox->published));
}
