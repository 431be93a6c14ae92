/* The inside of a websocket: for the files of this folder, and for the engine and the channels,
 * which drive it.
 *
 * Threads: every function expects the websocket's lock to be held, unless it says otherwise. That
 * lock protects every field that does not name another protection. Fields that are constant are set
 * before another thread can see the websocket. Memory: see websocket.h.
 */
#ifndef FWS_WEBSOCKET_INTERNAL_H
#define FWS_WEBSOCKET_INTERNAL_H

#include "blocking_receive.h"
#include "corking.h"
#include "outbox.h"
#include "progress.h"
#include "websocket.h"
#include "work.h"

#include "../channels/table.h"
#include "../io/wakeup.h"
#include "../memory/prefetch.h"
#include "../tuning.h"

#include <stddef.h>

/* Where the callbacks of an event-driven websocket are. */
typedef enum {
    FWS_CALLBACKS_IDLE,
    FWS_CALLBACKS_QUEUED,  /* in a run queue */
    FWS_CALLBACKS_RUNNING, /* or not to be run yet, as at first */
    FWS_CALLBACKS_AGAIN,   /* running, and there is more for them */
} fws_callbacks_state;

typedef struct fws_ping fws_ping;
typedef struct fws_compressing fws_compressing;

#define FWS_CACHE_LINE 64
#define FWS_HOT_LINES 5 /* of a websocket; fetched before its turn */

struct fws_websocket {
    /* The fields that every message needs come first, so that they lie in FWS_HOT_LINES cache
     * lines. */

    _Alignas(FWS_CACHE_LINE) atomic_uint_least32_t references;
    uint32_t reported_messages; /* of `messages_out`, those that are in the tally */
    fws_work *work;             /* constant */
    void *owner;                /* constant; see fws_attachment; NULL: it is not event-driven */
    fws_work_link callbacks;    /* the lock of `work` */
    int fd;                     /* -1 once closed */
    fws_state state;
    bool evented;            /* constant: event-driven, its callbacks are run by the crew */
    uint8_t callbacks_state; /* fws_callbacks_state */
    bool
        close_delivered; /* of an event-driven one: fws_websocket_collect has returned FWS_CLOSED */
    atomic_bool closed_here; /* fws_websocket_close was called: no message is given out any more */
    atomic_bool
        held_back;     /* no message is given to its callbacks: see fws_websocket_is_held_back */
    bool slow;         /* one of its callbacks was overtaken (engine/watch.h); the lock of `work` */
    uint8_t fast;      /* fast runs of its callbacks in a row since then; the lock of `work` */
    bool adopted;      /* the loop thread reads the socket */
    uint8_t watched;   /* the events that the loop watches */
    bool flush_queued; /* in the flush list or the cork of `work`, or `flush_after_callbacks` is set
                        */
    bool flush_after_callbacks; /* to be flushed when its callbacks have ended */
    fws_corking corking;
    fws_blocking_receive blocking_receive;
    bool more_expected; /* the last recv filled its buffer */
    bool hung_up; /* the peer has ended its side of the stream, and end-of-file was not read yet */
    bool received_since_ping; /* bytes have arrived since the engine's own ping */
    bool unread;           /* of an event-driven one: reading stopped before the socket was empty */
    bool notify_on_change; /* the notifier is to name it, once, when `changed` is signalled */
    bool is_changed;       /* in the notifier's list; the notifier's lock, also for next_changed */
    bool output_ended;     /* we have ended our side of the stream */

    pthread_mutex_t lock;
    uint32_t sleepers;     /* threads waiting for `changed` */
    uint8_t pollers;       /* threads that read without the lock (poll, recv, inflate): 0 or 1 */
    bool decoding;         /* decode() runs, which must not be entered again */
    uint32_t messages_out; /* sent, or published to it; see messages_out_high */
    uint16_t close_code;
    uint8_t close_reason_size;
    bool output_broken; /* see fws_websocket_break_output */
    uint8_t *undecoded; /* received and not yet decoded, because the inbox was full; malloc'd */

