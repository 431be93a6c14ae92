#include "negotiation.h"

#include "deflate.h"
#include "handshake.h"

#include <stdio.h>
#include <string.h>

#define NAME "permessage-deflate"

/* ---- the grammar ---- */

typedef struct {
    const char *at;
    const char *end;
} text;

typedef struct {
    const char *data;
    size_t size;
} piece;

static void skip_space(text *input)
{
    while (input->at < input->end && (*input->at == ' ' || *input->at == '\t'))
        input->at++;
}

/* The separator, with the white space around it. */
static bool skip_separator(text *input, char separator)
{
    skip_space(input);
    if (input->at == input->end || *input->at != separator)
        return false;
    input->at++;
    skip_space(input);
    return true;
}

static bool read_token(text *input, piece *token)
{
    const char *start = input->at;
    while (input->at < input->end && fws_handshake_is_token(input->at, 1))
        input->at++;
    *token = (piece){start, (size_t)(input->at - start)};
    return token->size > 0;
}

/* A token, or a quoted string whose contents are a token (RFC 6455 section 9.1). A value with a
 * backslash is legal HTTP, but no parameter has such a value: `value` is then empty. */
static bool read_value(text *input, piece *value)
{
    if (input->at == input->end || *input->at != '"')
        return read_token(input, value);
    const char *start = ++input->at;
    bool escaped = false;
    while (input->at < input->end && *input->at != '"') {
        if (*input->at == '\\') {
            escaped = true;
            if (++input->at == input->end)
                return false;
        }
        input->at++;
    }
    if (input->at == input->end)
        return false;
    *value = (piece){start, (size_t)(input->at - start)};
    input->at++;
    if (escaped)
        value->size = 0;
    return escaped || fws_handshake_is_token(value->data, value->size);
}

static bool is(const piece *name, const char *wanted)
{
    return fws_handshake_equals(name->data, name->size, wanted);
}

/* ---- parameters ---- */

enum {
    SERVER_NO_CONTEXT_TAKEOVER = 1,
    CLIENT_NO_CONTEXT_TAKEOVER = 2,
    SERVER_MAX_WINDOW_BITS = 4,
    CLIENT_MAX_WINDOW_BITS = 8,
};

typedef struct {
    bool is_deflate;
    bool legal;       /* every parameter is known, occurs once, and has a legal value */
    unsigned present; /* which of the four */
    uint8_t server_bits;
    uint8_t client_bits; /* 0: the parameter came without a value */
} extension;

/* A decimal number without leading zeros: section 7.1.2. 0 when it is none from 8 to 15. */
static uint8_t read_bits(const piece *value)
{
    unsigned bits = 0;
    if (value->size < 1 || value->size > 2 || value->data[0] == '0')
        return 0;
    for (size_t i = 0; i < value->size; i++) {
        if (value->data[i] < '0' || value->data[i] > '9')
            return 0;
        bits = bits * 10 + (unsigned)(value->data[i] - '0');
    }
    return bits >= FWS_DEFLATE_BITS_MIN && bits <= FWS_DEFLATE_BITS_MAX ? (uint8_t)bits : 0;
}

static void note_parameter(extension *found, const piece *name, const piece *value)
{
    unsigned which = 0;
    bool legal = true;
    if (is(name, "server_no_context_takeover")) {
        which = SERVER_NO_CONTEXT_TAKEOVER;
        legal = value == NULL;
    } else if (is(name, "client_no_context_takeover")) {
        which = CLIENT_NO_CONTEXT_TAKEOVER;
        legal = value == NULL;
    } else if (is(name, "server_max_window_bits")) {
        which = SERVER_MAX_WINDOW_BITS;
        found->server_bits = value ? read_bits(value) : 0;
        legal = found->server_bits != 0;
    } else if (is(name, "client_max_window_bits")) {
        which = CLIENT_MAX_WINDOW_BITS;
        found->client_bits = value ? read_bits(value) : 0;
        legal = value == NULL || found->client_bits != 0;
    }
    if (which == 0 || (found->present & which) || !legal)
        found->legal = false;
    found->present |= which;
}

