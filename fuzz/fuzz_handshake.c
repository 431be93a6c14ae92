/* The header values of the handshake on hostile bytes: elements must lie inside the list, in order,
 * without white space around them; and what the negotiation of extensions agrees on must be what
 * was offered, and understood by the other side. */
#include "fws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void check_bits(uint8_t bits)
{
    if (bits < 8 || bits > 15)
        abort();
}

static void negotiate(const char *list, size_t size)
{
    const fws_deflate_parameters most = {.server_max_window_bits = 15,
                                         .client_max_window_bits = 15};
    for (unsigned variant = 0; variant < 4; variant++) {
        fws_deflate_parameters agreed, confirmed;
        fws_deflate_parameters wanted = {.server_no_context_takeover = variant & 1,
                                         .client_no_context_takeover = variant & 1,
                                         .server_max_window_bits = variant & 2 ? 10 : 15,
                                         .client_max_window_bits = variant & 2 ? 11 : 15};
        char answer[FWS_NEGOTIATION_TEXT_MAX], offer[FWS_NEGOTIATION_TEXT_MAX];
        if (fws_negotiation_accept(list, size, &wanted, &agreed, answer) ==
            FWS_NEGOTIATION_AGREED) {
            check_bits(agreed.server_max_window_bits);
            check_bits(agreed.client_max_window_bits);
            if (agreed.server_max_window_bits > wanted.server_max_window_bits)
                abort();
            /* A client that has offered everything reads the same out of our answer. */
            if (fws_negotiation_confirm(answer, strlen(answer), &most, &confirmed) !=
                    FWS_NEGOTIATION_AGREED ||
                memcmp(&agreed, &confirmed, sizeof agreed) != 0)
                abort();
        }
        if (fws_negotiation_confirm(list, size, &wanted, &agreed) == FWS_NEGOTIATION_AGREED) {
            check_bits(agreed.server_max_window_bits);
            check_bits(agreed.client_max_window_bits);
            if (agreed.client_max_window_bits > wanted.client_max_window_bits)
                abort();
        }
        fws_negotiation_offer(&wanted, offer);
        if (fws_negotiation_accept(offer, strlen(offer), &most, &agreed, answer) !=
            FWS_NEGOTIATION_AGREED)
            abort();
        if (fws_negotiation_confirm(answer, strlen(answer), &wanted, &confirmed) !=
            FWS_NEGOTIATION_AGREED)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *list =
        malloc(size + 1); /* memory of its own, so that a sanitizer sees a read beyond its end */
    memcpy(list, data, size);
    size_t position = 0, length = 0;
    const char *element, *last_end = list;
    while (fws_handshake_list_next(list, size, &position, &element, &length)) {
        if (length == 0 || element < last_end || element + length > list + size ||
            is_space(element[0]) || is_space(element[length - 1]) || memchr(element, ',', length))
            abort();
        last_end = element + length;
        fws_handshake_is_token(element, length);
        fws_handshake_key_valid(element, length);
    }
    fws_handshake_list_contains(list, size, "websocket");
    fws_handshake_key_valid(list, size);
    negotiate(list, size);
    free(list);
    return 0;
}
