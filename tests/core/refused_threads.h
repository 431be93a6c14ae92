/* pthread_create that fails, or takes its time, when a test wants it. Link with
 * --wrap=pthread_create; calls of sanitizers do not come through here.
 *
 * Threads: any.
 */
#ifndef FWS_TESTS_REFUSED_THREADS_H
#define FWS_TESTS_REFUSED_THREADS_H

#include <pthread.h>
#include <stdatomic.h>

extern atomic_uint refused_threads; /* calls that fail with EAGAIN from now on */
extern atomic_uint thread_start_ms; /* how long each call that succeeds takes more */

/* For threads of the test's own, which are not to fail. */
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

#endif