/* One element of the list; false when it breaks the grammar. */
static bool read_extension(text *input, extension *found)
{
    piece name, parameter, value;
    if (!read_token(input, &name))
        return false;
    *found = (extension){.is_deflate = is(&name, NAME), .legal = true};
    while (skip_separator(input, ';')) {
        if (!read_token(input, &parameter))
            return false;
        bool has_value = skip_separator(input, '=');
        if (has_value && !read_value(input, &value))
            return false;
        note_parameter(found, &parameter, has_value ? &value : NULL);
    }
    return true;
}

/* The next element: 1 found, 0 end of the list, -1 malformed. Empty elements are passed over, as
 * RFC 7230 section 7 asks of recipients. */
static int next_extension(text *input, extension *found)
{
    while (skip_separator(input, ','))
        ;
    if (input->at == input->end)
        return 0;
    if (!read_extension(input, found))
        return -1;
    skip_space(input);
    return input->at == input->end || *input->at == ',' ? 1 : -1;
}

static void write_parameters(char *out, const fws_deflate_parameters *values, unsigned present,
                             bool client_bits_bare)
{
    int used = snprintf(out, FWS_NEGOTIATION_TEXT_MAX, NAME);
    size_t size = (size_t)used;
    if (present & SERVER_NO_CONTEXT_TAKEOVER)
        size += (size_t)snprintf(out + size, FWS_NEGOTIATION_TEXT_MAX - size,
                                 "; server_no_context_takeover");
    if (present & CLIENT_NO_CONTEXT_TAKEOVER)
        size += (size_t)snprintf(out + size, FWS_NEGOTIATION_TEXT_MAX - size,
                                 "; client_no_context_takeover");
    if (present & SERVER_MAX_WINDOW_BITS)
        size += (size_t)snprintf(out + size, FWS_NEGOTIATION_TEXT_MAX - size,
                                 "; server_max_window_bits=%d", values->server_max_window_bits);
    if (present & CLIENT_MAX_WINDOW_BITS && client_bits_bare)
        snprintf(out + size, FWS_NEGOTIATION_TEXT_MAX - size, "; client_max_window_bits");
    else if (present & CLIENT_MAX_WINDOW_BITS)
        snprintf(out + size, FWS_NEGOTIATION_TEXT_MAX - size, "; client_max_window_bits=%d",
                 values->client_max_window_bits);
}

/* ---- the server ---- */

