#include "ring.h"

#include "../tuning.h"

#include <stdlib.h>

#define CAPACITY_MAX (1u << 24) /* it can be doubled, also in bytes */

static bool grow(fws_ring *ring)
{
    if (ring->capacity > CAPACITY_MAX)
        return false;
    uint32_t capacity = ring->capacity > 0 ? ring->capacity * 2 : 1;
    if (capacity > 1) {
        fws_buffer **slots = malloc(capacity * sizeof *slots);
        if (slots == NULL)
            return false;
        for (uint32_t place = ring->head; place != fws_ring_tail(ring); place++)
            slots[place & (capacity - 1)] = fws_ring_at(ring, place);
        fws_ring_free(ring);
        ring->slots = slots;
    }
    ring->capacity = capacity;
    return true;
}

bool fws_ring_reserve(fws_ring *ring, uint32_t count)
{
    while (ring->capacity - ring->count < count)
        if (!grow(ring))
            return false;
    return true;
}

void fws_ring_shrink(fws_ring *ring)
{
    if (ring->capacity > FWS_FEW)
        fws_ring_free(ring);
}

void fws_ring_free(fws_ring *ring)
{
    if (ring->capacity > 1)
        free(ring->slots);
    ring->slots = NULL;
    ring->capacity = 0;
}
