#include "refused_threads.h"

#include <errno.h>
#include <unistd.h>

atomic_uint refused_threads;
atomic_uint thread_start_ms;

int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    unsigned left = atomic_load(&refused_threads);
    while (left > 0)
        if (atomic_compare_exchange_strong(&refused_threads, &left, left - 1))
            return EAGAIN;
    usleep(atomic_load(&thread_start_ms) * 1000);
    return __real_pthread_create(thread, attributes, start, argument);
}
