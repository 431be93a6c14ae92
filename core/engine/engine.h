/* The I/O engine of one process: a loop thread, the websockets attached to it, their timers, and
 * the table of channels that publishes to them.
 *
 * The loop thread starts with the first websocket and not before, so that a process which forks
 * first (gunicorn --preload) forks without a thread. It sleeps until a descriptor that it watches
 * is ready, a deadline is due, or another thread has queued a websocket to be flushed.
 *
 * Threads: every function from any thread, but for fws_engine_free (no other call may run) and
 * fws_engine_after_fork (in the child, before any other call). No function waits, except
 * fws_engine_stop and fws_engine_wait_empty.
 *
 * Locks, in the order in which they may be taken: a websocket's lock, then one of {the table's
 * lock, the engine's lock, the pool's lock, a notifier's lock}; the last four are never held
 * together, and none is ever held while a system call waits.
 */
#ifndef FWS_ENGINE_ENGINE_H
#define FWS_ENGINE_ENGINE_H

#include "../io/clock.h"
#include "../stats/counter.h"
#include "../websocket/cork.h"
#include "crew.h"
#include "../stats/histogram.h"
#include "../channels/table.h"
#include "../io/loop.h"
#include "../websocket/notifier.h"
#include "../memory/pool.h"
#include "../io/timers.h"

#include "../protocol/connection.h"

#include <pthread.h>
#include <stdatomic.h>

/* What happens to a published message when a subscriber's outbox is over its limit. */
typedef enum {
    FWS_SLOW_CLOSE,       /* the subscriber is closed with 1013 */
    FWS_SLOW_DROP_OLDEST, /* it loses the oldest published messages */
    FWS_SLOW_DROP_NEWEST, /* it loses this one */
} fws_slow_consumer;

typedef struct {
    fws_ns ping_interval;      /* 0: no pings */
    fws_ns ping_timeout;       /* 0: a missing pong is not punished */
    fws_ns close_timeout;      /* for the peer's answer to a close, and for its end of the stream */
    fws_ns send_timeout;       /* for a peer that takes nothing of what is queued for it; 0: none */
    fws_limits limits;         /* of one message */
    uint32_t max_message_rate; /* messages a second from one peer; 0: no limit */
    uint32_t receive_queue;    /* messages kept for a handler that is away; at least 1 */
    size_t send_buffer;        /* bytes queued above which senders wait and publishers do not */
    fws_slow_consumer slow_consumer;
    int compression_level;        /* zlib's, 1 to 9 */
    size_t compression_threshold; /* smaller messages are sent as they are; bytes */
    fws_callbacks callbacks;      /* of event-driven websockets; may be empty without any */
    uint32_t callback_threads;    /* that may be inside callbacks at once */
} fws_engine_config;

/* A stream whose opening handshake is decided. */
typedef struct {
    fws_role role;
    const void *reply; /* sent first: the 101 answer; may be empty */
    size_t reply_size;
    const void *received; /* read past the handshake; may be empty */
    size_t received_size;
    const fws_deflate_parameters *compression; /* NULL: not agreed on */
    fws_notifier *notifier; /* for a handler that is a greenlet; NULL: a thread */
    void *owner; /* of an event-driven websocket, for its callbacks; NULL: it has a handler */
} fws_attachment;

#define FWS_CLOSE_CODES 4000 /* from 1000 on */

typedef struct {
    fws_counter messages_in, messages_out, bytes_in, bytes_out;
    fws_counter queued;                   /* bytes that sockets have not taken yet */
    atomic_uint_least64_t slow_consumers; /* websockets closed, or messages dropped, for slowness */
    atomic_uint_least64_t loop_wakeups;
    atomic_uint_least32_t closes[FWS_CLOSE_CODES]; /* finished websockets; by close code - 1000 */
} fws_engine_counters;

#define FWS_READY_MAX 256

/* What the loop has reported; the leader's. */
typedef struct {
    fws_readiness list[FWS_READY_MAX];
    int next, count;
} fws_ready;

