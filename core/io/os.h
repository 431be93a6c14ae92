/* What differs between systems and is neither readiness (loop.h) nor a socket's bytes
 * (transport.h).
 *
 * Threads: any.
 */
#ifndef FWS_IO_OS_H
#define FWS_IO_OS_H

#include "clock.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Fills `size` bytes, at most 256, from the kernel's generator. */
void fws_os_random(void *out, size_t size);

/* Fills four bytes: a masking key (RFC 6455 section 10.3). */
void fws_os_entropy(uint8_t out[4]);

/* A condition whose timed waits go by the monotonic clock, as fws_clock_now does. */
void fws_os_init_condition(pthread_cond_t *condition);

/* Names the calling thread for ps and debuggers: the first 15 bytes, where the system has such
 * names. */
void fws_os_name_thread(const char *name);

/* The calling thread no longer preempts another one when it wakes, where the system can arrange
 * that. Threads and processes that it starts are scheduled as usual. */
void fws_os_do_not_preempt(void);

/* For how long a thread, which has not ended, has used a processor; 0 where that cannot be known.
 */
fws_ns fws_os_processor_time(pthread_t thread);

#endif
