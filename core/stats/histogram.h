/* The distribution of values: counts in buckets whose width grows with the value, so that a
 * quantile is right within an eighth of its size.
 *
 * Threads: one thread at a time may add, which the caller arranges. Any thread may ask for a
 * quantile meanwhile: it covers what was added before.
 */
#ifndef FWS_STATS_HISTOGRAM_H
#define FWS_STATS_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define FWS_HISTOGRAM_BUCKETS 320 /* 8 for each power of two up to 2^42 */

typedef struct {
    atomic_uint_least64_t buckets[FWS_HISTOGRAM_BUCKETS];
    atomic_uint_least64_t largest;
} fws_histogram;

void fws_histogram_add(fws_histogram *histogram, uint64_t value, uint64_t times);

/* The smallest value that `quantile` (0 to 1) of all values do not exceed; 0 when there are
 * none. */
uint64_t fws_histogram_quantile(const fws_histogram *histogram, double quantile);

/* Adds the values of `histogram` to `sum`, which no other thread uses. */
void fws_histogram_merge(const fws_histogram *histogram, fws_histogram *sum);

#endif
