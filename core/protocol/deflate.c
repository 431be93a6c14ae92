#include "deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SMALL_WINDOW_BITS 12 /* enough for FWS_DEFLATE_SHORT_MAX bytes */
_Static_assert(FWS_DEFLATE_SHORT_MAX <= 1 << SMALL_WINDOW_BITS, "it does not fit");
#define ZLIB_CHUNK ((size_t)1 << 30) /* zlib counts in unsigned int */

struct fws_deflater {
    z_stream stream;
    uint8_t window_bits;
};

struct fws_inflater {
    z_stream stream;
};

/* zlib allocates by this, and so through malloc, which tests let fail. */
static voidpf allocate(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return calloc(items, size);
}

static void release(voidpf opaque, voidpf address)
{
    (void)opaque;
    free(address);
}

static uInt chunk(size_t size)
{
    return (uInt)(size < ZLIB_CHUNK ? size : ZLIB_CHUNK);
}

/* ---- compressing ---- */

fws_deflater *fws_deflater_new(uint8_t window_bits, int level)
{
    fws_deflater *deflater = calloc(1, sizeof *deflater);
    if (deflater == NULL)
        return NULL;
    deflater->window_bits = window_bits;
    deflater->stream.zalloc = allocate;
    deflater->stream.zfree = release;
    /* zlib makes no raw stream for a window of 2^8; its stream for 2^9 never refers further back
     * than 2^9 - 262 = 250 bytes, so a peer with a window of 2^8 can read that. */
    int bits = window_bits == 8 ? 9 : window_bits;
    /* The hash table is as large as the window. */
    int memory_level = bits > SMALL_WINDOW_BITS ? 8 : bits - 7;
    if (deflateInit2(&deflater->stream, level, Z_DEFLATED, -bits, memory_level,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(deflater);
        return NULL;
    }
    return deflater;
}

void fws_deflater_free(fws_deflater *deflater)
{
    if (deflater == NULL)
        return;
    deflateEnd(&deflater->stream);
    free(deflater);
}

void fws_deflater_reset(fws_deflater *deflater)
{
    deflateReset(&deflater->stream);
}

bool fws_deflater_feed(fws_deflater *deflater, const uint8_t *data, size_t length, bool last,
                       uint8_t **out, size_t *capacity)
{
    z_stream *stream = &deflater->stream;
    size_t read = 0;
    stream->avail_in = 0;
    while (*capacity > 0) {
        if (stream->avail_in == 0) {
            stream->next_in = (z_const Bytef *)(uintptr_t)(data + read);
            stream->avail_in = chunk(length - read);
            read += stream->avail_in;
        }
        uInt room = chunk(*capacity);
        stream->next_out = *out;
        stream->avail_out = room;
        deflate(stream, !last || read < length ? Z_NO_FLUSH : Z_SYNC_FLUSH);
        *out += room - stream->avail_out;
        *capacity -= room - stream->avail_out;
        if (read == length && stream->avail_in == 0 && stream->avail_out > 0)
            return true;
    }
    return false;
}

bool fws_deflater_message(fws_deflater *deflater, const uint8_t *data, size_t length, uint8_t *out,
                          size_t capacity, size_t *size)
{
    if (length == 0) { /* RFC 7692 section 7.2.3.6 */
        if (capacity < 1)
            return false;
        out[0] = 0;
        *size = 1;
        return true;
    }
    size_t left = capacity;
    if (!fws_deflater_feed(deflater, data, length, true, &out, &left))
        return false;
    *size = capacity - left - FWS_DEFLATE_TAIL_SIZE;
    return true;
}

/* ---- decompressing ---- */

fws_inflater *fws_inflater_new(uint8_t window_bits)
{
    fws_inflater *inflater = calloc(1, sizeof *inflater);
    if (inflater == NULL)
        return NULL;
    inflater->stream.zalloc = allocate;
    inflater->stream.zfree = release;
    if (inflateInit2(&inflater->stream, -(int)window_bits) != Z_OK) {
        free(inflater);
        return NULL;
    }
    return inflater;
}

void fws_inflater_free(fws_inflater *inflater)
{
    if (inflater == NULL)
        return;
    inflateEnd(&inflater->stream);
    free(inflater);
}

void fws_inflater_reset(fws_inflater *inflater)
{
    inflateReset(&inflater->stream);
}

fws_inflate_status fws_inflater_feed(fws_inflater *inflater, const uint8_t **data, size_t *length,
                                     uint8_t **out, size_t *capacity)
{
    z_stream *stream = &inflater->stream;
    for (;;) {
        uInt input = chunk(*length), output = chunk(*capacity);
        stream->next_in = (z_const Bytef *)(uintptr_t)*data;
        stream->avail_in = input;
        stream->next_out = *out;
        stream->avail_out = output;
        int status = inflate(stream, Z_SYNC_FLUSH);
        *data += input - stream->avail_in;
        *length -= input - stream->avail_in;
        *out += output - stream->avail_out;
        *capacity -= output - stream->avail_out;
        switch (status) {
        case Z_STREAM_END: /* a block with BFINAL set, section 7.2.3.4: a new stream follows */
            inflateReset(stream);
            break;
        case Z_OK:
        case Z_BUF_ERROR: /* no progress was possible */
            break;
        case Z_MEM_ERROR:
            return FWS_INFLATE_NO_MEMORY;
        default:
            return FWS_INFLATE_CORRUPT;
        }
        if (*capacity == 0)
            return FWS_INFLATE_FULL;
        if (*length == 0)
            return FWS_INFLATE_DONE;
    }
}

bool fws_inflater_at_boundary(const fws_inflater *inflater)
{
    /* What zlib's manual says of data_type after inflate(): 128 between two blocks, and the number
     * of unused bits of the last byte. */
    return (inflater->stream.data_type & 128) != 0 && (inflater->stream.data_type & 7) == 0;
}

/* ---- the pool ---- */

static void init_slots(fws_deflate_slots slots)
{
    for (size_t i = 0; i < FWS_KEPT; i++)
        atomic_init(&slots[i], NULL);
}

/* Removes and returns one of the states that are kept, or NULL. */
static void *pop_state(fws_deflate_slots slots)
{
    void *state = NULL;
    for (size_t i = 0; i < FWS_KEPT && state == NULL; i++)
        state = atomic_exchange(&slots[i], NULL);
    return state;
}

/* Keeps a state; false when all slots are full. */
static bool push_state(fws_deflate_slots slots, void *state)
{
    for (size_t i = 0; i < FWS_KEPT; i++) {
        void *empty = NULL;
        if (atomic_compare_exchange_strong(&slots[i], &empty, state))
            return true;
    }
    return false;
}

void fws_deflate_pool_init(fws_deflate_pool *pool, int level)
{
    pool->level = level;
    init_slots(pool->short_deflaters);
    init_slots(pool->small_deflaters);
    init_slots(pool->large_deflaters);
    init_slots(pool->inflaters);
}

void fws_deflate_pool_clear(fws_deflate_pool *pool)
{
    void *state;
    while ((state = pop_state(pool->short_deflaters)) != NULL)
        free(state);
    while ((state = pop_state(pool->small_deflaters)) != NULL)
        fws_deflater_free(state);
    while ((state = pop_state(pool->large_deflaters)) != NULL)
        fws_deflater_free(state);
    while ((state = pop_state(pool->inflaters)) != NULL)
        fws_inflater_free(state);
}

fws_inflater *fws_deflate_pool_borrow_inflater(fws_deflate_pool *pool)
{
    fws_inflater *inflater = pop_state(pool->inflaters);
    if (inflater == NULL)
        return fws_inflater_new(FWS_DEFLATE_BITS_MAX);
    fws_inflater_reset(inflater);
    return inflater;
}

void fws_deflate_pool_return_inflater(fws_deflate_pool *pool, fws_inflater *inflater)
{
    if (!push_state(pool->inflaters, inflater))
        fws_inflater_free(inflater);
}

static _Atomic(void *) *deflater_slots(fws_deflate_pool *pool, uint8_t window_bits)
{
    return window_bits <= SMALL_WINDOW_BITS ? pool->small_deflaters : pool->large_deflaters;
}

fws_deflater *fws_deflate_pool_borrow_deflater(fws_deflate_pool *pool, uint8_t window_bits)
{
    _Atomic(void *) *slots = deflater_slots(pool, window_bits);
    fws_deflater *deflater;
    while ((deflater = pop_state(slots)) != NULL && deflater->window_bits != window_bits)
        fws_deflater_free(deflater); /* made for another window, which is rare */
    if (deflater == NULL)
        return fws_deflater_new(window_bits, pool->level);
    fws_deflater_reset(deflater);
    return deflater;
}

void fws_deflate_pool_return_deflater(fws_deflate_pool *pool, fws_deflater *deflater)
{
    if (!push_state(deflater_slots(pool, deflater->window_bits), deflater))
        fws_deflater_free(deflater);
}

size_t fws_deflate_pool_piece(const fws_deflate_pool *pool)
{
    /* To compress takes twice as long as to decompress, and thoroughly eight times. */
    return pool->level < FWS_THOROUGH_LEVEL ? FWS_PIECE / 2 : FWS_PIECE / 8;
}

static bool compress_by_zlib(fws_deflate_pool *pool, uint8_t window_bits, const uint8_t *data,
                             size_t length, uint8_t *out, size_t capacity, size_t *size)
{
    fws_deflater *deflater = fws_deflate_pool_borrow_deflater(pool, window_bits);
    if (deflater == NULL)
        return false;
    bool done = fws_deflater_message(deflater, data, length, out, capacity, size);
    fws_deflate_pool_return_deflater(pool, deflater);
    return done;
}

static bool compress_short(fws_deflate_pool *pool, uint8_t window_bits, const uint8_t *data,
                           size_t length, uint8_t *out, size_t capacity, size_t *size)
{
    fws_deflate_short *state = pop_state(pool->short_deflaters);
    if (state == NULL && (state = malloc(sizeof *state)) == NULL)
        return false;
    bool done = fws_deflate_short_message(state, window_bits, data, length, out, capacity, size);
    if (!push_state(pool->short_deflaters, state))
        free(state);
    return done;
}

uint8_t fws_deflate_pool_window(uint8_t window_bits, size_t length)
{
    return length <= FWS_DEFLATE_SHORT_MAX && window_bits > SMALL_WINDOW_BITS ? SMALL_WINDOW_BITS
                                                                              : window_bits;
}

bool fws_deflate_pool_promising(fws_deflate_pool *pool, const uint8_t *data, size_t length)
{
    if (length < (size_t)16 * FWS_SAMPLE_SIZE)
        return true;
    uint8_t out[FWS_SAMPLE_SIZE];
    size_t size, distance = (length - FWS_SAMPLE_SIZE) / 3; /* from the beginning to the end */
    for (size_t i = 0; i < 4; i++)
        if (compress_short(pool, SMALL_WINDOW_BITS, data + i * distance, FWS_SAMPLE_SIZE, out,
                           FWS_SAMPLE_SIZE - FWS_SAMPLE_SIZE / 16, &size))
            return true;
    return false;
}

bool fws_deflate_pool_compress(fws_deflate_pool *pool, uint8_t window_bits, const uint8_t *data,
                               size_t length, uint8_t *out, size_t capacity, size_t *size)
{
    if (!fws_deflate_pool_promising(pool, data, length))
        return false;
    window_bits = fws_deflate_pool_window(window_bits, length);
    if (FWS_USE_DEFLATE_SHORT && length > 0 && length <= FWS_DEFLATE_SHORT_MAX &&
        pool->level < FWS_THOROUGH_LEVEL)
        return compress_short(pool, window_bits, data, length, out, capacity, size);
    return compress_by_zlib(pool, window_bits, data, length, out, capacity, size);
}
