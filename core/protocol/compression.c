#include "compression.h"

#include <stdlib.h>

fws_compression *fws_compression_new(fws_deflate_pool *pool,
                                     const fws_deflate_parameters *parameters, bool is_server)
{
    fws_compression *compression = calloc(1, sizeof *compression);
    if (compression == NULL)
        return NULL;
    const fws_deflate_parameters *p = parameters;
    compression->pool = pool;
    compression->send_bits = is_server ? p->server_max_window_bits : p->client_max_window_bits;
    compression->receive_bits = is_server ? p->client_max_window_bits : p->server_max_window_bits;
    compression->send_takeover =
        !(is_server ? p->server_no_context_takeover : p->client_no_context_takeover);
    compression->receive_takeover =
        !(is_server ? p->client_no_context_takeover : p->server_no_context_takeover);
    return compression;
}

void fws_compression_clear_deflater(fws_compression *compression)
{
    fws_deflater_free(compression->deflater);
    compression->deflater = NULL;
}

void fws_compression_clear_inflater(fws_compression *compression)
{
    fws_inflater_free(compression->inflater);
    compression->inflater = NULL;
}

void fws_compression_free(fws_compression *compression)
{
    if (compression == NULL)
        return;
    fws_compression_clear_deflater(compression);
    fws_compression_clear_inflater(compression);
    free(compression);
}

bool fws_compression_deflate(fws_compression *compression, const uint8_t *data, size_t length,
                             uint8_t *out, size_t capacity, size_t *size)
{
    if (!compression->send_takeover)
        return fws_deflate_pool_compress(compression->pool, compression->send_bits, data, length,
                                         out, capacity, size);
    if (!fws_deflate_pool_promising(compression->pool, data, length))
        return false; /* it is sent as it is, and enters the window of neither side */
    if (compression->deflater == NULL) {
        compression->deflater = fws_deflater_new(compression->send_bits, compression->pool->level);
        if (compression->deflater == NULL)
            return false;
    } else if (compression->stale) {
        fws_deflater_reset(compression->deflater);
    }
    compression->stale =
        !fws_deflater_message(compression->deflater, data, length, out, capacity, size);
    return !compression->stale;
}

fws_deflater *fws_compression_borrow_deflater(fws_compression *compression, bool reset)
{
    if (!compression->send_takeover)
        return fws_deflate_pool_borrow_deflater(compression->pool, compression->send_bits);
    if (compression->deflater == NULL)
        compression->deflater = fws_deflater_new(compression->send_bits, compression->pool->level);
    else if (reset)
        fws_deflater_reset(compression->deflater);
    return compression->deflater;
}

void fws_compression_return_deflater(fws_compression *compression, fws_deflater *deflater)
{
    if (!compression->send_takeover)
        fws_deflate_pool_return_deflater(compression->pool, deflater);
}

fws_inflate_status fws_compression_inflate(fws_compression *compression, const uint8_t **data,
                                           size_t *length, uint8_t **out, size_t *capacity)
{
    if (compression->inflater == NULL) {
        compression->inflater = compression->receive_takeover
                                    ? fws_inflater_new(compression->receive_bits)
                                    : fws_deflate_pool_borrow_inflater(compression->pool);
        if (compression->inflater == NULL)
            return FWS_INFLATE_NO_MEMORY;
    }
    return fws_inflater_feed(compression->inflater, data, length, out, capacity);
}

void fws_compression_end_message(fws_compression *compression)
{
    if (compression->receive_takeover || compression->inflater == NULL)
        return;
    fws_deflate_pool_return_inflater(compression->pool, compression->inflater);
    compression->inflater = NULL;
}
