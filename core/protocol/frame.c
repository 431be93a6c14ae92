#include "frame.h"

#include <string.h>

#define RESERVED_BITS 0x70
#define COMPRESSED_BIT 0x40 /* RSV1 */
#define OPCODE_BITS 0x0F
#define LENGTH_BITS 0x7F
#define LENGTH_IS_16_BITS 126
#define LENGTH_IS_64_BITS 127

static bool opcode_is_known(uint8_t opcode)
{
    switch (opcode) {
    case FWS_OPCODE_CONTINUATION:
    case FWS_OPCODE_TEXT:
    case FWS_OPCODE_BINARY:
    case FWS_OPCODE_CLOSE:
    case FWS_OPCODE_PING:
    case FWS_OPCODE_PONG:
        return true;
    }
    return false;
}

static bool reserved_bits_are_legal(uint8_t first, bool compression)
{
    uint8_t reserved = first & RESERVED_BITS;
    if (reserved == 0)
        return true;
    uint8_t opcode = first & OPCODE_BITS;
    return compression && reserved == COMPRESSED_BIT &&
           (opcode == FWS_OPCODE_TEXT || opcode == FWS_OPCODE_BINARY);
}

fws_frame_status fws_frame_decode(const uint8_t *data, size_t available, bool compression,
                                  fws_frame_header *header)
{
    if (available < 1)
        return FWS_FRAME_INCOMPLETE;
    header->final = (data[0] & FWS_FRAME_FINAL_BIT) != 0;
    header->opcode = data[0] & OPCODE_BITS;
    header->compressed = (data[0] & COMPRESSED_BIT) != 0;
    if (!reserved_bits_are_legal(data[0], compression))
        return FWS_FRAME_RESERVED_BITS;
    if (!opcode_is_known(header->opcode))
        return FWS_FRAME_RESERVED_OPCODE;
    bool control = fws_frame_is_control(header->opcode);
    if (control && !header->final)
        return FWS_FRAME_FRAGMENTED_CONTROL;

    if (available < 2)
        return FWS_FRAME_INCOMPLETE;
    header->masked = (data[1] & FWS_FRAME_MASK_BIT) != 0;
    uint8_t short_length = data[1] & LENGTH_BITS;
    if (control && short_length > FWS_FRAME_CONTROL_MAX)
        return FWS_FRAME_OVERSIZED_CONTROL;

    size_t length_size = 0;
    if (short_length == LENGTH_IS_16_BITS)
        length_size = 2;
    else if (short_length == LENGTH_IS_64_BITS)
        length_size = 8;
    if (length_size == 8 && available > 2 && (data[2] & 0x80))
        return FWS_FRAME_LENGTH_TOO_BIG;
    header->size = (uint8_t)(2 + length_size + (header->masked ? 4 : 0));
    if (available < 2 + length_size)
        return FWS_FRAME_INCOMPLETE;
    if (length_size == 0) {
        header->length = short_length;
    } else {
        uint64_t length = 0;
        for (size_t i = 0; i < length_size; i++)
            length = length << 8 | data[2 + i];
        if (length <= (length_size == 2 ? 125u : 0xFFFFu))
            return FWS_FRAME_LENGTH_NOT_MINIMAL;
        header->length = length;
    }
    if (available < header->size)
        return FWS_FRAME_INCOMPLETE;
    if (header->masked)
        memcpy(header->key, data + 2 + length_size, 4);
    return FWS_FRAME_OK;
}

const char *fws_frame_error(fws_frame_status status)
{
    switch (status) {
    case FWS_FRAME_OK:
    case FWS_FRAME_INCOMPLETE:
        return "";
    case FWS_FRAME_RESERVED_BITS:
        return "reserved bits that no extension gives a meaning";
    case FWS_FRAME_RESERVED_OPCODE:
        return "reserved opcode";
    case FWS_FRAME_FRAGMENTED_CONTROL:
        return "fragmented control frame";
    case FWS_FRAME_OVERSIZED_CONTROL:
        return "control frame longer than 125 bytes";
    case FWS_FRAME_LENGTH_NOT_MINIMAL:
        return "payload length not in its shortest form";
    case FWS_FRAME_LENGTH_TOO_BIG:
        return "payload length above 2^63";
    }
    return "";
}

size_t fws_frame_encode(uint8_t *out, bool final, fws_opcode opcode, uint64_t length,
                        const uint8_t *key)
{
    size_t size = 2;
    out[0] = (uint8_t)((final ? FWS_FRAME_FINAL_BIT : 0) | opcode);
    uint8_t mask_bit = key ? FWS_FRAME_MASK_BIT : 0;
    if (length <= 125) {
        out[1] = (uint8_t)(mask_bit | length);
    } else if (length <= 0xFFFF) {
        out[1] = mask_bit | LENGTH_IS_16_BITS;
        out[2] = (uint8_t)(length >> 8);
        out[3] = (uint8_t)length;
        size = 4;
    } else {
        out[1] = mask_bit | LENGTH_IS_64_BITS;
        for (int i = 0; i < 8; i++)
            out[2 + i] = (uint8_t)(length >> (56 - 8 * i));
        size = 10;
    }
    if (key) {
        memcpy(out + size, key, 4);
        size += 4;
    }
    return size;
}
