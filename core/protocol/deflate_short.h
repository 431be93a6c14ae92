/* DEFLATE (RFC 1951) of one short message that refers to nothing outside itself.
 *
 * Most messages are short, and zlib spends most of its time on them in what long ones need: chains
 * of candidates, a sliding window. Here one candidate is looked at for each place, in a table that
 * is cleared in no time. `make bench` prints what that wins in time and costs in size, beside zlib.
 *
 * Threads: the state belongs to one thread at a time. Memory: none beyond the state.
 */
#ifndef FWS_PROTOCOL_DEFLATE_SHORT_H
#define FWS_PROTOCOL_DEFLATE_SHORT_H

#include "huffman.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_DEFLATE_SHORT_MAX 4096 /* bytes of a message */
#define FWS_DEFLATE_SHORT_HASH_BITS 11

typedef struct {
    uint16_t last_place[1 << FWS_DEFLATE_SHORT_HASH_BITS]; /* plus one; 0: none */
    uint64_t tokens[FWS_DEFLATE_SHORT_MAX]; /* literals and matches, see deflate_short.c */
    size_t token_count;
    uint16_t literal_frequencies[286];
    uint16_t distance_frequencies[30];
    fws_huffman literals;
    fws_huffman distances;
} fws_deflate_short;

/* Compresses a message of 1 to FWS_DEFLATE_SHORT_MAX bytes, for a peer with a window of
 * 2^window_bits. The result is as after a sync flush without its last four bytes. False when it
 * does not fit into `capacity` bytes, or for a message of another length. When another thread
 * writes to `data` meanwhile, what is written may not be the message, but is no more than
 * `capacity`. */
bool fws_deflate_short_message(fws_deflate_short *state, uint8_t window_bits, const uint8_t *data,
                               size_t length, uint8_t *out, size_t capacity, size_t *size);

#endif
