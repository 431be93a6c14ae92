#include "publication.h"

#include <stdlib.h>
#include <string.h>

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

bool fws_publication_init(fws_publication *publication, fws_deflate_pool *pool, size_t threshold,
                          fws_opcode opcode, const void *data, size_t length)
{
    memset(publication, 0, sizeof *publication);
    publication->pool = pool;
    publication->threshold = threshold;
    publication->opcode = opcode;
    publication->length = length;
    publication->plain = frame(publication, false, data, length);
    return publication->plain != NULL;
}

void fws_publication_clear(fws_publication *publication)
{
    if (publication->plain)
        fws_buffer_drop(publication->plain);
    for (size_t bits = 0; bits <= FWS_DEFLATE_BITS_MAX; bits++)
        if (publication->compressed[bits])
            fws_buffer_drop(publication->compressed[bits]);
}

/* Where the frame for a peer with this window is kept. */
static fws_buffer *const *place(const fws_publication *publication, uint8_t window_bits)
{
    if (window_bits == 0 || publication->length < publication->threshold)
        return &publication->plain;
    return &publication->compressed[fws_deflate_pool_window(window_bits, publication->length)];
}

/* The plain frame when compression makes it no smaller, or when there is no memory. */
static fws_buffer *compressed_frame(const fws_publication *publication, uint8_t window_bits)
{
    fws_buffer *result = NULL;
    size_t size, length = publication->length;
    const uint8_t *data = publication->plain->bytes + publication->plain->size - length;
    uint8_t *room = malloc(length);
    if (room != NULL && fws_deflate_pool_compress(publication->pool, window_bits, data, length,
                                                  room, length, &size))
        result = frame(publication, true, room, size);
    free(room);
    return result ? result : fws_buffer_keep(publication->plain);
}

void fws_publication_compress(fws_publication *publication, uint16_t windows)
{
    for (uint8_t bits = FWS_DEFLATE_BITS_MIN; bits <= FWS_DEFLATE_BITS_MAX; bits++) {
        if (!(windows >> bits & 1) || *place(publication, bits) != NULL)
            continue;
        uint8_t window_bits = fws_deflate_pool_window(bits, publication->length);
        publication->compressed[window_bits] = compressed_frame(publication, window_bits);
    }
}

bool fws_publication_has_frames(const fws_publication *publication, uint16_t windows)
{
    for (uint8_t bits = 0; bits <= FWS_DEFLATE_BITS_MAX; bits++)
        if ((windows >> bits & 1) && *place(publication, bits) == NULL)
            return false;
    return true;
}

fws_buffer *fws_publication_frame(const fws_publication *publication, uint8_t window_bits)
{
    return *place(publication, window_bits);
}

size_t fws_publication_size(const fws_publication *publication)
{
    size_t size = publication->plain->size;
    for (size_t bits = 0; bits <= FWS_DEFLATE_BITS_MAX; bits++)
        if (publication->compressed[bits] && publication->compressed[bits] != publication->plain)
            size += publication->compressed[bits]->size;
    return size;
}
