#include "huffman.h"

#include "../tuning.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    uint16_t used[FWS_HUFFMAN_SYMBOLS_MAX];    /* the symbols that occur, in order */
    uint16_t symbols[FWS_HUFFMAN_SYMBOLS_MAX]; /* the same, rarest first */
    uint16_t weights[FWS_HUFFMAN_SYMBOLS_MAX]; /* their frequencies, later their code lengths */
    size_t count;
} sorted;

static void sort_symbols(sorted *list, const uint16_t *frequencies, size_t count)
{
    uint16_t starts[FWS_HUFFMAN_COUNTED + 1] = {0};
    size_t used = 0;
    for (size_t i = 0; i < count; i++) { /* no branch, because the processor could not predict it */
        list->used[used] = (uint16_t)i;
        used += frequencies[i] > 0;
    }
    for (size_t i = 0; i < used; i++) {
        uint16_t frequency = frequencies[list->used[i]];
        starts[frequency < FWS_HUFFMAN_COUNTED ? frequency : FWS_HUFFMAN_COUNTED]++;
    }
    uint16_t total = 0;
    for (size_t i = 0; i <= FWS_HUFFMAN_COUNTED; i++) {
        uint16_t here = starts[i];
        starts[i] = total;
        total = (uint16_t)(total + here);
    }
    size_t frequent = starts[FWS_HUFFMAN_COUNTED];
    for (size_t i = 0; i < used; i++) {
        uint16_t frequency = frequencies[list->used[i]];
        size_t bucket = frequency < FWS_HUFFMAN_COUNTED ? frequency : FWS_HUFFMAN_COUNTED;
        size_t place = starts[bucket]++;
        list->symbols[place] = list->used[i];
        list->weights[place] = frequency;
    }
    list->count = total;
    for (size_t i = frequent + 1; i < list->count; i++) { /* the few frequent ones, by insertion */
        uint16_t symbol = list->symbols[i], weight = list->weights[i];
        size_t k = i;
        for (; k > frequent && list->weights[k - 1] > weight; k--) {
            list->symbols[k] = list->symbols[k - 1];
            list->weights[k] = list->weights[k - 1];
        }
        list->symbols[k] = symbol;
        list->weights[k] = weight;
    }
}

/* Replaces weights, which are sorted, by the lengths of an optimal code: Moffat and Katajainen,
 * In-Place Calculation of Minimum-Redundancy Codes (1995). At least two. */
static void optimal_lengths(uint16_t *a, size_t n)
{
    size_t root = 0, leaf = 2;
    a[0] = (uint16_t)(a[0] + a[1]);
    for (size_t next = 1; next < n - 1; next++) { /* pairs; inner nodes get their parent's place */
        if (leaf >= n || a[root] < a[leaf]) {
            a[next] = a[root];
            a[root++] = (uint16_t)next;
        } else {
            a[next] = a[leaf++];
        }
        if (leaf >= n || (root < next && a[root] < a[leaf])) {
            a[next] = (uint16_t)(a[next] + a[root]);
            a[root++] = (uint16_t)next;
        } else {
            a[next] = (uint16_t)(a[next] + a[leaf++]);
        }
    }
    a[n - 2] = 0; /* from places to depths of the inner nodes */
    for (size_t i = n - 2; i-- > 0;)
        a[i] = (uint16_t)(a[a[i]] + 1);
    /* To the depths of the leaves. */
    size_t available = 1, used = 0, next = n;
    size_t inner = n - 1;
    uint16_t depth = 0;
    while (available > 0) {
        while (inner > 0 && a[inner - 1] == depth) {
            used++;
            inner--;
        }
        while (available > used) {
            a[--next] = depth;
            available--;
        }
        available = 2 * used;
        depth++;
        used = 0;
    }
}

/* Shortens codes that are longer than bits_max, and lengthens others, so that the lengths
 * satisfy Kraft's inequality. */
