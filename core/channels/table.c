#include "table_internal.h"

#include "../io/os.h"
#include "../memory/prefetch.h"

#include <stdlib.h>
#include <string.h>

/* ---- channels ---- */

fws_channel *fws_table_find(const fws_table *table, const fws_name_key *key)
{
    fws_hash_entry *entry = fws_hash_find(&table->names, key->hash);
    for (; entry; entry = fws_hash_find_next(entry)) {
        fws_channel *channel = (fws_channel *)(void *)entry;
        if (channel->name_size == key->name.size &&
            memcmp(channel->name, key->name.data, key->name.size) == 0)
            return channel;
    }
    return NULL;
}

/* Where channels with names of this size are allocated. */
static fws_slab *channel_slab(fws_table *table, size_t name_size)
{
    return &table->channel_slabs[(name_size + FWS_NAME_STEP - 1) / FWS_NAME_STEP];
}

static fws_channel *add_channel(fws_table *table, const fws_name_key *key)
{
    if (key->name.size > FWS_CHANNEL_NAME_MAX)
        return NULL;
    fws_channel *channel = fws_slab_allocate(channel_slab(table, key->name.size));
    if (channel == NULL)
        return NULL;
    memset(channel, 0, sizeof *channel);
    memcpy(channel->name, key->name.data, key->name.size);
    channel->name_size = (uint8_t)key->name.size;
    fws_hash_insert(&table->names, &channel->entry, key->hash);
    return channel;
}

void fws_channel_drop(fws_table *table, fws_channel *channel)
{
    if (--channel->references > 0)
        return;
    fws_hash_remove(&table->names, &channel->entry);
    fws_bitmap_clear(&channel->ids);
    fws_slab_free(channel_slab(table, channel->name_size), channel);
}

/* ---- subscriptions ---- */

