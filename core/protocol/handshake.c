#include "handshake.h"

#include <string.h>

#define KEY_SIZE 24 /* base64 of 16 bytes */

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool fws_handshake_key_valid(const char *key, size_t length)
{
    if (length != KEY_SIZE || key[22] != '=' || key[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!is_alphanumeric(key[i]) && key[i] != '+' && key[i] != '/')
            return false;
    /* The last character carries 2 bits of the 16th byte; browsers leave the other 4 at zero, but
     * RFC 4648 section 3.5 lets a decoder take what other clients send there. */
    return true;
}

bool fws_handshake_is_token(const char *text, size_t length)
{
    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_alphanumeric(text[i]) && (text[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", text[i])))
            return false;
    return true;
}

bool fws_handshake_list_next(const char *list, size_t length, size_t *position,
                             const char **element, size_t *element_length)
{
    size_t i = *position;
    while (i < length && (list[i] == ' ' || list[i] == '\t' || list[i] == ','))
        i++;
    if (i == length) {
        *position = i;
        return false;
    }
    size_t start = i;
    while (i < length && list[i] != ',')
        i++;
    size_t stop = i;
    while (list[stop - 1] == ' ' || list[stop - 1] == '\t')
        stop--;
    *element = list + start;
    *element_length = stop - start;
    *position = i;
    return true;
}

bool fws_handshake_equals(const char *text, size_t length, const char *token)
{
    if (strlen(token) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (lower(text[i]) != lower(token[i]))
            return false;
    return true;
}

bool fws_handshake_list_contains(const char *list, size_t length, const char *token)
{
    size_t position = 0;
    const char *element;
    size_t element_length;
    while (fws_handshake_list_next(list, length, &position, &element, &element_length))
        if (fws_handshake_equals(element, element_length, token))
            return true;
    return false;
}
