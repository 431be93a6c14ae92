/* How much a thread sends and receives before it lets others run.
 *
 * Who never has to wait, because its peer is fast, keeps the GIL, and a greenlet or a coroutine its
 * event loop. So each message is charged to a budget; when that is spent, the thread lets others
 * run before the next message, and begins a new one, as it does after every wait.
 *
 * The budget is the thread's, and not a websocket's: a loop that sends one message to each of a
 * thousand peers holds up as much as one that sends a thousand to one peer.
 *
 * Threads: each has its own.
 */
#ifndef FWS_BINDING_BUDGET_H
#define FWS_BINDING_BUDGET_H

#include "../core/fws.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limits. After each budget a thread pauses for about 60 us, so half the time costs a peer that
 * floods us a twentieth more of its messages; with twice the time, the first of the dozen times
 * that a page needs the GIL may come 1 ms later. tests/soak/test_flood.py measures both. */
#define FWS_BUDGET_MESSAGES 1024
#define FWS_BUDGET_TIME FWS_NS_PER_MS

/* The limit where others are known to wait, so that a page, which needs the GIL or the event loop a
 * dozen times, waits for about a millisecond in all. */
#define FWS_BUDGET_SHARED_TIME (FWS_NS_PER_MS / 10)
/* For so many budgets after others have last been seen. */
#define FWS_BUDGET_SHARED 16

/* The clock is looked at once in so many messages; a message counts once more for each
 * FWS_BUDGET_STEP bytes. */
#define FWS_BUDGET_LOOK 8
#define FWS_BUDGET_STEP 1024

typedef struct {
    uint32_t messages;      /* charged to it */
    uint32_t unmeasured;    /* since the clock was looked at, as FWS_BUDGET_LOOK counts */
    uint32_t short_budgets; /* so many budgets yet have the shorter limit */
    bool spent;
    fws_ns
        since; /* when it was begun, as far as that is known: the first look at the clock; or 0 */
} fws_budget;  /* all zero at first */

/* A message was sent or received without waiting. */
void fws_budget_charge(fws_budget *budget, size_t bytes);

/* The thread has waited, or let others run: a new one. */
void fws_budget_renew(fws_budget *budget);

/* Others do wait for what this thread has. */
static inline void fws_budget_shorten(fws_budget *budget)
{
    budget->short_budgets = FWS_BUDGET_SHARED;
}

#endif