/* The finalizer of SplitMix64: pointers and ids are not for others to choose. */
static uint64_t hash_pair(const fws_subscriber *subscriber, const fws_channel *channel)
{
    uint64_t value = (uint64_t)(uintptr_t)channel + subscriber->id * UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

fws_subscription *fws_table_find_subscription(const fws_table *table,
                                              const fws_subscriber *subscriber,
                                              const fws_channel *channel)
{
    fws_hash_entry *entry = fws_hash_find(&table->subscriptions, hash_pair(subscriber, channel));
    for (; entry; entry = fws_hash_find_next(entry)) {
        fws_subscription *found = (fws_subscription *)(void *)entry;
        if (found->subscriber == subscriber && found->channel == channel)
            return found;
    }
    return NULL;
}

static void link_own(fws_subscriber *subscriber, fws_subscription *subscription)
{
    subscription->next_own = NULL;
    subscription->previous_own = subscriber->last;
    if (subscriber->last)
        subscriber->last->next_own = subscription;
    else
        subscriber->first = subscription;
    subscriber->last = subscription;
    subscriber->count++;
}

static void unlink_own(fws_subscriber *subscriber, fws_subscription *subscription)
{
    for (fws_walk *walk = subscriber->walks; walk; walk = walk->next)
        if (walk->next_one == subscription)
            walk->next_one = subscription->next_own;
    if (subscriber->leaving == subscription)
        subscriber->leaving = subscription->next_own;
    if (subscription->previous_own)
        subscription->previous_own->next_own = subscription->next_own;
    else
        subscriber->first = subscription->next_own;
    if (subscription->next_own)
        subscription->next_own->previous_own = subscription->previous_own;
    else
        subscriber->last = subscription->previous_own;
    subscriber->count--;
}

static bool subscribe_one(fws_table *table, fws_subscriber *subscriber, const fws_name_key *key)
{
    fws_channel *channel = fws_table_find(table, key);
    fws_subscription *subscription =
        channel ? fws_table_find_subscription(table, subscriber, channel) : NULL;
    if (subscription) {
        subscription->times++;
        return true;
    }
    subscription = fws_slab_allocate(&table->subscription_slab);
    if (subscription && channel == NULL)
        channel = add_channel(table, key);
    if (subscription == NULL || channel == NULL) {
        if (subscription)
            fws_slab_free(&table->subscription_slab, subscription);
        return false;
    }
    channel->references++;
    *subscription = (fws_subscription){
        .subscriber = subscriber, .channel = channel, .joined = ++table->sequence, .times = 1};
    fws_hash_insert(&table->subscriptions, &subscription->entry, hash_pair(subscriber, channel));
    link_own(subscriber, subscription);
    fws_members_add(table, subscription);
    return true;
}

static void remove_subscription(fws_table *table, fws_subscription *subscription)
{
    if (subscription->is_member)
        fws_members_remove(table, subscription);
    unlink_own(subscription->subscriber, subscription);
    fws_hash_remove(&table->subscriptions, &subscription->entry);
    fws_channel_drop(table, subscription->channel);
    fws_slab_free(&table->subscription_slab, subscription);
}

static void unsubscribe_one(fws_table *table, fws_subscriber *subscriber, const fws_name_key *key)
{
    const fws_channel *channel = fws_table_find(table, key);
    fws_subscription *subscription =
        channel ? fws_table_find_subscription(table, subscriber, channel) : NULL;
    if (subscription && --subscription->times == 0)
        remove_subscription(table, subscription);
}

void fws_table_pause(fws_table *table, size_t done)
{
    if (done % FWS_TABLE_PIECE != 0)
        return;
    pthread_mutex_unlock(&table->lock);
    pthread_mutex_lock(&table->lock);
}

static fws_table_status subscribe_all(fws_subscriber *subscriber, const fws_name_keys *keys)
{
    fws_table *table = subscriber->table;
    fws_table_status status = FWS_TABLE_OK;
    size_t done = 0;
    while (done < keys->count && status == FWS_TABLE_OK) {
        const fws_name_key *key = &keys->keys[done];
        if (subscriber->ended)
            status = FWS_TABLE_ENDED;
        else if (!key->repeated && !subscribe_one(table, subscriber, key))
            status = FWS_TABLE_NO_MEMORY;
        else
            fws_table_pause(table, ++done);
    }
    while (status != FWS_TABLE_OK && done > 0) {
        const fws_name_key *key = &keys->keys[--done];
        if (!key->repeated)
            unsubscribe_one(table, subscriber, key);
        fws_table_pause(table, done);
    }
    return status;
}

fws_table_status fws_table_subscribe(fws_subscriber *subscriber, const fws_channel_name *names,
                                     size_t count)
{
    fws_name_keys keys;
    if (fws_subscriber_is_left_behind(subscriber))
        return FWS_TABLE_ENDED;
    fws_table *table = subscriber->table;
    if (!fws_names_prepare(&keys, table->hash_key, names, count))
        return FWS_TABLE_NO_MEMORY;
    pthread_mutex_lock(&table->lock);
    fws_table_status status =
        subscriber->ended ? FWS_TABLE_ENDED : subscribe_all(subscriber, &keys);
    pthread_mutex_unlock(&table->lock);
    fws_names_clear(&keys);
    return status;
}

/* Those that it had when this began: another thread may subscribe it at the same time. */
static void unsubscribe_from_all(fws_subscriber *subscriber)
{
    fws_table *table = subscriber->table;
    uint64_t now = table->sequence;
    for (size_t done = 1; subscriber->first && subscriber->first->joined <= now; done++) {
        remove_subscription(table, subscriber->first);
        fws_table_pause(table, done);
    }
}

bool fws_table_unsubscribe(fws_subscriber *subscriber, const fws_channel_name *names, size_t count)
{
    fws_name_keys keys;
    if (fws_subscriber_is_left_behind(subscriber))
        return true;
    fws_table *table = subscriber->table;
    if (names == NULL)
        count = 0;
    if (!fws_names_prepare(&keys, table->hash_key, names, count))
        return false;
    pthread_mutex_lock(&table->lock);
    if (names == NULL)
        unsubscribe_from_all(subscriber);
    for (size_t i = 0; i < keys.count; i++) {
        if (!keys.keys[i].repeated)
            unsubscribe_one(table, subscriber, &keys.keys[i]);
        fws_table_pause(table, i + 1);
    }
    pthread_mutex_unlock(&table->lock);
    fws_names_clear(&keys);
    return true;
}

size_t fws_table_count(fws_subscriber *subscriber)
{
    if (fws_subscriber_is_left_behind(subscriber))
        return 0;
    pthread_mutex_lock(&subscriber->table->lock);
    size_t count = subscriber->count;
    pthread_mutex_unlock(&subscriber->table->lock);
    return count;
}

void fws_table_visit(fws_subscriber *subscriber,
                     void (*visit)(void *context, const char *name, size_t size), void *context)
{
    if (fws_subscriber_is_left_behind(subscriber))
        return;
    fws_table *table = subscriber->table;
    pthread_mutex_lock(&table->lock);
    fws_walk walk = {.next_one = subscriber->first, .next = subscriber->walks};
    subscriber->walks = &walk;
    for (size_t done = 1; walk.next_one; done++) {
        const fws_channel *channel = walk.next_one->channel;
        walk.next_one = walk.next_one->next_own;
        visit(context, channel->name, channel->name_size);
        fws_table_pause(table, done);
    }
    fws_walk **link = &subscriber->walks;
    while (*link != &walk)
        link = &(*link)->next;
    *link = walk.next;
    pthread_mutex_unlock(&table->lock);
}

/* ---- subscribers ---- */

/* An id that no subscriber has; false when there is no memory. There is always room to give it
 * back. */
static bool take_id(fws_table *table, uint32_t *id)
{
    if (table->free_id_count > 0) {
        *id = table->free_ids[--table->free_id_count];
        return true;
    }
    if (table->id_limit == table->free_id_capacity) {
        uint32_t capacity = table->free_id_capacity ? table->free_id_capacity * 2 : 16;
        uint32_t *ids = realloc(table->free_ids, capacity * sizeof *ids);
        if (ids == NULL)
            return false;
        table->free_ids = ids;
        table->free_id_capacity = capacity;
    }
    *id = table->id_limit++;
    return true;
}

static void give_back_id(fws_table *table, uint32_t id)
{
    table->free_ids[table->free_id_count++] = id;
    if (table->free_id_count < table->id_limit)
        return;
    free(table->free_ids); /* none is in use */
    table->free_ids = NULL;
    table->free_id_count = table->free_id_capacity = table->id_limit = 0;
}

fws_subscriber *fws_subscriber_new(fws_table *table, void *owner, uint8_t window_bits)
{
    fws_subscriber *subscriber = calloc(1, sizeof *subscriber);
    if (subscriber == NULL)
        return NULL;
    subscriber->table = table;
    subscriber->owner = owner;
    subscriber->window_bits = window_bits;
    pthread_mutex_lock(&table->lock);
    bool done = take_id(table, &subscriber->id);
    if (done) {
        subscriber->epoch = table->epoch;
        subscriber->handed_over = table->sequence;
        table->windows[window_bits]++;
        subscriber->next = table->all;
        if (table->all)
            table->all->previous = subscriber;
        table->all = subscriber;
    }
    pthread_mutex_unlock(&table->lock);
    if (!done)
        free(subscriber);
    return done ? subscriber : NULL;
}

/* With the lock. */
static void free_subscriber(fws_table *table, fws_subscriber *subscriber)
{
    if (subscriber->previous)
        subscriber->previous->next = subscriber->next;
    else
        table->all = subscriber->next;
    if (subscriber->next)
        subscriber->next->previous = subscriber->previous;
    table->windows[subscriber->window_bits]--;
    give_back_id(table, subscriber->id);
    free(subscriber);
}

/* What is to be removed soon is fetched into the cache, in three stages: the channel and the bucket
 * before the entries that they lead to. */
#define FETCH_STAGE (FWS_FETCH_AHEAD / 3)

static const fws_subscription *ahead(const fws_subscription *subscription, int count)
{
    while (subscription && count-- > 0)
        subscription = subscription->next_own;
    return subscription;
}

static void fetch(const fws_table *table, const fws_subscription *subscription)
{
    const fws_subscription *near = ahead(subscription, FETCH_STAGE);
    const fws_subscription *middle = ahead(near, FETCH_STAGE), *far = ahead(middle, FETCH_STAGE);
    if (near)
        fws_hash_fetch(&table->names, near->channel->entry.hash, FWS_HASH_FETCH_ENTRY);
    if (middle) {
        fws_hash_fetch(&table->names, middle->channel->entry.hash, FWS_HASH_FETCH_BUCKET);
        fws_hash_fetch(&table->subscriptions, middle->entry.hash, FWS_HASH_FETCH_ENTRY);
    }
    if (far) {
        fws_prefetch(far->channel);
        fws_hash_fetch(&table->subscriptions, far->entry.hash, FWS_HASH_FETCH_BUCKET);
    }
}

/* One step of what an ended subscriber has left; false when there is nothing. */
static bool tidy_one(fws_table *table, fws_subscriber *subscriber)
{
    if (subscriber->unused && subscriber->first) {
        fetch(table, subscriber->first);
        remove_subscription(table, subscriber->first);
        return true;
    }
    if (subscriber->leaving == NULL)
        return false;
    fws_members_remove(table, subscriber->leaving);
    subscriber->leaving = subscriber->leaving->next_own;
    return true;
}

/* With the lock. True: the rest is for fws_table_tidy. */
static bool tidy_at_once(fws_table *table, fws_subscriber *subscriber)
{
    for (int i = 0; i < FWS_BATCH && !subscriber->is_untidy; i++)
        if (!tidy_one(table, subscriber))
            return false;
    if (!subscriber->is_untidy) {
        subscriber->is_untidy = true;
        subscriber->next_untidy = table->untidy;
        table->untidy = subscriber;
        atomic_store_explicit(&table->is_untidy, true, memory_order_relaxed);
    }
    return true;
}

bool fws_subscriber_end(fws_subscriber *subscriber)
{
    if (fws_subscriber_is_left_behind(subscriber))
        return false;
    fws_table *table = subscriber->table;
    pthread_mutex_lock(&table->lock);
    bool more = false;
    if (!subscriber->ended) {
        subscriber->ended = true;
        subscriber->leaving = subscriber->first;
        more = tidy_at_once(table, subscriber);
    }
    pthread_mutex_unlock(&table->lock);
    return more;
}

bool fws_subscriber_free(fws_subscriber *subscriber)
{
    if (fws_subscriber_is_left_behind(subscriber)) {
        free(subscriber); /* what it was subscribed to is left behind */
        return false;
    }
    fws_table *table = subscriber->table;
    pthread_mutex_lock(&table->lock);
    if (!subscriber->ended) {
        subscriber->ended = true;
        subscriber->leaving = subscriber->first;
    }
    subscriber->unused = true;
    bool more = tidy_at_once(table, subscriber);
    if (!more)
        free_subscriber(table, subscriber);
    pthread_mutex_unlock(&table->lock);
    return more;
}

bool fws_table_tidy(fws_table *table)
{
    if (!atomic_load_explicit(&table->is_untidy, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&table->lock);
    for (int i = 0; i < FWS_TABLE_PIECE && table->untidy; i++) {
        fws_subscriber *subscriber = table->untidy;
        if (tidy_one(table, subscriber))
            continue;
        table->untidy = subscriber->next_untidy;
        subscriber->next_untidy = NULL;
        subscriber->is_untidy = false;
        if (subscriber->unused)
            free_subscriber(table, subscriber);
    }
    bool more = table->untidy != NULL;
    atomic_store_explicit(&table->is_untidy, more, memory_order_relaxed);
    pthread_mutex_unlock(&table->lock);
    return more;
}

/* ---- life ---- */

void fws_table_init(fws_table *table)
{
    memset(table, 0, sizeof *table);
    pthread_mutex_init(&table->lock, NULL);
    fws_os_random(table->hash_key, sizeof table->hash_key);
    fws_hash_init(&table->names);
    fws_hash_init(&table->subscriptions);
    fws_slab_init(&table->subscription_slab, sizeof(fws_subscription));
    for (size_t i = 0; i < FWS_TABLE_NAME_SIZES; i++)
        fws_slab_init(&table->channel_slabs[i], sizeof(fws_channel) + i * FWS_NAME_STEP);
    fws_backlog_init(&table->backlog);
}

void fws_table_clear(fws_table *table)
{
    fws_backlog_clear(table);
    for (fws_subscriber *s = table->all, *next; s; s = next) {
        next = s->next;
        while (s->first)
            remove_subscription(table, s->first);
        free(s);
    }
    free(table->free_ids);
    fws_slab_clear(&table->subscription_slab);
    for (size_t i = 0; i < FWS_TABLE_NAME_SIZES; i++)
        fws_slab_clear(&table->channel_slabs[i]);
    fws_hash_clear(&table->names);
    fws_hash_clear(&table->subscriptions);
    pthread_mutex_destroy(&table->lock);
}

void fws_table_after_fork(fws_table *table)
{
    uint64_t epoch = table->epoch;
    fws_table_init(table);
    table->epoch = epoch + 1;
}
