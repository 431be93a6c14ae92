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

/* What an endpoint asks for, or what both have agreed on. A window has 8 to 15 bits. */
typedef struct {
    bool server_no_context_takeover;
    bool client_no_context_takeover;
    uint8_t server_max_window_bits;
    uint8_t client_max_window_bits;
} fws_deflate_parameters;

typedef enum {
    FWS_NEGOTIATION_NONE,      /* no extension: the connection is used without */
    FWS_NEGOTIATION_AGREED,    /* permessage-deflate with `agreed` */
    FWS_NEGOTIATION_MALFORMED, /* no list of extensions (400), or, for a client, an answer that it
                                  must not accept: it fails the connection */
} fws_negotiation;

/* Holds any answer or offer with its NUL. */
#define FWS_NEGOTIATION_TEXT_MAX 160

/* The server's side. Accepts the first of the client's offers that it can: `wanted` limits the
 * windows, and says which sides must not take their context over. On FWS_NEGOTIATION_AGREED,
 * `answer` is the value of the header to answer with, NUL-terminated. An offer with an unknown,
 * repeated or illegal parameter is declined (RFC 7692 section 7.1). The window of a client that
 * did not offer client_max_window_bits is not limited (section 7.1.2.2). */
fws_negotiation fws_negotiation_accept(const char *offers, size_t length,
                                       const fws_deflate_parameters *wanted,
                                       fws_deflate_parameters *agreed,
                                       char answer[FWS_NEGOTIATION_TEXT_MAX]);

/* The client's side: writes the value of the header that offers `wanted`, NUL-terminated. */
void fws_negotiation_offer(const fws_deflate_parameters *wanted,
                           char offer[FWS_NEGOTIATION_TEXT_MAX]);

/* The client's side: reads what the server has answered to fws_negotiation_offer(wanted). The
 * server must not answer with an extension that was not offered, with more than one, or with
 * parameters that the offer excludes (RFC 7692 sections 7.1.1 and 7.1.2). */
fws_negotiation fws_negotiation_confirm(const char *answer, size_t length,
                                        const fws_deflate_parameters *wanted,
                                        fws_deflate_parameters *agreed);

#endif
