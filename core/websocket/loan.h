/* Bytes of a large message that stay where they are, and are sent from there: the sender lends them
 * to the outbox, and gets them back when they are sent or given up. So one message of 64 MiB to
 * many slow readers is in memory once.
 *
 * A sender that is a thread waits inside fws_websocket_send. For one that must not wait there is
 * fws_websocket_lend; it keeps the bytes until the loan is ended.
 *
 * Threads: any; the fields are protected by the websocket's lock. The bytes are read under that
 * lock only, but by fws_websocket_end_loan, whose caller owns them.
 */
#ifndef FWS_WEBSOCKET_LOAN_H
#define FWS_WEBSOCKET_LOAN_H

#include "websocket.h"

#include "../memory/buffer.h"

struct fws_loan {
    fws_buffer *buffer; /* in the outbox as long as it is not `gone`; NULL: nothing is lent */
    bool released;
};

/* ---- for send.c, with the websocket's lock ---- */

/* Queues a copy of the header (its size may be 0) and lends the payload. FWS_OK or FWS_NO_MEMORY.
 */
fws_status fws_loan_queue(fws_websocket *websocket, fws_loan *loan, const uint8_t *header,
                          size_t header_size, const uint8_t *data, size_t size);

/* Sleeps until it is gone. FWS_CLOSED: perhaps not all of it was sent. */
fws_status fws_loan_wait(fws_websocket *websocket, const fws_loan *loan);

#endif
