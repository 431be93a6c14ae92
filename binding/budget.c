#include "budget.h"

void fws_budget_charge(fws_budget *budget, size_t bytes)
{
    size_t steps = bytes / FWS_BUDGET_STEP;
    budget->unmeasured += 1 + (uint32_t)(steps < FWS_BUDGET_LOOK ? steps : FWS_BUDGET_LOOK);
    if (++budget->messages >= FWS_BUDGET_MESSAGES)
        budget->spent = true;
    if (budget->unmeasured < FWS_BUDGET_LOOK)
        return;
    budget->unmeasured = 0;
    fws_ns now = fws_clock_now();
    if (budget->since == 0)
        budget->since = now;
    else if (now - budget->since >=
             (budget->short_budgets ? FWS_BUDGET_SHARED_TIME : FWS_BUDGET_TIME))
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
