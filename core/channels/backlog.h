/* What is published and not yet in the outboxes of all subscribers: a queue of dispatches, first
 * in, first out, each with a number.
 *
 * A dispatch reaches the members of its channels with a lower number, which have joined before it,
 * but for those that have ended or are excluded, each once. fws_backlog_collect goes through the
 * members of the first dispatch, in pieces; each owner that it names must then be given what
 * fws_backlog_take takes for it. A subscriber's owner may also ask for all that concerns it at any
 * time, and gets it in the order of the numbers: so a thread that publishes and then sends, closes
 * or unsubscribes finds the same order on the wire.
 *
 * Invariants: a subscriber's `handed_over` only grows, and what it passes over is never taken
 * again: in order, and at most once. A dispatch is removed when all members were collected and what
 * was collected has been given, so no member is left out.
 *
 * Threads: any, with the table's lock, which the functions here take; fws_backlog_take with the
 * lock of the subscriber's owner held, from before it is called until the frames are queued; and
 * fws_backlog_collect by one thread at a time, see `delivering`.
 */
#ifndef FWS_CHANNELS_BACKLOG_H
#define FWS_CHANNELS_BACKLOG_H

#include "name.h"
#include "publication.h"

#include <pthread.h>
#include <stdatomic.h>

struct fws_table;
struct fws_channel;
struct fws_subscriber;
struct fws_subscription;
typedef struct fws_dispatch fws_dispatch;

/* One publication on its way. */
struct fws_dispatch {
    fws_publication publication;
    fws_dispatch *next;
    uint64_t number;
    size_t left;                      /* subscribers that it was not handed to, at most */
    bool is_exact;                    /* all that is left to do is done when `left` is 0 */
    bool removed;                     /* from the backlog, while there are readers */
    uint32_t readers;                 /* who have given up the lock while they look at it */
    struct fws_subscriber **excluded; /* sorted; they may be gone once it has joined; malloc'd */
    size_t excluded_count;
    size_t at;       /* the channel whose members are being collected */
    size_t released; /* channels before this one are not referred to any more, only compared */
    size_t count;
    struct fws_channel *channels[]; /* sorted, each once */
};

typedef struct {
    fws_dispatch *first, *last;
    size_t count, bytes, deliveries;
    struct fws_subscription *next_member; /* of the first dispatch, to be collected */
    bool begun;                           /* next_member is set */
    atomic_uint_least64_t newest;         /* number of the last dispatch; 0: there is none */
    atomic_bool is_over;                  /* above a limit */
    pthread_mutex_t delivering;           /* who collects; taken before all other locks */
    atomic_bool is_busy; /* who has it calls the leader when it is done: no need to try */
} fws_backlog;

void fws_backlog_init(fws_backlog *backlog);
/* The table's; no other call may run. */
void fws_backlog_clear(struct fws_table *table);

/* ---- publishing ---- */

/* With those channels of these names that exist. Takes over `excluded`, which is malloc'd or NULL,
 * also when it fails: NULL when there is no memory. The excluded subscribers are this table's. */
fws_dispatch *fws_dispatch_new(struct fws_table *table, const fws_channel_name *names, size_t count,
                               struct fws_subscriber **excluded, size_t excluded_count);
/* One that has not joined. */
void fws_dispatch_free(struct fws_table *table, fws_dispatch *dispatch);

/* The windows of which its publication needs a frame, a bit for each; 0: it has no
 * subscriber. */
uint16_t fws_dispatch_windows(struct fws_table *table, const fws_dispatch *dispatch);

typedef enum {
    FWS_JOIN_DONE,   /* the dispatch belongs to the backlog */
    FWS_JOIN_NOBODY, /* it is still the caller's, as in what follows */
    FWS_JOIN_FRAMES, /* somebody has come who needs one more frame */
    FWS_JOIN_NO_MEMORY,
} fws_join_status;

/* Queues it for all who are members at this moment; *reached: how many subscribers that are. (When
 * names or excluded ones are so many that the lock is given up, others may come and go meanwhile.)
 */
fws_join_status fws_backlog_join(struct fws_table *table, fws_dispatch *dispatch, size_t *reached);

/* ---- delivering ---- */

/* The next frames for this subscriber, in order, each with a reference that is the caller's. With
 * `until`, the number of a dispatch, those up to it: fewer than FWS_PUBLISHED_AHEAD mean that there
 * are no more of these. With 0, at most the next FWS_PUBLISHED_AHEAD dispatches are looked at. */
size_t fws_backlog_take(struct fws_subscriber *subscriber, uint64_t until,
                        fws_buffer *frames[FWS_PUBLISHED_AHEAD]);

/* The number of the last dispatch that is not delivered to everybody; 0: there is none. No lock. */
uint64_t fws_backlog_newest(const struct fws_subscriber *subscriber);

/* May there be anything for it? With its owner's lock, and no other. */
bool fws_backlog_concerns(const struct fws_subscriber *subscriber);

typedef struct {
    void *owner; /* `keep` was called with it */
    struct fws_subscriber *subscriber;
} fws_target;

/* Is anything with at most this number not delivered yet? */
bool fws_backlog_has_until(struct fws_table *table, uint64_t number);

/* The next members, at most `maximum`; what the last call gave has been handed over by now. 0, and
 * *more: call it again. */
size_t fws_backlog_collect(struct fws_table *table, fws_target *targets, size_t maximum,
                           void (*keep)(void *owner), bool *more);

#endif
