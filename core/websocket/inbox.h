/* Messages that have arrived and that the handler has not taken yet, oldest first.
 *
 * Those that one read has brought lie together, in blocks: a block is made with room for what the
 * read may still hold, and is freed with the last of its messages.
 *
 * Threads: no lock of its own; the websocket that owns it protects it with its own lock. Messages
 * that were popped may be freed by any thread, without it.
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
    bool borrowed;          /* by fws_inbox_next: `data` is not to be freed */
} fws_message;

void fws_message_free(fws_message *message);

typedef struct {
    fws_inbox_block *first;
    fws_inbox_block *last;
    uint32_t count; /* of messages */
    size_t bytes;   /* of all messages */
} fws_inbox;

void fws_inbox_init(fws_inbox *inbox);
void fws_inbox_clear(fws_inbox *inbox);

/* Pushes a copy; false when there is no memory. `more`: how many bytes are likely to be pushed
 * soon, before anything is popped. */
bool fws_inbox_push_copy(fws_inbox *inbox, uint8_t opcode, const void *data, size_t length,
                         size_t more);

/* Takes over message->data, which is malloc'd, or leaves it to the caller and returns false when
 * there is no memory.
 */
bool fws_inbox_push(fws_inbox *inbox, const fws_message *message);

/* False when it is empty. The caller frees the message otherwise. */
bool fws_inbox_pop(fws_inbox *inbox, fws_message *message);

/* Puts all of `rest`, of which some may have been given out by fws_inbox_next, before what there
 * is; `rest` is empty afterwards. */
void fws_inbox_prepend(fws_inbox *inbox, fws_inbox *rest);

/* Same as fws_inbox_pop, for one thread that takes all there is, until it is told false: the
 * message, which is freed as well, may be valid until the next call only. */
bool fws_inbox_next(fws_inbox *inbox, fws_message *message);

#endif
