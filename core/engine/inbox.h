/* Messages that have arrived and that the handler has not taken yet, oldest first.
 *
 * Threads: no lock of its own; the websocket that owns it protects it with its own lock.
 */
#ifndef FWS_ENGINE_INBOX_H
#define FWS_ENGINE_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t opcode; /* FWS_OPCODE_TEXT or FWS_OPCODE_BINARY */
    size_t length;
    uint8_t *data; /* NULL when the message is empty */
    void *block;   /* malloc'd: where `data` lies; at its beginning, if that was pushed with it */
} fws_message;

void fws_message_free(fws_message *message);

typedef struct fws_inbox_entry fws_inbox_entry;

typedef struct {
    fws_inbox_entry *first;
    fws_inbox_entry *last;
    uint32_t count;
    size_t bytes; /* of all messages */
} fws_inbox;

void fws_inbox_init(fws_inbox *inbox);
void fws_inbox_clear(fws_inbox *inbox);

/* Pushes a copy; false when there is no memory. One block is all that it takes. */
bool fws_inbox_push_copy(fws_inbox *inbox, uint8_t opcode, const void *data, size_t length);

/* Takes over message->data, which is malloc'd, or leaves it to the caller and returns false when
 * there is no memory.
 */
bool fws_inbox_push(fws_inbox *inbox, const fws_message *message);

/* False when it is empty. The caller frees the message then. */
bool fws_inbox_pop(fws_inbox *inbox, fws_message *message);

#endif
