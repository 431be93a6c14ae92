#include "mask.h"

#include "../tuning.h"

#include <stdatomic.h>
#include <string.h>

void fws_mask_portable(uint8_t *data, size_t length, const uint8_t key[4])
{
    uint64_t wide;
    uint8_t *bytes = (uint8_t *)&wide;
    memcpy(bytes, key, 4);
    memcpy(bytes + 4, key, 4);
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= wide;
        memcpy(data + i, &word, 8);
    }
    for (; i < length; i++)
        data[i] ^= key[i & 3];
}

fws_mask_function fws_mask_best(void)
{
    if (!FWS_USE_WIDE_MASK)
        return fws_mask_portable;
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx2"))
        return fws_mask_avx2;
    if (__builtin_cpu_supports("sse2"))
        return fws_mask_sse2;
    return fws_mask_portable;
#elif defined(__ARM_NEON)
    return fws_mask_neon;
#else
    return fws_mask_portable;
#endif
}

void fws_mask_apply(uint8_t *data, size_t length, const uint8_t key[4], uint64_t position)
{
    /* Two threads may both choose at the same time; they store the same value. */
    static _Atomic(fws_mask_function) chosen;

    uint8_t rotated[4];
    for (unsigned i = 0; i < 4; i++)
        rotated[i] = key[(position + i) & 3];
    if (length < FWS_MASK_SHORT) {
        for (size_t i = 0; i < length; i++)
            data[i] ^= rotated[i & 3];
        return;
    }
    fws_mask_function function = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (function == NULL) {
        function = fws_mask_best();
        atomic_store_explicit(&chosen, function, memory_order_relaxed);
    }
    function(data, length, rotated);
}
