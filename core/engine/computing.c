#include "computing.h"

#include "../io/os.h"
#include "../tuning.h"

void fws_computing_init(fws_computing *computing)
{
    *computing = (fws_computing){.first = NULL};
}

void fws_computing_begin(fws_computing *computing, fws_computing_entry *entry, pthread_t thread,
                         bool known_fast)
{
    *entry = (fws_computing_entry){.next = computing->first,
                                   .previous = &computing->first,
                                   .thread = thread,
                                   .known_fast = known_fast,
                                   .used = fws_os_processor_time(thread)};
    if (entry->next != NULL)
        entry->next->previous = &entry->next;
    computing->first = entry;
    computing->last[known_fast] = entry;
    computing->begun_at[known_fast] = fws_clock_now();
    computing->waited[known_fast] = false;
}

void fws_computing_note_wait(fws_computing *computing, fws_ns waited)
{
    if (waited >= FWS_COMPUTING_SEEN)
        computing->waited[false] = computing->waited[true] = true;
}

void fws_computing_end(fws_computing *computing, fws_computing_entry *entry)
{
    if (entry->previous == NULL)
        return;
    *entry->previous = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
    if (computing->last[entry->known_fast] == entry)
        computing->last[entry->known_fast] = NULL;
    uint32_t *count = &computing->computing[entry->known_fast];
    if (entry->grew_at != 0 && *count > 0)
        (*count)--;
    entry->previous = NULL;
}

/* Was one seen to compute in the last FWS_SUSPICIOUS_FOR? */
static bool seen_lately(const fws_computing *computing, fws_ns now)
{
    return computing->seen_at != 0 && now - computing->seen_at < FWS_SUSPICIOUS_FOR;
}

static bool computes(fws_computing_entry *entry, fws_ns now, fws_ns forgotten)
{
    fws_ns used = fws_os_processor_time(entry->thread);
    if (used - entry->used >= FWS_COMPUTING_SEEN) {
        entry->used = used;
        entry->grew_at = now;
    }
    if (entry->grew_at != 0 && now - entry->grew_at > forgotten)
        entry->grew_at = 0;
    return entry->grew_at != 0;
}

static void look(fws_computing *computing, fws_ns now)
{
    /* Each waits for the GIL while all the others have it. */
    uint32_t before = computing->computing[false] + computing->computing[true];
    fws_ns forgotten =
        FWS_COMPUTING_FORGOTTEN + FWS_COMPUTING_FORGOTTEN * before / FWS_COMPUTING_MOST;
    computing->looked_at = now;
    computing->computing[false] = computing->computing[true] = 0;
    for (fws_computing_entry *entry = computing->first; entry != NULL; entry = entry->next)
        computing->computing[entry->known_fast] += computes(entry, now, forgotten);
    if (computing->computing[false] + computing->computing[true] > 0)
        computing->seen_at = now;
}

/* How long to wait for the one that began last. */
static fws_ns pause(uint32_t count)
{
    uint32_t beyond = count - FWS_COMPUTING_MOST;
    return FWS_COMPUTING_PAUSE << (beyond < FWS_COMPUTING_DOUBLED ? beyond : FWS_COMPUTING_DOUBLED);
}

size_t fws_computing_room(fws_computing *computing, bool known_fast)
{
    fws_ns now = fws_clock_now();
    if (computing->first != NULL && now - computing->looked_at >= FWS_COMPUTING_LOOK)
        look(computing, now);
    if (!seen_lately(computing, now))
        return SIZE_MAX;
    uint32_t count = computing->computing[true] + (known_fast ? 0 : computing->computing[false]);
    if (count >= FWS_COMPUTING_MOST && computing->last[known_fast] != NULL &&
        computing->waited[known_fast] && now - computing->begun_at[known_fast] < pause(count))
        return 0;
    return FWS_COMPUTING_MOST;
}
