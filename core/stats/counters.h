/* What one engine counts of its own work; what it counts of websockets is in tally.h.
 *
 * Threads: any.
 */
#ifndef FWS_STATS_COUNTERS_H
#define FWS_STATS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    atomic_uint_least64_t loop_wakeups;
    atomic_uint_least64_t threads_refused; /* times that a thread for callbacks, or Python's part of
                                              it, could not be had */
} fws_counters;

#endif
