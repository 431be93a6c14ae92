#include "budget.h"

void fws_budget_charge(fws_budget *budget, size_t bytes)
{
    size_t steps = bytes / FWS_BUDGET_STEP;
    budget->unlooked += 1 + (uint32_t)(steps < FWS_BUDGET_LOOK ? steps : FWS_BUDGET_LOOK);
    if (++budget->messages >= FWS_BUDGET_MESSAGES)
        budget->spent = true;
    if (budget->unlooked < FWS_BUDGET_LOOK)
        return;
    budget->unlooked = 0;
    fws_ns now = fws_clock_now();
    if (budget->since == 0)
        budget->since = now;
    else if (now - budget->since >= (budget->shared ? FWS_BUDGET_SHARED_TIME : FWS_BUDGET_TIME))
        budget->spent = true;
}

void fws_budget_renew(fws_budget *budget)
{
    budget->since = 0;
    if (budget->spent && budget->shared > 0) {
        budget->shared--;
        budget->since = fws_clock_now();
    }
    budget->messages = budget->unlooked = 0;
    budget->spent = false;
}
