/* Huffman codes as DEFLATE has them: canonical, limited in length (RFC 1951 section 3.2.2).
 *
 * Nothing here allocates, waits or keeps state. Threads: any.
 */
#ifndef FWS_PROTOCOL_HUFFMAN_H
#define FWS_PROTOCOL_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

#define FWS_HUFFMAN_SYMBOLS_MAX 288
#define FWS_HUFFMAN_BITS_MAX 15

typedef struct {
    uint16_t bits[FWS_HUFFMAN_SYMBOLS_MAX];   /* the code, its first bit lowest, as it is written */
    uint8_t lengths[FWS_HUFFMAN_SYMBOLS_MAX]; /* 0: the symbol has no code */
} fws_huffman;

/* Makes the code for these frequencies (which sum up to less than 65,536), no code longer than
 * `bits_max`. At least two symbols get a code, so that it is complete. */
void fws_huffman_build(fws_huffman *code, const uint16_t *frequencies, size_t count,
                       unsigned bits_max);

/* Makes the code for lengths that are given. */
void fws_huffman_assign(fws_huffman *code, size_t count);

#endif