    fws_inbox inbox;
    size_t reported_bytes;  /* bytes of the outbox that are in the tally */
    uint64_t bytes_written; /* bytes that the socket has taken, in all; see progress.h */
    fws_tally *tally;       /* constant; where it is counted */

    fws_outbox outbox;
    fws_subscriber *subscriber; /* NULL until it is subscribed for the first time, then constant */
    fws_connection protocol;

    fws_work_link flush;    /* the lock of `work` */
    fws_notifier *notifier; /* constant; NULL: the handler is a thread */
    fws_ping *pings;        /* fws_websocket_ping calls that wait, oldest first */
    fws_progress progress;
    bool nothing_more; /* the peer sends nothing after what was read */
    bool
        failed; /* the connection failed: by fws_websocket_fail, or because of what the peer sent */
    bool pong_is_behind;    /* fws_progress_is_behind, of the pong */
    bool close_is_behind;   /* and of the peer's close frame, or its end of the stream */
    bool closed_by_peer;    /* the close code is that of the peer's close frame */
    bool concluded;         /* fws_websocket_conclude has told its end */
    pthread_cond_t changed; /* a message, room in the outbox, a pong, or another state */
    fws_wakeup wakeup; /* rung when it leaves the open state; open if its handler is a thread */
    size_t undecoded_start, undecoded_end;
    fws_ns adopt_at; /* when the loop thread adopts the reading; 0: a handler reads */
    fws_ns ping_at;
    fws_ns pong_by; /* when bytes must have arrived since the engine's own ping; 0: no ping waits */
    fws_ns
        close_by; /* when the closing handshake must be over; 0 until our close frame is written */
    fws_ns rate_at;     /* when a peer that kept to max_message_rate would send its next message */
    fws_ns timer_at;    /* when `timer` is armed for; 0: not armed */
    char *close_reason; /* malloc'd; not NUL-terminated */
    fws_work_entry entry; /* the lock of `work` */
    fws_websocket *next_changed;
    fws_work_link unfinished;     /* the lock of `work` */
    bool unfinished_queued;       /* in the list of `work` of what the leader continues with */
    bool inflating;               /* a thread decompresses without the lock: see pieces.c */
    fws_compressing *compressing; /* a long message, see compressing.c; NULL: none */
    int64_t connected_at;         /* when it was attached, by the clock of the system; constant */
    fws_ns opened_at;             /* the same, by our clock */
    fws_ns open_for; /* how long it has been in the open state, once it has left that */
    uint32_t messages_in_high, messages_out_high; /* how often inbox.pushed, and messages_out, have
                                                     begun anew at 0 */
};

_Static_assert(FWS_PROVEN <= UINT8_MAX && FWS_SHORT_WAITS <= UINT8_MAX,
               "what is counted up to it lies in a byte");

/* What a message needs of the state machine lies in the last of the hot lines. */
_Static_assert(offsetof(fws_websocket, protocol) + offsetof(fws_connection, limits) +
                       sizeof(uint64_t) <=
                   FWS_HOT_LINES * FWS_CACHE_LINE,
               "the hot part of a websocket has grown");

/* The websocket that contains this link or entry. */
#define FWS_WEBSOCKET_OF(link_, member_)                                                           \
    ((fws_websocket *)(void *)((char *)(link_) - offsetof(fws_websocket, member_)))

static inline void fws_websocket_lock(fws_websocket *websocket)
{
    pthread_mutex_lock(&websocket->lock);
}

static inline void fws_websocket_unlock(fws_websocket *websocket)
{
    pthread_mutex_unlock(&websocket->lock);
}

/* Prefetches a websocket whose turn is next: with hundreds of them its memory is in no cache, and
 * is loaded during the system call for the present one. */
static inline void fws_websocket_fetch(const fws_websocket *websocket)
{
    const char *hot = (const char *)websocket;
    for (size_t i = 0; i < FWS_HOT_LINES; i++)
        fws_prefetch(hot + i * FWS_CACHE_LINE);
}

