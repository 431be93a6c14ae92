#include "deflate_short.h"

#include <string.h>

#define MATCH_MIN 4 /* of three bytes too seldom pays */
#define MATCH_MAX 258
#define END_OF_BLOCK 256
#define LITERALS 286
#define DISTANCES 30
#define PRECODES 19

/* ---- tokens: which symbols a literal or a match has, RFC 1951 section 3.2.5 ---- */

/* From the lowest bit: the symbol of the literal or the length (9 bits), and, of a match, the extra
 * bits of the length and how many (5, 3), the symbol of the distance (5), its extra bits and how
 * many (13, 4).
 */
enum {
    LENGTH_EXTRA = 9,
    LENGTH_EXTRA_BITS = 14,
    DISTANCE = 17,
    DISTANCE_EXTRA = 22,
    DISTANCE_EXTRA_BITS = 35,
};

static unsigned field(uint64_t token, unsigned place, unsigned bits)
{
    return (unsigned)(token >> place) & ((1u << bits) - 1);
}

static unsigned log2_of(unsigned value)
{
    return 31u - (unsigned)__builtin_clz(value);
}

static uint64_t length_token(unsigned length)
{
    unsigned value = length - 3;
    if (value < 8)
        return 257 + value;
    if (length == MATCH_MAX)
        return 285;
    unsigned extra_bits = log2_of(value) - 2;
    unsigned symbol = 257 + 4 * (extra_bits + 1) + (value >> extra_bits & 3);
    unsigned extra = value & ((1u << extra_bits) - 1);
    return symbol | extra << LENGTH_EXTRA | extra_bits << LENGTH_EXTRA_BITS;
}

static uint64_t distance_token(unsigned distance)
{
    unsigned value = distance - 1;
    if (value < 4)
        return (uint64_t)value << DISTANCE;
    unsigned extra_bits = log2_of(value) - 1;
    unsigned symbol = 2 * (extra_bits + 1) + (value >> extra_bits & 1);
    unsigned extra = value & ((1u << extra_bits) - 1);
    return (uint64_t)symbol << DISTANCE | (uint64_t)extra << DISTANCE_EXTRA |
           (uint64_t)extra_bits << DISTANCE_EXTRA_BITS;
}

/* ---- finding repetitions ---- */

/* Places, and sums of frequencies with the end of the block, in 16 bits. */
_Static_assert(FWS_DEFLATE_SHORT_MAX + 1 < UINT16_MAX, "places do not fit");

static uint32_t four_bytes(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, 4);
    return value;
}

static unsigned hash(uint32_t value)
{
    return value * UINT32_C(2654435761) >> (32 - FWS_DEFLATE_SHORT_HASH_BITS);
}

static unsigned match_length(const uint8_t *here, const uint8_t *before, const uint8_t *end)
{
    unsigned length = MATCH_MIN;
    unsigned most = end - here < MATCH_MAX ? (unsigned)(end - here) : MATCH_MAX;
    while (length < most && here[length] == before[length])
        length++;
    return length;
}

static void find_tokens(fws_deflate_short *state, unsigned window, const uint8_t *data,
                        size_t length)
{
    memset(state->last_place, 0, sizeof state->last_place);
    memset(state->literal_frequencies, 0, sizeof state->literal_frequencies);
    memset(state->distance_frequencies, 0, sizeof state->distance_frequencies);
    size_t count = 0, at = 0;
    while (at + MATCH_MIN <= length) {
        uint32_t value = four_bytes(data + at);
        uint16_t *last = &state->last_place[hash(value)];
        size_t candidate = *last;
        *last = (uint16_t)(at + 1);
        if (candidate == 0 || at + 1 - candidate > window ||
            four_bytes(data + candidate - 1) != value) {
            uint8_t literal =
                data[at++]; /* read once, so that the counted literal is the written one */
            state->literal_frequencies[literal]++;
            state->tokens[count++] = literal;
            continue;
        }
        unsigned distance = (unsigned)(at + 1 - candidate);
        unsigned found = match_length(data + at, data + candidate - 1, data + length);
        uint64_t token = length_token(found) | distance_token(distance);
        state->literal_frequencies[field(token, 0, 9)]++;
        state->distance_frequencies[field(token, DISTANCE, 5)]++;
        state->tokens[count++] = token;
        size_t end = at + found;
        for (at++; at < end; at++)
            if (at + MATCH_MIN <= length)
                state->last_place[hash(four_bytes(data + at))] = (uint16_t)(at + 1);
    }
    for (; at < length; at++) {
        uint8_t literal = data[at];
        state->literal_frequencies[literal]++;
        state->tokens[count++] = literal;
    }
    state->literal_frequencies[END_OF_BLOCK] = 1;
    state->token_count = count;
}