static uint8_t smaller(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static void agree(const extension *offer, const fws_deflate_parameters *wanted,
                  fws_deflate_parameters *agreed, char *answer)
{
    unsigned present = 0;
    /* Section 7.1.1.1: if the client asks for it the answer must have it; the server may add it
     * otherwise. */
    agreed->server_no_context_takeover =
        wanted->server_no_context_takeover || (offer->present & SERVER_NO_CONTEXT_TAKEOVER);
    if (agreed->server_no_context_takeover)
        present |= SERVER_NO_CONTEXT_TAKEOVER;
    /* Section 7.1.1.2: in an offer it is only a hint that the client will not; the answer binds
     * the client. */
    agreed->client_no_context_takeover =
        wanted->client_no_context_takeover || (offer->present & CLIENT_NO_CONTEXT_TAKEOVER);
    if (agreed->client_no_context_takeover)
        present |= CLIENT_NO_CONTEXT_TAKEOVER;
    agreed->server_max_window_bits = wanted->server_max_window_bits;
    if (offer->present & SERVER_MAX_WINDOW_BITS)
        agreed->server_max_window_bits =
            smaller(wanted->server_max_window_bits, offer->server_bits);
    if (offer->present & SERVER_MAX_WINDOW_BITS ||
        agreed->server_max_window_bits < FWS_DEFLATE_BITS_MAX)
        present |= SERVER_MAX_WINDOW_BITS;
    agreed->client_max_window_bits = FWS_DEFLATE_BITS_MAX;
    if (offer->present & CLIENT_MAX_WINDOW_BITS) {
        uint8_t most = offer->client_bits ? offer->client_bits : FWS_DEFLATE_BITS_MAX;
        agreed->client_max_window_bits = smaller(wanted->client_max_window_bits, most);
        if (agreed->client_max_window_bits < FWS_DEFLATE_BITS_MAX)
            present |= CLIENT_MAX_WINDOW_BITS;
    }
    write_parameters(answer, agreed, present, false);
}

fws_negotiation fws_negotiation_accept(const char *offers, size_t length,
                                       const fws_deflate_parameters *wanted,
                                       fws_deflate_parameters *agreed,
                                       char answer[FWS_NEGOTIATION_TEXT_MAX])
{
    text input = {offers, offers + length};
    fws_negotiation result = FWS_NEGOTIATION_NONE;
    extension offer;
    for (;;) { /* to the end of the list, because all of it must have the right grammar */
        int found = next_extension(&input, &offer);
        if (found == 0)
            return result;
        if (found < 0)
            return FWS_NEGOTIATION_MALFORMED;
        if (result == FWS_NEGOTIATION_NONE && offer.is_deflate && offer.legal) {
            agree(&offer, wanted, agreed, answer);
            result = FWS_NEGOTIATION_AGREED;
        }
    }
}

/* ---- the client ---- */

void fws_negotiation_offer(const fws_deflate_parameters *wanted,
                           char offer[FWS_NEGOTIATION_TEXT_MAX])
{
    unsigned present = CLIENT_MAX_WINDOW_BITS; /* so that the server may limit it */
    if (wanted->server_no_context_takeover)
        present |= SERVER_NO_CONTEXT_TAKEOVER;
    if (wanted->client_no_context_takeover)
        present |= CLIENT_NO_CONTEXT_TAKEOVER;
    if (wanted->server_max_window_bits < FWS_DEFLATE_BITS_MAX)
        present |= SERVER_MAX_WINDOW_BITS;
    write_parameters(offer, wanted, present,
                     wanted->client_max_window_bits == FWS_DEFLATE_BITS_MAX);
}

fws_negotiation fws_negotiation_confirm(const char *answer, size_t length,
                                        const fws_deflate_parameters *wanted,
                                        fws_deflate_parameters *agreed)
{
    text input = {answer, answer + length};
    extension first, second;
    int found = next_extension(&input, &first);
    if (found == 0)
        return FWS_NEGOTIATION_NONE;
    if (found < 0 || !first.is_deflate || !first.legal || next_extension(&input, &second) != 0)
        return FWS_NEGOTIATION_MALFORMED;
    bool server_bits = (first.present & SERVER_MAX_WINDOW_BITS) != 0;
    bool client_bits = (first.present & CLIENT_MAX_WINDOW_BITS) != 0;
    bool server_alone = (first.present & SERVER_NO_CONTEXT_TAKEOVER) != 0;
    if (client_bits && first.client_bits == 0)
        return FWS_NEGOTIATION_MALFORMED; /* section 7.1.2.2: in an answer this parameter has a
                                             value */
    if (wanted->server_no_context_takeover && !server_alone)
        return FWS_NEGOTIATION_MALFORMED;
    if (wanted->server_max_window_bits < FWS_DEFLATE_BITS_MAX &&
        (!server_bits || first.server_bits > wanted->server_max_window_bits))
        return FWS_NEGOTIATION_MALFORMED;
    if (client_bits && first.client_bits > wanted->client_max_window_bits)
        return FWS_NEGOTIATION_MALFORMED;
    agreed->server_no_context_takeover = server_alone;
    agreed->client_no_context_takeover =
        wanted->client_no_context_takeover || (first.present & CLIENT_NO_CONTEXT_TAKEOVER);
    agreed->server_max_window_bits = server_bits ? first.server_bits : FWS_DEFLATE_BITS_MAX;
    agreed->client_max_window_bits =
        client_bits ? first.client_bits : wanted->client_max_window_bits;
    return FWS_NEGOTIATION_AGREED;
}
