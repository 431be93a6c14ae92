/* Incremental UTF-8 validation, RFC 3629, for text messages (RFC 6455 section 8.1).
 *
 * A text message may be cut anywhere, also inside a character, so the state of an unfinished
 * character is kept between calls. Overlong forms, surrogates and code points above U+10FFFF are
 * refused at the first byte that proves them.
 *
 * Threads: a state belongs to one connection, and is protected as that is. Memory: part of the
 * connection.
 */
#ifndef FWS_PROTOCOL_UTF8_H
#define FWS_PROTOCOL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t missing; /* continuation bytes that the unfinished character still needs */
    uint8_t low;     /* what the next continuation byte may be: low..high */
    uint8_t high;
} fws_utf8;

void fws_utf8_reset(fws_utf8 *state);

/* False at the first byte that cannot be valid UTF-8 after what came before. */
bool fws_utf8_feed(fws_utf8 *state, const uint8_t *data, size_t length);

/* True when no character is left unfinished. */
bool fws_utf8_complete(const fws_utf8 *state);

/* A whole text at once. */
bool fws_utf8_valid(const uint8_t *data, size_t length);

#endif
