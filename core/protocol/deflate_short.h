/* DEFLATE (RFC 1951) of one short message that refers to no other message.
 *
 * Most messages are short, and zlib spends most of its time on them for things that only long ones
 * need: chains of candidates, and a sliding window. Here one candidate is compared for each
 * position; it is found in a small table, which is cleared quickly. `make bench` prints the time
 * that this saves and the bytes that it costs, beside zlib.
 *
 * Threads: a state is used by one thread at a time. Memory: none beyond the state.
 */
#ifndef FWS_PROTOCOL_DEFLATE_SHORT_H
#define FWS_PROTOCOL_DEFLATE_SHORT_H

#include "huffman.h"

#include "../tuning.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint16_t last_place[1 << FWS_DEFLATE_SHORT_HASH_BITS]; /* position plus one; 0: none */
    uint64_t tokens[FWS_DEFLATE_SHORT_MAX]; /* literals and matches, see deflate_short.c */
    size_t token_count;
    uint16_t literal_frequencies[286];
    uint16_t distance_frequencies[30];
    fws_huffman literals;
    fws_huffman distances;
} fws_deflate_short;

/* Compresses a message of 1 to FWS_DEFLATE_SHORT_MAX bytes, for a peer with a window of
 * 2^window_bits. The result is that of a sync flush without its last four bytes. False when it
 * does not fit into `capacity` bytes, or for a message of another length. If another thread
 * writes to `data` meanwhile, the result may stand for other bytes, but it has no more than
 * `capacity`. */
bool fws_deflate_short_message(fws_deflate_short *state, uint8_t window_bits, const uint8_t *data,
                               size_t length, uint8_t *out, size_t capacity, size_t *size);

#endif
