#include "mask.h"

#if defined(__x86_64__) || defined(__i386__)
#include <emmintrin.h>
#include <string.h>

__attribute__((target("sse2"))) void fws_mask_sse2(uint8_t *data, size_t length,
                                                   const uint8_t key[4])
{
    int32_t word;
    memcpy(&word, key, 4);
    const __m128i wide = _mm_set1_epi32(word);
    size_t i = 0;
    for (; i + 16 <= length; i += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(data + i));
        _mm_storeu_si128((__m128i *)(data + i), _mm_xor_si128(block, wide));
    }
    fws_mask_portable(data + i, length - i, key);
}
#else
typedef int fws_mask_sse2_is_not_for_this_processor;
#endif
