/* Lets the thread of a handler wait for its next message inside recv(2) instead of poll(2). That
 * saves one system call for each message, but no other thread can wake the handler while it is in
 * recv. So a handler waits in recv only at first, and after FWS_SHORT_WAITS short waits in a row,
 * and for at most FWS_SHORT_WAIT.
 *
 * While `active` is set no other thread may read the socket, because the bytes that recv returns
 * come before the bytes that the other thread would read. A thread that finds meanwhile that the
 * connection has failed only sets `failed`: recv reports the same failure, but first it returns the
 * last bytes that the peer has sent, which may be messages and a close frame.
 *
 * The same rules hold while a thread decompresses without the lock (pieces.c).
 *
 * Threads: every function is called with the websocket's lock held, which protects the fields; no
 * other file accesses them. Memory: part of the websocket.
 */
#ifndef FWS_WEBSOCKET_BLOCKING_RECEIVE_H
#define FWS_WEBSOCKET_BLOCKING_RECEIVE_H

#include "../io/clock.h"
#include "../tuning.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    uint8_t short_waits; /* short waits in a row, up to FWS_SHORT_WAITS */
    bool prepared;       /* recv may block on the descriptor: see fws_transport_allow_blocking */
    bool active;         /* a thread is in recv, or decompresses, without the lock */
    bool failed;         /* another thread has found, while `active`, that the connection failed */
} fws_blocking_receive;

/* The first wait is assumed to be short, because most peers send their first message at once. */
static inline void fws_blocking_receive_init(fws_blocking_receive *receive)
{
    *receive = (fws_blocking_receive){.short_waits = FWS_SHORT_WAITS};
}

static inline bool fws_blocking_receive_is_active(const fws_blocking_receive *receive)
{
    return receive->active;
}

/* Has another thread found a failure and left it to the thread in recv, which has not come back
 * yet? Then nothing can be written any more. */
static inline bool fws_blocking_receive_has_failed(const fws_blocking_receive *receive)
{
    return receive->failed;
}

/* The connection has failed. True: a thread is in recv and will break the output (internal.h), so
 * that the caller must not. */
static inline bool fws_blocking_receive_defer_failure(fws_blocking_receive *receive)
{
    receive->failed |= receive->active;
    return receive->active;
}

/* The calling thread reads from now on, and may release the lock while it does. */
void fws_blocking_receive_begin(fws_websocket *websocket);
/* The calling thread has the lock again, and has stopped reading. Once it has decoded what it
 * read, it calls fws_blocking_receive_catch_up, which breaks the output if another thread has
 * found a failure, and updates the watched events if another thread has changed the state. */
void fws_blocking_receive_end(fws_websocket *websocket);
void fws_blocking_receive_catch_up(fws_websocket *websocket);

/* Notes how long a wait in poll has taken, which began at `begun`. */
void fws_blocking_receive_note_wait(fws_blocking_receive *receive, fws_ns begun);

/* Is the handler to wait in recv? With a `deadline` it waits in poll. */
bool fws_blocking_receive_should_block(fws_websocket *websocket, fws_ns deadline);

/* Waits in recv, without the lock, and decodes what was received, up to `limit` messages. False
 * when a signal has interrupted the wait. */
bool fws_blocking_receive_once(fws_websocket *websocket, uint32_t limit);

#endif
