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

#include "config.h"
#include "inbox.h"
#include "notifier.h"

#include "../protocol/close.h"
#include "../protocol/frame.h"

#include <stddef.h>

typedef enum {
    FWS_OK,
    FWS_CLOSED,      /* closing or closed; after a receive: and the inbox is drained */
    FWS_WOULD_BLOCK, /* nothing yet: call the waiting variant */
    FWS_TIMEOUT,
    FWS_INTERRUPTED, /* by a signal: call again */
    FWS_NO_MEMORY,
    FWS_TOO_LONG, /* of a ping: more than FWS_FRAME_CONTROL_MAX bytes */
} fws_status;

typedef enum {
    FWS_STATE_OPEN,
    FWS_STATE_CLOSING, /* our close frame is queued; the peer's has not come */
    FWS_STATE_ENDING,  /* both have, or the connection failed: flush; if more may come, which must
                          not reset the connection under our last frame, wait for end-of-file */
    FWS_STATE_CLOSED,  /* finished; the descriptor is closed or about to be */
} fws_state;

/* How many times send_buffer a callback may queue before its send waits. At half, one that answers
 * with a few megabytes waits; at double, a peer may cost twice as much. */
#define FWS_CALLBACK_BUFFERS 8

typedef struct fws_ping fws_ping;
typedef struct fws_loan fws_loan;

fws_websocket *fws_websocket_keep(fws_websocket *websocket);
void fws_websocket_drop(fws_websocket *websocket);

/* What its callbacks are for, see fws_attachment. */
void *fws_websocket_owner(const fws_websocket *websocket);

/* The settings of its engine. */
const fws_engine_config *fws_websocket_config(const fws_websocket *websocket);

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
 * once. FWS_WOULD_BLOCK: nothing, for now; so also while it is held back. */
fws_status fws_websocket_collect(fws_websocket *websocket, fws_inbox *messages);

/* Are its messages to wait, because more than send_buffer bytes are queued for the peer? Once that
 * much is taken its callbacks are due again. Takes no lock. */
bool fws_websocket_is_held_back(const fws_websocket *websocket);

/* Of what fws_websocket_collect has given, the rest, which is to be given again, and first. So the
 * inbox may have twice as much as is read into it. */
void fws_websocket_return_messages(fws_websocket *websocket, fws_inbox *rest);

/* Has this side closed it? Then messages that were taken and not given out yet are dropped
 * (RFC 6455 section 1.4). */
bool fws_websocket_is_closed_here(const fws_websocket *websocket);

/* Its turn, or whatever held its callbacks until now, is over. */
void fws_websocket_release_callbacks(fws_websocket *websocket);

typedef enum {
    FWS_AWAIT_MESSAGE, /* what fws_websocket_receive_ready would give */
    FWS_AWAIT_ROOM,    /* in the outbox, for fws_websocket_send */
} fws_awaited;

/* For a websocket with a notifier: true when there is something to wait for; the notifier then
 * tells when it is worth trying again. False: try again at once. */
bool fws_websocket_await(fws_websocket *websocket, fws_awaited awaited);

/* For a websocket with a notifier: puts it at the end of the notifier's list, so that its event
 * loop serves the others in the list first. False when it has no notifier, as in a forked child. */
bool fws_websocket_yield(fws_websocket *websocket);

/* Sends one message. While more than send_buffer bytes are queued it waits for room, or, without
 * `wait`, returns FWS_WOULD_BLOCK with nothing queued. The same while a long message is being
 * compressed. A message larger than that, and not compressed, is not copied: its sender waits until
 * it is sent. Each byte is read once: what another thread writes to them meanwhile may be sent
 * torn, but no more.
 *
 * To an event-driven websocket, and inside the callbacks of any, the limit is FWS_CALLBACK_BUFFERS
 * times send_buffer: a callback that answers a peer which does not read holds no thread; instead,
 * the peer's next messages wait (fws_websocket_is_held_back).
 *
 * So there lie in the outbox at most: what was sent, send_buffer bytes (in or for callbacks
 * FWS_CALLBACK_BUFFERS times that) and one message; what was published, send_buffer bytes and one
 * message; and control frames. */
fws_status fws_websocket_send(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, bool wait);

/* As fws_websocket_send without `wait`, but that of a message which is larger than send_buffer, and
 * which the socket does not take at once, the bytes are not copied. Then *loan is not NULL, and
 * they must neither change nor go away until the loan is ended; nor may the websocket. */
fws_status fws_websocket_lend(fws_websocket *websocket, fws_opcode opcode, const void *data,
                              size_t length, fws_loan **loan);

/* FWS_OK: the bytes are sent. FWS_CLOSED: they are no longer needed, and perhaps not all were sent.
 * FWS_WOULD_BLOCK: they are needed; the notifier, if there is one, tells when to look again. */
fws_status fws_websocket_poll_loan(fws_websocket *websocket, fws_loan *loan);

/* Ends and frees the loan. Bytes that are still needed are copied, which may take long, but is done
 * without a lock; when there is no memory, the connection is cut off. */
void fws_websocket_end_loan(fws_websocket *websocket, fws_loan *loan);

/* The window of the peer's inflater, 8 to 15, or 0 without compression. Takes no lock. */
uint8_t fws_websocket_window_bits(const fws_websocket *websocket);

/* Starts the closing handshake, after what is queued: all of that arrives first, as long as the
 * peer goes on taking it. From now on no message is given out. FWS_CLOSED when the handshake has
 * begun already. What does not fit of the reason is cut off, at a character. */
fws_status fws_websocket_close(fws_websocket *websocket, uint16_t code, const char *reason,
                               size_t reason_size);

/* Sends a ping and notes that its pong is waited for, or one
 * that answers a later ping (RFC 6455 section 5.5.3). FWS_OK: *ping is to be ended. FWS_CLOSED,
 * FWS_NO_MEMORY, FWS_TOO_LONG. */
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
