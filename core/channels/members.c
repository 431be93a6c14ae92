/* The members of one channel: a list in the order of joining, and, of a large channel, the set of
 * their ids, with which those of several channels are counted. */
#include "table_internal.h"

/* As many members as the set has words, so that it takes at most 8 bytes for each; and to count
 * fewer than a word has bits, one by one, takes no longer. */
static bool is_worth_ids(const fws_table *table, const fws_channel *channel)
{
    return channel->members >= FWS_BITMAP_WORD &&
           channel->members >= table->id_limit / FWS_BITMAP_WORD;
}

static void collect_ids(fws_table *table, fws_channel *channel)
{
    if (!fws_bitmap_reserve(&channel->ids, table->id_limit))
        return; /* they are counted one by one */
    for (fws_subscription *s = channel->first_member; s; s = s->next_member)
        fws_bitmap_add(&channel->ids, s->subscriber->id);
}

void fws_members_add(fws_table *table, fws_subscription *subscription)
{
    fws_channel *channel = subscription->channel;
    subscription->is_member = true;
    subscription->next_member = NULL;
    subscription->previous_member = channel->last_member;
    if (channel->last_member)
        channel->last_member->next_member = subscription;
    else
        channel->first_member = subscription;
    channel->last_member = subscription;
    channel->members++;
    channel->windows |= (uint16_t)(1u << subscription->subscriber->window_bits);
    uint32_t id = subscription->subscriber->id;
    if (!fws_channel_has_ids(channel)) {
        if (is_worth_ids(table, channel))
            collect_ids(table, channel);
    } else if (fws_bitmap_reserve(&channel->ids, (size_t)id + 1)) {
        fws_bitmap_add(&channel->ids, id);
    } else {
        fws_bitmap_clear(&channel->ids);
    }
}

void fws_members_remove(fws_table *table, fws_subscription *subscription)
{
    fws_channel *channel = subscription->channel;
    if (table->backlog.next_member == subscription)
        table->backlog.next_member = subscription->next_member;
    if (subscription->previous_member)
        subscription->previous_member->next_member = subscription->next_member;
    else
        channel->first_member = subscription->next_member;
    if (subscription->next_member)
        subscription->next_member->previous_member = subscription->previous_member;
    else
        channel->last_member = subscription->previous_member;
    subscription->is_member = false;
    if (--channel->members == 0)
        channel->windows = 0;
    fws_bitmap_remove(&channel->ids, subscription->subscriber->id);
    if (channel->members < FWS_BITMAP_WORD / 4 || channel->members < channel->ids.count / 4)
        fws_bitmap_clear(&channel->ids);
}
