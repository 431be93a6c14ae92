/* Counters to which the leader of the crew adds at nearly no cost, and other threads with a locked
 * instruction.
 *
 * Threads: any, at the same time. `alone`: the caller makes sure that no other thread adds with
 * `alone` to this counter at the same moment.
 */
#ifndef FWS_STATS_COUNTER_H
#define FWS_STATS_COUNTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    atomic_uint_least64_t shared;
    atomic_uint_least64_t own; /* added to without a locked instruction */
} fws_counter;

static inline void fws_counter_add(fws_counter *counter, uint64_t amount, bool alone)
{
    if (!alone) {
        atomic_fetch_add_explicit(&counter->shared, amount, memory_order_relaxed);
        return;
    }
    uint64_t before = atomic_load_explicit(&counter->own, memory_order_relaxed);
    atomic_store_explicit(&counter->own, before + amount, memory_order_relaxed);
}

static inline uint64_t fws_counter_read(const fws_counter *counter)
{
    return atomic_load_explicit(&counter->shared, memory_order_relaxed) +
           atomic_load_explicit(&counter->own, memory_order_relaxed);
}

#endif
