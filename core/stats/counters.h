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
    fws_counter queued; /* bytes queued that sockets have not taken yet */
    atomic_uint_least64_t
        slow_consumers; /* subscribers closed, or messages dropped, because they were slow */
    atomic_uint_least64_t loop_wakeups;
    atomic_uint_least64_t threads_refused; /* times that a thread for callbacks, or Python's part of
                                              it, could not be had */
    atomic_uint_least32_t
        closes[FWS_CLOSE_CODES]; /* finished websockets by close code, less 1000 */
} fws_counters;

#endif
