/* Channels, without websockets: whatever is subscribed, unsubscribed, published, taken, delivered
 * and ended, in whatever order, each subscriber is given every publication that it was a member
 * for, once, in the order of publishing, and nothing else; and publishing says for how many.
 *
 * Input: a list of operations. Byte 0 of each: what (bits 0 to 2) and which subscriber (bits 3 and
 * 4); byte 1: the length of the name that follows.
 */
#include "fws.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SUBSCRIBERS 4
#define NAMES_MAX 64

typedef struct {
    fws_channel_name name;
    unsigned times[SUBSCRIBERS];
} expectation;

typedef struct {
    fws_subscriber *subscriber;
    bool ended;
    uint32_t *wanted; /* numbers of publications that it has not been given */
    size_t count, capacity;
} party;

static fws_table table;
static fws_deflate_pool pool;
static party parties[SUBSCRIBERS];
static expectation names[NAMES_MAX];
static size_t name_count;
static uint32_t number;

static void check(bool right)
{
    if (!right)
        abort();
}

static expectation *expectation_of(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < name_count; i++)
        if (names[i].name.size == size && memcmp(names[i].name.data, data, size) == 0)
            return &names[i];
    if (name_count == NAMES_MAX)
        return NULL;
    names[name_count] = (expectation){.name = {(const char *)data, size}};
    return &names[name_count++];
}

/* ---- publishing ---- */

static void want(party *p)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 16;
        p->wanted = realloc(p->wanted, p->capacity * sizeof *p->wanted);
        check(p->wanted != NULL);
    }
    p->wanted[p->count++] = number;
}

static void publish(const expectation *first, const expectation *second, party *excluded)
{
    fws_channel_name both[2] = {first->name, second->name};
    fws_subscriber **list = excluded ? malloc(sizeof *list) : NULL;
    size_t reached = 0, wanted = 0;
    if (list)
        list[0] = excluded->subscriber;
    number++;
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        party *p = &parties[i];
        if (p == excluded || p->ended || (first->times[i] == 0 && second->times[i] == 0))
            continue;
        wanted++;
        want(p);
    }
    fws_dispatch *dispatch = fws_dispatch_new(&table, both, 2, list, excluded ? 1 : 0);
    check(dispatch && fws_publication_init(&dispatch->publication, &pool, 0, FWS_OPCODE_BINARY,
                                           &number, sizeof number));
    fws_publication_compress(&dispatch->publication, fws_dispatch_windows(&table, dispatch));
    fws_join_status status = fws_backlog_join(&table, dispatch, &reached);
    check(status == (wanted > 0 ? FWS_JOIN_DONE : FWS_JOIN_NOBODY) && reached == wanted);
    if (status == FWS_JOIN_NOBODY)
        fws_dispatch_free(&table, dispatch);
}

/* ---- delivering ---- */

static void give(party *p, bool all)
{
    fws_buffer *frames[FWS_PUBLISHED_AHEAD];
    size_t count;
    do {
        count = fws_backlog_take(p->subscriber, all ? UINT64_MAX : 0, frames);
        check(count <= p->count);
        for (size_t i = 0; i < count; i++) {
            /* The others have compressed frames, of which one knows only the length. */
            if (!frames[i]->compressed)
                check(memcmp(frames[i]->bytes + frames[i]->size - sizeof number, &p->wanted[i],
                             sizeof number) == 0);
            fws_buffer_drop(frames[i]);
        }
        p->count -= count;
        if (p->count > 0)
            memmove(p->wanted, p->wanted + count, p->count * sizeof *p->wanted);
    } while (all && count == FWS_PUBLISHED_AHEAD);
    check(!all || p->count == 0);
}

static void keep(void *owner)
{
    check(!((party *)owner)->ended);
}

static bool deliver(size_t maximum)
{
    fws_target targets[SUBSCRIBERS];
    bool more;
    size_t count = fws_backlog_collect(&table, targets, maximum, keep, &more);
    for (size_t i = 0; i < count; i++)
        give(targets[i].owner, false);
    return more;
}

/* ---- the operations ---- */

static void count_name(void *context, const char *name, size_t size)
{
    (void)name;
    *(size_t *)context += size > 0;
}

static void end(party *p)
{
    fws_subscriber_end(p->subscriber);
    p->ended = true;
    p->count = 0;
}

static void operate(unsigned what, unsigned i, expectation *entry, expectation *other)
{
    party *p = &parties[i];
    fws_channel_name twice[2] = {entry->name, entry->name};
    size_t visited = 0, wanted = 0;
    switch (what) {
    case 0:
    case 1:
        check(fws_table_subscribe(p->subscriber, twice, 2) ==
              (p->ended ? FWS_TABLE_ENDED : FWS_TABLE_OK));
        entry->times[i] += !p->ended;
        break;
    case 2:
        if (!p->ended)
            give(p, true);
        check(fws_table_unsubscribe(p->subscriber, twice, 2));
        entry->times[i] -= entry->times[i] > 0;
        break;
    case 3:
        publish(entry, other, NULL);
        break;
    case 4:
        publish(entry, other, p);
        break;
    case 5:
        if (!p->ended)
            give(p, true);
        check(fws_table_unsubscribe(p->subscriber, NULL, 0));
        for (size_t k = 0; k < name_count; k++)
            names[k].times[i] = 0;
        break;
    case 6:
        deliver(1 + entry->name.size % SUBSCRIBERS);
        break;
    default:
        fws_table_visit(p->subscriber, count_name, &visited);
        for (size_t k = 0; k < name_count; k++)
            wanted += names[k].times[i] > 0;
        check(visited == wanted && fws_table_count(p->subscriber) == wanted);
        if (entry->name.data[0] == 'f' && number % 8 == 7)
            end(p);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fws_table_init(&table);
    fws_deflate_pool_init(&pool, 1);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) /* the last one has compression */
        parties[i] = (party){
            .subscriber = fws_subscriber_new(&table, &parties[i], i + 1 == SUBSCRIBERS ? 15 : 0)};
    name_count = 0;
    expectation *other = NULL;
    for (size_t at = 0; at + 2 < size;) {
        uint8_t what = data[at];
        size_t length = 1 + data[at + 1] % FWS_CHANNEL_NAME_MAX;
        if (length > size - at - 2)
            length = size - at - 2;
        expectation *entry = expectation_of(data + at + 2, length);
        if (entry == NULL)
            break;
        operate(what & 7, (what >> 3) & 3, entry, other ? other : entry);
        other = entry;
        at += 2 + length;
    }
    while (deliver(SUBSCRIBERS))
        ;
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        check(parties[i].count == 0); /* everybody was given what it was a member for */
        free(parties[i].wanted);
        fws_subscriber_end(parties[i].subscriber);
        fws_subscriber_free(parties[i].subscriber);
    }
    while (fws_table_tidy(&table))
        ;
    check(table.names.count == 0); /* channels without a member are gone */
    fws_table_clear(&table);
    fws_deflate_pool_clear(&pool);
    return 0;
}
