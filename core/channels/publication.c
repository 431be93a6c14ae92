#include "publication.h"

#include <stdlib.h>
#include <string.h>

void fws_publication_init(fws_publication *publication, fws_deflate_pool *pool, size_t threshold,
                          fws_opcode opcode, const void *data, size_t length)
{
    memset(publication, 0, sizeof *publication);
    publication->pool = pool;
    publication->threshold = threshold;
    publication->opcode = opcode;
    publication->data = data;
    publication->length = length;
}

void fws_publication_clear(fws_publication *publication)
{
    if (publication->plain)
        fws_buffer_drop(publication->plain);
    for (size_t bits = 0; bits <= FWS_DEFLATE_BITS_MAX; bits++)
        if (publication->compressed[bits])
            fws_buffer_drop(publication->compressed[bits]);
}

static fws_buffer *frame(const fws_publication *publication, bool compressed, const void *data,
                         size_t length)
{
    uint8_t header[FWS_FRAME_HEADER_MAX];
    size_t size = fws_frame_encode(header, true, publication->opcode, length, NULL);
    if (compressed)
        fws_frame_mark_compressed(header);
    fws_buffer *buffer = fws_buffer_join(header, size, data, length);
    if (buffer == NULL)
        return NULL;
    buffer->published = true;
    buffer->compressed = compressed;
    return buffer;
}

static fws_buffer *plain_frame(fws_publication *publication)
{
    if (publication->plain == NULL)
        publication->plain = frame(publication, false, publication->data, publication->length);
    return publication->plain;
}

/* The plain frame when compression makes it no smaller. */
static fws_buffer *compressed_frame(fws_publication *publication, uint8_t window_bits)
{
    fws_buffer *result = NULL;
    size_t size;
    uint8_t *room = malloc(publication->length);
    if (room != NULL &&
        fws_deflate_pool_compress(publication->pool, window_bits, publication->data,
                                  publication->length, room, publication->length, &size))
        result = frame(publication, true, room, size);
    else if (plain_frame(publication))
        result = fws_buffer_keep(publication->plain);
    free(room);
    return result;
}

fws_buffer *fws_publication_frame(fws_publication *publication, uint8_t window_bits)
{
    if (window_bits == 0 || publication->length < publication->threshold)
        return plain_frame(publication);
    window_bits = fws_deflate_pool_window(window_bits, publication->length);
    if (publication->compressed[window_bits] == NULL)
        publication->compressed[window_bits] = compressed_frame(publication, window_bits);
    return publication->compressed[window_bits];
}
