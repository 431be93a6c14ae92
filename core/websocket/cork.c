#include "cork.h"

#define QUIET_LOOKS 50
#define NOW 1 /* earlier than any time that the clock gives: the next look is at once */

void fws_cork_init(fws_cork *cork)
{
    *cork = (fws_cork){.patience = FWS_CORK_PATIENCE};
}

bool fws_cork_push(fws_cork *cork, fws_work_link *flush)
{
    flush->next = cork->first;
    cork->first = flush;
    if (cork->look_at != 0)
        return false;
    cork->look_at = fws_clock_now() + cork->patience;
    return true;
}

void fws_cork_hurry(fws_cork *cork)
{
    cork->look_at = NOW;
}

fws_work_link *fws_cork_look(fws_cork *cork)
{
    if (cork->look_at == 0)
        return NULL;
    fws_ns now = fws_clock_now();
    if (now < cork->look_at)
        return NULL;
    fws_work_link *list = fws_cork_remove_all(cork);
    cork->quiet = list == NULL ? cork->quiet + 1 : 0;
    cork->look_at = cork->quiet < QUIET_LOOKS ? now + cork->patience : 0;
    return list;
}

fws_work_link *fws_cork_remove_all(fws_cork *cork)
{
    fws_work_link *list = cork->first;
    cork->first = NULL;
    return list;
}
