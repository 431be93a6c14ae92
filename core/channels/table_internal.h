/* The inside of the table: for the files of this folder that are its room. Every function expects
 * the table's lock to be held.
 */
#ifndef FWS_CHANNELS_TABLE_INTERNAL_H
#define FWS_CHANNELS_TABLE_INTERNAL_H

#include "table.h"

typedef struct fws_channel {
    fws_hash_entry entry; /* first: in fws_table.names */
    fws_subscription *first_member, *last_member;
    fws_bitmap ids;    /* of its members, when they are many: see fws_channel_has_ids */
    size_t members;    /* whose subscriber has not ended, or is in fws_table.untidy */
    size_t references; /* subscriptions, also of ended ones, and dispatches; 0: it is freed */
    uint16_t windows;  /* a bit for each window that a member has, or has had */
    uint8_t name_size;
    char name[];
} fws_channel;

/* What a publication reads comes first, here and in fws_subscriber: of thousands, each of these
 * lies in no cache. */
struct fws_subscription {
    fws_hash_entry entry; /* first: in fws_table.subscriptions */
    fws_subscriber *subscriber;
    fws_channel *channel;
    fws_subscription *next_member; /* in the channel, while is_member */
    fws_subscription *next_own;    /* in the subscriber */
    uint64_t joined;               /* later publications reach it: those with a higher number */
    bool is_member;                /* false once the subscriber has ended */
    uint32_t times; /* calls that have subscribed, less those that have unsubscribed */
    fws_subscription *previous_member, *previous_own;
};

/* Whoever goes through a subscriber's own list and gives up the lock in between. */
typedef struct fws_walk {
    fws_subscription *next_one;
    struct fws_walk *next;
} fws_walk;

struct fws_subscriber {
    fws_table *table; /* constant */
    uint64_t epoch;   /* constant; of the table when it was made */
    void *owner;      /* constant */
    /* The publications up to this number are handed to it, or never will be. Written with the lock
     * of the owner and of the table held, so either is enough to read it. */
    uint64_t handed_over;
    fws_subscription *first;
    size_t count;
    uint32_t id;         /* constant; dense: below fws_table.id_limit */
    uint8_t window_bits; /* constant */
    bool ended;
    bool is_untidy; /* in fws_table.untidy */
    bool unused;    /* to be freed with the last of its subscriptions */
    fws_subscription *last;
    fws_subscription *leaving;       /* ended: this and those after it are members still */
    fws_walk *walks;                 /* through its list */
    fws_subscriber *previous, *next; /* in fws_table.all */
    fws_subscriber *next_untidy;     /* in fws_table.untidy */
};

/* Has the process forked since? Then it has no subscriptions. */
static inline bool fws_subscriber_is_left_behind(const fws_subscriber *subscriber)
{
    return subscriber->epoch != subscriber->table->epoch;
}

static inline bool fws_channel_has_ids(const fws_channel *channel)
{
    return channel->ids.words != NULL;
}

fws_channel *fws_table_find(const fws_table *table, const fws_name_key *key);
/* NULL: it is not subscribed. */
fws_subscription *fws_table_find_subscription(const fws_table *table,
                                              const fws_subscriber *subscriber,
                                              const fws_channel *channel);
/* The caller's reference goes, and the channel with the last one. */
void fws_channel_drop(fws_table *table, fws_channel *channel);

/* The end of a piece, when `done` is a whole number of them: a thread that waits for the lock
 * gets it. */
void fws_table_pause(fws_table *table, size_t done);

/* ---- members.c ---- */

void fws_members_add(fws_table *table, fws_subscription *subscription);
void fws_members_remove(fws_table *table, fws_subscription *subscription);

/* ---- audience.c ---- */

/* How many subscribers a dispatch would reach now, each counted once; `ids` is empty at first, and
 * cleared by the caller. *is_exact: the lock was not given up. False when there is no memory. */
bool fws_audience_count(fws_table *table, const fws_dispatch *dispatch, fws_bitmap *ids,
                        size_t *count, bool *is_exact);

#endif
