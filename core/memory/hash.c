#include "hash.h"

#include "prefetch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_SIZE (FWS_AHEAD_MAX / sizeof(fws_hash_entry *)) /* buckets allocated together */

void fws_hash_init(fws_hash *hash)
{
    memset(hash, 0, sizeof *hash);
    hash->buckets = FWS_FEW;
}

static size_t segments_in_use(const fws_hash *hash)
{
    return hash->buckets == FWS_FEW ? 0 : (hash->buckets - 1) / SEGMENT_SIZE + 1;
}

void fws_hash_clear(fws_hash *hash)
{
    for (size_t i = 0; i < segments_in_use(hash); i++)
        free(hash->segments[i]);
    free(hash->segments);
    fws_hash_init(hash);
}

static fws_hash_entry **bucket(const fws_hash *hash, size_t index)
{
    if (index < FWS_FEW)
        return (fws_hash_entry **)&hash->first[index];
    return &hash->segments[index / SEGMENT_SIZE][index % SEGMENT_SIZE];
}

/* The largest power of two that is not above `count`. */
static size_t level_of(size_t count)
{
    return (size_t)1 << (8 * sizeof(unsigned long long) - 1 -
                         (size_t)__builtin_clzll((unsigned long long)count));
}

static size_t index_of(const fws_hash *hash, uint64_t value)
{
    size_t level = level_of(hash->buckets);
    size_t index = (size_t)value & (2 * level - 1);
    return index < hash->buckets ? index : index & (level - 1);
}

/* ---- growing and shrinking ---- */

static bool reserve_bucket(fws_hash *hash, size_t index)
{
    size_t segment = index / SEGMENT_SIZE;
    if (index != FWS_FEW && index % SEGMENT_SIZE != 0)
        return true; /* an earlier one has brought its segment */
    if (segment >= hash->segment_capacity) {
        size_t capacity = hash->segment_capacity ? hash->segment_capacity * 2 : 1;
        void *segments = realloc(hash->segments, capacity * sizeof *hash->segments);
        if (segments == NULL)
            return false;
        hash->segments = segments;
        hash->segment_capacity = capacity;
    }
    hash->segments[segment] = calloc(SEGMENT_SIZE, sizeof(fws_hash_entry *));
    return hash->segments[segment] != NULL;
}

/* One bucket more: some entries of the bucket that has stood for it move there. */
static bool grow(fws_hash *hash)
{
    size_t added = hash->buckets, level = level_of(added);
    if (!reserve_bucket(hash, added))
        return false;
    fws_hash_entry **from = bucket(hash, added - level), **to = bucket(hash, added);
    hash->buckets++;
    while (*from) {
        fws_hash_entry *entry = *from;
        if (index_of(hash, entry->hash) != added) {
            from = &entry->next;
            continue;
        }
        *from = entry->next;
        entry->next = *to;
        *to = entry;
    }
    return true;
}

static void give_back_bucket(fws_hash *hash, size_t index)
{
    if (index != FWS_FEW && index % SEGMENT_SIZE != 0)
        return;
    free(hash->segments[index / SEGMENT_SIZE]);
    if (index != FWS_FEW)
        return;
    free(hash->segments);
    hash->segments = NULL;
    hash->segment_capacity = 0;
}

/* One bucket less: its entries go back to the one that stands for it. */
static void shrink(fws_hash *hash)
{
    size_t removed = hash->buckets - 1;
    fws_hash_entry *chain = *bucket(hash, removed);
    *bucket(hash, removed) = NULL; /* it may come back */
    fws_hash_entry **to = bucket(hash, removed - level_of(removed));
    while (*to)
        to = &(*to)->next;
    *to = chain;
    hash->buckets--;
    give_back_bucket(hash, removed);
}

/* ---- entries ---- */

void fws_hash_insert(fws_hash *hash, fws_hash_entry *entry, uint64_t value)
{
    hash->count++;
    for (int i = 0; i < 2 && hash->count > hash->buckets && grow(hash); i++)
        ;
    fws_hash_entry **first = bucket(hash, index_of(hash, value));
    entry->hash = value;
    entry->next = *first;
    *first = entry;
}

void fws_hash_remove(fws_hash *hash, fws_hash_entry *entry)
{
    fws_hash_entry **link = bucket(hash, index_of(hash, entry->hash));
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    hash->count--;
    if (hash->count == 0) {
        fws_hash_clear(hash);
        return;
    }
    for (int i = 0; i < FWS_HASH_SPARSE && hash->buckets > FWS_FEW &&
                    hash->count < hash->buckets / FWS_HASH_SPARSE;
         i++)
        shrink(hash);
}

void fws_hash_fetch(const fws_hash *hash, uint64_t value, fws_hash_fetch_what what)
{
    fws_hash_entry **first = bucket(hash, index_of(hash, value));
    if (what == FWS_HASH_FETCH_BUCKET)
        fws_prefetch(first);
    else if (*first)
        fws_prefetch(*first);
}

static fws_hash_entry *with_hash(fws_hash_entry *entry, uint64_t value)
{
    while (entry && entry->hash != value)
        entry = entry->next;
    return entry;
}

fws_hash_entry *fws_hash_find(const fws_hash *hash, uint64_t value)
{
    return with_hash(*bucket(hash, index_of(hash, value)), value);
}

fws_hash_entry *fws_hash_find_next(const fws_hash_entry *entry)
{
    return with_hash(entry->next, entry->hash);
}

fws_hash_entry *fws_hash_any(const fws_hash *hash)
{
    for (size_t i = 0; hash->count > 0 && i < hash->buckets; i++)
        if (*bucket(hash, i))
            return *bucket(hash, i);
    return NULL;
}
