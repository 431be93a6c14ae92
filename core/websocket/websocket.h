/* One WebSocket over one descriptor: the protocol's state machine with a socket, an inbox, an
 * outbox, deadlines and subscriptions to channels.
 *
 * Who reads. A handler inside fws_websocket_receive_wait polls and reads the socket itself, so that
 * its messages pass through no other thread. When no handler has been inside for FWS_ADOPT_AFTER,
 * the loop thread adopts the reading: pings are answered, a close is noticed, messages go to the
 * inbox. When the inbox is full nobody reads, and TCP holds the peer back. The next
 * fws_websocket_receive_wait takes the reading back. Where no thread waits in a system call, the
 * loop thread always reads: for a websocket with a notifier, whose handler is a greenlet or a
 * coroutine, and for an event-driven one, which has callbacks.
 *
 * Who writes. A thread that sends writes to the socket itself when nothing is queued before its
 * message. The loop thread writes what the socket did not take, and all that is published.
 *
 * Threads: every function may be called from any thread; `lock` protects the fields unless they say
 * otherwise. No function waits, except fws_websocket_receive_wait, fws_websocket_ping_wait, and
 * fws_websocket_send with `wait`.
 *
 * Memory: reference-counted. The engine holds one reference until the websocket is finished, each
 * owner another one, and so does the notifier that has it in its list. Invariant: the descriptor is
 * closed only when no thread is inside a system call on it.
 */
#ifndef FWS_WEBSOCKET_WEBSOCKET_H
#define FWS_WEBSOCKET_WEBSOCKET_H

#include "config.h"
#include "inbox.h"
#include "notifier.h"

#include "../protocol/close.h"
#include "../protocol/frame.h"

#include <stddef.h>

typedef enum {
    FWS_OK,
    FWS_CLOSED,      /* it is closing or closed; after a receive: and the inbox is empty */
    FWS_WOULD_BLOCK, /* nothing yet: call the variant that waits */
    FWS_TIMEOUT,
    FWS_INTERRUPTED, /* by a signal: call again */
    FWS_NO_MEMORY,
    FWS_TOO_LONG, /* of a ping: more than FWS_FRAME_CONTROL_MAX bytes */
} fws_status;

typedef enum {
    FWS_STATE_OPEN,
    FWS_STATE_CLOSING, /* our close frame is queued; the peer's has not arrived */
    FWS_STATE_ENDING,  /* both were queued or received, or the connection failed: we write what is
                          queued. Then we wait for the peer's end-of-file if the peer may still send,
                          because to close earlier could reset the connection before the peer has
                          read our last frame */
    FWS_STATE_CLOSED,  /* finished; the descriptor is closed or about to be */
} fws_state;

typedef struct fws_ping fws_ping;
typedef struct fws_loan fws_loan;

fws_websocket *fws_websocket_keep(fws_websocket *websocket);
void fws_websocket_drop(fws_websocket *websocket);

/* The `owner` of its fws_attachment. */
void *fws_websocket_owner(const fws_websocket *websocket);

/* The settings of its engine. */
const fws_engine_config *fws_websocket_config(const fws_websocket *websocket);

/* Takes a message that has been read already. If the last read filled its buffer, reads again
 * without waiting. The caller frees the message. FWS_WOULD_BLOCK: call
 * fws_websocket_receive_wait. */
fws_status fws_websocket_receive_ready(fws_websocket *websocket, fws_message *message);

/* Waits for a message until `deadline` (a fws_clock_now time, or FWS_FOREVER). FWS_OK, FWS_CLOSED,
 * FWS_TIMEOUT, FWS_INTERRUPTED. */
fws_status fws_websocket_receive_wait(fws_websocket *websocket, fws_ns deadline,
                                      fws_message *message);

/* For an event-driven websocket, when its callbacks are run: takes all messages that have
 * arrived, without waiting. FWS_OK: the caller clears *messages. FWS_CLOSED: there are no more,
 * and it is closing or closed; returned once. FWS_WOULD_BLOCK: there is nothing, or the
 * websocket is held back. */
fws_status fws_websocket_collect(fws_websocket *websocket, fws_inbox *messages);

/* Do its messages wait because more than send_buffer bytes are queued for the peer? Its
 * callbacks are queued again when the peer has taken the bytes beyond that. Takes no lock. */
bool fws_websocket_is_held_back(const fws_websocket *websocket);

/* Returns messages that fws_websocket_collect has given; they are the first that it gives next.
 * So the inbox may hold twice as many messages as reading puts into it. */
void fws_websocket_return_messages(fws_websocket *websocket, fws_inbox *rest);

/* Was fws_websocket_close called? Then messages that were received and not given out yet are
 * dropped (RFC 6455 section 1.4). Takes no lock. */
bool fws_websocket_is_closed_here(const fws_websocket *websocket);

/* The callbacks that fws_websocket_collect was called for have returned; or, once after
 * attaching, callbacks may be run from now on. Queues them again if there is something for them. */
void fws_websocket_release_callbacks(fws_websocket *websocket);

/* Counts a callback that an event loop has run, instead of the engine. */
void fws_websocket_note_callback(fws_websocket *websocket, fws_ns duration);

typedef enum {
    FWS_AWAIT_MESSAGE, /* that fws_websocket_receive_ready gives */
    FWS_AWAIT_ROOM,    /* in the outbox, for fws_websocket_send */
} fws_awaited;

/* For a websocket with a notifier: true when there is something to wait for, and then the
 * notifier names the websocket when it is worth trying again. False: try again at once. */
