#include "pool.h"

#include <stdlib.h>

void fws_pool_init(fws_pool *pool)
{
    pthread_mutex_init(&pool->lock, NULL);
    pool->count = 0;
    atomic_init(&pool->spare, NULL);
}

void fws_pool_clear(fws_pool *pool)
{
    while (pool->count > 0)
        free(pool->kept[--pool->count]);
    free(atomic_exchange(&pool->spare, NULL));
    pthread_mutex_destroy(&pool->lock);
}

uint8_t *fws_pool_borrow(fws_pool *pool)
{
    uint8_t *buffer = atomic_exchange(&pool->spare, NULL);
    if (buffer != NULL)
        return buffer;
    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0)
        buffer = pool->kept[--pool->count];
    pthread_mutex_unlock(&pool->lock);
    return buffer ? buffer : malloc(FWS_PIECE);
}

void fws_pool_return(fws_pool *pool, uint8_t *buffer)
{
    uint8_t *none = NULL;
    if (atomic_compare_exchange_strong(&pool->spare, &none, buffer))
        return;
    pthread_mutex_lock(&pool->lock);
    if (pool->count < FWS_KEPT) {
        pool->kept[pool->count++] = buffer;
        buffer = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    free(buffer);
}
