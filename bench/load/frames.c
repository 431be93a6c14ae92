#include "frames.h"

#include "../sample.h"
#include "figures.h"
#include "options.h"

#include "fws.h"

#include <stdlib.h>
#include <string.h>

/* Compressed ones differ, and are together larger than a compression window, so that a server with
 * context takeover does not meet the same text again. */
#define COMPRESSED_VARIANTS 64
#define MIXED_VARIANTS 64

load_frames frames;

/* Appends the frame of a payload to the stream. */
static void add_frame(unsigned index, const uint8_t *payload, fws_deflate_pool *pool)
{
    const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t *frame = frames.stream + frames.stream_size, *compressed = NULL;
    const uint8_t *data = payload;
    size_t size = frames.payload_sizes[index];
    if (options.compressed) {
        data = compressed = malloc(size);
        if (!fws_deflate_pool_compress(pool, 15, payload, size, compressed, size, &size))
            fail("the message does not compress");
    }
    bool text = options.compressed || options.socketio;
    fws_opcode opcode = text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
    size_t header_size = fws_frame_encode(frame, true, opcode, size, key);
    if (options.compressed)
        fws_frame_mark_compressed(frame);
    memcpy(frame + header_size, data, size);
    fws_mask_apply(frame + header_size, size, key, 0);
    free(compressed);
    frames.frame_sizes[index] = header_size + size;
    frames.stream_size += header_size + size;
}

/* Of 64 messages, one has 64 KiB, three have 4 KiB, and the others 16 to 256 bytes. */
static size_t mixed_size(unsigned index)
{
    if (index % 64 == 37)
        return 65536;
    return index % 20 == 11 ? 4096 : (size_t)16 << (index * 7 % 5);
}

/* The letters become the argument of an event. */
static void make_event(uint8_t *payload, size_t size)
{
    static const char before[] = "42[\"m\",\"", after[] = "\"]";
    if (size < sizeof before + sizeof after)
        fail("SIZE is too small for an event");
    memcpy(payload, before, sizeof before - 1);
    memcpy(payload + size - (sizeof after - 1), after, sizeof after - 1);
}

void frames_make(fws_deflate_pool *pool)
{
    frames.variants = options.compressed ? COMPRESSED_VARIANTS : options.in_flight;
    if (options.fanout)
        frames.variants = 1;
    if (options.mixed)
        frames.variants = MIXED_VARIANTS;
    frames.payloads = malloc(frames.variants * sizeof *frames.payloads);
    frames.payload_sizes = malloc(frames.variants * sizeof *frames.payload_sizes);
    frames.frame_sizes = malloc(frames.variants * sizeof *frames.frame_sizes);
    size_t whole = 0;
    for (unsigned i = 0; i < frames.variants; i++) {
        frames.payload_sizes[i] = options.mixed ? mixed_size(i) : options.size;
        whole += frames.payload_sizes[i] + FWS_FRAME_HEADER_MAX;
    }
    frames.stream = malloc(whole);
    for (unsigned i = 0; i < frames.variants; i++) {
        frames.payloads[i] = malloc(frames.payload_sizes[i] + 1);
        if (options.compressed)
            fws_sample_json(frames.payloads[i], frames.payload_sizes[i], i);
        else
            for (size_t k = 0; k < frames.payload_sizes[i]; k++)
                frames.payloads[i][k] = (uint8_t)('a' + k % 26);
        if (options.socketio)
            make_event(frames.payloads[i], frames.payload_sizes[i]);
        add_frame(i, frames.payloads[i], pool);
    }
}
