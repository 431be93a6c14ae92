#include "scrap.h"

#include <stdbool.h>
#include <stdlib.h>

/* A sanitizer is to see every piece for itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEPT 0u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEPT 0u
#endif
#endif
#ifndef KEPT
#define KEPT FWS_SCRAPS_KEPT
#endif

typedef struct scrap {
    struct scrap *next;
} scrap;

static _Thread_local struct {
    scrap *first;
    unsigned room; /* for so many more */
} kept;

void fws_scraps_begin(void)
{
    kept.room = KEPT;
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
