#include "bitmap.h"

#include <stdlib.h>
#include <string.h>

void fws_bitmap_clear(fws_bitmap *bitmap)
{
    free(bitmap->words);
    *bitmap = (fws_bitmap){0};
}

bool fws_bitmap_reserve(fws_bitmap *bitmap, size_t limit)
{
    size_t count = (limit + FWS_BITMAP_WORD - 1) / FWS_BITMAP_WORD;
    if (count <= bitmap->count)
        return true;
    if (count < bitmap->count * 2)
        count = bitmap->count * 2;
    uint64_t *words = realloc(bitmap->words, count * sizeof *words);
    if (words == NULL)
        return false;
    memset(words + bitmap->count, 0, (count - bitmap->count) * sizeof *words);
    bitmap->words = words;
    bitmap->count = count;
    return true;
}

void fws_bitmap_add(fws_bitmap *bitmap, size_t number)
{
    bitmap->words[number / FWS_BITMAP_WORD] |= UINT64_C(1) << number % FWS_BITMAP_WORD;
}

void fws_bitmap_remove(fws_bitmap *bitmap, size_t number)
{
    if (number / FWS_BITMAP_WORD < bitmap->count)
        bitmap->words[number / FWS_BITMAP_WORD] &= ~(UINT64_C(1) << number % FWS_BITMAP_WORD);
}

void fws_bitmap_add_all(fws_bitmap *bitmap, const fws_bitmap *other)
{
    for (size_t i = 0; i < other->count; i++)
        bitmap->words[i] |= other->words[i];
}

size_t fws_bitmap_size(const fws_bitmap *bitmap)
{
    size_t size = 0;
    for (size_t i = 0; i < bitmap->count; i++)
        size += (size_t)__builtin_popcountll(bitmap->words[i]);
    return size;
}
