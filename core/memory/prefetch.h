/* Has the cache load what is needed soon, while something else is done. FWS_USE_PREFETCH switches
 * all of it off. From any thread; the address need not be valid.
 */
#ifndef FWS_MEMORY_PREFETCH_H
#define FWS_MEMORY_PREFETCH_H

#include "../tuning.h"

static inline void fws_prefetch(const void *address)
{
    if (!FWS_USE_PREFETCH)
        return;
    __builtin_prefetch(address);
    /* To GCC, a function that only prefetches has no effect: calls of it were removed at link
     * time. An asm that is volatile is an effect. */
    __asm__ volatile("" : : "r"(address));
}

#endif
