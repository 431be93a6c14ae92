/* A set of small numbers, one bit for each.
 *
 * Threads: no lock of its own; the lock of its owner protects it. Memory: the set owns its bits
 * until fws_bitmap_clear.
 */
#ifndef FWS_MEMORY_BITMAP_H
#define FWS_MEMORY_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_BITMAP_WORD 64 /* numbers in a word */

typedef struct {
    uint64_t *words; /* malloc'd, or NULL */
    size_t count;    /* of words */
} fws_bitmap;

void fws_bitmap_clear(fws_bitmap *bitmap);

/* Makes room for at least the numbers below `limit`; new ones are not in the set. False when
 * there is no memory, and nothing has changed. */
bool fws_bitmap_reserve(fws_bitmap *bitmap, size_t limit);

/* There must be room for `number`, except for fws_bitmap_remove. */
void fws_bitmap_add(fws_bitmap *bitmap, size_t number);
void fws_bitmap_remove(fws_bitmap *bitmap, size_t number);

/* Adds all numbers of `other`; expects room for them. */
void fws_bitmap_add_all(fws_bitmap *bitmap, const fws_bitmap *other);

/* How many numbers are in it. */
size_t fws_bitmap_size(const fws_bitmap *bitmap);

#endif
