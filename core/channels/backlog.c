#include "backlog.h"

#include "table_internal.h"

#include "../memory/prefetch.h"

#include <stdlib.h>
#include <string.h>

void fws_backlog_init(fws_backlog *backlog)
{
    memset(backlog, 0, sizeof *backlog);
    pthread_mutex_init(&backlog->delivering, NULL);
}

/* ---- dispatches ---- */

static int compare_pointers(const void *a, const void *b)
{
    uintptr_t first = (uintptr_t)(*(void *const *)a), second = (uintptr_t)(*(void *const *)b);
    return first < second ? -1 : first > second;
}

/* Sorts pointers and drops the repeated ones; returns how many are left. */
static size_t sort_pointers(void *pointers, size_t count)
{
    void **list = pointers;
    size_t kept = 0;
    if (count > 1)
        qsort(list, count, sizeof *list, compare_pointers);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || list[i] != list[kept - 1])
            list[kept++] = list[i];
    return kept;
}

static bool is_in(const void *pointer, const void *pointers, size_t count)
{
    return count > 0 &&
           bsearch(&pointer, pointers, count, sizeof pointer, compare_pointers) != NULL;
}

static void find_channels(fws_table *table, fws_dispatch *dispatch, const fws_name_keys *keys)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < keys->count; i++) {
        fws_channel *channel =
            keys->keys[i].repeated ? NULL : fws_table_find(table, &keys->keys[i]);
        if (channel) {
            channel->references++;
            dispatch->channels[dispatch->count++] = channel;
        }
        fws_table_pause(table, i + 1);
    }
    pthread_mutex_unlock(&table->lock);
    sort_pointers(dispatch->channels, dispatch->count);
}

fws_dispatch *fws_dispatch_new(fws_table *table, const fws_channel_name *names, size_t count,
                               fws_subscriber **excluded, size_t excluded_count)
{
    fws_name_keys keys;
    fws_dispatch *dispatch = malloc(sizeof *dispatch + count * sizeof(fws_channel *));
    if (dispatch == NULL || !fws_names_prepare(&keys, table->hash_key, names, count)) {
        free(dispatch);
        free(excluded);
        return NULL;
    }
    memset(dispatch, 0, sizeof *dispatch);
    dispatch->excluded = excluded;
    dispatch->excluded_count = sort_pointers(excluded, excluded_count);
    find_channels(table, dispatch, &keys);
    fws_names_clear(&keys);
    return dispatch;
}

/* Without the lock: to free a large message takes its time. */
static void free_dispatch(fws_dispatch *dispatch)
{
    fws_publication_clear(&dispatch->publication);
    free(dispatch->excluded);
    free(dispatch);
}

static void free_removed(fws_dispatch *list)
{
    while (list) {
        fws_dispatch *next = list->next;
        free_dispatch(list);
        list = next;
    }
}

void fws_dispatch_free(fws_table *table, fws_dispatch *dispatch)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < dispatch->count; i++) {
        fws_channel_drop(table, dispatch->channels[i]);
        fws_table_pause(table, i + 1);
    }
    pthread_mutex_unlock(&table->lock);
    free_dispatch(dispatch);
}

/* ---- publishing ---- */

/* With the lock. To look at each of very many channels would take long: then it is the windows of
 * all subscribers that there are. */
static uint16_t windows_of(const fws_table *table, const fws_dispatch *dispatch)
{
    uint16_t windows = 0;
    if (dispatch->count > FWS_TABLE_PIECE) {
        for (unsigned bits = 0; bits <= FWS_DEFLATE_BITS_MAX; bits++)
            windows |= (uint16_t)((table->windows[bits] > 0) << bits);
        return windows;
    }
    for (size_t i = 0; i < dispatch->count; i++)
        windows |= dispatch->channels[i]->windows;
    return windows;
}

uint16_t fws_dispatch_windows(fws_table *table, const fws_dispatch *dispatch)
{
    pthread_mutex_lock(&table->lock);
    uint16_t windows = windows_of(table, dispatch);
    pthread_mutex_unlock(&table->lock);
    return windows;
}

/* With the lock, as what follows. */
static void note_limits(fws_backlog *backlog)
{
    atomic_store_explicit(&backlog->is_over,
                          backlog->count > FWS_BACKLOG_DISPATCHES ||
                              backlog->bytes > FWS_BACKLOG_BYTES ||
                              backlog->deliveries > FWS_BACKLOG_DELIVERIES,
                          memory_order_relaxed);
}

