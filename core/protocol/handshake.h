/* The header values of the opening handshake, RFC 6455 sections 4.1 and 4.2.
 *
 * The WSGI server parses the HTTP request, and Python's hashlib makes the digest of
 * Sec-WebSocket-Accept. This file has the grammar of the header values, which it checks whatever a
 * hostile client has put into them. Values are byte strings with a length, not NUL-terminated.
 *
 * Nothing here allocates, waits or keeps state. Threads: any.
 */
#ifndef FWS_PROTOCOL_HANDSHAKE_H
#define FWS_PROTOCOL_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

/* Sec-WebSocket-Key: the base64 form of 16 bytes, so 22 characters and "==". Section 4.2.1 item 5.
 */
bool fws_handshake_key_valid(const char *key, size_t length);

/* A token of RFC 7230 section 3.2.6: what a subprotocol must be. */
bool fws_handshake_is_token(const char *text, size_t length);

/* Is the text this token? Case is ignored. */
bool fws_handshake_equals(const char *text, size_t length, const char *token);

/* Does the comma-separated list contain this token? Case is ignored. For Connection and Upgrade. */
bool fws_handshake_list_contains(const char *list, size_t length, const char *token);

/* Walks a comma-separated list: from *position, finds the next element without the white space
 * around it and without empty elements. False at the end of the list. */
bool fws_handshake_list_next(const char *list, size_t length, size_t *position,
                             const char **element, size_t *element_length);

#endif
