#include "run_queue.h"

#include "websocket.h"

void fws_run_queue_init(fws_run_queue *due)
{
    *due = (fws_run_queue){.last = &due->first};
}

void fws_run_queue_push(fws_run_queue *due, fws_websocket *websocket)
{
    websocket->next_queued = NULL;
    *due->last = websocket;
    due->last = &websocket->next_queued;
    due->count++;
}

void fws_run_queue_move(fws_run_queue *from, fws_run_queue *to)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->count += from->count;
    fws_run_queue_init(from);
}

fws_websocket *fws_run_queue_pop(fws_run_queue *due)
{
    fws_websocket *first = due->first;
    if (first == NULL)
        return NULL;
    due->first = first->next_queued;
    if (due->first == NULL)
        due->last = &due->first;
    due->count--;
    return first;
}