/* Does always the loop thread read, because there is no handler on a thread? */
static inline bool fws_websocket_is_read_by_loop(const fws_websocket *websocket)
{
    return websocket->evented || websocket->notifier != NULL;
}

/* ---- callbacks.c ---- */

/* Queues the callbacks of an event-driven websocket, if there is something for them. */
void fws_websocket_queue_callbacks(fws_websocket *websocket);

/* ---- websocket.c: life and states ---- */

/* With one reference; not attached. Takes no lock. */
fws_websocket *fws_websocket_new(fws_work *work, int fd, fws_role role);

/* Initialises the lock and the condition, also anew in a forked child. */
void fws_websocket_init_lock(fws_websocket *websocket);

/* Wakes the threads that wait for `changed`. */
void fws_websocket_notify(fws_websocket *websocket);

/* Records the close code and reason, if none were recorded before. */
void fws_websocket_note_close(fws_websocket *websocket, uint16_t code, const void *reason,
                              size_t reason_size);

/* Sets the state. From OPEN: ends the subscriptions, and wakes the threads that wait. */
void fws_websocket_leave_open(fws_websocket *websocket, fws_state state);

/* Both close frames have been queued or received, or the connection has failed: writes what is
 * queued, and ends the connection. */
void fws_websocket_enter_ending(fws_websocket *websocket);

/* Fails the connection from our side (ping time-out, slow consumer, no memory; RFC 6455 section
 * 7.1.7). Drops every frame of which nothing was sent, so that the close frame is the next one
 * that the peer reads. */
void fws_websocket_fail(fws_websocket *websocket, uint16_t code, const char *reason);

/* The peer has ended its side of the stream: end-of-file was read. */
void fws_websocket_accept_eof(fws_websocket *websocket);

/* Ends the websocket: gives back its descriptor, its timer and its subscriptions. */
void fws_websocket_finish(fws_websocket *websocket);

/* Closes the descriptor of a finished websocket once no thread polls it. */
void fws_websocket_release_fd(fws_websocket *websocket);

/* Has the loop watch the events that are needed now, and no others. */
void fws_websocket_update_watch(fws_websocket *websocket);

/* Has the loop report the socket once more if there is something to read (FWS_EDGE). */
void fws_websocket_watch_anew(fws_websocket *websocket);

/* ---- receive.c ---- */

typedef enum {
    FWS_PUMP_PROGRESS, /* something was read or decoded */
    FWS_PUMP_EMPTY,    /* the socket has nothing just now */
    FWS_PUMP_FULL,     /* the inbox has no room */
    FWS_PUMP_ENDED,    /* there is nothing to be read any more */
} fws_pump_result;

/* How many messages reading may put into the inbox. A handler that waits for a message wants one:
 * what came after it is decoded when it asks for the next, so that it can still answer a message
 * that the peer's close frame follows at once. */
#define ONE_MESSAGE 1

/* Is there no room for further messages? There is room for `limit` messages, and for as many
 * bytes as one message may have: the messages that wait take no more memory than one that is
 * being received. If the websocket is held back, there is room for one message. */
bool fws_websocket_inbox_is_full(const fws_websocket *websocket, uint32_t limit);

/* One step of reading, without waiting: decodes what is undecoded, or else receives once. */
fws_pump_result fws_websocket_pump(fws_websocket *websocket, uint32_t limit);

/* Decodes what was received. `leading`: the calling thread is the leader of the crew. */
void fws_websocket_decode_received(fws_websocket *websocket, uint8_t *buffer, size_t received,
                                   uint32_t limit, bool leading);

/* Decodes what is undecoded, as far as the inbox has room. */
void fws_websocket_decode_undecoded(fws_websocket *websocket);

/* By the loop thread: reads until the socket is empty, or this websocket has had its share of
 * this turn of the loop. */
void fws_websocket_read_for_handler(fws_websocket *websocket);

/* The loop thread reads from now on, as long as the inbox has room. */
void fws_websocket_adopt(fws_websocket *websocket);

/* ---- pieces.c ---- */

