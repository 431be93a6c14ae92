/* The whole state machine of a connection, server and client role, on hostile bytes.
 *
 * Besides not crashing, it must give the same events however the bytes are cut: the input is
 * decoded whole and in pieces, and both outcomes are compared.
 *
 * Input: byte 0 chooses the role, the limits, compression and context takeover, byte 1 how the rest
 * is cut; the rest is the stream.
 */
#include "fws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 4096
#define UNLIMITED ((uint64_t)1 << 20) /* what the fuzzer has memory for */
#define FRAGMENTS 5

typedef struct {
    uint64_t hash; /* of all events in order */
    unsigned events;
} outcome;

static void mix(outcome *result, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        result->hash = (result->hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void entropy(uint8_t out[4])
{
    memcpy(out, "\x01\x02\x03\x04", 4);
}

static void feed(fws_connection *connection, const uint8_t *data, size_t size, outcome *result)
{
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    uint8_t *cursor = copy;
    fws_event event;
    while (fws_connection_receive(connection, &cursor, copy + size, &event) != FWS_EVENT_NONE) {
        uint8_t summary[] = {(uint8_t)event.type,
                             event.type == FWS_EVENT_MESSAGE ? event.opcode : 0};
        mix(result, summary, sizeof summary);
        mix(result, event.data, event.length);
        mix(result, event.reply, event.reply_size);
        result->events++;
        if (event.reply_size > FWS_FRAME_CONTROL_SIZE_MAX)
            abort();
        uint64_t most = connection->limits.max_message_size;
        if (event.type == FWS_EVENT_MESSAGE && most != 0 && event.length > most)
            abort();
        if (event.type == FWS_EVENT_MESSAGE && event.opcode == FWS_OPCODE_TEXT &&
            !fws_utf8_valid(event.data, event.length))
            abort();
    }
    if (cursor != copy + size)
        abort(); /* bytes that were not read */
    free(copy);
}

static outcome run(const uint8_t *data, size_t size, uint8_t options, uint8_t cuts)
{
    fws_connection connection;
    outcome result = {.hash = UINT64_C(0xcbf29ce484222325)};
    fws_limits limits = {.max_message_size = options & 2 ? LIMIT : UNLIMITED,
                         .max_fragments = options & 32 ? FRAGMENTS : 0};
    fws_connection_init(&connection, options & 1 ? FWS_ROLE_CLIENT : FWS_ROLE_SERVER, &limits,
                        entropy);
    fws_deflate_pool pool;
    fws_deflate_pool_init(&pool, 1);
    if (options & 8) {
        bool alone = !(options & 16);
        fws_deflate_parameters parameters = {.server_no_context_takeover = alone,
                                             .client_no_context_takeover = alone,
                                             .server_max_window_bits = options & 64 ? 9 : 15,
                                             .client_max_window_bits = options & 64 ? 9 : 15};
        if (!fws_connection_use_compression(&connection, &pool, &parameters))
            abort();
    }
    if (options & 4) { /* our own close frame is sent before the peer's bytes arrive */
        uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
        fws_connection_close(&connection, frame, FWS_CLOSE_NORMAL, NULL, 0);
    }
    uint32_t random = cuts;
    for (size_t at = 0; at < size;) {
        size_t piece = size - at;
        if (cuts != 0) {
            random = random * 1664525 + 1013904223;
            size_t most = 1 + (random >> 16) % 17;
            piece = piece < most ? piece : most;
        }
        feed(&connection, data + at, piece, &result);
        at += piece;
    }
    fws_connection_clear(&connection);
    fws_deflate_pool_clear(&pool);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    outcome whole = run(data + 2, size - 2, data[0], 0);
    outcome pieces = run(data + 2, size - 2, data[0], data[1] | 1);
    bool small_window = (data[0] & 8) && (data[0] & 16) && (data[0] & 64);
    /* Whether zlib finds a reference beyond a small window depends on the cuts. */
    if (!small_window && (whole.hash != pieces.hash || whole.events != pieces.events)) {
        fprintf(stderr, "%u events whole, %u in pieces\n", whole.events, pieces.events);
        abort();
    }
    return 0;
}
