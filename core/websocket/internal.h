/* What the files websocket*.c and engine.c share. Every function expects the websocket's lock to be
 * held, unless it says otherwise. */
#ifndef FWS_WEBSOCKET_INTERNAL_H
#define FWS_WEBSOCKET_INTERNAL_H

#include "websocket.h"

static inline void fws_websocket_lock(fws_websocket *websocket)
{
    pthread_mutex_lock(&websocket->lock);
}

static inline void fws_websocket_unlock(fws_websocket *websocket)
{
    pthread_mutex_unlock(&websocket->lock);
}

/* Has it no handler that could read for itself? */
static inline bool fws_websocket_is_read_by_loop(const fws_websocket *websocket)
{
    return websocket->notifier != NULL || websocket->evented;
}

/* ---- websocket_turn.c ---- */

/* If there is something for the callbacks of an event-driven one, they are due. */
void fws_websocket_queue_callbacks(fws_websocket *websocket);

/* ---- websocket.c: life and states ---- */

/* With one reference; not attached. Takes no lock. */
fws_websocket *fws_websocket_new(fws_engine *engine, int fd, fws_role role);

/* Initialises the lock and the condition, also anew in a forked child. */
void fws_websocket_init_lock(fws_websocket *websocket);

/* Wakes the threads that wait for `changed`. */
void fws_websocket_notify(fws_websocket *websocket);

/* Notes how it ended; the first note stands. */
void fws_websocket_note_close(fws_websocket *websocket, uint16_t code, const void *reason,
                              size_t reason_size);

/* From OPEN to CLOSING or ENDING: no more publishes, waiting threads wake, the loop reads. */
void fws_websocket_leave_open(fws_websocket *websocket, fws_state state);

/* Both close frames are there, or the connection failed: flush, and end it. */
void fws_websocket_enter_ending(fws_websocket *websocket);

/* Fails the connection from our side (ping time-out, slow consumer, no memory): what has not begun
 * to be sent is dropped, so that the close frame is the next thing the peer can read. */
void fws_websocket_fail(fws_websocket *websocket, uint16_t code, const char *reason);

/* The end: descriptor, timers, subscriptions. */
void fws_websocket_finish(fws_websocket *websocket);

/* Closes the descriptor of a finished websocket once no thread polls it. */
void fws_websocket_release_fd(fws_websocket *websocket);

/* Brings the loop's interest in line with what is wanted. */
void fws_websocket_update_watch(fws_websocket *websocket);

/* Has the loop report it again if there is anything to read (FWS_EDGE). */
void fws_websocket_watch_anew(fws_websocket *websocket);

/* ---- websocket_receive.c ---- */

typedef enum {
    FWS_PUMP_PROGRESS, /* something was read or decoded */
    FWS_PUMP_EMPTY,    /* the socket has nothing just now */
    FWS_PUMP_FULL,     /* the inbox has no room */
    FWS_PUMP_ENDED,    /* finished */
} fws_pump_result;

/* How many messages reading may put into the inbox. A handler that waits for a message wants one:
 * what came after it is decoded when it asks for the next, so that it can still answer a message
 * that the peer's close frame follows at once. */
#define ONE_MESSAGE 1

/* Besides `limit` messages, as many bytes as one message may have: what waits for a handler that is
 * away costs no more than what is being received. */
bool fws_websocket_inbox_is_full(const fws_websocket *websocket, uint32_t limit);

/* One step of reading: what was left over first, else one recv, without waiting. */
fws_pump_result fws_websocket_pump(fws_websocket *websocket, uint32_t limit);

/* What a recv has brought. `leading`: by the leader of the crew. */
void fws_websocket_decode_received(fws_websocket *websocket, uint8_t *buffer, size_t received,
                                   uint32_t limit, bool leading);

/* Decodes what is left over, as far as the inbox has room. */
void fws_websocket_decode_undecoded(fws_websocket *websocket);

/* The loop thread reads from now on, if the inbox has room. */
void fws_websocket_adopt(fws_websocket *websocket);

/* The peer is gone, but its close frame may still lie in our receive buffer. Not within decoding.
 */
void fws_websocket_read_and_finish(fws_websocket *websocket);

/* ---- websocket_wait.c ---- */

/* One round of waiting for anything to change; reads if nobody else does. Releases the lock while
 * it waits. */
fws_status fws_websocket_wait_once(fws_websocket *websocket, fws_ns deadline);

/* The handler goes away: if it stays away, the loop thread is to adopt the reading. */
void fws_websocket_stop_reading(fws_websocket *websocket);

/* ---- websocket_ping.c ---- */

void fws_websocket_accept_pong(fws_websocket *websocket, const void *data, size_t length);

/* ---- websocket_send.c ---- */

/* Queues a buffer and takes over its reference, also when that fails; false when there is no
 * memory, for the buffer (NULL) or for its place. */
bool fws_websocket_queue(fws_websocket *websocket, fws_buffer *buffer);

/* Queues bytes for the wire; takes over nothing. False when there is no memory. */
bool fws_websocket_push(fws_websocket *websocket, const void *data, size_t size);

/* Tells the engine's counters what has been sent and what is queued. */
void fws_websocket_count(fws_websocket *websocket);

/* Writes what the socket takes; what it does not take must get on within send_timeout. */
void fws_websocket_flush(fws_websocket *websocket);

/* The same, and the loop watches for room if something is left. */
void fws_websocket_write(fws_websocket *websocket);

/* Writes what a handler has sent and left to be written when it comes back; see cork.h. */
void fws_websocket_uncork(fws_websocket *websocket);

/* ---- websocket_time.c ---- */

/* Arms the timer for the earliest of the websocket's deadlines. */
void fws_websocket_schedule(fws_websocket *websocket);

/* ---- called by the loop thread, without the lock ---- */

void fws_websocket_on_ready(fws_websocket *websocket, uint8_t ready);
void fws_websocket_on_timer(fws_websocket *websocket);
void fws_websocket_on_flush(fws_websocket *websocket);

#endif
