#include "mask.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#include <string.h>

__attribute__((target("avx2"))) void fws_mask_avx2(uint8_t *data, size_t length,
                                                   const uint8_t key[4])
{
    int32_t word;
    memcpy(&word, key, 4);
    const __m256i wide = _mm256_set1_epi32(word);
    size_t i = 0;
    /* Two blocks in each iteration keep both load ports busy. */
    for (; i + 64 <= length; i += 64) {
        __m256i first = _mm256_loadu_si256((const __m256i *)(data + i));
        __m256i second = _mm256_loadu_si256((const __m256i *)(data + i + 32));
        _mm256_storeu_si256((__m256i *)(data + i), _mm256_xor_si256(first, wide));
        _mm256_storeu_si256((__m256i *)(data + i + 32), _mm256_xor_si256(second, wide));
    }
    for (; i + 32 <= length; i += 32) {
        __m256i block = _mm256_loadu_si256((const __m256i *)(data + i));
        _mm256_storeu_si256((__m256i *)(data + i), _mm256_xor_si256(block, wide));
    }
    fws_mask_portable(data + i, length - i, key);
}
#else
typedef int fws_mask_avx2_is_not_for_this_processor;
#endif