struct fws_engine {
    atomic_size_t references; /* the owner's, and one for each thread */
    fws_engine_config config; /* read-only once the first websocket is attached */
    fws_engine_counters counters;
    fws_histogram callback_time; /* ns; added to with the lock */
    fws_histogram turn_time;     /* the leader's; ns: so long may what is ready wait for its turn */
    fws_table table;
    fws_pool pool;
    uint8_t *leaders_buffer; /* what the leader receives into; NULL until it does */
    fws_deflate_pool deflate;

    pthread_mutex_t lock; /* protects all that follows */
    pthread_cond_t empty; /* `count` became 0 */
    fws_loop *loop;       /* NULL until the thread starts */
    fws_crew crew;
    fws_ready ready;
    atomic_bool patient; /* handlers in an event loop have been seen: see turn.c. No lock */
    fws_ns turn_since;   /* the leader's: when the loop reported last; 0: nothing since */
    bool running;
    bool stopping;
    bool sleeping;      /* the loop waits and nobody has woken it yet */
    fws_ns sleep_until; /* meaningful while sleeping; FWS_FOREVER: until woken */
    fws_timers timers;
    fws_websocket *all;     /* attached and not finished, doubly linked */
    fws_websocket *flush;   /* queued to be flushed by the loop thread */
    fws_cork cork;          /* the same, unless their handlers come first */
    fws_websocket *retired; /* finished; the loop thread drops the engine's reference */
    size_t retired_count;   /* length of `retired` */
    size_t count;           /* length of `all` */
};

/* NULL when there is no memory. */
fws_engine *fws_engine_new(const fws_engine_config *config);
void fws_engine_free(fws_engine *engine);

/* Takes over the descriptor. Returns a websocket with one reference, the caller's; or NULL with
 * errno, and then the descriptor stays the caller's and nothing was sent. */
fws_websocket *fws_engine_attach(fws_engine *engine, int fd, const fws_attachment *attachment);

/* Starts the closing handshake of every websocket; returns of how many. */
size_t fws_engine_close_all(fws_engine *engine, uint16_t code, const char *reason);

/* Waits until every websocket is finished; false after `timeout` ns. */
bool fws_engine_wait_empty(fws_engine *engine, fws_ns timeout);

/* Ends the loop thread; websockets that are left are cut off. No attach may run meanwhile; a later
 * one starts the thread again. */
void fws_engine_stop(fws_engine *engine);

/* In a forked child: the parent's sockets are the parent's. Closes this process's copies, marks
 * their websockets as closed, and leaves an engine that has not been started. */
void fws_engine_after_fork(fws_engine *engine);

size_t fws_engine_count(fws_engine *engine);

/* Bytes for a masking key, from the kernel's generator (RFC 6455 section 10.3). */
void fws_engine_entropy(uint8_t out[4]);

/* ---- for crew.c ---- */

void fws_engine_keep(fws_engine *engine);
void fws_engine_drop(fws_engine *engine);
/* With the engine's lock: calls the leader out of its sleep, once. */
void fws_engine_rouse(fws_engine *engine);
/* With the engine's lock: `count` callbacks have taken so long together. */
void fws_engine_note_callbacks(fws_engine *engine, fws_ns taken, uint32_t count);

/* ---- for websocket*.c, with that websocket's lock held ---- */

void fws_engine_arm(fws_engine *engine, fws_timer *timer, fws_ns deadline);
void fws_engine_queue_flush(fws_engine *engine, fws_websocket *websocket);
/* To be flushed by its handler, or by the loop thread if that stays away; see cork.h. */
void fws_engine_cork(fws_engine *engine, fws_websocket *websocket);
/* Those that are corked are to be flushed now. */
void fws_engine_uncork(fws_engine *engine);
/* The websocket is finished: forgets it and has the loop thread drop the engine's reference. */
void fws_engine_retire(fws_engine *engine, fws_websocket *websocket);
bool fws_engine_watch(fws_engine *engine, int fd, uint8_t old_events, uint8_t new_events,
                      fws_websocket *websocket);

#endif
