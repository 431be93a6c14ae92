/* Several threads publish, send, subscribe, unsubscribe and close at once. */
#include "publishing.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t channel_count(void)
{
    pthread_mutex_lock(&engine->table.lock);
    size_t count = engine->table.names.count;
    pthread_mutex_unlock(&engine->table.lock);
    return count;
}

static atomic_bool running;

static void *publish_for_ever(void *argument)
{
    (void)argument;
    while (atomic_load(&running))
        publish("storm", "storm", "calm", NULL);
    return NULL;
}

static void *come_and_go(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 60; i++) {
        pair a;
        fws_message message;
        open_pair(&a, engine);
        subscribe(&a, "storm");
        subscribe(&a, "calm");
        if (receive(a.client, 5 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        seed = seed * 1103515245 + 12345;
        fws_channel_name one = name("storm");
        if (seed & 0x10000)
            fws_engine_unsubscribe(engine, a.server, &one, 1);
        if (seed & 0x20000)
            fws_websocket_close(a.client, 1000, NULL, 0);
        /* The storm may have filled the client's queue: read on, or its close would not be seen. */
        fws_websocket_close(a.server, 1000, NULL, 0);
        while (receive(a.client, 5 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        close_pair(&a);
    }
    return NULL;
}

static void test_publishing_while_sockets_come_and_go(void **state)
{
    (void)state;
    pthread_t publishers[2], others[4];
    atomic_store(&running, true);
    for (int i = 0; i < 2; i++)
        pthread_create(&publishers[i], NULL, publish_for_ever, NULL);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&others[i], NULL, come_and_go, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(others[i], NULL);
    atomic_store(&running, false);
    for (int i = 0; i < 2; i++)
        pthread_join(publishers[i], NULL);
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
    WAIT_FOR(channel_count() == 0);
}

/* ---- several threads at once, against what was promised ---- */

#define LISTENERS 6
#define PUBLISHERS 3
#define ROUNDS 400
#define ROOMS 3

static const char *const rooms[ROOMS] = {"red", "green", "blue"};
static pair listeners[LISTENERS];
static long promised[PUBLISHERS];

/* Messages "P <publisher> <number>", to one room or to two. The last publisher leaves out the last
 * listener. */
static void *publish_numbers(void *argument)
{
    int publisher = (int)(intptr_t)argument;
    char text[40];
    for (int i = 0; i < ROUNDS; i++) {
        sprintf(text, "P %d %d", publisher, i);
        if (i % 40 == 0)
            usleep(1000);
        promised[publisher] +=
            publish(text, rooms[i % ROOMS], i % 2 ? rooms[(i + 1) % ROOMS] : NULL,
                    publisher == PUBLISHERS - 1 ? listeners[LISTENERS - 1].server : NULL);
    }
    return NULL;
}

/* The last listener goes in and out; between "quiet" and "loud" it may hear nothing. */
static void *go_in_and_out(void *argument)
{
    const pair *p = argument;
    for (int i = 0; i < ROUNDS / 4 || atomic_load(&running); i++) {
        subscribe(p, rooms[i % ROOMS]);
        subscribe(p, rooms[(i + 1) % ROOMS]);
        usleep(i % 4 * 100);
        if (i % 2) {
            assert_true(fws_engine_unsubscribe(engine, p->server, NULL, 0));
        } else {
            fws_channel_name both[2] = {name(rooms[i % ROOMS]), name(rooms[(i + 1) % ROOMS])};
            assert_true(fws_engine_unsubscribe(engine, p->server, both, 2));
        }
        assert_int_equal(send_text(p->server, "quiet"), FWS_OK);
        usleep(100);
        assert_int_equal(send_text(p->server, "loud"), FWS_OK);
    }
    return NULL;
}

typedef struct {
    const pair *p;
    long heard[PUBLISHERS];
    bool wrong;
} hearing;

/* Until the word "end": are the numbers of each publisher rising, and is it quiet when it is to be?
 */
static void *listen_to_all(void *argument)
{
    hearing *result = argument;
    int last[PUBLISHERS] = {-1, -1, -1};
    bool quiet = false;
    for (;;) {
        fws_message message;
        char text[40] = "";
        int publisher, number;
        if (receive(result->p->client, 20 * FWS_NS_PER_S, &message) != FWS_OK) {
            result->wrong = true;
            return NULL;
        }
        memcpy(text, message.data, message.length);
        fws_message_free(&message);
        if (strcmp(text, "end") == 0)
            return NULL;
        if (strcmp(text, "quiet") == 0 || strcmp(text, "loud") == 0) {
            quiet = text[0] == 'q';
        } else if (sscanf(text, "P %d %d", &publisher, &number) == 2) {
            result->wrong |= quiet || number <= last[publisher];
            last[publisher] = number;
            result->heard[publisher]++;
        }
    }
}

static void test_threads_that_publish_send_and_unsubscribe_at_once(void **state)
{
    (void)state;
    static hearing hearings[LISTENERS];
    pthread_t publishers[PUBLISHERS], walker, ears[LISTENERS];
    memset(promised, 0, sizeof promised);
    for (int i = 0; i < LISTENERS; i++) {
        open_pair(&listeners[i], engine);
        for (int r = 0; r < ROOMS && i < LISTENERS - 1; r++)
            if ((i + r) % 3 < 2)
                subscribe(&listeners[i], rooms[r]);
        hearings[i] = (hearing){.p = &listeners[i]};
        pthread_create(&ears[i], NULL, listen_to_all, &hearings[i]);
    }
    atomic_store(&running, true);
    for (intptr_t i = 0; i < PUBLISHERS; i++)
        pthread_create(&publishers[i], NULL, publish_numbers, (void *)i);
    pthread_create(&walker, NULL, go_in_and_out, &listeners[LISTENERS - 1]);
    for (int i = 0; i < ROUNDS; i++) /* what is sent goes in between, in order */
        assert_int_equal(send_text(listeners[i % (LISTENERS - 1)].server, "sent"), FWS_OK);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i], NULL);
    atomic_store(&running, false);
    pthread_join(walker, NULL);
    long heard[PUBLISHERS] = {0};
    for (int i = 0; i < LISTENERS; i++)
        assert_int_equal(send_text(listeners[i].server, "end"), FWS_OK);
    for (int i = 0; i < LISTENERS; i++) {
        pthread_join(ears[i], NULL);
        assert_false(hearings[i].wrong);
        for (int k = 0; k < PUBLISHERS; k++)
            heard[k] += hearings[i].heard[k];
        close_pair(&listeners[i]);
    }
    /* Whoever leaves may miss what he was counted for; the others hear all that was promised. */
    for (int k = 0; k < PUBLISHERS - 1; k++)
        assert_in_range(promised[k] - heard[k], 0, ROUNDS);
    assert_int_equal(promised[PUBLISHERS - 1], heard[PUBLISHERS - 1]);
    assert_int_equal(hearings[LISTENERS - 1].heard[PUBLISHERS - 1], 0);
    assert_true(hearings[LISTENERS - 1].heard[0] > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_publishing_while_sockets_come_and_go),
        TEST(test_threads_that_publish_send_and_unsubscribe_at_once),
    };
    return cmocka_run_group_tests_name("publishing_threads", tests, NULL, NULL);
}
