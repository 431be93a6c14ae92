/* The frame header of RFC 6455 section 5.2: reads it and writes it.
 *
 * Nothing here allocates, waits or keeps state. Threads: any.
 */
#ifndef FWS_PROTOCOL_FRAME_H
#define FWS_PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_FRAME_HEADER_MAX 14   /* 2 + 8 of length + 4 of masking key */
#define FWS_FRAME_CONTROL_MAX 125 /* payload of a control frame, section 5.5 */
#define FWS_FRAME_CONTROL_SIZE_MAX (2 + 4 + FWS_FRAME_CONTROL_MAX)
#define FWS_FRAME_FINAL_BIT 0x80 /* of the first byte */
#define FWS_FRAME_MASK_BIT 0x80  /* of the second */

typedef enum {
    FWS_OPCODE_CONTINUATION = 0x0,
    FWS_OPCODE_TEXT = 0x1,
    FWS_OPCODE_BINARY = 0x2,
    FWS_OPCODE_CLOSE = 0x8,
    FWS_OPCODE_PING = 0x9,
    FWS_OPCODE_PONG = 0xA,
} fws_opcode;

typedef struct {
    bool final;
    bool compressed; /* RSV1 as RFC 7692 section 6 uses it: on the first frame of a message */
    bool masked;
    uint8_t opcode;
    uint8_t size; /* of the header itself, bytes */
    uint8_t key[4];
    uint64_t length; /* of the payload, bytes */
} fws_frame_header;

typedef enum {
    FWS_FRAME_OK,
    FWS_FRAME_INCOMPLETE, /* the bytes so far are legal, and more are needed */
    FWS_FRAME_RESERVED_BITS,
    FWS_FRAME_RESERVED_OPCODE,
    FWS_FRAME_FRAGMENTED_CONTROL,
    FWS_FRAME_OVERSIZED_CONTROL,
    FWS_FRAME_LENGTH_NOT_MINIMAL,
    FWS_FRAME_LENGTH_TOO_BIG, /* the most significant bit of a 64-bit length must be 0 */
} fws_frame_status;

/* Reads a header from the first `available` bytes. `compression`: is permessage-deflate agreed on,
 * so that RSV1 may be set? An illegal header is named as soon as a byte proves it, not when the
 * header is complete. */
fws_frame_status fws_frame_decode(const uint8_t *data, size_t available, bool compression,
                                  fws_frame_header *header);

/* What is wrong, in words for a close reason. */
const char *fws_frame_error(fws_frame_status status);

/* Writes a header for a payload of `length` bytes and returns its size. `key` is NULL for an
 * unmasked frame. `out` holds FWS_FRAME_HEADER_MAX bytes. */
size_t fws_frame_encode(uint8_t *out, bool final, fws_opcode opcode, uint64_t length,
                        const uint8_t *key);

/* Sets RSV1 in a header that has been written: the message is compressed. */
static inline void fws_frame_mark_compressed(uint8_t *header)
{
    header[0] |= 0x40;
}

static inline bool fws_frame_is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

#endif
