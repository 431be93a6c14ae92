/* Channels: who is subscribed to what, and delivery of one message to all of them.
 *
 * A message is framed once, and compressed once for each window that the subscribers' peers have;
 * the buffers are shared by the outboxes. Publishing queues and never waits: the loop thread
 * writes. A websocket that is subscribed to several of the named channels gets the message once.
 * For one websocket, the messages of one publisher arrive in the order of the calls.
 *
 * Threads: any; one lock, held for look-ups only and never together with a websocket's lock taken
 * after it (the order is: websocket, then table).
 */
#ifndef FWS_CHANNELS_TABLE_H
#define FWS_CHANNELS_TABLE_H

#include "publication.h"

#include <pthread.h>

#define FWS_CHANNEL_NAME_MAX 255 /* bytes */

struct fws_websocket;
typedef struct fws_channel fws_channel;

typedef struct {
    const char *data;
    size_t size;
} fws_channel_name;

/* A websocket's own list of its channels; lies in the websocket, protected by the table's lock. */
typedef struct {
    struct {
        fws_channel *channel;
        size_t place; /* in the channel's list of members */
    } *entries;
    size_t count;
    size_t capacity;
    bool ended;     /* the websocket is closing: no new subscription */
    uint64_t stamp; /* of the last publish that collected this websocket */
} fws_subscriptions;

typedef struct {
    pthread_mutex_t lock;
    uint64_t hash_key[2]; /* random, so that chosen names cannot pile up in one bucket */
    fws_channel **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t channel_count;
    uint64_t stamp;
} fws_table;

void fws_table_init(fws_table *table);
void fws_table_clear(fws_table *table);

typedef enum {
    FWS_TABLE_OK,
    FWS_TABLE_ENDED, /* the websocket is closing or closed */
    FWS_TABLE_NO_MEMORY,
} fws_table_status;

/* All of the names or none. Names that it has already are passed over. */
fws_table_status fws_table_subscribe(fws_table *table, struct fws_websocket *websocket,
                                     const fws_channel_name *names, size_t count);

/* `names` NULL: all of them. */
void fws_table_unsubscribe(fws_table *table, struct fws_websocket *websocket,
                           const fws_channel_name *names, size_t count);

/* Ends the websocket's subscriptions for good; called when it leaves the open state. */
void fws_table_forget(fws_table *table, struct fws_websocket *websocket);

/* Calls `visit` with each channel name of the websocket, under the table's lock. */
void fws_table_visit(fws_table *table, struct fws_websocket *websocket,
                     void (*visit)(void *context, const char *name, size_t size), void *context);

/* Queues the message for each subscriber of the channels but the excluded ones and returns for how
 * many it was queued; -1 when there is no memory (and then for none). */
long fws_table_publish(fws_table *table, fws_publication *publication,
                       const fws_channel_name *names, size_t count,
                       struct fws_websocket *const *excluded, size_t excluded_count);

/* In a forked child: another thread of the parent may have been inside, so nothing is touched. */
void fws_table_after_fork(fws_table *table);

#endif
