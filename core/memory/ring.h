/* A queue of buffers: pushed at the end, popped at the front, or removed at the end.
 *
 * Places are counted from the first push on, modulo 2^32, so that a buffer keeps its place while
 * others are popped.
 *
 * Threads: no lock of its own; the lock of its owner protects it. Memory: the ring holds one
 * reference to each buffer; a single buffer needs no other memory. A ring must not be moved while
 * it is not empty.
 */
#ifndef FWS_MEMORY_RING_H
#define FWS_MEMORY_RING_H

#include "buffer.h"

typedef struct {
    union {
        fws_buffer **slots; /* malloc'd */
        fws_buffer *only;   /* with a capacity of 1 */
    };
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t head;     /* the place of the first */
    uint32_t count;
} fws_ring;

/* The place that the next pushed buffer gets. */
static inline uint32_t fws_ring_tail(const fws_ring *ring)
{
    return ring->head + ring->count;
}

/* Is there a buffer at this place? */
static inline bool fws_ring_has(const fws_ring *ring, uint32_t place)
{
    return place - ring->head < ring->count;
}

/* The slot of a place that has a buffer. */
static inline fws_buffer **fws_ring_slot(fws_ring *ring, uint32_t place)
{
    return ring->capacity == 1 ? &ring->only : &ring->slots[place & (ring->capacity - 1)];
}

/* The buffer at a place that has one. */
static inline fws_buffer *fws_ring_at(const fws_ring *ring, uint32_t place)
{
    return ring->capacity == 1 ? ring->only : ring->slots[place & (ring->capacity - 1)];
}

/* Makes room, so that `count` pushes cannot fail; false when there is no memory. */
bool fws_ring_reserve(fws_ring *ring, uint32_t count);

/* Takes over a reference. False when there is no memory: the reference stays the caller's. */
static inline bool fws_ring_push(fws_ring *ring, fws_buffer *buffer)
{
    if (ring->count == ring->capacity && !fws_ring_reserve(ring, 1))
        return false;
    *fws_ring_slot(ring, fws_ring_tail(ring)) = buffer;
    ring->count++;
    return true;
}

/* Removes the first buffer, of at least one, and returns it with its reference. */
static inline fws_buffer *fws_ring_pop(fws_ring *ring)
{
    fws_buffer *first = fws_ring_at(ring, ring->head);
    ring->head++;
    ring->count--;
    return first;
}

/* Removes the last buffer, of at least one, and returns it with its reference. */
static inline fws_buffer *fws_ring_pop_last(fws_ring *ring)
{
    ring->count--;
    return fws_ring_at(ring, fws_ring_tail(ring));
}

/* Of an empty ring: fws_ring_shrink frees its memory if that is for more than a few buffers,
 * fws_ring_free in any case. */
void fws_ring_shrink(fws_ring *ring);
void fws_ring_free(fws_ring *ring);

#endif
