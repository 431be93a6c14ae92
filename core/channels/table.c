#include "table.h"

#include "../io/os.h"
#include "../websocket/internal.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 16
#define FIRST_MEMBERS 4

struct fws_channel {
    fws_channel *next; /* in the bucket */
    uint64_t hash;
    struct fws_websocket **members;
    size_t count;
    size_t capacity;
    size_t name_size;
    char name[];
};

/* ---- the table of names ---- */

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
static uint64_t hash_name(const fws_table *table, const char *data, size_t size)
{
    uint64_t v[4] = {table->hash_key[0] ^ UINT64_C(0x736f6d6570736575),
                     table->hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
                     table->hash_key[0] ^ UINT64_C(0x6c7967656e657261),
                     table->hash_key[1] ^ UINT64_C(0x7465646279746573)};
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

static fws_channel *find(const fws_table *table, fws_channel_name name)
{
    if (table->bucket_count == 0)
        return NULL;
    uint64_t hash = hash_name(table, name.data, name.size);
    fws_channel *channel = table->buckets[hash & (table->bucket_count - 1)];
    while (channel && !(channel->hash == hash && channel->name_size == name.size &&
                        memcmp(channel->name, name.data, name.size) == 0))
        channel = channel->next;
    return channel;
}

static bool grow_table(fws_table *table)
{
    if (table->channel_count < table->bucket_count)
        return true;
    size_t bucket_count = table->bucket_count ? table->bucket_count * 2 : FIRST_BUCKETS;
    fws_channel **buckets = calloc(bucket_count, sizeof(fws_channel *));
    if (buckets == NULL)
        return false;
    for (size_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i]) {
            fws_channel *channel = table->buckets[i];
            table->buckets[i] = channel->next;
            size_t bucket = channel->hash & (bucket_count - 1);
            channel->next = buckets[bucket];
            buckets[bucket] = channel;
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->bucket_count = bucket_count;
    return true;
}

static fws_channel *find_or_add(fws_table *table, fws_channel_name name)
{
    fws_channel *channel = find(table, name);
    if (channel || !grow_table(table))
        return channel;
    channel = calloc(1, sizeof *channel + name.size);
    if (channel == NULL)
        return NULL;
    memcpy(channel->name, name.data, name.size);
    channel->name_size = name.size;
    channel->hash = hash_name(table, name.data, name.size);
    size_t bucket = channel->hash & (table->bucket_count - 1);
    channel->next = table->buckets[bucket];
    table->buckets[bucket] = channel;
    table->channel_count++;
    return channel;
}

static void remove_if_empty(fws_table *table, fws_channel *channel)
{
    if (channel->count > 0)
        return;
    fws_channel **link = &table->buckets[channel->hash & (table->bucket_count - 1)];
    while (*link != channel)
        link = &(*link)->next;
    *link = channel->next;
    table->channel_count--;
    free(channel->members);
    free(channel);
}

/* ---- membership ---- */

static size_t entry_of(const fws_subscriptions *subscriptions, const fws_channel *channel)
{
    size_t i = 0;
    while (i < subscriptions->count && subscriptions->entries[i].channel != channel)
        i++;
    return i; /* linear: a websocket is in a few channels, and the list is contiguous */
}

static bool make_room(fws_subscriptions *subscriptions, fws_channel *channel)
{
    if (subscriptions->count == subscriptions->capacity) {
        size_t capacity = subscriptions->capacity ? subscriptions->capacity * 2 : 1;
        void *entries = realloc(subscriptions->entries, capacity * sizeof *subscriptions->entries);
        if (entries == NULL)
            return false;
        subscriptions->entries = entries;
        subscriptions->capacity = capacity;
    }
    if (channel->count == channel->capacity) {
        size_t capacity = channel->capacity ? channel->capacity * 2 : FIRST_MEMBERS;
        void *members = realloc(channel->members, capacity * sizeof *channel->members);
        if (members == NULL)
            return false;
        channel->members = members;
        channel->capacity = capacity;
    }
    return true;
}

static void remove_entry(fws_table *table, fws_subscriptions *subscriptions, size_t index)
{
    fws_channel *channel = subscriptions->entries[index].channel;
    size_t place = subscriptions->entries[index].place;
    subscriptions->entries[index] = subscriptions->entries[--subscriptions->count];

    /* The channel's last member takes the free place and is told so. */
    struct fws_websocket *moved = channel->members[--channel->count];
    if (place != channel->count) {
        channel->members[place] = moved;
        moved->subscriptions.entries[entry_of(&moved->subscriptions, channel)].place = place;
    }
    remove_if_empty(table, channel);
}

static fws_table_status subscribe_all(fws_table *table, struct fws_websocket *websocket,
                                      const fws_channel_name *names, size_t count)
{
    fws_subscriptions *subscriptions = &websocket->subscriptions;
    if (subscriptions->ended)
        return FWS_TABLE_ENDED;
    size_t before = subscriptions->count;
    for (size_t i = 0; i < count; i++) {
        fws_channel *channel = find_or_add(table, names[i]);
        if (channel && entry_of(subscriptions, channel) < subscriptions->count)
            continue;
        if (channel == NULL || !make_room(subscriptions, channel)) {
            if (channel)
                remove_if_empty(table, channel);
            while (subscriptions->count > before)
                remove_entry(table, subscriptions, subscriptions->count - 1);
            return FWS_TABLE_NO_MEMORY;
        }
        subscriptions->entries[subscriptions->count].channel = channel;
        subscriptions->entries[subscriptions->count++].place = channel->count;
        channel->members[channel->count++] = websocket;
    }
    return FWS_TABLE_OK;
}

fws_table_status fws_table_subscribe(fws_table *table, struct fws_websocket *websocket,
                                     const fws_channel_name *names, size_t count)
{
    pthread_mutex_lock(&table->lock);
    fws_table_status status = subscribe_all(table, websocket, names, count);
    pthread_mutex_unlock(&table->lock);
    return status;
}

static void unsubscribe_all(fws_table *table, fws_subscriptions *subscriptions)
{
    while (subscriptions->count > 0)
        remove_entry(table, subscriptions, subscriptions->count - 1);
}

void fws_table_unsubscribe(fws_table *table, struct fws_websocket *websocket,
                           const fws_channel_name *names, size_t count)
{
    fws_subscriptions *subscriptions = &websocket->subscriptions;
    pthread_mutex_lock(&table->lock);
    if (names == NULL)
        unsubscribe_all(table, subscriptions);
    for (size_t i = 0; names != NULL && i < count; i++) {
        fws_channel *channel = find(table, names[i]);
        size_t index = channel ? entry_of(subscriptions, channel) : subscriptions->count;
        if (index < subscriptions->count)
            remove_entry(table, subscriptions, index);
    }
    pthread_mutex_unlock(&table->lock);
}

void fws_table_forget(fws_table *table, struct fws_websocket *websocket)
{
    pthread_mutex_lock(&table->lock);
    websocket->subscriptions.ended = true;
    unsubscribe_all(table, &websocket->subscriptions);
    pthread_mutex_unlock(&table->lock);
}

void fws_table_visit(fws_table *table, struct fws_websocket *websocket,
                     void (*visit)(void *context, const char *name, size_t size), void *context)
{
    const fws_subscriptions *subscriptions = &websocket->subscriptions;
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < subscriptions->count; i++) {
        const fws_channel *channel = subscriptions->entries[i].channel;
        visit(context, channel->name, channel->name_size);
    }
    pthread_mutex_unlock(&table->lock);
}

