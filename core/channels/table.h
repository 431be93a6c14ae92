/* Channels: who is subscribed to what. It knows no websocket: what can be subscribed has a
 * fws_subscriber, which names its owner.
 *
 * A subscription is one struct, found by subscriber and channel in a hash table, and linked into
 * two lists: the channel's members and the subscriber's own, both in the order of joining. So
 * subscribing, unsubscribing and leaving cost the same however many channels and members there are.
 *
 * Subscriptions are counted: each call that subscribes adds one to the count of each channel that
 * it names, however often it names it, and each call that unsubscribes takes one away.
 *
 * A subscriber that has ended is no member any more, from that moment on: nothing is queued for it
 * and it is not counted. What it was subscribed to can still be asked, and given up. With many
 * subscriptions it is taken out of the channels, and later freed, in pieces, by fws_table_tidy.
 *
 * Threads: any; one lock. Whatever grows with the number of names, members or subscriptions is done
 * in pieces of at most FWS_TABLE_PIECE, with the lock given up between them. Nothing is called and
 * no other lock is taken under it, but for the callbacks that the functions here are given. It may
 * be taken with a websocket's lock held.
 */
#ifndef FWS_CHANNELS_TABLE_H
#define FWS_CHANNELS_TABLE_H

#include "backlog.h"
#include "name.h"

#include "../memory/bitmap.h"
#include "../memory/hash.h"
#include "../memory/slab.h"

#include <pthread.h>
#include <stdatomic.h>

#define FWS_TABLE_NAME_SIZES (FWS_CHANNEL_NAME_MAX / FWS_NAME_STEP + 2)

typedef struct fws_subscriber fws_subscriber;
typedef struct fws_subscription fws_subscription;

typedef struct fws_table {
    pthread_mutex_t lock;
    uint64_t hash_key[2]; /* constant; random, so that chosen names cannot pile up in one bucket */
    uint64_t epoch;       /* forks survived: subscribers of an earlier one are left behind */
    uint64_t sequence;    /* the last number given to a subscription or a publication */
    fws_hash names;       /* of fws_channel */
    fws_hash subscriptions; /* of fws_subscription */
    fws_slab subscription_slab;
    fws_slab channel_slabs[FWS_TABLE_NAME_SIZES]; /* by the size of the name */
    fws_subscriber *all;                          /* of this epoch, and not freed; doubly linked */
    fws_subscriber *untidy;                       /* ended, and still members, or to be freed */
    uint32_t *free_ids;                           /* of fws_subscriber.id */
    uint32_t free_id_count, free_id_capacity;
    uint32_t id_limit;                        /* above each id in use */
    size_t windows[FWS_DEFLATE_BITS_MAX + 1]; /* subscribers, by window bits */
    atomic_bool is_untidy;                    /* fws_table_tidy has something to do */
    fws_backlog backlog;                      /* what is published and not delivered yet */
} fws_table;

void fws_table_init(fws_table *table);
/* No other call may run. Every subscriber has been freed, as far as its owner is concerned. */
void fws_table_clear(fws_table *table);
/* In a forked child: another thread of the parent may have been inside, so everything is left
 * behind, unfreed, and the lock is made anew. */
void fws_table_after_fork(fws_table *table);

/* ---- subscribers ---- */

/* `owner`: what fws_backlog_collect gives; window_bits: see fws_websocket_window_bits. NULL when
 * there is no memory. */
fws_subscriber *fws_subscriber_new(fws_table *table, void *owner, uint8_t window_bits);

/* It is a member of no channel from now on, for good. True: fws_table_tidy is to be called. */
bool fws_subscriber_end(fws_subscriber *subscriber);

/* It has ended, and no thread uses it any more. True: fws_table_tidy is to be called. */
bool fws_subscriber_free(fws_subscriber *subscriber);

/* A piece of what ended subscribers have left; true when there is more. */
bool fws_table_tidy(fws_table *table);

/* ---- subscriptions ---- */

typedef enum {
    FWS_TABLE_OK,
    FWS_TABLE_ENDED, /* the subscriber has ended */
    FWS_TABLE_NO_MEMORY,
} fws_table_status;

/* All of the names or none. */
fws_table_status fws_table_subscribe(fws_subscriber *subscriber, const fws_channel_name *names,
                                     size_t count);

/* `names` NULL: all of them, however often they were subscribed to. False when there is no memory,
 * and then nothing has changed. */
bool fws_table_unsubscribe(fws_subscriber *subscriber, const fws_channel_name *names, size_t count);

/* How many channels it is subscribed to. */
size_t fws_table_count(fws_subscriber *subscriber);

/* Calls `visit` with each channel name of the subscriber, in the order of joining, under the lock.
 * What is added or removed meanwhile by others may be visited or not. */
void fws_table_visit(fws_subscriber *subscriber,
                     void (*visit)(void *context, const char *name, size_t size), void *context);

#endif
