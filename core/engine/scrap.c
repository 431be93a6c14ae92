#include "scrap.h"

#include <stdlib.h>

typedef struct scrap {
    struct scrap *next;
} scrap;

static _Thread_local struct {
    scrap *first;
    unsigned room; /* for so many more */
} kept;

void fws_scraps_begin(unsigned count)
{
    kept.room = count;
}

void fws_scraps_end(void)
{
    while (kept.first != NULL) {
        scrap *first = kept.first;
        kept.first = first->next;
        free(first);
    }
    kept.room = 0;
}

void *fws_scrap_new(size_t size)
{
    if (size > FWS_SCRAP_SIZE)
        return malloc(size);
    scrap *first = kept.first;
    if (first == NULL)
        return malloc(FWS_SCRAP_SIZE);
    kept.first = first->next;
    kept.room++;
    return first;
}

void fws_scrap_free(void *piece, size_t size)
{
    if (size > FWS_SCRAP_SIZE || kept.room == 0) {
        free(piece);
        return;
    }
    scrap *first = piece;
    first->next = kept.first;
    kept.first = first;
    kept.room--;
}
