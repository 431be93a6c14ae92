#include "name.h"

#include "../memory/temporary.h"

#include <string.h>

/* ---- the hash ---- */

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein): names come from clients, who must not choose collisions. */
static uint64_t hash_name(const uint64_t key[2], const char *data, size_t size)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)size << 56;
    size_t whole = size / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = whole; i < size; i++)
        last |= (uint64_t)(uint8_t)data[i] << (8 * (i - whole));
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the names of one call ---- */

static bool is_same(const fws_name_key *a, const fws_name_key *b)
{
    return a->hash == b->hash && a->name.size == b->name.size &&
           memcmp(a->name.data, b->name.data, a->name.size) == 0;
}

static void mark_repeated_of_few(fws_name_keys *keys)
{
    for (size_t i = 1; i < keys->count; i++)
        for (size_t k = 0; k < i && !keys->keys[i].repeated; k++)
            keys->keys[i].repeated = is_same(&keys->keys[i], &keys->keys[k]);
}

/* With a table of their places, by open addressing. */
static bool mark_repeated_of_many(fws_name_keys *keys)
{
    size_t size = 4 * FWS_FEW;
    while (size < 2 * keys->count)
        size *= 2;
    size_t *places = fws_temporary_allocate(size * sizeof *places); /* each plus 1; 0: free */
    if (places == NULL)
        return false;
    memset(places, 0, size * sizeof *places);
    for (size_t i = 0; i < keys->count; i++) {
        fws_name_key *key = &keys->keys[i];
        size_t at = (size_t)key->hash & (size - 1);
        while (places[at] != 0 && !is_same(key, &keys->keys[places[at] - 1]))
            at = (at + 1) & (size - 1);
        key->repeated = places[at] != 0;
        if (!key->repeated)
            places[at] = i + 1;
    }
    fws_temporary_free(places, size * sizeof *places);
    return true;
}

bool fws_names_prepare(fws_name_keys *keys, const uint64_t hash_key[2],
                       const fws_channel_name *names, size_t count)
{
    keys->keys = keys->few;
    keys->count = count;
    if (count > FWS_FEW) {
        keys->keys = fws_temporary_allocate(count * sizeof *keys->keys);
        if (keys->keys == NULL)
            return false;
    }
    for (size_t i = 0; i < count; i++)
        keys->keys[i] = (fws_name_key){.name = names[i],
                                       .hash = hash_name(hash_key, names[i].data, names[i].size)};
    if (count <= FWS_FEW) {
        mark_repeated_of_few(keys);
    } else if (!mark_repeated_of_many(keys)) {
        fws_names_clear(keys);
        return false;
    }
    return true;
}

void fws_names_clear(fws_name_keys *keys)
{
    if (keys->keys != keys->few)
        fws_temporary_free(keys->keys, keys->count * sizeof *keys->keys);
    keys->keys = keys->few;
    keys->count = 0;
}
