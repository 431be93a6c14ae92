#include "computing.h"

#include "../io/os.h"
#include "../tuning.h"

void fws_computing_init(fws_computing *computing)
{
    *computing = (fws_computing){.first = NULL};
}

void fws_computing_begin(fws_computing *computing, fws_computing_entry *entry, bool known_fast)
{
    *entry = (fws_computing_entry){.next = computing->first,
                                   .previous = &computing->first,
                                   .thread = pthread_self(),
                                   .used = fws_os_processor_time(pthread_self())};
    if (entry->next != NULL)
        entry->next->previous = &entry->next;
    computing->first = entry;
    if (!known_fast)
        computing->begun_at = fws_clock_now();
}

void fws_computing_end(fws_computing *computing, fws_computing_entry *entry)
{
    *entry->previous = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
    if (entry->grew_at != 0 && computing->computing > 0)
        computing->computing--;
}

/* Was one seen to compute in the last FWS_SUSPICIOUS_FOR? */
static bool seen_lately(const fws_computing *computing, fws_ns now)
{
    return computing->seen_at != 0 && now - computing->seen_at < FWS_SUSPICIOUS_FOR;
}

static bool computes(fws_computing_entry *entry, fws_ns now)
{
    fws_ns used = fws_os_processor_time(entry->thread);
    if (used - entry->used >= FWS_COMPUTING_SEEN) {
        entry->used = used;
        entry->grew_at = now;
    }
    if (entry->grew_at != 0 && now - entry->grew_at > FWS_COMPUTING_FORGOTTEN)
        entry->grew_at = 0;
    return entry->grew_at != 0;
}

static void look(fws_computing *computing, fws_ns now)
{
    computing->looked_at = now;
    computing->computing = 0;
    for (fws_computing_entry *entry = computing->first; entry != NULL; entry = entry->next)
        computing->computing += computes(entry, now);
    if (computing->computing > 0)
        computing->seen_at = now;
}

size_t fws_computing_room(fws_computing *computing)
{
    fws_ns now = fws_clock_now();
    if (computing->first != NULL && now - computing->looked_at >= FWS_COMPUTING_LOOK)
        look(computing, now);
    if (!seen_lately(computing, now))
        return SIZE_MAX;
    if (computing->computing >= FWS_COMPUTING_MOST &&
        now - computing->begun_at < FWS_COMPUTING_PAUSE)
        return 0;
    return FWS_COMPUTING_MOST;
}
