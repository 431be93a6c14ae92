#include "mask.h"

#if defined(__ARM_NEON)
#include <arm_neon.h>
#include <string.h>

void fws_mask_neon(uint8_t *data, size_t length, const uint8_t key[4])
{
    uint32_t word;
    memcpy(&word, key, 4);
    const uint8x16_t wide = vreinterpretq_u8_u32(vdupq_n_u32(word));
    size_t i = 0;
    for (; i + 16 <= length; i += 16)
        vst1q_u8(data + i, veorq_u8(vld1q_u8(data + i), wide));
    fws_mask_portable(data + i, length - i, key);
}
#else
typedef int fws_mask_neon_is_not_for_this_processor;
#endif
