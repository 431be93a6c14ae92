/* One WebSocket over one descriptor: the protocol's state machine joined to a socket, an inbox, an
 * outbox, timers and the table of channels.
 *
 * Who reads. A handler inside fws_websocket_receive_wait polls and reads the socket itself: no
 * other thread is on the way of its messages. When it has been away for FWS_ADOPT_AFTER, the loop
 * thread adopts the reading: pings are answered, a close is seen, messages go to the inbox; when
 * the inbox is full nobody reads and TCP holds the peer back. The next receive takes the reading
 * back. A websocket with a notifier has a greenlet for a handler, which cannot wait in a system
 * call, and an event-driven one has callbacks: there the loop thread reads from the beginning to
 * the end.
 *
 * Who writes. Whoever sends writes at once when nothing waits before it; what the socket does not
 * take, and all that is published, lies in the outbox for the loop thread.
 *
 * Threads: every function from any thread; the fields are protected by `lock` unless they say
 * otherwise. No function waits, except fws_websocket_receive_wait, fws_websocket_ping and
 * fws_websocket_send with `wait`.
 *
 * Memory: reference-counted. The engine holds one reference until the websocket is finished, each
 * owner one more, and so does the notifier that has it in its list. The descriptor is closed only
 * when no thread is inside a system call on it.
 */
#ifndef FWS_WEBSOCKET_WEBSOCKET_H
#define FWS_WEBSOCKET_WEBSOCKET_H

#include "../engine/engine.h"
#include "inbox.h"
#include "notifier.h"
#include "outbox.h"
#include "../io/wakeup.h"

#define FWS_ADOPT_AFTER (50 * FWS_NS_PER_MS)

/* At first, and after so many waits of less than FWS_SHORT_WAIT_MS in a row, the handler waits in
 * recv, which is a system call less for each message, but from which nobody can wake it: for so
 * long at most. */
#define FWS_SHORT_WAITS 8
#define FWS_SHORT_WAIT_MS 20

typedef enum {
    FWS_OK,
    FWS_CLOSED,      /* closing or closed; after a receive: and the inbox is drained */
    FWS_WOULD_BLOCK, /* nothing yet: call the waiting variant */
    FWS_TIMEOUT,
    FWS_INTERRUPTED, /* by a signal: call again */
    FWS_NO_MEMORY,
} fws_status;

/* Where the callbacks of an event-driven websocket are. */
typedef enum {
    FWS_CALLBACKS_IDLE,
    FWS_CALLBACKS_QUEUED,  /* in a queue of the crew's */
    FWS_CALLBACKS_RUNNING, /* or held, as it is at first */
    FWS_CALLBACKS_AGAIN,   /* running, and something has come meanwhile */
} fws_callbacks_state;

typedef enum {
    FWS_STATE_OPEN,
    FWS_STATE_CLOSING, /* our close frame is queued; the peer's has not come */
    FWS_STATE_ENDING,  /* both have, or the connection failed: flush; if more may come, which must
                          not reset the connection under our last frame, wait for end-of-file */
    FWS_STATE_CLOSED,  /* finished; the descriptor is closed or about to be */
} fws_state;

typedef struct fws_ping fws_ping;

#define FWS_CACHE_LINE 64

struct fws_websocket {
    /* What every message needs comes first, in as few cache lines as it can: these five. */

    _Alignas(FWS_CACHE_LINE) atomic_size_t references;
    fws_engine *engine;         /* constant */
    void *owner;                /* of an event-driven one; constant */
    fws_websocket *next_queued; /* the engine's lock */
    int fd;                     /* -1 once closed */
    fws_state state;
    bool evented;            /* constant: event-driven, its callbacks are run by the crew */
    uint8_t callbacks_state; /* fws_callbacks_state */
    bool close_delivered;    /* of an event-driven one: fws_websocket_collect has said FWS_CLOSED */
    atomic_bool closed_here; /* closed by this side: nothing more is given out */
    bool slow;               /* a callback of its was overtaken; like `fast`: the engine's lock */
    uint8_t fast;            /* fast callbacks since then */
    bool adopted;            /* the loop thread reads */
    uint8_t watched;         /* what the loop watches */
    bool flush_queued; /* in the engine's flush list, or `flush_after_callbacks`, or `corked` */
    bool flush_after_callbacks; /* to be flushed at the end of its turn */
    bool corked;                /* `flush_queued`, but unless its handler comes first */
    uint8_t quick_returns; /* how often its handler came back in time, up to FWS_QUICK_RETURNS */
    uint8_t short_waits;   /* waits in a row that were short, up to FWS_SHORT_WAITS */
    bool waits_in_receive; /* it may: see fws_transport_let_wait */
    bool more_expected;    /* the last recv filled its buffer */
    bool hung_up;          /* the peer has ended its side: there is an end to be read */
    bool heard;            /* bytes have come since the engine's own ping */
    bool unread;           /* of an event-driven one: reading stopped before there was no more */
    bool awaited;          /* to be told to the notifier, once, when `changed` is signalled */
    bool is_changed;       /* in the notifier's list; like next_changed: the notifier's lock */
    bool ended_output;     /* our side of the stream is shut */
    bool nothing_more;     /* the peer's close frame has come, and nothing can follow it */
    bool receiving;        /* in recv: nobody else may read before what it brings is decoded */
    bool broken;           /* found while `receiving`, which knows more, but not yet */

    pthread_mutex_t lock;
    uint32_t sleepers;  /* threads waiting for `changed` */
    uint32_t pollers;   /* threads inside poll or recv on the descriptor: 0 or 1 */
    uint32_t uncounted; /* messages sent that the engine's counters do not have yet */
    uint16_t close_code;
    uint8_t close_reason_size;
    uint8_t *undecoded; /* received and not yet decoded, because the inbox was full; malloc'd */

