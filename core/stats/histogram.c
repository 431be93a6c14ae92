#include "histogram.h"

/* The eight values below 8 have a bucket each; then every power of two has eight. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 8)
        return (unsigned)value;
    unsigned power = 63 - (unsigned)__builtin_clzll(value); /* at least 3 */
    unsigned bucket = (power - 2) * 8 + (unsigned)((value >> (power - 3)) & 7);
    return bucket < FWS_HISTOGRAM_BUCKETS ? bucket : FWS_HISTOGRAM_BUCKETS - 1;
}

static uint64_t last_of(unsigned bucket)
{
    if (bucket < 8)
        return bucket;
    unsigned power = bucket / 8 + 2;
    return ((uint64_t)(8 + bucket % 8 + 1) << (power - 3)) - 1;
}

void fws_histogram_add(fws_histogram *histogram, uint64_t value, uint64_t times)
{
    atomic_uint_least64_t *bucket = &histogram->buckets[bucket_of(value)];
    uint64_t before = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, before + times, memory_order_relaxed);
    if (value > atomic_load_explicit(&histogram->largest, memory_order_relaxed))
        atomic_store_explicit(&histogram->largest, value, memory_order_relaxed);
}

uint64_t fws_histogram_quantile(const fws_histogram *histogram, double quantile)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < FWS_HISTOGRAM_BUCKETS; i++)
        total += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    if (total == 0)
        return 0;
    uint64_t largest = atomic_load_explicit(&histogram->largest, memory_order_relaxed);
    for (unsigned i = 0; i < FWS_HISTOGRAM_BUCKETS; i++) {
        seen += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if ((double)seen >= quantile * (double)total)
            return last_of(i) < largest ? last_of(i) : largest;
    }
    return largest;
}

void fws_histogram_merge(const fws_histogram *histogram, fws_histogram *sum)
{
    for (unsigned i = 0; i < FWS_HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if (count > 0)
            atomic_fetch_add_explicit(&sum->buckets[i], count, memory_order_relaxed);
    }
    uint64_t largest = atomic_load_explicit(&histogram->largest, memory_order_relaxed);
    if (largest > atomic_load_explicit(&sum->largest, memory_order_relaxed))
        atomic_store_explicit(&sum->largest, largest, memory_order_relaxed);
}