static void append(fws_table *table, fws_dispatch *dispatch)
{
    fws_backlog *backlog = &table->backlog;
    dispatch->number = ++table->sequence;
    if (backlog->last)
        backlog->last->next = dispatch;
    else
        backlog->first = dispatch;
    backlog->last = dispatch;
    backlog->count++;
    backlog->bytes += fws_publication_size(&dispatch->publication);
    backlog->deliveries += dispatch->left;
    atomic_store_explicit(&backlog->newest, dispatch->number, memory_order_relaxed);
    note_limits(backlog);
}

fws_join_status fws_backlog_join(fws_table *table, fws_dispatch *dispatch, size_t *reached)
{
    fws_bitmap ids = {0};
    fws_join_status status = FWS_JOIN_NOBODY;
    pthread_mutex_lock(&table->lock);
    if (!fws_audience_count(table, dispatch, &ids, &dispatch->left, &dispatch->is_exact)) {
        status = FWS_JOIN_NO_MEMORY;
    } else if (!fws_publication_has_frames(&dispatch->publication, windows_of(table, dispatch))) {
        status = FWS_JOIN_FRAMES;
    } else if (dispatch->left > 0 || !dispatch->is_exact) {
        status = FWS_JOIN_DONE;
        *reached = dispatch->left;
        append(table, dispatch);
    }
    pthread_mutex_unlock(&table->lock);
    fws_bitmap_clear(&ids);
    return status;
}

/* ---- what concerns one subscriber ---- */

uint64_t fws_backlog_newest(const fws_subscriber *subscriber)
{
    return atomic_load_explicit(&subscriber->table->backlog.newest, memory_order_relaxed);
}

bool fws_backlog_concerns(const fws_subscriber *subscriber)
{
    const fws_table *table = subscriber->table;
    return atomic_load_explicit(&table->backlog.newest, memory_order_relaxed) >
           subscriber->handed_over;
}

static bool has_joined(const fws_dispatch *dispatch, const fws_subscription *subscription)
{
    return subscription != NULL && subscription->is_member &&
           subscription->joined < dispatch->number;
}

/* Is it a member of one of the channels? What is smaller is gone through: its subscriptions, or the
 * channels. */
static bool is_member_of_any(fws_table *table, fws_dispatch *dispatch, fws_subscriber *subscriber)
{
    bool found = false;
    if (subscriber->count <= dispatch->count && subscriber->count <= FWS_TABLE_PIECE) {
        for (const fws_subscription *s = subscriber->first; s && !found; s = s->next_own)
            found =
                has_joined(dispatch, s) && is_in(s->channel, dispatch->channels, dispatch->count);
        return found;
    }
    dispatch->readers++;
    for (size_t i = 0; i < dispatch->count && !found; i++) {
        found = has_joined(dispatch,
                           fws_table_find_subscription(table, subscriber, dispatch->channels[i]));
        fws_table_pause(table, i + 1);
    }
    dispatch->readers--;
    return found;
}

/* The first with a higher number. */
static fws_dispatch *first_after(const fws_backlog *backlog, uint64_t number)
{
    fws_dispatch *dispatch = backlog->first;
    while (dispatch && dispatch->number <= number)
        dispatch = dispatch->next;
    return dispatch;
}

static fws_buffer *take_frame(fws_backlog *backlog, fws_dispatch *dispatch, uint8_t window_bits)
{
    if (dispatch->left > 0) {
        dispatch->left--;
        backlog->deliveries -= !dispatch->removed;
    }
    return fws_buffer_keep(fws_publication_frame(&dispatch->publication, window_bits));
}

size_t fws_backlog_take(fws_subscriber *subscriber, uint64_t until,
                        fws_buffer *frames[FWS_PUBLISHED_AHEAD])
{
    if (fws_subscriber_is_left_behind(subscriber))
        return 0;
    fws_table *table = subscriber->table;
    fws_backlog *backlog = &table->backlog;
    fws_dispatch *done = NULL;
    size_t taken = 0;
    pthread_mutex_lock(&table->lock);
    uint64_t last = until != 0 ? until : UINT64_MAX;
    fws_dispatch *dispatch = first_after(backlog, subscriber->handed_over);
    for (int looked = 0;
         dispatch && dispatch->number <= last && !subscriber->ended &&
         taken < FWS_PUBLISHED_AHEAD && (until != 0 || looked < FWS_PUBLISHED_AHEAD);
         looked++) {
        bool concerned = is_member_of_any(table, dispatch, subscriber) &&
                         !is_in(subscriber, dispatch->excluded, dispatch->excluded_count);
        if (concerned && !subscriber->ended)
            frames[taken++] = take_frame(backlog, dispatch, subscriber->window_bits);
        subscriber->handed_over = dispatch->number;
        fws_dispatch *next =
            dispatch->removed ? first_after(backlog, dispatch->number) : dispatch->next;
        if (dispatch->removed && dispatch->readers == 0) {
            dispatch->next = done;
            done = dispatch;
        }
        dispatch = next;
    }
    pthread_mutex_unlock(&table->lock);
    free_removed(done);
    return taken;
}

