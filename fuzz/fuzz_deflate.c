/* Compression: hostile streams into the inflater, cut anywhere; and what the deflater writes, of
 * several messages with and without context takeover, is read back by a peer with that window.
 *
 * Input: byte 0 the window (bits 0 to 2), takeover (bit 3), the level (bits 4 to 7); byte 1 how it
 * is cut; the rest is the stream, and again the text of the messages.
 */
#include "fws.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUTPUT_MAX ((size_t)256 * 1024)

static const uint8_t tail[] = {0, 0, 0xFF, 0xFF};

/* Feeds a stream in pieces of at most `piece` bytes into room of at most `room_size` bytes at a
 * time; returns a hash of what came out, to compare. */
static uint64_t inflate_hostile(const uint8_t *data, size_t size, uint8_t bits, size_t piece,
                                size_t room_size)
{
    static uint8_t room[4096];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    size_t total = 0;
    fws_inflater *inflater = fws_inflater_new(bits);
    fws_inflate_status status = FWS_INFLATE_DONE;
    for (size_t at = 0; at < size && status == FWS_INFLATE_DONE && total < OUTPUT_MAX;
         at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(length);
        memcpy(copy, data + at, length);
        const uint8_t *next = copy;
        do {
            uint8_t *out = room;
            size_t capacity = room_size;
            status = fws_inflater_feed(inflater, &next, &length, &out, &capacity);
            if ((size_t)(out - room) + capacity != room_size)
                abort();
            for (const uint8_t *byte = room; byte < out && total < OUTPUT_MAX; byte++, total++)
                hash = (hash ^ *byte) * UINT64_C(0x100000001b3);
        } while (status == FWS_INFLATE_FULL && total < OUTPUT_MAX);
        free(copy);
    }
    fws_inflater_free(inflater);
    return total < OUTPUT_MAX ? hash + (status == FWS_INFLATE_CORRUPT) : hash;
}

static void expect_inflated(fws_compression *reader, const uint8_t *wire, size_t wire_size,
                            const uint8_t *text, size_t size)
{
    uint8_t *room = malloc(size + 1), *out = room;
    size_t capacity = size + 1, tail_size = sizeof tail;
    const uint8_t *end = tail;
    if (fws_compression_inflate(reader, &wire, &wire_size, &out, &capacity) != FWS_INFLATE_DONE)
        abort();
    if (fws_compression_inflate(reader, &end, &tail_size, &out, &capacity) != FWS_INFLATE_DONE)
        abort();
    if ((size_t)(out - room) != size || memcmp(room, text, size) != 0)
        abort();
    if (!fws_inflater_at_boundary(reader->inflater))
        abort();
    fws_compression_end_message(reader);
    free(room);
}

static void there_and_back(const uint8_t *data, size_t size, uint8_t options, uint8_t cuts)
{
    fws_deflate_pool pool;
    uint8_t bits = (uint8_t)(FWS_DEFLATE_BITS_MIN + (options & 7));
    fws_deflate_parameters parameters = {.server_no_context_takeover = !(options & 8),
                                         .server_max_window_bits = bits,
                                         .client_max_window_bits = bits};
    fws_deflate_pool_init(&pool, 1 + (options >> 4) % 9);
    fws_compression *writer = fws_compression_new(&pool, &parameters, true);
    fws_compression *reader = fws_compression_new(&pool, &parameters, false);
    uint32_t random = cuts;
    for (size_t at = 0; at <= size;) {
        random = random * 1664525 + 1013904223;
        size_t length = 1 + (random >> 16) % (random & 0x2000 ? 5000 : 300);
        if (length > size - at)
            length = size - at;
        /* Room for all, or for less than it may need. */
        size_t capacity = random & 0x8000 ? length * 2 + 64 : length, written = 0;
        uint8_t *wire = malloc(capacity + 1);
        if (random & 0x4000)
            fws_compression_mark_stale(writer);
        if (fws_compression_deflate(writer, data + at, length, wire, capacity, &written)) {
            if (written > capacity)
                abort();
            expect_inflated(reader, wire, written, data + at, length);
        } else if (capacity > length) {
            abort();
        }
        free(wire);
        at += length;
        if (length == 0)
            break;
    }
    fws_compression_free(writer);
    fws_compression_free(reader);
    fws_deflate_pool_clear(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t bits = (uint8_t)(FWS_DEFLATE_BITS_MIN + (data[0] & 7));
    const uint8_t *stream = data + 2;
    size_t length = size - 2;
    uint64_t whole = inflate_hostile(stream, length, bits, length ? length : 1, 4096);
    uint64_t pieces = inflate_hostile(stream, length, bits, 1 + data[1] % 19, 1 + data[1] * 13);
    /* zlib looks further back than a small window while that is in its output buffer: a peer that
     * breaks the agreement is found out or not, as the cuts have it. */
    if (whole != pieces && bits == FWS_DEFLATE_BITS_MAX)
        abort();
    there_and_back(stream, length, data[0], data[1]);
    return 0;
}
