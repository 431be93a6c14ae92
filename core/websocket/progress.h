/* Whether the peer gets on with what we send it. That is life as much as bytes heard from it are: a
 * deadline of the peer's passes without harm while it goes on taking bytes.
 *
 * What the peer has taken is what the kernel has been given less what the kernel still keeps. It is
 * looked at when a deadline is due and never for a message: between two looks only the websocket's
 * `bytes_written` moves.
 *
 * - A backlog: as long as the outbox is not empty, the peer must take something of what we have
 * sent within send_timeout. That is looked at four times in that time, so the peer is cut off
 * between send_timeout and five quarters of it after the last byte that it took.
 * - An answer (the pong to our ping, the close frame to ours): the peer cannot give it before it
 * has taken what lies before the question. Until then it has to get on, within the time-out of the
 *   answer; and that time-out runs once more from when a deadline finds that it has taken all.
 *
 * Threads: the websocket's lock protects the fields.
 */
#ifndef FWS_WEBSOCKET_PROGRESS_H
#define FWS_WEBSOCKET_PROGRESS_H

#include "../io/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    fws_ns
        check_at; /* deadline: when to look at a backlog, if there still is one; 0: there is none */
    uint64_t taken;    /* of what the kernel was given, what the peer had taken at the last look */
    fws_ns noticed_at; /* when a look last found that it had taken more, or when a backlog began */
} fws_progress;

/* After the outbox has changed: is there a backlog to be looked at? */
void fws_progress_watch_backlog(fws_websocket *websocket);

/* check_at is due: false when the peer has taken nothing for send_timeout. */
bool fws_progress_check_backlog(fws_websocket *websocket, fws_ns now);

/* A question is asked: looks, and says whether it lies behind more than `size` bytes that the peer
 * has not taken yet. */
bool fws_progress_is_behind(fws_websocket *websocket, size_t size, fws_ns now);

/* The answer has not come in time, counted from `since`. True: it has as long again. `behind`: what
 * fws_progress_is_behind or an earlier check has said; brought up to date. */
bool fws_progress_extends(fws_websocket *websocket, bool *behind, fws_ns since, fws_ns now);

#endif
