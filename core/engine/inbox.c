#include "inbox.h"

#include <stdlib.h>

struct fws_inbox_entry {
    fws_inbox_entry *next;
    fws_message message;
};

void fws_message_free(fws_message *message)
{
    free(message->data);
    message->data = NULL;
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

bool fws_inbox_push(fws_inbox *inbox, const fws_message *message)
{
    fws_inbox_entry *entry = malloc(sizeof *entry);
    if (entry == NULL)
        return false;
    entry->next = NULL;
    entry->message = *message;
    if (inbox->last)
        inbox->last->next = entry;
    else
        inbox->first = entry;
    inbox->last = entry;
    inbox->count++;
    inbox->bytes += message->length;
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
    free(entry);
    return true;
}