/* ---- the header of a block with its own codes: section 3.2.7 ---- */

typedef struct {
    uint8_t symbols[LITERALS + DISTANCES];
    uint8_t extra[LITERALS + DISTANCES];
    size_t count;
    size_t literals, distances, precodes; /* how many lengths of each are sent */
    fws_huffman code;
} header;

static const uint8_t precode_order[PRECODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                11, 4,  12, 3, 13, 2, 14, 1, 15};
static const uint8_t precode_extra_bits[PRECODES] = {[16] = 2, [17] = 3, [18] = 7};

static void add_run(header *head, uint8_t length, size_t run)
{
    while (run > 0) {
        uint8_t symbol = length, extra = 0;
        size_t used = 1;
        if (length == 0 && run >= 3) {
            used = run < 138 ? run : 138;
            symbol = used < 11 ? 17 : 18;
            extra = (uint8_t)(used - (used < 11 ? 3 : 11));
        }
        head->symbols[head->count] = symbol;
        head->extra[head->count++] = extra;
        run -= used;
        while (length > 0 && run >= 3) { /* repeat what was just sent */
            used = run < 6 ? run : 6;
            head->symbols[head->count] = 16;
            head->extra[head->count++] = (uint8_t)(used - 3);
            run -= used;
        }
    }
}

/* Returns its size in bits. */
static size_t make_header(const fws_deflate_short *state, header *head)
{
    uint8_t lengths[LITERALS + DISTANCES];
    head->literals = LITERALS;
    while (state->literals.lengths[head->literals - 1] == 0)
        head->literals--;
    head->distances = DISTANCES;
    while (head->distances > 1 && state->distances.lengths[head->distances - 1] == 0)
        head->distances--;
    memcpy(lengths, state->literals.lengths, head->literals);
    memcpy(lengths + head->literals, state->distances.lengths, head->distances);
    size_t total = head->literals + head->distances;
    head->count = 0;
    for (size_t i = 0, next; i < total; i = next) {
        next = i + 1;
        while (next < total && lengths[next] == lengths[i])
            next++;
        add_run(head, lengths[i], next - i);
    }
    uint16_t frequencies[PRECODES] = {0};
    for (size_t i = 0; i < head->count; i++)
        frequencies[head->symbols[i]]++;
    fws_huffman_build(&head->code, frequencies, PRECODES, 7);
    head->precodes = PRECODES;
    while (head->precodes > 4 && head->code.lengths[precode_order[head->precodes - 1]] == 0)
        head->precodes--;
    size_t bits = 5 + 5 + 4 + 3 * head->precodes;
    for (size_t i = 0; i < PRECODES; i++)
        bits += (size_t)frequencies[i] * (head->code.lengths[i] + precode_extra_bits[i]);
    return bits;
}

static void use_fixed_codes(fws_deflate_short *state)
{
    fws_huffman *code = &state->literals;
    memset(code->lengths, 8, 144);
    memset(code->lengths + 144, 9, 112);
    memset(code->lengths + 256, 7, 24);
    memset(code->lengths + 280, 8, 8);
    fws_huffman_assign(code, 288);
    memset(state->distances.lengths, 5, DISTANCES);
    for (unsigned i = 0; i < DISTANCES; i++) { /* 30 and 31 have codes too: no fws_huffman_assign */
        unsigned bits = (i & 1) << 4 | (i & 2) << 2 | (i & 4) | (i & 8) >> 2 | (i & 16) >> 4;
        state->distances.bits[i] = (uint16_t)bits;
    }
}

/* ---- sizes, in bits ---- */

/* The extra bits of all lengths and distances, which are the same with any code. */
static size_t extra_size(const fws_deflate_short *state)
{
    size_t bits = 0;
    for (unsigned i = 265; i < 285; i++)
        bits += (size_t)state->literal_frequencies[i] * ((i - 261) / 4);
    for (unsigned i = 4; i < DISTANCES; i++)
        bits += (size_t)state->distance_frequencies[i] * (i / 2 - 1);
    return bits;
}

/* All symbols with the message's own codes. */
static size_t own_size(const fws_deflate_short *state)
{
    size_t bits = 0;
    for (unsigned i = 0; i < LITERALS; i++)
        bits += (size_t)state->literal_frequencies[i] * state->literals.lengths[i];
    for (unsigned i = 0; i < DISTANCES; i++)
        bits += (size_t)state->distance_frequencies[i] * state->distances.lengths[i];
    return bits;
}

