#include "cork.h"

#include "../tuning.h"

#define NOW 1 /* earlier than any time that the clock gives: the next look is at once */

void fws_cork_init(fws_cork *cork)
{
    *cork = (fws_cork){.patience = FWS_LOOK_INTERVAL};
}

bool fws_cork_push(fws_cork *cork, fws_work_link *flush)
{
    flush->next = cork->first;
    cork->first = flush;
    if (cork->flush_at != 0)
        return false;
    cork->flush_at = fws_clock_now() + cork->patience;
    return true;
}

void fws_cork_expire(fws_cork *cork)
{
    cork->flush_at = NOW;
}

fws_work_link *fws_cork_remove_overdue(fws_cork *cork)
{
    if (cork->flush_at == 0)
        return NULL;
    fws_ns now = fws_clock_now();
    if (now < cork->flush_at)
        return NULL;
    fws_work_link *list = fws_cork_remove_all(cork);
    cork->empty_rounds = list == NULL ? cork->empty_rounds + 1 : 0;
    cork->flush_at = cork->empty_rounds < FWS_QUIET_LOOKS ? now + cork->patience : 0;
    return list;
}

fws_work_link *fws_cork_remove_all(fws_cork *cork)
{
    fws_work_link *list = cork->first;
    cork->first = NULL;
    return list;
}
