/* Which sends of a handler wait until it comes back for the next message, see cork.h: those of one
 * that came back in time FWS_QUICK_RETURNS times in a row, and is not waiting just now.
 *
 * Threads: the websocket's lock protects the fields, which no other file touches. A websocket that
 * is corked has `flush_queued` set: it is in the list of fws_cork, which holds a reference to it.
 */
#ifndef FWS_WEBSOCKET_CORKING_H
#define FWS_WEBSOCKET_CORKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    bool corked;
    uint8_t quick_returns; /* up to FWS_QUICK_RETURNS */
} fws_corking;

/* Is a frame of so many bytes to wait? */
bool fws_corking_should_cork(const fws_websocket *websocket, size_t size);

/* What is queued waits for the handler, or for the loop's look at those that stay away. */
void fws_corking_cork(fws_websocket *websocket);

/* The handler comes for a message: writes what has waited for it. */
void fws_corking_note_return(fws_websocket *websocket);

/* Writes what has waited; also before something that may not. */
void fws_corking_write(fws_websocket *websocket);

/* Something is queued that may not wait: true when the loop has been told to look now. */
bool fws_corking_expire(fws_websocket *websocket);

/* The loop looks at the websocket, which is in no list any more, and writes what it finds next. */
void fws_corking_note_absence(fws_websocket *websocket);

/* Waits for nobody any more. True when it has waited: then it was its handler that wrote last. */
bool fws_corking_clear(fws_websocket *websocket);

#endif
