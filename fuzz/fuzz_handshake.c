/* The header values of the handshake on hostile bytes: elements must lie inside the list, in order,
 * without white space around them. */
#include "protocol/handshake.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *list = malloc(size + 1); /* its own memory, so that a sanitizer sees a byte too far */
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
    free(list);
    return 0;
}
