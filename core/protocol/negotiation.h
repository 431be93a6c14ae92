/* The values of Sec-WebSocket-Extensions: the grammar of RFC 6455 section 9.1, and
 * permessage-deflate with its four parameters, RFC 7692 section 7.1, for both roles.
 *
 * Values are byte strings with a length, not NUL-terminated.
 *
 * Nothing here allocates, waits or keeps state. Threads: any.
 */
#ifndef FWS_PROTOCOL_NEGOTIATION_H
#define FWS_PROTOCOL_NEGOTIATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an endpoint wants, or what two have agreed on. A bit count is 8 to 15. */
typedef struct {
    bool server_no_context_takeover;
    bool client_no_context_takeover;
    uint8_t server_max_window_bits;
    uint8_t client_max_window_bits;
} fws_deflate_parameters;

typedef enum {
    FWS_NEGOTIATION_NONE,      /* no extension: the connection goes on without */
    FWS_NEGOTIATION_AGREED,    /* permessage-deflate with `agreed` */
    FWS_NEGOTIATION_MALFORMED, /* no list of extensions (400), or, for a client, an answer that it
                                  must not accept: it fails the connection */
} fws_negotiation;

/* Holds any answer or offer with its NUL. */
#define FWS_NEGOTIATION_TEXT_MAX 160

/* The server's side. Takes the first of the client's offers that it can: `wanted` limits the
 * windows and says whose context is not to be taken over. On FWS_NEGOTIATION_AGREED, `answer` is
 * the value of the header to answer with, NUL-terminated. An offer with an unknown, repeated or
 * illegal parameter is passed over (section 7.1); a client that did not offer
 * client_max_window_bits is not limited (section 7.1.2.2). */
fws_negotiation fws_negotiation_accept(const char *offers, size_t length,
                                       const fws_deflate_parameters *wanted,
                                       fws_deflate_parameters *agreed,
                                       char answer[FWS_NEGOTIATION_TEXT_MAX]);

/* The client's side: the value of the header that offers this, NUL-terminated. */
void fws_negotiation_offer(const fws_deflate_parameters *wanted,
                           char offer[FWS_NEGOTIATION_TEXT_MAX]);

/* What the server answered to fws_negotiation_offer(wanted). It may not answer with an extension
 * that was not offered, more than one, or parameters that the offer excludes (sections 7.1.1
 * and 7.1.2).
 */
fws_negotiation fws_negotiation_confirm(const char *answer, size_t length,
                                        const fws_deflate_parameters *wanted,
                                        fws_deflate_parameters *agreed);

#endif
