/* Time: monotonic nanoseconds, so that a change of the system's clock affects no deadline.
 *
 * Threads: any.
 */
#ifndef FWS_IO_CLOCK_H
#define FWS_IO_CLOCK_H

#include <stdint.h>
#include <time.h>

#define FWS_NS_PER_S INT64_C(1000000000)
#define FWS_NS_PER_MS INT64_C(1000000)

typedef int64_t fws_ns;

#define FWS_FOREVER ((fws_ns) - 1)

static inline fws_ns fws_clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (fws_ns)now.tv_sec * FWS_NS_PER_S + now.tv_nsec;
}

/* The time of day, which may be set: ns since 1970, to be shown. */
static inline int64_t fws_clock_of_system(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * FWS_NS_PER_S + now.tv_nsec;
}

static inline struct timespec fws_clock_timespec(fws_ns ns)
{
    return (struct timespec){.tv_sec = ns / FWS_NS_PER_S, .tv_nsec = ns % FWS_NS_PER_S};
}

#endif
