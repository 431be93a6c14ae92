/* What one engine counts, as stats() shows it.
 *
 * Threads: any; see counter.h.
 */
#ifndef FWS_STATS_COUNTERS_H
#define FWS_STATS_COUNTERS_H

#include "counter.h"

#define FWS_CLOSE_CODES 4000 /* from 1000 on */

typedef struct {
    fws_counter messages_in, messages_out, bytes_in, bytes_out;
    fws_counter queued;                   /* bytes that sockets have not taken yet */
    atomic_uint_least64_t slow_consumers; /* websockets closed, or messages dropped, for slowness */
    atomic_uint_least64_t loop_wakeups;
    atomic_uint_least64_t
        threads_refused; /* for callbacks: they, or Python's part, not to be had */
    atomic_uint_least32_t closes[FWS_CLOSE_CODES]; /* finished websockets; by close code - 1000 */
} fws_counters;

#endif
