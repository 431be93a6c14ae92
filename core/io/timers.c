#include "timers.h"

#include <stdint.h>
#include <stdlib.h>

void fws_timer_init(fws_timer *timer)
{
    *timer = (fws_timer){.place = FWS_TIMER_UNARMED};
}

void fws_timers_init(fws_timers *timers)
{
    *timers = (fws_timers){0};
}

void fws_timers_clear(fws_timers *timers)
{
    free(timers->heap);
    fws_timers_init(timers);
}

bool fws_timers_reserve(fws_timers *timers, size_t count)
{
    if (count <= timers->capacity)
        return true;
    size_t capacity = timers->capacity ? timers->capacity : 1;
    while (capacity < count)
        capacity *= 2;
    fws_timer **heap = realloc(timers->heap, capacity * sizeof(fws_timer *));
    if (heap == NULL)
        return false;
    timers->heap = heap;
    timers->capacity = capacity;
    return true;
}

static void put(fws_timers *timers, size_t place, fws_timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void sift_up(fws_timers *timers, size_t place, fws_timer *timer)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (timers->heap[parent]->deadline <= timer->deadline)
            break;
        put(timers, place, timers->heap[parent]);
        place = parent;
    }
    put(timers, place, timer);
}

static void sift_down(fws_timers *timers, size_t place, fws_timer *timer)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= timers->count)
            break;
        if (child + 1 < timers->count &&
            timers->heap[child + 1]->deadline < timers->heap[child]->deadline)
            child++;
        if (timers->heap[child]->deadline >= timer->deadline)
            break;
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, timer);
}

void fws_timers_cancel(fws_timers *timers, fws_timer *timer)
{
    if (!fws_timer_armed(timer))
        return;
    size_t place = timer->place;
    timer->place = FWS_TIMER_UNARMED;
    fws_timer *moved = timers->heap[--timers->count];
    if (moved == timer)
        return;
    if (place > 0 && timers->heap[(place - 1) / 2]->deadline > moved->deadline)
        sift_up(timers, place, moved);
    else
        sift_down(timers, place, moved);
}

void fws_timers_arm(fws_timers *timers, fws_timer *timer, fws_ns deadline)
{
    fws_timers_cancel(timers, timer);
    timer->deadline = deadline;
    sift_up(timers, timers->count++, timer);
}

fws_ns fws_timers_next(const fws_timers *timers)
{
    return timers->count ? timers->heap[0]->deadline : FWS_FOREVER;
}

fws_timer *fws_timers_expired(fws_timers *timers, fws_ns now)
{
    if (timers->count == 0 || timers->heap[0]->deadline > now)
        return NULL;
    fws_timer *timer = timers->heap[0];
    fws_timers_cancel(timers, timer);
    return timer;
}