    fws_inbox inbox;
    size_t counted;         /* of the outbox's bytes, in the engine's counters */
    fws_ns stall_at;        /* the peer must have taken something of it by then; 0: nothing */
    fws_notifier *notifier; /* constant; NULL: the handler is a thread */
    fws_ping *pings;        /* fws_websocket_ping calls that wait, oldest first */

    fws_outbox outbox;
    fws_websocket *next_flush; /* the engine's lock */

    fws_connection protocol;

    pthread_cond_t changed; /* a message, room in the outbox, a pong, or another state */
    fws_wakeup wakeup;      /* rung when it leaves the open state; its handler is a thread */
    size_t undecoded_start, undecoded_end;
    fws_ns adopt_at; /* deadlines; 0: none. Zero while a handler reads */
    fws_ns ping_at;
    fws_ns pong_by; /* bytes must have come since the engine's own ping */
    fws_ns end_at;
    fws_ns rate_at;  /* when a peer that kept to max_message_rate would send its next message */
    fws_ns timer_at; /* when `timer` is armed for; 0: not armed */
    fws_timer timer; /* the engine's lock */
    fws_subscriptions subscriptions; /* the table's lock */
    char *close_reason;              /* malloc'd; not NUL-terminated */
    fws_websocket *previous, *next;  /* in engine->all: the engine's lock */
    fws_websocket *next_retired;     /* the engine's lock */
    fws_websocket *next_changed;
};

fws_websocket *fws_websocket_keep(fws_websocket *websocket);
void fws_websocket_drop(fws_websocket *websocket);

/* Takes a message that has been read already, or, when the last read filled its buffer, reads on
 * without waiting. The caller owns message->data. FWS_WOULD_BLOCK: call fws_websocket_receive_wait.
 */
fws_status fws_websocket_receive_ready(fws_websocket *websocket, fws_message *message);

/* Waits for a message until `deadline` (a fws_clock_now time, or FWS_FOREVER). FWS_OK, FWS_CLOSED,
 * FWS_TIMEOUT, FWS_INTERRUPTED. */
fws_status fws_websocket_receive_wait(fws_websocket *websocket, fws_ns deadline,
                                      fws_message *message);

/* For an event-driven one, in its turn: takes all messages that have come, without waiting. FWS_OK,
 * and the caller clears *taken. FWS_CLOSED: there are no more, and it is closing or closed; said
 * once. FWS_WOULD_BLOCK: nothing, for now. */
fws_status fws_websocket_collect(fws_websocket *websocket, fws_inbox *taken);

/* Has this side closed it? Then messages that were taken and not given out yet are dropped
 * (RFC 6455 section 1.4). */
bool fws_websocket_is_closed_here(const fws_websocket *websocket);

/* Its turn, or whatever held its callbacks until now, is over. */
void fws_websocket_end_callbacks(fws_websocket *websocket);

typedef enum {
    FWS_AWAIT_MESSAGE, /* what fws_websocket_receive_ready would give */
    FWS_AWAIT_ROOM,    /* in the outbox, for fws_websocket_send */
} fws_awaited;

/* For a websocket with a notifier: true when there is something to wait for; the notifier then
 * tells when it is worth trying again. False: try again at once. */
bool fws_websocket_await(fws_websocket *websocket, fws_awaited awaited);

/* Sends one message. While more than send_buffer bytes are queued it waits for room, or, without
 * `wait`, returns FWS_WOULD_BLOCK with nothing queued. */
fws_status fws_websocket_send(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, bool wait);

/* The window of the peer's inflater, 8 to 15, or 0 without compression. Takes no lock. */
uint8_t fws_websocket_window_bits(const fws_websocket *websocket);

/* Queues a published frame; true when it was queued. Never waits: see fws_slow_consumer. */
bool fws_websocket_enqueue(fws_websocket *websocket, fws_buffer *frame);

/* Starts the closing handshake, after what is queued. FWS_CLOSED when it has begun already. */
fws_status fws_websocket_close(fws_websocket *websocket, uint16_t code, const char *reason,
                               size_t reason_size);

/* Sends a ping (length at most FWS_FRAME_CONTROL_MAX) and notes that its pong is waited for, or one
 * that answers a later ping (RFC 6455 section 5.5.3). FWS_OK: *ping is to be ended. FWS_CLOSED,
 * FWS_NO_MEMORY. */
fws_status fws_websocket_ping_send(fws_websocket *websocket, const void *data, size_t length,
                                   fws_ping **ping);

/* Waits for the pong; *round_trip in ns. FWS_OK, FWS_CLOSED, FWS_TIMEOUT, FWS_INTERRUPTED. */
fws_status fws_websocket_ping_wait(fws_websocket *websocket, fws_ping *ping, fws_ns deadline,
                                   fws_ns *round_trip);

/* For a websocket with a notifier: the same without waiting. FWS_WOULD_BLOCK: the notifier tells
 * when to look again. */
fws_status fws_websocket_ping_poll(fws_websocket *websocket, fws_ping *ping, fws_ns *round_trip);

/* The ping is no longer waited for; frees it. */
void fws_websocket_ping_free(fws_websocket *websocket, fws_ping *ping);

typedef struct {
    fws_state state;
    uint16_t close_code; /* 0 while it is open */
    size_t close_reason_size;
    char close_reason[FWS_CLOSE_REASON_MAX];
    size_t buffered; /* bytes queued to be sent */
} fws_websocket_status;

void fws_websocket_get_status(fws_websocket *websocket, fws_websocket_status *status);

#endif