/* Has decompression stopped in the middle of a message? Then the bytes that follow are in
 * `undecoded`. */
static inline bool fws_websocket_is_inflating(const fws_websocket *websocket)
{
    return websocket->undecoded != NULL && fws_connection_is_inflating(&websocket->protocol);
}

/* Decompresses one piece more of that message, and releases the lock meanwhile. Afterwards the
 * bytes that follow are in `undecoded`, unless the websocket has ended. */
void fws_websocket_inflate_piece(fws_websocket *websocket);

/* Has the leader continue with what is unfinished, one piece in each turn of the loop. */
void fws_websocket_queue_unfinished(fws_websocket *websocket);

/* ---- compressing.c ---- */

/* A message that is to be sent. */
typedef struct {
    fws_opcode opcode;
    bool compressed;
    const void *data;
    size_t length;
} fws_outgoing;

/* Up to this length a message is compressed at once, and with context takeover under the lock. */
#define FWS_COMPRESSED_AT_ONCE_MAX FWS_PIECE

/* As fws_websocket_send, for a message that is longer; takes the lock. */
fws_status fws_websocket_send_long(fws_websocket *websocket, const fws_outgoing *message,
                                   bool wait);

/* Has the leader to continue with the compression of a message? */
bool fws_websocket_is_compressing_unfinished(const fws_websocket *websocket);

/* By the leader: compresses one piece more of that message, and releases the lock meanwhile. */
void fws_websocket_compress_piece(fws_websocket *websocket);

/* Nothing more will be sent: frees the message that is being compressed. If a thread compresses
 * it at this moment, that thread frees it. */
void fws_websocket_abandon_compressing(fws_websocket *websocket);

/* ---- wait.c ---- */

/* Waits once until something changes; reads if no other thread does. Releases the lock while it
 * waits. */
fws_status fws_websocket_wait_once(fws_websocket *websocket, fws_ns deadline);

/* The handler waits no longer: unless it soon waits again, the loop thread adopts the reading. */
void fws_websocket_stop_reading(fws_websocket *websocket);

/* ---- ping.c ---- */

void fws_websocket_accept_pong(fws_websocket *websocket, const void *data, size_t length);

/* ---- send.c ---- */

/* The socket takes nothing any more: the peer is gone. What it had sent before that, messages and
 * perhaps a close frame, may still lie in our receive buffer or be undecoded, and is given out as
 * always: the end of it finishes the websocket. Until then it is OPEN here, but `output_broken`:
 * nothing is queued, every send returns FWS_CLOSED, and to the application it is closing. Once it
 * leaves OPEN it is finished. */
void fws_websocket_break_output(fws_websocket *websocket);

/* May something be sent? */
static inline bool fws_websocket_is_writable(const fws_websocket *websocket)
{
    return websocket->state == FWS_STATE_OPEN && !websocket->output_broken;
}

/* Queues a published frame and takes over its reference; true when it was queued. Never waits:
 * see fws_slow_consumer. The caller makes sure that the outbox is written. */
bool fws_websocket_enqueue(fws_websocket *websocket, fws_buffer *frame);

/* Has it written by the loop thread, soon. */
void fws_websocket_flush_later(fws_websocket *websocket);

/* Queues a buffer and takes over its reference, also when that fails; false when there is no
 * memory, for the buffer (NULL) or for its place. */
bool fws_websocket_queue(fws_websocket *websocket, fws_buffer *buffer);

/* Queues a copy of the bytes. False when there is no memory. */
bool fws_websocket_push(fws_websocket *websocket, const void *data, size_t size);

/* Waits, without the lock, until `changed` is signalled. */
void fws_websocket_sleep_until_changed(fws_websocket *websocket);

/* Adds what was sent, and what is queued, to the tally. */
void fws_websocket_report_counts(fws_websocket *websocket);

/* Counts a message that was sent. If a flush is queued, the flush adds it to the tally. */
void fws_websocket_count_message(fws_websocket *websocket);

