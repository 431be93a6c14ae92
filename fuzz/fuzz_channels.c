/* Channel names and subscriptions: whatever is subscribed and unsubscribed, in whatever order, a
 * publication reaches each subscriber of the named channels once, and nobody else.
 *
 * Input: a list of operations. Byte 0 of each: what (bits 0 to 2) and which websocket (bits 3 and
 * 4); byte 1: the length of the name that follows.
 */
#include "engine/internal.h"
#include "websocket/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WEBSOCKETS 4
#define NAMES_MAX 64

typedef struct {
    fws_channel_name name;
    bool member[WEBSOCKETS];
} expectation;

static fws_engine *engine;
static fws_websocket *websockets[WEBSOCKETS];
static expectation names[NAMES_MAX];
static size_t name_count;

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

static void publish(const expectation *first, const expectation *second, const unsigned *excluded)
{
    fws_channel_name both[2] = {first->name, second->name};
    fws_publication publication;
    fws_publication_init(&publication, &engine->work.deflate, 0, FWS_OPCODE_TEXT, "x", 1);
    long delivered = fws_table_publish(&engine->table, &publication, both, 2,
                                       excluded ? &websockets[*excluded] : NULL, excluded ? 1 : 0);
    fws_publication_clear(&publication);
    long wanted = 0;
    for (unsigned w = 0; w < WEBSOCKETS; w++) {
        bool member = (first->member[w] || second->member[w]) && !(excluded && *excluded == w);
        if (websockets[w]->outbox.count != member)
            abort();
        wanted += member;
        fws_outbox_clear(&websockets[w]->outbox);
    }
    if (delivered != wanted)
        abort();
}

static void count_name(void *context, const char *name, size_t size)
{
    (void)name;
    *(size_t *)context += size > 0;
}

static void operate(unsigned what, unsigned w, expectation *entry, expectation *other)
{
    size_t visited = 0, wanted = 0;
    switch (what) {
    case 0:
    case 1:
        if (fws_table_subscribe(&engine->table, websockets[w], &entry->name, 1) != FWS_TABLE_OK)
            abort();
        entry->member[w] = true;
        break;
    case 2:
        fws_table_unsubscribe(&engine->table, websockets[w], &entry->name, 1);
        entry->member[w] = false;
        break;
    case 3:
        publish(entry, other, NULL);
        break;
    case 4:
        publish(entry, other, &w);
        break;
    case 5:
        fws_table_unsubscribe(&engine->table, websockets[w], NULL, 0);
        for (size_t i = 0; i < name_count; i++)
            names[i].member[w] = false;
        break;
    default:
        fws_table_visit(&engine->table, websockets[w], count_name, &visited);
        for (size_t i = 0; i < name_count; i++)
            wanted += names[i].member[w];
        if (visited != wanted)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fws_engine_config config = {.receive_queue = 1, .send_buffer = 1 << 20};
    engine = fws_engine_new(&config);
    for (unsigned w = 0; w < WEBSOCKETS; w++) {
        websockets[w] = fws_websocket_new(&engine->work, &engine->table, -1, FWS_ROLE_SERVER);
        websockets[w]->watched = FWS_WRITABLE; /* so that nothing is flushed: there is no socket */
    }
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
    for (unsigned w = 0; w < WEBSOCKETS; w++) {
        fws_table_forget(&engine->table, websockets[w]);
        fws_websocket_drop(websockets[w]);
    }
    if (engine->table.channel_count != 0)
        abort(); /* channels without a member are gone */
    fws_engine_free(engine);
    return 0;
}