/* ---- the members of the first dispatch ---- */

/* The next member of its channels that has joined before it; NULL: there is none. *steps grows. */
static fws_subscription *next_member(fws_backlog *backlog, fws_dispatch *dispatch, size_t *steps)
{
    if (dispatch->is_exact && dispatch->left == 0)
        dispatch->at = dispatch->count; /* everybody has asked for it by himself */
    while (dispatch->at < dispatch->count && *steps < FWS_TABLE_PIECE) {
        if (!backlog->begun)
            backlog->next_member = dispatch->channels[dispatch->at]->first_member;
        backlog->begun = true;
        ++*steps;
        fws_subscription *member = backlog->next_member;
        if (member != NULL && member->joined < dispatch->number) {
            backlog->next_member = member->next_member;
            return member;
        }
        backlog->begun = false;
        dispatch->at++;
    }
    return NULL;
}

/* A piece of the removal; true when it is done. */
static bool remove_first(fws_table *table, size_t *steps)
{
    fws_backlog *backlog = &table->backlog;
    fws_dispatch *dispatch = backlog->first;
    backlog->begun = false;
    backlog->next_member = NULL;
    for (; dispatch->released < dispatch->count; ++*steps) {
        if (*steps >= FWS_TABLE_PIECE)
            return false;
        fws_channel_drop(table, dispatch->channels[dispatch->released++]);
    }
    backlog->first = dispatch->next;
    if (backlog->first == NULL) {
        backlog->last = NULL;
        atomic_store_explicit(&backlog->newest, 0, memory_order_relaxed);
    }
    backlog->count--;
    backlog->bytes -= fws_publication_size(&dispatch->publication);
    backlog->deliveries -= dispatch->left;
    dispatch->removed = true;
    note_limits(backlog);
    return true;
}

/* Of the collected ones, those that are to be given what is published, with a reference each. (Not
 * as each is collected: an atomic operation waits for its memory, and what comes after it does,
 * too.)
 */
static size_t keep_owners(fws_target *targets, size_t count, uint64_t number,
                          void (*keep)(void *owner))
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        fws_subscriber *s = targets[i].subscriber;
        if (s->ended || s->handed_over >= number)
            continue;
        keep(s->owner);
        targets[kept++] = (fws_target){.owner = s->owner, .subscriber = s};
    }
    return kept;
}

size_t fws_backlog_collect(fws_table *table, fws_target *targets, size_t maximum,
                           void (*keep)(void *owner), bool *more)
{
    fws_backlog *backlog = &table->backlog;
    fws_dispatch *done = NULL;
    size_t count = 0, steps = 0;
    uint64_t number = 0;
    pthread_mutex_lock(&table->lock);
    while (backlog->first && count < maximum && steps < FWS_TABLE_PIECE) {
        fws_dispatch *dispatch = backlog->first;
        fws_subscription *member = next_member(backlog, dispatch, &steps);
        if (member != NULL) {
            number = dispatch->number;
            targets[count++].subscriber = member->subscriber;
            fws_prefetch(member->subscriber);
        } else if (dispatch->at == dispatch->count) {
            if (count > 0 || !remove_first(table, &steps))
                break; /* first, those who are collected are to get theirs */
            if (dispatch->readers == 0) {
                dispatch->next = done;
                done = dispatch;
            }
        }
    }
    count = keep_owners(targets, count, number, keep);
    *more = backlog->first != NULL;
    pthread_mutex_unlock(&table->lock);
    free_removed(done);
    return count;
}

bool fws_backlog_has_until(fws_table *table, uint64_t number)
{
    pthread_mutex_lock(&table->lock);
    bool has = table->backlog.first != NULL && table->backlog.first->number <= number;
    pthread_mutex_unlock(&table->lock);
    return has;
}

/* ---- the end ---- */

void fws_backlog_clear(fws_table *table)
{
    fws_backlog *backlog = &table->backlog;
    while (backlog->first) {
        fws_dispatch *dispatch = backlog->first;
        size_t steps = 0;
        while (!remove_first(table, &steps))
            steps = 0;
        free_dispatch(dispatch);
    }
    pthread_mutex_destroy(&backlog->delivering);
}
