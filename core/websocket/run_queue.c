#include "run_queue.h"

void fws_run_queue_init(fws_run_queue *queue)
{
    *queue = (fws_run_queue){.last = &queue->first};
}

void fws_run_queue_push(fws_run_queue *queue, fws_work_link *link)
{
    link->next = NULL;
    *queue->last = link;
    queue->last = &link->next;
    queue->count++;
}

void fws_run_queue_push_front(fws_run_queue *queue, fws_work_link *link)
{
    link->next = queue->first;
    if (queue->first == NULL)
        queue->last = &link->next;
    queue->first = link;
    queue->count++;
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

fws_work_link *fws_run_queue_pop(fws_run_queue *queue)
{
    fws_work_link *first = queue->first;
    if (first == NULL)
        return NULL;
    queue->first = first->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    queue->count--;
    return first;
}
