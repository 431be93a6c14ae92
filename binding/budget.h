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
 * A budget is spent after FWS_SLICE. Where others are known to wait it is spent after
 * FWS_SHARED_SLICE, until that has happened FWS_PROVEN times without another waiting thread.
 *
 * Threads: each has a budget of its own.
 */
#ifndef FWS_BINDING_BUDGET_H
#define FWS_BINDING_BUDGET_H

#include "../core/fws.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t messages;      /* charged to this budget: FWS_SLICE_MESSAGES at most */
    uint32_t unmeasured;    /* of them, since the clock was read: FWS_SLICE_LOOK at most */
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
    budget->short_budgets = FWS_PROVEN;
}

#endif
