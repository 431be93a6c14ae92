/* Decides whether what a handler sends is corked (cork.h). It is when the handler has called
 * receive soon after it sent FWS_PROVEN times in a row, and does not wait in receive now.
 *
 * Threads: every function is called with the websocket's lock held, which protects the fields; no
 * other file accesses them. Invariant: a corked websocket has `flush_queued` set, as it is in the
 * list of fws_cork, which holds a reference to it.
 */
#ifndef FWS_WEBSOCKET_CORKING_H
#define FWS_WEBSOCKET_CORKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    bool corked;
    uint8_t quick_returns; /* up to FWS_PROVEN */
} fws_corking;

/* Is a frame of `size` bytes to be corked? */
bool fws_corking_should_cork(const fws_websocket *websocket, size_t size);

/* Corks the websocket: what is queued is written when the handler calls receive, or by the loop
 * thread when it does not. */
void fws_corking_cork(fws_websocket *websocket);

/* The handler has called receive: writes what is corked. */
void fws_corking_note_return(fws_websocket *websocket);

/* Writes what is corked. To be called before something is sent that must not wait. */
void fws_corking_write(fws_websocket *websocket);

/* Something was queued that must not wait. True: the websocket was corked, and the loop thread
 * will write it at once. */
bool fws_corking_expire(fws_websocket *websocket);

/* The loop thread has removed the websocket from the list and writes it next. If something was
 * still corked, the handler has not called receive in time, and its next sends are not corked. */
void fws_corking_note_absence(fws_websocket *websocket);

/* The websocket is not corked any more. True when it was. */
bool fws_corking_clear(fws_websocket *websocket);

#endif