static void limit_lengths(uint16_t *lengths, size_t count, unsigned bits_max)
{
    unsigned of_length[64] = {0};
    for (size_t i = 0; i < count; i++)
        of_length[lengths[i] < bits_max ? lengths[i] : bits_max]++;
    uint32_t total = 0;
    for (unsigned bits = 1; bits <= bits_max; bits++)
        total += (uint32_t)of_length[bits] << (bits_max - bits);
    for (; total > (uint32_t)1 << bits_max; total--) {
        of_length[bits_max]--;
        unsigned bits = bits_max - 1;
        while (of_length[bits] == 0)
            bits--;
        of_length[bits]--;
        of_length[bits + 1] += 2;
    }
    size_t i = 0; /* the rarest get the longest */
    for (unsigned bits = bits_max; bits > 0; bits--)
        for (unsigned k = of_length[bits]; k > 0; k--)
            lengths[i++] = (uint16_t)bits;
}

static uint16_t reverse(unsigned bits, unsigned length)
{
    bits = (bits & 0x5555) << 1 | (bits >> 1 & 0x5555);
    bits = (bits & 0x3333) << 2 | (bits >> 2 & 0x3333);
    bits = (bits & 0x0F0F) << 4 | (bits >> 4 & 0x0F0F);
    bits = (bits & 0x00FF) << 8 | (bits >> 8 & 0x00FF);
    return (uint16_t)(bits >> (16 - length));
}

/* The first code of each length: RFC 1951 section 3.2.2, step 2. */
static void first_codes(unsigned next[FWS_HUFFMAN_BITS_MAX + 1],
                        const unsigned of_length[FWS_HUFFMAN_BITS_MAX + 1])
{
    next[0] = 0;
    for (unsigned bits = 1; bits <= FWS_HUFFMAN_BITS_MAX; bits++)
        next[bits] = (next[bits - 1] + of_length[bits - 1]) << 1;
}

void fws_huffman_build(fws_huffman *code, const uint16_t *frequencies, size_t count,
                       unsigned bits_max)
{
    sorted list;
    bool added = false;
    sort_symbols(&list, frequencies, count);
    for (uint16_t symbol = 0; list.count < 2;
         symbol++) { /* a symbol that does not occur, so that the code is complete */
        if (frequencies[symbol] > 0)
            continue;
        memmove(list.symbols + 1, list.symbols, list.count * sizeof *list.symbols);
        memmove(list.weights + 1, list.weights, list.count * sizeof *list.weights);
        list.symbols[0] = symbol;
        list.weights[0] = 0;
        list.count++;
        added = true;
    }
    optimal_lengths(list.weights, list.count);
    if (list.weights[0] > bits_max)
        limit_lengths(list.weights, list.count, bits_max);
    unsigned of_length[FWS_HUFFMAN_BITS_MAX + 1] = {0};
    memset(code->lengths, 0, count);
    for (size_t i = 0; i < list.count; i++) {
        code->lengths[list.symbols[i]] = (uint8_t)list.weights[i];
        of_length[list.weights[i]]++;
    }
    if (added) { /* list.used lacks the added symbols */
        fws_huffman_assign(code, count);
        return;
    }
    unsigned next[FWS_HUFFMAN_BITS_MAX + 1];
    first_codes(next, of_length);
    for (size_t i = 0; i < list.count; i++) {
        uint16_t symbol = list.used[i];
        code->bits[symbol] = reverse(next[code->lengths[symbol]]++, code->lengths[symbol]);
    }
}

void fws_huffman_assign(fws_huffman *code, size_t count)
{
    unsigned of_length[FWS_HUFFMAN_BITS_MAX + 1] = {0}, next[FWS_HUFFMAN_BITS_MAX + 1];
    for (size_t i = 0; i < count; i++)
        of_length[code->lengths[i]]++;
    of_length[0] = 0;
    first_codes(next, of_length);
    for (size_t i = 0; i < count; i++)
        if (code->lengths[i] > 0)
            code->bits[i] = reverse(next[code->lengths[i]]++, code->lengths[i]);
}
