/* A handler that waits for its next message in recv, instead of in poll: a system call less for
 * each message, but nobody can wake it. So it does that at first, and after FWS_SHORT_WAITS waits
 * in a row that were short, and for FWS_SHORT_WAIT_MS at most.
 *
 * While it is in recv, nobody else may read: what it brings comes before what they would find. And
 * a failure that others meet meanwhile is left to it: recv reports the same, and before it what the
 * peer has sent last, such as a close frame.
 *
 * The same rules hold while a thread decompresses without the lock (pieces.c).
 *
 * Threads: the websocket's lock protects the fields, which no other file touches.
 */
#ifndef FWS_WEBSOCKET_BLOCKING_RECEIVE_H
#define FWS_WEBSOCKET_BLOCKING_RECEIVE_H

#include "../io/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define FWS_SHORT_WAITS 8
#define FWS_SHORT_WAIT_MS 20

typedef struct fws_websocket fws_websocket;

typedef struct {
    uint8_t short_waits; /* in a row, up to FWS_SHORT_WAITS */
    bool prepared;       /* the descriptor: see fws_transport_allow_blocking */
    bool active;         /* a thread is in recv, or decompresses */
    bool failed;         /* the connection has, as others have found while `active` */
} fws_blocking_receive;

/* Most peers say something at once: the first wait is taken to be short. */
static inline void fws_blocking_receive_init(fws_blocking_receive *receive)
{
    *receive = (fws_blocking_receive){.short_waits = FWS_SHORT_WAITS};
}

static inline bool fws_blocking_receive_is_active(const fws_blocking_receive *receive)
{
    return receive->active;
}

/* Has a failure been left to the thread in recv? Then there is nothing to be written any more. */
static inline bool fws_blocking_receive_has_failed(const fws_blocking_receive *receive)
{
    return receive->failed;
}

/* The connection has failed: true when a thread is in recv, which will find out by itself. */
static inline bool fws_blocking_receive_defer_failure(fws_blocking_receive *receive)
{
    receive->failed |= receive->active;
    return receive->active;
}

/* This thread reads, and releases the lock while it does. */
void fws_blocking_receive_begin(fws_websocket *websocket);
/* It has the lock again; and, once what was read is decoded, sees to what others have found out, or
 * left to be done, meanwhile. */
void fws_blocking_receive_end(fws_websocket *websocket);
void fws_blocking_receive_catch_up(fws_websocket *websocket);

/* A wait in poll has ended, that had begun at `begun`. */
void fws_blocking_receive_note_wait(fws_blocking_receive *receive, fws_ns begun);

/* Is the handler to wait so? `deadline` is its own. */
bool fws_blocking_receive_should_block(fws_websocket *websocket, fws_ns deadline);

/* Waits in recv, without the lock, and decodes what it brings, up to `limit` messages. False: a
 * signal has interrupted it. */
bool fws_blocking_receive_once(fws_websocket *websocket, uint32_t limit);

#endif
