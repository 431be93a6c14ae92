#include "budget.h"

void fws_budget_charge(fws_budget *budget, size_t bytes)
{
    budget->unmeasured = bytes > FWS_JOIN_MAX ? FWS_SLICE_LOOK : budget->unmeasured + 1;
    if (++budget->messages >= FWS_SLICE_MESSAGES)
        budget->spent = true;
    if (budget->unmeasured < FWS_SLICE_LOOK)
        return;
    budget->unmeasured = 0;
    fws_ns now = fws_clock_now();
    if (budget->since == 0)
        budget->since = now;
    else if (now - budget->since >= (budget->short_budgets ? FWS_SHARED_SLICE : FWS_SLICE))
        budget->spent = true;
}

void fws_budget_renew(fws_budget *budget)
{
    budget->since = 0;
    if (budget->spent && budget->short_budgets > 0) {
        budget->short_budgets--;
        budget->since = fws_clock_now();
    }
    budget->messages = budget->unmeasured = 0;
    budget->spent = false;
}
