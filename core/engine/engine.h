/* The I/O engine of one process: its threads, the websockets attached to it, and the channels that
 * they are subscribed to.
 *
 * The first thread starts with the first websocket and not before, so that a process which forks
 * first (gunicorn --preload) forks without a thread. It sleeps until a descriptor that it watches
 * is ready, a deadline has come, or another thread has queued something.
 *
 * Threads: every function may be called from any thread, except fws_engine_free (while no other
 * call runs) and fws_engine_after_fork (in the child, before any other call). No function waits,
 * except fws_engine_stop and fws_engine_wait_empty.
 *
 * Locks, in the order in which they may be taken: `delivering` of the backlog (channels/backlog.h),
 * a websocket's lock, then one of {the table's lock, the lock of `work`, the pool's lock, a
 * notifier's lock}; the last four are never held together, and none is ever held while a system
 * call waits.
 *
 * Memory: fws_engine_free drops the owner's reference; each websocket and each thread holds another
 * one, so the engine is freed with the last of them.
 *
 * Invariants:
 *
 * - A websocket is complete before another thread can see it: fields that are constant are set
 *   before it is one of work.all, and its lock is held from before that until it is attached.
 * - A stop is final. Once it has begun nothing is attached. After it no thread touches a websocket
 *   or the loop, except a thread whose callback outlasts the stop: that one still has the websocket
 *   that it was called for.
 */
#ifndef FWS_ENGINE_ENGINE_H
#define FWS_ENGINE_ENGINE_H

#include "../channels/publish.h"
#include "../io/clock.h"
#include "../protocol/connection.h"
#include "../protocol/negotiation.h"
#include "../stats/counters.h"
#include "../stats/histogram.h"
#include "../stats/tally.h"
#include "../websocket/config.h"
#include "../websocket/notifier.h"
#include "../websocket/websocket.h"

/* A stream whose opening handshake is decided. */
typedef struct {
    fws_role role;
    const void *reply; /* bytes to send first: the 101 answer; may be empty */
    size_t reply_size;
    const void *received; /* bytes that were read behind the request; may be empty */
    size_t received_size;
    const fws_deflate_parameters *compression; /* NULL: not agreed on */
    fws_notifier
        *notifier;    /* for a handler that is a greenlet or a coroutine; NULL: it is a thread */
    void *owner;      /* of an event-driven websocket, for its callbacks; NULL: it has a handler */
    fws_tally *tally; /* one of this engine's, where it is counted; NULL: with all that have none */
} fws_attachment;

typedef struct fws_engine fws_engine;

/* For callbacks to end when the engine stops. */
#define FWS_STOP_TIMEOUT FWS_NS_PER_S

/* NULL when there is no memory. */
fws_engine *fws_engine_new(const fws_engine_config *config);
void fws_engine_free(fws_engine *engine);

/* Takes over the descriptor. Returns a websocket with one reference, the caller's; or NULL with
 * errno, and then the descriptor stays the caller's and nothing was sent. ESHUTDOWN: the engine has
 * begun to stop. */
fws_websocket *fws_engine_attach(fws_engine *engine, int fd, const fws_attachment *attachment);

/* Starts the closing handshake of every websocket (fws_websocket_close); returns of how many.
 * `reason` has `size` bytes and need not end with a zero. */
size_t fws_engine_close_all(fws_engine *engine, uint16_t code, const char *reason, size_t size);

/* Waits until every websocket is finished; false after `timeout` ns. */
bool fws_engine_wait_empty(fws_engine *engine, fws_ns timeout);

/* Ends the engine for good: cuts off the websockets that are left, waits up to FWS_STOP_TIMEOUT
 * for callbacks that are queued or run, and ends the threads. A thread whose callback lasts
 * longer ends after it. As soon as the stop has begun, fws_engine_attach refuses. A second call,
 * at the same time or later, returns when the engine has stopped. */
void fws_engine_stop(fws_engine *engine);

/* In a forked child (fork.c): the sockets belong to the parent. Closes this process's copies of
 * the descriptors, marks their websockets as closed, and leaves an engine that is not started. */
void fws_engine_after_fork(fws_engine *engine);

size_t fws_engine_count(fws_engine *engine);

/* Of the engine's own work. */
const fws_counters *fws_engine_counters(const fws_engine *engine);
/* Another tally, for the attachments of one route. It exists as long as the engine. NULL when there
 * is no memory. */
fws_tally *fws_engine_new_tally(fws_engine *engine);
/* Adds what all tallies of the engine have counted to `sum`, which is the caller's. */
void fws_engine_add_tallies(const fws_engine *engine, fws_tally *sum);
/* How long turns of the loop took, in ns. */
const fws_histogram *fws_engine_turn_time(const fws_engine *engine);

/* ---- channels ---- */

/* Subscribes to all of the names or to none. Each subscription is counted once more, also if
 * there is one to that name already. A websocket of another engine counts as ended. */
fws_table_status fws_engine_subscribe(fws_engine *engine, fws_websocket *websocket,
                                      const fws_channel_name *names, size_t count);

/* Ends one subscription to each of the names; `names` NULL: all. What was published before this
 * call is queued for the websocket when it returns, or is never queued. False when there is no
 * memory, and nothing has changed. */
bool fws_engine_unsubscribe(fws_engine *engine, fws_websocket *websocket,
                            const fws_channel_name *names, size_t count);

/* How many channels the websocket is subscribed to. */
size_t fws_engine_count_channels(fws_engine *engine, fws_websocket *websocket);

/* Calls `visit` with the name of each channel of the websocket, under the table's lock. For a
 * closed websocket: the channels that it had. */
void fws_engine_visit_channels(fws_engine *engine, fws_websocket *websocket,
                               void (*visit)(void *context, const char *name, size_t size),
                               void *context);

/* Sends one message to each subscriber of the channels, except the excluded ones, and returns
 * how many there were; -1 when there is no memory, and then it is sent to none. See
 * channels/publish.h. */
long fws_engine_publish(fws_engine *engine, fws_opcode opcode, const void *data, size_t length,
                        const fws_channel_name *names, size_t count, fws_websocket *const *excluded,
                        size_t excluded_count);

/* Is more published and not delivered than the limits of channels/backlog.h? Then the publishing
 * thread calls fws_engine_catch_up, which delivers until that is not so. */
bool fws_engine_is_behind(const fws_engine *engine);
void fws_engine_catch_up(fws_engine *engine);

#endif