/* ---- publishing ---- */

/* The subscribers, each once and with a reference taken. The stamp tells who was collected already;
 * for that, and so that a websocket cannot go away, the lock is held. */
static size_t collect(fws_table *table, const fws_channel_name *names, size_t count,
                      struct fws_websocket *const *excluded, size_t excluded_count,
                      struct fws_websocket **targets)
{
    uint64_t stamp = ++table->stamp;
    size_t used = 0;
    for (size_t i = 0; i < excluded_count; i++)
        excluded[i]->subscriptions.stamp = stamp;
    for (size_t i = 0; i < count; i++) {
        const fws_channel *channel = find(table, names[i]);
        for (size_t k = 0; channel && k < channel->count; k++) {
            struct fws_websocket *member = channel->members[k];
            if (member->subscriptions.stamp == stamp)
                continue;
            member->subscriptions.stamp = stamp;
            targets[used++] = fws_websocket_keep(member);
        }
    }
    return used;
}

static size_t members_at_most(const fws_table *table, const fws_channel_name *names, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const fws_channel *channel = find(table, names[i]);
        total += channel ? channel->count : 0;
    }
    return total;
}

/* Has every frame made before the first is queued: all of them or none. */
static bool make_frames(fws_publication *publication, struct fws_websocket *const *targets,
                        size_t count)
{
    bool done = true;
    for (size_t i = 0; i < count && done; i++)
        done = fws_publication_frame(publication, fws_websocket_window_bits(targets[i])) != NULL;
    return done;
}

long fws_table_publish(fws_table *table, fws_publication *publication,
                       const fws_channel_name *names, size_t count,
                       struct fws_websocket *const *excluded, size_t excluded_count)
{
    pthread_mutex_lock(&table->lock);
    size_t most = members_at_most(table, names, count);
    struct fws_websocket **targets = most ? malloc(most * sizeof(struct fws_websocket *)) : NULL;
    size_t used = 0;
    if (targets)
        used = collect(table, names, count, excluded, excluded_count, targets);
    pthread_mutex_unlock(&table->lock);
    if (most > 0 && targets == NULL)
        return -1;

    bool made = make_frames(publication, targets, used);
    long delivered = 0;
    for (size_t i = 0; i < used; i++) {
        uint8_t bits = fws_websocket_window_bits(targets[i]);
        if (made && fws_websocket_enqueue(targets[i], fws_publication_frame(publication, bits)))
            delivered++;
        fws_websocket_drop(targets[i]);
    }
    free(targets);
    return made ? delivered : -1;
}

/* ---- life ---- */

void fws_table_init(fws_table *table)
{
    memset(table, 0, sizeof *table);
    pthread_mutex_init(&table->lock, NULL);
    fws_os_random(table->hash_key, sizeof table->hash_key);
}

void fws_table_clear(fws_table *table)
{
    for (size_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i]) {
            fws_channel *channel = table->buckets[i];
            table->buckets[i] = channel->next;
            free(channel->members);
            free(channel);
        }
    }
    free(table->buckets);
    pthread_mutex_destroy(&table->lock);
}

void fws_table_after_fork(fws_table *table)
{
    /* The table is left behind as it was: a thread that is not in this process may have been in the
     * middle of a change. */
    fws_table_init(table);
}
