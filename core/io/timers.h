/* Deadlines in a binary heap: insert, move and remove in O(log n), the earliest in O(1).
 *
 * A timer lies inside the object that it belongs to and knows its place in the heap, so cancelling
 * needs no search, and arming needs no memory beyond the heap's own array.
 *
 * Threads: no lock of its own; the lock of fws_work protects it. Memory: the heap owns its array
 * only; a timer must be cancelled before its object is freed.
 */
#ifndef FWS_IO_TIMERS_H
#define FWS_IO_TIMERS_H

#include "clock.h"

#include <stdbool.h>
#include <stddef.h>

#define FWS_TIMER_UNARMED SIZE_MAX

typedef struct {
    fws_ns deadline;
    size_t place; /* in the heap, or FWS_TIMER_UNARMED */
} fws_timer;

typedef struct {
    fws_timer **heap;
    size_t count;
    size_t capacity;
} fws_timers;

void fws_timer_init(fws_timer *timer);
static inline bool fws_timer_armed(const fws_timer *timer)
{
    return timer->place != FWS_TIMER_UNARMED;
}

void fws_timers_init(fws_timers *timers);
void fws_timers_clear(fws_timers *timers);

/* Makes room for `count` armed timers, so that arming cannot fail later. */
bool fws_timers_reserve(fws_timers *timers, size_t count);

/* Arms the timer or moves it to another deadline. There must be room. */
void fws_timers_arm(fws_timers *timers, fws_timer *timer, fws_ns deadline);
void fws_timers_cancel(fws_timers *timers, fws_timer *timer);

/* The earliest deadline, or FWS_FOREVER. */
fws_ns fws_timers_next(const fws_timers *timers);

/* Removes and returns a timer that is due at `now`; NULL when there is none. */
fws_timer *fws_timers_expired(fws_timers *timers, fws_ns now);

#endif
