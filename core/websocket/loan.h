/* The bytes of a large message that are not copied into the outbox: the sender lends them, and gets
 * them back when they are sent or dropped. So one message of 64 MiB to many slow readers is in
 * memory once.
 *
 * A sender on a thread waits inside fws_websocket_send. A sender that must not wait calls
 * fws_websocket_lend, and keeps the bytes as they are until it ends the loan.
 *
 * Threads: any; the websocket's lock protects the fields. The bytes are read with that lock held,
 * except by fws_websocket_end_loan, whose caller owns them. Memory: the loan and the bytes are the
 * sender's.
 */
#ifndef FWS_WEBSOCKET_LOAN_H
#define FWS_WEBSOCKET_LOAN_H

#include "websocket.h"

#include "../memory/buffer.h"

struct fws_loan {
    fws_buffer *buffer; /* in the outbox until it is `released`; NULL: nothing is lent */
    bool released;
};

/* ---- for send.c, with the websocket's lock ---- */

/* Queues a copy of the header (its size may be 0), and the payload itself. FWS_OK or
 * FWS_NO_MEMORY. */
fws_status fws_loan_queue(fws_websocket *websocket, fws_loan *loan, const uint8_t *header,
                          size_t header_size, const uint8_t *data, size_t size);

/* Sleeps until the payload is released. FWS_CLOSED: perhaps not all of it was sent. */
fws_status fws_loan_wait(fws_websocket *websocket, const fws_loan *loan);

#endif
