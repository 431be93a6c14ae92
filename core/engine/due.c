#include "due.h"

#include "websocket.h"

void fws_due_init(fws_due *due)
{
    *due = (fws_due){.last = &due->first};
}

void fws_due_push(fws_due *due, fws_websocket *websocket)
{
    websocket->next_due = NULL;
    *due->last = websocket;
    due->last = &websocket->next_due;
    due->count++;
}

void fws_due_move(fws_due *from, fws_due *to)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->count += from->count;
    fws_due_init(from);
}

fws_websocket *fws_due_pop(fws_due *due)
{
    fws_websocket *first = due->first;
    if (first == NULL)
        return NULL;
    due->first = first->next_due;
    if (due->first == NULL)
        due->last = &due->first;
    due->count--;
    return first;
}