bool fws_websocket_await(fws_websocket *websocket, fws_awaited awaited);

/* For a websocket with a notifier: puts it at the end of the notifier's list, so that its event
 * loop serves the others in the list first. False when it has no notifier, as in a forked child. */
bool fws_websocket_yield(fws_websocket *websocket);

/* Sends one message. While more than send_buffer bytes are queued, or another message is being
 * compressed in pieces, it waits; without `wait` it returns FWS_WOULD_BLOCK instead, and nothing is
 * queued. A message that is larger than send_buffer, and not compressed, is not copied: its sender
 * waits until it is sent. Each byte is read once: if another thread writes to the bytes meanwhile,
 * a mixture of old and new bytes may be sent, but never more or fewer than `length`.
 *
 * To an event-driven websocket, and inside the callbacks of any, the limit is FWS_CALLBACK_BUFFERS
 * times send_buffer, so that a callback does not hold its thread when it answers a peer that does
 * not read; the peer's next messages wait instead (fws_websocket_is_held_back).
 *
 * So the outbox holds at most: what was sent, send_buffer bytes (to or in callbacks
 * FWS_CALLBACK_BUFFERS times that) and one message; what was published, send_buffer bytes and
 * one message; and control frames. */
fws_status fws_websocket_send(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, bool wait);

/* As fws_websocket_send without `wait`, but a message that is larger than send_buffer, and that
 * the socket does not take at once, is not copied. Then *loan is not NULL, and until the loan is
 * ended the bytes must neither change nor be freed, and the caller keeps its reference to the
 * websocket. */
fws_status fws_websocket_lend(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, fws_loan **loan);

/* FWS_OK: the bytes are sent. FWS_CLOSED: they are not needed any more, and perhaps not all were
 * sent. FWS_WOULD_BLOCK: they are needed; the notifier, if there is one, names the websocket
 * when to call again. */
fws_status fws_websocket_poll_loan(fws_websocket *websocket, fws_loan *loan);

/* Ends and frees the loan. Bytes that are still needed are copied, without a lock, as that may
 * take long. When there is no memory for the copy, the connection is cut off. */
void fws_websocket_end_loan(fws_websocket *websocket, fws_loan *loan);

/* The window of the peer's inflater, 8 to 15, or 0 without compression. Takes no lock. */
uint8_t fws_websocket_window_bits(const fws_websocket *websocket);

/* Starts the closing handshake (RFC 6455 section 7.1.2). The close frame is queued behind what
 * was sent before, which arrives first as long as the peer takes bytes. From now on no message
 * is given out. FWS_CLOSED when the websocket was closing or closed already. A reason that is
 * too long is cut, never inside a character. */
fws_status fws_websocket_close(fws_websocket *websocket, uint16_t code, const char *reason,
                               size_t reason_size);

/* Sends a ping, and registers that its pong is waited for, or the pong to a later ping (RFC 6455
 * section 5.5.3). FWS_OK: the caller frees *ping with fws_websocket_ping_free. FWS_CLOSED,
 * FWS_NO_MEMORY, FWS_TOO_LONG. */
fws_status fws_websocket_ping_send(fws_websocket *websocket, const void *data, size_t length,
                                   fws_ping **ping);

/* Waits for the pong; *round_trip in ns. FWS_OK, FWS_CLOSED, FWS_TIMEOUT, FWS_INTERRUPTED. */
fws_status fws_websocket_ping_wait(fws_websocket *websocket, fws_ping *ping, fws_ns deadline,
                                   fws_ns *round_trip);

/* For a websocket with a notifier: the same without waiting. FWS_WOULD_BLOCK: the notifier names
 * the websocket when to call again. */
fws_status fws_websocket_ping_poll(fws_websocket *websocket, fws_ping *ping, fws_ns *round_trip);

/* The ping is no longer waited for; frees it. */
void fws_websocket_ping_free(fws_websocket *websocket, fws_ping *ping);

typedef struct {
    fws_state state;     /* CLOSING also when nothing can be sent any more, though there is perhaps
                            something to receive */
    uint16_t close_code; /* 0 while it is open */
    size_t close_reason_size;
    char close_reason[FWS_CLOSE_REASON_MAX];
    size_t buffered;       /* bytes queued to be sent */
    uint32_t untaken;      /* messages that have arrived and are not given out yet */
    uint64_t messages_in;  /* that have come, whole */
    uint64_t messages_out; /* that were sent, or published to it; perhaps they wait in the outbox */
} fws_websocket_status;

void fws_websocket_get_status(fws_websocket *websocket, fws_websocket_status *status);

typedef enum {
    FWS_CLOSED_BY_NOBODY, /* the connection was lost: 1006 */
    FWS_CLOSED_BY_PEER,   /* its close frame came first */
    FWS_CLOSED_BY_US,
} fws_closer;

/* How a websocket has ended. */
typedef struct {
    fws_websocket_status status;
    fws_closer closer;
    bool failed;     /* closed by the engine itself, and not by fws_websocket_close */
    fws_ns open_for; /* from when it was attached until it left the open state */
} fws_conclusion;

/* When it was attached, by the clock of the system: ns since 1970. Constant. */
int64_t fws_websocket_connected_at(const fws_websocket *websocket);

/* True once, after it has left the open state, when the close code is the final one: for a report
 * of each end. Never in a forked child, whose parent has the connection. */
bool fws_websocket_conclude(fws_websocket *websocket, fws_conclusion *conclusion);

#endif