/* May a message be sent now? While another one is being compressed it must wait, unless a
 * callback in the leader's batch sends it: that would wait for the leader, which is its own
 * thread. `compressing` is in none of the hot lines, and NULL where compression is not agreed on.
 */
static inline bool fws_websocket_may_send(const fws_websocket *websocket)
{
    return websocket->protocol.compression == NULL || websocket->compressing == NULL ||
           fws_work_is_batching(websocket->work);
}

/* Waits until there is room in the outbox and the message may be sent (fws_websocket_may_send);
 * without `wait`, returns FWS_WOULD_BLOCK instead. FWS_OK, FWS_CLOSED. Releases the lock while
 * it waits. */
fws_status fws_websocket_wait_for_room(fws_websocket *websocket, bool wait);

/* Sends a message that there is room for. Reads each of its bytes once. With `wait`, returns
 * when the bytes are not needed any more; without, those of a large message are lent by `loan`,
 * or copied if that is NULL. */
fws_status fws_websocket_send_message(fws_websocket *websocket, const fws_outgoing *message,
                                      bool wait, fws_loan *loan);

/* Sets `held_back` according to what is queued. */
void fws_websocket_note_backlog(fws_websocket *websocket);

/* Writes what the socket takes. If something remains, the peer must make progress: progress.h. */
void fws_websocket_flush(fws_websocket *websocket);

/* The same; if something remains, the loop watches until the socket can be written to. */
void fws_websocket_write(fws_websocket *websocket);

/* ---- subscriptions.c ---- */

/* Sets *subscriber to the websocket's subscriber, which is made if there is none.
 * FWS_TABLE_ENDED: the websocket is closing or closed, and has none. Takes the lock. */
fws_table_status fws_websocket_subscriber(fws_websocket *websocket, fws_table *table,
                                          fws_subscriber **subscriber);

/* The websocket's subscriber; NULL: it was never subscribed. Takes the lock. */
fws_subscriber *fws_websocket_find_subscriber(fws_websocket *websocket);

/* May something be published for this websocket that is not in its outbox? Then
 * fws_websocket_settle must be called before anything else is queued, so that the order is kept.
 * One atomic load when nothing is published. */
static inline bool fws_websocket_has_published(const fws_websocket *websocket)
{
    return websocket->subscriber != NULL && fws_backlog_concerns(websocket->subscriber);
}

/* May a message be queued at once, with nothing to be settled before it: the usual case of
 * fws_websocket_wait_for_room. */
static inline bool fws_websocket_has_room(const fws_websocket *websocket)
{
    return fws_websocket_is_writable(websocket) && !fws_websocket_has_published(websocket) &&
           websocket->outbox.bytes <= websocket->work->config.send_buffer &&
           fws_websocket_may_send(websocket);
}

/* Queues all that is published for this websocket; it is written soon. */
void fws_websocket_settle(fws_websocket *websocket);

/* Queues what is published for this websocket, and writes it. Takes the lock. */
void fws_websocket_deliver(fws_websocket *websocket);

/* See fws_table_unsubscribe. What was published before this call is queued when it returns, or
 * is never queued. Takes the lock. */
bool fws_websocket_unsubscribe(fws_websocket *websocket, const fws_channel_name *names,
                               size_t count);

/* ---- deadlines.c ---- */

/* Arms the timer for the earliest of the websocket's deadlines. */
void fws_websocket_schedule(fws_websocket *websocket);

/* Our close frame has been written: from now on the peer has close_timeout for its own close
 * frame, and to end its side of the stream. */
void fws_websocket_await_peer_close(fws_websocket *websocket);

/* ---- called by the leader, without the lock ---- */

void fws_websocket_on_ready(fws_websocket *websocket, uint8_t ready);
void fws_websocket_on_timer(fws_websocket *websocket);
/* It was in a list of `work`, and is not any more. */
void fws_websocket_on_flush(fws_websocket *websocket);
/* Its callbacks run on, but not in the leader's batch any more. */
void fws_websocket_on_overtaken(fws_websocket *websocket);
void fws_websocket_on_unfinished(fws_websocket *websocket);

#endif
