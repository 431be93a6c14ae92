/* Messages that have arrived and that the handler has not received yet, oldest first.
 *
 * The messages of one read are stored together in blocks. A block is allocated with room for the
 * messages that the same read may still contain, and is freed with the last of its messages.
 *
 * Threads: no lock of its own; the lock of the websocket that owns the inbox protects it. A popped
 * message may be freed by any thread, without the lock. Memory: the inbox owns a message until it
 * is popped.
 */
#ifndef FWS_WEBSOCKET_INBOX_H
#define FWS_WEBSOCKET_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_inbox_block fws_inbox_block;

typedef struct {
    uint8_t opcode; /* FWS_OPCODE_TEXT or FWS_OPCODE_BINARY */
    size_t length;
    uint8_t *data;          /* NULL when the message is empty */
    fws_inbox_block *block; /* where `data` lies; NULL: it is malloc'd */
    bool borrowed;          /* given out by fws_inbox_next: `data` must not be freed */
} fws_message;

void fws_message_free(fws_message *message);

typedef struct {
    fws_inbox_block *first;
    fws_inbox_block *last;
    uint32_t count;  /* of messages */
    uint32_t pushed; /* of messages, in all; begins anew at 0 after 2^32 of them */
    size_t bytes;    /* of all messages */
} fws_inbox;

void fws_inbox_init(fws_inbox *inbox);
void fws_inbox_clear(fws_inbox *inbox);

/* Pushes a copy; false when there is no memory. `more`: how many bytes are likely to be pushed
 * soon, before anything is popped. */
bool fws_inbox_push_copy(fws_inbox *inbox, uint8_t opcode, const void *data, size_t length,
                         size_t more);

/* Takes over message->data, which is malloc'd. False when there is no memory: it stays the
 * caller's. */
bool fws_inbox_push(fws_inbox *inbox, const fws_message *message);

/* Removes the oldest message, which the caller frees. False when the inbox is empty. */
bool fws_inbox_pop(fws_inbox *inbox, fws_message *message);

/* Moves all messages to `taken`, which is overwritten. */
void fws_inbox_take(fws_inbox *inbox, fws_inbox *taken);

/* Moves the messages of `rest` in front of those of `inbox`; `rest` is empty afterwards.
 * Messages of `rest` may have been given out by fws_inbox_next before. */
void fws_inbox_prepend(fws_inbox *inbox, fws_inbox *rest);

/* As fws_inbox_pop, for a thread that takes all messages, until this returns false. The caller
 * frees each message before the next call; its data may be invalid after that. */
bool fws_inbox_next(fws_inbox *inbox, fws_message *message);

#endif
