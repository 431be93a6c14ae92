/* A set of small numbers, a bit for each.
 *
 * Threads: no lock of its own; see who owns it.
 */
#ifndef FWS_MEMORY_BITMAP_H
#define FWS_MEMORY_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t *words; /* malloc'd, or NULL */
    size_t count;    /* of words */
} fws_bitmap;

void fws_bitmap_clear(fws_bitmap *bitmap);

/* Room for the numbers below `limit`, at least; what is new is not in the set. False when there is
 * no memory, and then nothing has changed. */
bool fws_bitmap_reserve(fws_bitmap *bitmap, size_t limit);

/* Each expects room for `number`, but for fws_bitmap_remove. */
void fws_bitmap_add(fws_bitmap *bitmap, size_t number);
void fws_bitmap_remove(fws_bitmap *bitmap, size_t number);

/* Adds all numbers of `other`; expects room for them. */
void fws_bitmap_add_all(fws_bitmap *bitmap, const fws_bitmap *other);

/* How many numbers are in it. */
size_t fws_bitmap_size(const fws_bitmap *bitmap);

#endif