/* And with the fixed ones: section 3.2.6. */
static size_t fixed_size(const fws_deflate_short *state)
{
    size_t bits = 0;
    for (unsigned i = 0; i < LITERALS; i++)
        bits += (size_t)state->literal_frequencies[i] * (i < 144   ? 8
                                                         : i < 256 ? 9
                                                         : i < 280 ? 7
                                                                   : 8);
    for (unsigned i = 0; i < DISTANCES; i++)
        bits += (size_t)state->distance_frequencies[i] * 5;
    return bits;
}

/* ---- writing ---- */

typedef struct {
    uint8_t *at;
    uint64_t bits;
    unsigned count; /* below 32 between two calls */
} writer;

/* At most 32 bits. */
static inline void put(writer *out, unsigned bits, unsigned count)
{
    out->bits |= (uint64_t)bits << out->count;
    out->count += count;
    if (out->count >= 32) {
        out->at[0] = (uint8_t)out->bits;
        out->at[1] = (uint8_t)(out->bits >> 8);
        out->at[2] = (uint8_t)(out->bits >> 16);
        out->at[3] = (uint8_t)(out->bits >> 24);
        out->at += 4;
        out->bits >>= 32;
        out->count -= 32;
    }
}

/* The last bits, and zeros up to a whole byte. */
static void put_rest(writer *out)
{
    for (unsigned done = 0; done < out->count; done += 8)
        *out->at++ = (uint8_t)(out->bits >> done);
}

static inline void put_symbol(writer *out, const fws_huffman *code, unsigned symbol)
{
    put(out, code->bits[symbol], code->lengths[symbol]);
}

static void put_header(writer *out, const header *head)
{
    put(out, (unsigned)head->literals - 257, 5);
    put(out, (unsigned)head->distances - 1, 5);
    put(out, (unsigned)head->precodes - 4, 4);
    for (size_t i = 0; i < head->precodes; i++)
        put(out, head->code.lengths[precode_order[i]], 3);
    for (size_t i = 0; i < head->count; i++) {
        put_symbol(out, &head->code, head->symbols[i]);
        put(out, head->extra[i], precode_extra_bits[head->symbols[i]]);
    }
}

/* A symbol, and its extra bits behind it. */
static inline void put_with_extra(writer *out, const fws_huffman *code, unsigned symbol,
                                  unsigned extra, unsigned extra_bits)
{
    put(out, code->bits[symbol] | extra << code->lengths[symbol],
        code->lengths[symbol] + extra_bits);
}

static void put_tokens(writer *out, const fws_deflate_short *state)
{
    writer local = *out; /* a copy: for the compiler the written bytes might lie in *out, which it
                            would load again for each */
    for (size_t i = 0; i < state->token_count; i++) {
        uint64_t token = state->tokens[i];
        unsigned symbol = field(token, 0, 9);
        if (symbol < END_OF_BLOCK) {
            put_symbol(&local, &state->literals, symbol);
            continue;
        }
        put_with_extra(&local, &state->literals, symbol, field(token, LENGTH_EXTRA, 5),
                       field(token, LENGTH_EXTRA_BITS, 3));
        put_with_extra(&local, &state->distances, field(token, DISTANCE, 5),
                       field(token, DISTANCE_EXTRA, 13), field(token, DISTANCE_EXTRA_BITS, 4));
    }
    put_symbol(&local, &state->literals, END_OF_BLOCK);
    *out = local;
}

bool fws_deflate_short_message(fws_deflate_short *state, uint8_t window_bits, const uint8_t *data,
                               size_t length, uint8_t *out, size_t capacity, size_t *size)
{
    if (length == 0 || length > FWS_DEFLATE_SHORT_MAX)
        return false;
    find_tokens(state, 1u << window_bits, data, length);
    fws_huffman_build(&state->literals, state->literal_frequencies, LITERALS, 15);
    fws_huffman_build(&state->distances, state->distance_frequencies, DISTANCES, 15);
    header head;
    size_t own = make_header(state, &head) + own_size(state), fixed = fixed_size(state);
    bool with_fixed_codes = fixed <= own;
    /* A block's own 3 bits, and those of the empty one that a flush ends with, to a whole byte. */
    *size = (3 + (with_fixed_codes ? fixed : own) + extra_size(state) + 3 + 7) / 8;
    if (*size > capacity)
        return false;
    writer writing = {.at = out};
    put(&writing, with_fixed_codes ? 1u << 1 : 2u << 1, 3); /* not the last block; which codes */
    if (with_fixed_codes)
        use_fixed_codes(state);
    else
        put_header(&writing, &head);
    put_tokens(&writing, state);
    put(&writing, 0, 3);
    put_rest(&writing);
    return true;
}
