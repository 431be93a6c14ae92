/* Buffers that are borrowed for a moment, so that an idle connection has none: from a recv until
 * what it has received is decoded, or from the compression of a message until it is sent.
 *
 * Threads: any; its own lock, which is never held while anything waits. Memory: a borrowed buffer
 * is the caller's until it is returned.
 */
#ifndef FWS_MEMORY_POOL_H
#define FWS_MEMORY_POOL_H

#include "../tuning.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    _Atomic(uint8_t *)
        spare; /* one more buffer that is kept; atomic, so that borrowing it takes no lock */
    pthread_mutex_t lock;
    uint8_t *kept[FWS_KEPT];
    int count;
} fws_pool;

void fws_pool_init(fws_pool *pool);
void fws_pool_clear(fws_pool *pool);

/* FWS_PIECE bytes, or NULL when there is no memory. */
uint8_t *fws_pool_borrow(fws_pool *pool);
void fws_pool_return(fws_pool *pool, uint8_t *buffer);

#endif
