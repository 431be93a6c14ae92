#include "utf8.h"

#include <string.h>

#define ASCII_BLOCK 64
#define HIGH_BITS UINT64_C(0x8080808080808080)

void fws_utf8_reset(fws_utf8 *state)
{
    *state = (fws_utf8){.missing = 0, .low = 0x80, .high = 0xBF};
}

bool fws_utf8_complete(const fws_utf8 *state)
{
    return state->missing == 0;
}

/* The first byte that is not ASCII, or `end`. The inner loop has no branch: compilers turn it into
 * vector ORs. */
static const uint8_t *skip_ascii(const uint8_t *data, const uint8_t *end)
{
    while (end - data >= ASCII_BLOCK) {
        uint64_t any = 0;
        for (int i = 0; i < ASCII_BLOCK; i += 8) {
            uint64_t word;
            memcpy(&word, data + i, 8);
            any |= word;
        }
        if (any & HIGH_BITS)
            break;
        data += ASCII_BLOCK;
    }
    while (end - data >= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        if (word & HIGH_BITS)
            break;
        data += 8;
    }
    while (data < end && *data < 0x80)
        data++;
    return data;
}

/* The lead byte decides how many bytes follow and what the first of them may be: table 3-7 of the
 * Unicode Standard, which is RFC 3629 section 4 as ranges. */
static bool read_lead_byte(fws_utf8 *state, uint8_t lead)
{
    state->low = 0x80;
    state->high = 0xBF;
    if (lead < 0xC2)
        return false; /* a stray continuation byte, or an overlong two-byte form */
    if (lead < 0xE0) {
        state->missing = 1;
    } else if (lead < 0xF0) {
        state->missing = 2;
        if (lead == 0xE0)
            state->low = 0xA0; /* below: overlong */
        else if (lead == 0xED)
            state->high = 0x9F; /* above: surrogates */
    } else if (lead < 0xF5) {
        state->missing = 3;
        if (lead == 0xF0)
            state->low = 0x90; /* below: overlong */
        else if (lead == 0xF4)
            state->high = 0x8F; /* above: beyond U+10FFFF */
    } else {
        return false;
    }
    return true;
}

bool fws_utf8_feed(fws_utf8 *state, const uint8_t *data, size_t length)
{
    const uint8_t *end = data + length;
    fws_utf8 now = *state;
    while (data < end) {
        if (now.missing == 0) {
            data = skip_ascii(data, end);
            if (data == end)
                break;
            if (!read_lead_byte(&now, *data++))
                return false;
        }
        while (now.missing > 0 && data < end) {
            uint8_t byte = *data++;
            if (byte < now.low || byte > now.high)
                return false;
            now.missing--;
            now.low = 0x80;
            now.high = 0xBF;
        }
    }
    *state = now;
    return true;
}

bool fws_utf8_valid(const uint8_t *data, size_t length)
{
    fws_utf8 state;
    fws_utf8_reset(&state);
    return fws_utf8_feed(&state, data, length) && fws_utf8_complete(&state);
}
