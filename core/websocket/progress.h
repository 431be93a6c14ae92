/* Whether the peer takes what we send to it. A peer that takes bytes is alive, as one is that sends
 * bytes: no deadline of the peer's ends the connection while it makes progress.
 *
 * The peer has taken what we have written to the socket less what the kernel still keeps of it.
 * This is measured when a deadline is due, and never for a message. Between two measurements only
 * the websocket's `bytes_written` changes.
 *
 * - Backlog: while the outbox is not empty, the peer must take some of the bytes within
 *   send_timeout. Progress is measured four times in that time, so the peer is cut off between
 *   send_timeout and five quarters of it after the last byte that it took.
 * - Answer (the pong to our ping, the peer's close frame to ours): the peer cannot answer before it
 *   has taken what lies before the question. Until then it must make progress within the time-out
 *   of the answer. When a deadline finds that the peer has taken everything, the time-out runs once
 *   more.
 *
 * Threads: every function is called with the websocket's lock held, which protects the fields.
 */
#ifndef FWS_WEBSOCKET_PROGRESS_H
#define FWS_WEBSOCKET_PROGRESS_H

#include "../io/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    fws_ns check_at;   /* when progress with a backlog is measured next; 0: there is no backlog */
    uint64_t taken;    /* bytes that the peer had taken at the last measurement */
    fws_ns noticed_at; /* when a measurement last found more taken, or when a backlog began */
} fws_progress;

/* The outbox has changed: sets check_at if there is a backlog. */
void fws_progress_watch_backlog(fws_websocket *websocket);

/* check_at is due. False: the peer has taken nothing for send_timeout. */
bool fws_progress_check_backlog(fws_websocket *websocket, fws_ns now);

/* A question of `size` bytes was queued: measures, and returns whether the peer has to take
 * other bytes before it. */
bool fws_progress_is_behind(fws_websocket *websocket, size_t size, fws_ns now);

/* The answer has not come within its time-out, which began at `since`. True: the peer gets as
 * long again. `behind`: what fws_progress_is_behind or the last call has found; this call
 * updates it. */
bool fws_progress_extends(fws_websocket *websocket, bool *behind, fws_ns since, fws_ns now);

#endif
