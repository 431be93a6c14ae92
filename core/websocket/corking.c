#include "internal.h"

bool fws_corking_should_cork(const fws_websocket *websocket, size_t size)
{
    return FWS_USE_CORK && websocket->corking.quick_returns == FWS_PROVEN &&
           websocket->pollers == 0 && !websocket->adopted &&
           !fws_websocket_is_read_by_loop(websocket) &&
           websocket->outbox.bytes + size <= FWS_SHORT_SEND;
}

void fws_corking_cork(fws_websocket *websocket)
{
    if (websocket->flush_queued || (websocket->watched & FWS_WRITABLE))
        return;
    websocket->flush_queued = websocket->corking.corked = true;
    fws_work_cork(websocket->work, &fws_websocket_keep(websocket)->flush);
}

void fws_corking_note_return(fws_websocket *websocket)
{
    fws_corking_write(websocket);
    if (websocket->corking.quick_returns < FWS_PROVEN)
        websocket->corking.quick_returns++;
}

void fws_corking_write(fws_websocket *websocket)
{
    if (websocket->corking.corked && websocket->outbox.count > 0)
        fws_websocket_write(websocket);
}

bool fws_corking_expire(fws_websocket *websocket)
{
    if (!fws_corking_clear(websocket)) /* it stays in the list of fws_cork */
        return false;
    fws_work_uncork(websocket->work);
    return true;
}

void fws_corking_note_absence(fws_websocket *websocket)
{
    if (websocket->corking.corked && websocket->outbox.count > 0)
        websocket->corking.quick_returns = 0; /* its handler has not called receive */
}

bool fws_corking_clear(fws_websocket *websocket)
{
    bool corked = websocket->corking.corked;
    websocket->corking.corked = false;
    return corked;
}
