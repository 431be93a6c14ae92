#include "inbox.h"

#include <stdlib.h>
#include <string.h>

struct fws_inbox_entry {
    fws_inbox_entry *next;
    fws_message message;
    uint8_t bytes[]; /* of a copy */
};

void fws_message_free(fws_message *message)
{
    free(message->block);
    message->data = message->block = NULL;
}

void fws_inbox_init(fws_inbox *inbox)
{
    *inbox = (fws_inbox){0};
}

void fws_inbox_clear(fws_inbox *inbox)
{
    fws_message message;
    while (fws_inbox_pop(inbox, &message))
        fws_message_free(&message);
}

static void append(fws_inbox *inbox, fws_inbox_entry *entry)
{
    entry->next = NULL;
    if (inbox->last)
        inbox->last->next = entry;
    else
        inbox->first = entry;
    inbox->last = entry;
    inbox->count++;
    inbox->bytes += entry->message.length;
}

bool fws_inbox_push_copy(fws_inbox *inbox, uint8_t opcode, const void *data, size_t length)
{
    fws_inbox_entry *entry = malloc(sizeof *entry + length);
    if (entry == NULL)
        return false;
    entry->message = (fws_message){.opcode = opcode, .length = length, .block = entry};
    if (length > 0)
        entry->message.data = memcpy(entry->bytes, data, length);
    append(inbox, entry);
    return true;
}

bool fws_inbox_push(fws_inbox *inbox, const fws_message *message)
{
    fws_inbox_entry *entry = malloc(sizeof *entry);
    if (entry == NULL)
        return false;
    entry->message = *message;
    entry->message.block = message->data;
    append(inbox, entry);
    return true;
}

bool fws_inbox_pop(fws_inbox *inbox, fws_message *message)
{
    fws_inbox_entry *entry = inbox->first;
    if (entry == NULL)
        return false;
    inbox->first = entry->next;
    if (inbox->first == NULL)
        inbox->last = NULL;
    inbox->count--;
    inbox->bytes -= entry->message.length;
    *message = entry->message;
    if (message->block != entry)
        free(entry);
    return true;
}
