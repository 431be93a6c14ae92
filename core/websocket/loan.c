#include "loan.h"

#include "internal.h"

#include <stdlib.h>
#include <string.h>

fws_status fws_loan_queue(fws_websocket *websocket, fws_loan *loan, const uint8_t *header,
                          size_t header_size, const uint8_t *data, size_t size)
{
    fws_buffer *first = NULL, *second;
    if (!fws_outbox_reserve(&websocket->outbox, 2))
        return FWS_NO_MEMORY;
    if (header_size > 0 && (first = fws_buffer_join(header, header_size, NULL, 0)) == NULL)
        return FWS_NO_MEMORY;
    loan->released = false;
    second = fws_buffer_borrow(data, size, &loan->released);
    if (second == NULL) {
        if (first)
            fws_buffer_drop(first);
        return FWS_NO_MEMORY;
    }
    second->continues = true;
    if (first)
        fws_outbox_push(&websocket->outbox, first);
    fws_outbox_push(&websocket->outbox, second);
    loan->buffer = second;
    return FWS_OK;
}

/* The result of a loan whose bytes are no longer needed. */
static fws_status outcome(const fws_websocket *websocket)
{
    bool alive = fws_websocket_is_writable(websocket) || websocket->state == FWS_STATE_CLOSING;
    return alive ? FWS_OK : FWS_CLOSED;
}

fws_status fws_loan_wait(fws_websocket *websocket, const fws_loan *loan)
{
    while (!loan->released)
        fws_websocket_sleep_until_changed(websocket);
    return outcome(websocket);
}

fws_status fws_websocket_poll_loan(fws_websocket *websocket, fws_loan *loan)
{
    fws_websocket_lock(websocket);
    bool over = loan->released || websocket->state == FWS_STATE_CLOSED; /* as in a forked child */
    fws_status status = over ? outcome(websocket) : FWS_WOULD_BLOCK;
    if (status == FWS_WOULD_BLOCK)
        websocket->notify_on_change = websocket->notifier != NULL;
    fws_websocket_unlock(websocket);
    return status;
}

/* Replaces the lent bytes in the outbox by a copy of those that are not sent yet. The copy is
 * made without the lock; the outbox goes on sending the lent bytes meanwhile. */
static void replace_with_copy(fws_websocket *websocket, fws_buffer *buffer)
{
    size_t sent = fws_outbox_sent_of(&websocket->outbox, buffer);
    fws_buffer_keep(buffer);
    fws_websocket_unlock(websocket);
    fws_buffer *copy = fws_buffer_join(buffer->bytes + sent, buffer->size - sent, NULL, 0);
    fws_websocket_lock(websocket);
    if (copy != NULL) {
        copy->continues = true;
        if (!fws_outbox_replace(&websocket->outbox, buffer, copy, sent))
            fws_buffer_drop(copy); /* all of it has been sent or dropped meanwhile */
    } else if (atomic_load_explicit(&buffer->references, memory_order_acquire) > 1) {
        fws_websocket_finish(websocket); /* a part of the frame was sent, and the rest cannot be */
    }
    fws_buffer_drop(buffer);
}

void fws_websocket_end_loan(fws_websocket *websocket, fws_loan *loan)
{
    fws_websocket_lock(websocket);
    if (!loan->released && websocket->state != FWS_STATE_CLOSED)
        replace_with_copy(websocket, loan->buffer);
    fws_websocket_unlock(websocket);
    free(loan);
}
