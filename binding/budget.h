/* How much a thread sends and receives before it lets other threads, greenlets or coroutines run.
 *
 * A thread whose peer is fast never has to wait, and so never releases the GIL; a greenlet or a
 * coroutine never returns to its event loop. So each message is charged to a budget. When the
 * budget is spent, others run before the next message, and a new budget begins, as it does after
 * every wait.
 *
 * The budget belongs to the thread and not to a websocket, because a loop that sends one message to
 * each of a thousand peers takes as long as one that sends a thousand messages to one peer.
 *
 * Threads: each has a budget of its own.
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
    uint32_t messages;      /* messages charged to this budget */
    uint32_t unmeasured;    /* messages since the clock was read, as FWS_BUDGET_LOOK counts them */
    uint32_t short_budgets; /* how many further budgets have the shorter time limit */
    bool spent;
    fws_ns since; /* when the clock was first read for this budget; 0: not yet */
} fws_budget;     /* all zero at first */

/* A message was sent or received without waiting. */
void fws_budget_charge(fws_budget *budget, size_t bytes);

/* The thread has waited, or has let others run: a new budget begins. */
void fws_budget_renew(fws_budget *budget);

/* Others were seen to wait for the GIL or the event loop: the next budgets have the shorter time
 * limit. */
static inline void fws_budget_shorten(fws_budget *budget)
{
    budget->short_budgets = FWS_BUDGET_SHARED;
}

#endif
