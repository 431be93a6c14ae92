/* Masking of client-to-server payloads, RFC 6455 section 5.3.
 *
 * Masking is its own inverse, so the same call masks and unmasks. It works in place and takes the
 * position in the frame's payload at which `data` starts, so that a payload may arrive in pieces.
 *
 * Threads: any. The instruction set is chosen once per process, at the first call.
 */
#ifndef FWS_PROTOCOL_MASK_H
#define FWS_PROTOCOL_MASK_H

#include <stddef.h>
#include <stdint.h>

/* XOR `length` bytes with the masking key; data[0] is byte `position` of the frame's payload. */
void fws_mask_apply(uint8_t *data, size_t length, const uint8_t key[4], uint64_t position);

/* One implementation: `key` is already rotated so that key[0] belongs to data[0]. */
typedef void (*fws_mask_function)(uint8_t *data, size_t length, const uint8_t key[4]);

void fws_mask_portable(uint8_t *data, size_t length, const uint8_t key[4]);
#if defined(__x86_64__) || defined(__i386__)
void fws_mask_sse2(uint8_t *data, size_t length, const uint8_t key[4]);
void fws_mask_avx2(uint8_t *data, size_t length, const uint8_t key[4]);
#elif defined(__ARM_NEON)
void fws_mask_neon(uint8_t *data, size_t length, const uint8_t key[4]);
#endif

/* The implementation that suits this processor: the one that fws_mask_apply uses. */
fws_mask_function fws_mask_best(void);

#endif
