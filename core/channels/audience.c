/* Who is there: the number that publish() returns. Of one channel it is known; of several, the sets
 * of ids are joined, as a websocket that is in two of them counts once. */
#include "table_internal.h"

/* Is it a member, though it has ended? Then it is in fws_table.untidy, until that is tidied. When
 * very many end at once, some of them may still count. */
static size_t count_ended(const fws_table *table, const fws_channel *channel, bool *is_exact)
{
    size_t count = 0, steps = 0;
    for (const fws_subscriber *s = table->untidy; s; s = s->next_untidy) {
        if (++steps > FWS_TABLE_PIECE) {
            *is_exact = false;
            break;
        }
        const fws_subscription *found = fws_table_find_subscription(table, s, channel);
        count += found && found->is_member;
    }
    return count;
}

static size_t count_one(fws_table *table, const fws_dispatch *dispatch, bool *is_exact)
{
    const fws_channel *channel = dispatch->channels[0];
    size_t excluded = 0;
    for (size_t i = 0; i < dispatch->excluded_count; i++) {
        const fws_subscriber *s = dispatch->excluded[i];
        excluded += !s->ended && fws_table_find_subscription(table, s, channel) != NULL;
        *is_exact = *is_exact && (i + 1) % FWS_TABLE_PIECE != 0;
        fws_table_pause(table, i + 1);
    }
    size_t others = excluded + count_ended(table, channel, is_exact);
    return channel->members > others ? channel->members - others : 0;
}

/* Adds the ids of the members; false when there is no memory. */
static bool add_members(const fws_channel *channel, fws_bitmap *ids, size_t *steps)
{
    if (fws_channel_has_ids(channel)) {
        if (!fws_bitmap_reserve(ids, channel->ids.count * FWS_BITMAP_WORD))
            return false;
        fws_bitmap_add_all(ids, &channel->ids);
        *steps += 1 + channel->ids.count / FWS_BATCH;
        return true;
    }
    for (const fws_subscription *s = channel->first_member; s; s = s->next_member) {
        if (!fws_bitmap_reserve(ids, (size_t)s->subscriber->id + 1))
            return false;
        fws_bitmap_add(ids, s->subscriber->id);
        ++*steps;
    }
    ++*steps;
    return true;
}

static bool count_several(fws_table *table, const fws_dispatch *dispatch, fws_bitmap *ids,
                          size_t *count, bool *is_exact)
{
    size_t steps = 0;
    for (size_t i = 0; i < dispatch->count; i++) {
        if (!add_members(dispatch->channels[i], ids, &steps))
            return false;
        if (steps < 8 * (size_t)FWS_TABLE_PIECE) /* a step takes an eighth of others: some 25 ns */
            continue;
        steps = 0;
        *is_exact = false;
        fws_table_pause(table, 0);
    }
    for (size_t i = 0; i < dispatch->excluded_count; i++) {
        fws_bitmap_remove(ids, dispatch->excluded[i]->id);
        *is_exact = *is_exact && (i + 1) % FWS_TABLE_PIECE != 0;
        fws_table_pause(table, i + 1);
    }
    steps = 0;
    for (const fws_subscriber *s = table->untidy; s; s = s->next_untidy) {
        if (++steps > FWS_TABLE_PIECE) {
            *is_exact = false;
            break;
        }
        fws_bitmap_remove(ids, s->id);
    }
    *count = fws_bitmap_size(ids);
    return true;
}

bool fws_audience_count(fws_table *table, const fws_dispatch *dispatch, fws_bitmap *ids,
                        size_t *count, bool *is_exact)
{
    *is_exact = true;
    *count = 0;
    if (dispatch->count > 1)
        return count_several(table, dispatch, ids, count, is_exact);
    if (dispatch->count == 1)
        *count = count_one(table, dispatch, is_exact);
    return true;
}
