#include "tally.h"

#include <stdlib.h>

fws_tally *fws_tally_new(fws_tally *first)
{
    fws_tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    fws_tally *second = atomic_load(&first->next);
    do
        atomic_store_explicit(&tally->next, second, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&first->next, &second, tally));
    return tally;
}

void fws_tally_free_others(fws_tally *first)
{
    fws_tally *tally = atomic_load(&first->next);
    while (tally != NULL) {
        fws_tally *next = atomic_load(&tally->next);
        free(tally);
        tally = next;
    }
}

void fws_tally_count_close(fws_tally *tally, unsigned code)
{
    unsigned index = code - 1000u;
    if (index < FWS_CLOSE_CODES)
        atomic_fetch_add_explicit(&tally->closes[index], 1, memory_order_relaxed);
}

static void add_counter(const fws_counter *counter, fws_counter *sum)
{
    fws_counter_add(sum, fws_counter_read(counter), true);
}

static void add_count(const atomic_uint_least64_t *count, atomic_uint_least64_t *sum)
{
    atomic_fetch_add_explicit(sum, atomic_load_explicit(count, memory_order_relaxed),
                              memory_order_relaxed);
}

void fws_tally_add_to(const fws_tally *tally, fws_tally *sum)
{
    add_counter(&tally->messages_in, &sum->messages_in);
    add_counter(&tally->messages_out, &sum->messages_out);
    add_counter(&tally->bytes_in, &sum->bytes_in);
    add_counter(&tally->bytes_out, &sum->bytes_out);
    add_counter(&tally->queued, &sum->queued);
    add_count(&tally->opens, &sum->opens);
    add_count(&tally->refusals, &sum->refusals);
    add_count(&tally->slow_consumers, &sum->slow_consumers);
    for (unsigned i = 0; i < FWS_CLOSE_CODES; i++) {
        uint_least32_t count = atomic_load_explicit(&tally->closes[i], memory_order_relaxed);
        if (count > 0)
            atomic_fetch_add_explicit(&sum->closes[i], count, memory_order_relaxed);
    }
    fws_histogram_merge(&tally->callback_time, &sum->callback_time);
}
