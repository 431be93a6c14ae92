#include "cork.h"

#include "websocket.h"

#define QUIET_LOOKS 50
#define NOW 1 /* a time that is over */

void fws_cork_init(fws_cork *cork)
{
    *cork = (fws_cork){.patience = FWS_CORK_PATIENCE};
}

bool fws_cork_push(fws_cork *cork, fws_websocket *websocket)
{
    websocket->next_flush = cork->first;
    cork->first = websocket;
    if (cork->look_at != 0)
        return false;
    cork->look_at = fws_clock_now() + cork->patience;
    return true;
}

void fws_cork_hurry(fws_cork *cork)
{
    cork->look_at = NOW;
}

fws_websocket *fws_cork_look(fws_cork *cork)
{
    if (cork->look_at == 0)
        return NULL;
    fws_ns now = fws_clock_now();
    if (now < cork->look_at)
        return NULL;
    fws_websocket *list = fws_cork_remove_all(cork);
    cork->quiet = list == NULL ? cork->quiet + 1 : 0;
    cork->look_at = cork->quiet < QUIET_LOOKS ? now + cork->patience : 0;
    return list;
}

fws_websocket *fws_cork_remove_all(fws_cork *cork)
{
    fws_websocket *list = cork->first;
    cork->first = NULL;
    return list;
}
