/* The crew under stress: callbacks that block, return, fail, close, fork, publish and send much to
 * other websockets at random, for websockets that come and go, while others send and close from
 * outside, peers vanish, threads and the GIL cannot be had now and then, and the engine stops at a
 * random moment, also around callbacks that outlast it.
 *
 * What holds all the time: the invariants of crew.h (FWS_CHECKS); one callback of a websocket runs
 * at a time; no more are inside than may be; a ping of an idle peer is answered soon, whatever
 * blocks. And at the end: each websocket has heard of its end once at most, and nothing is left.
 *
 * FWS_STRESS_SECONDS: how long; FWS_STRESS_SEED: to begin with the same round again.
 */
#include "evented.h"
#include "refused_threads.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 24  /* websockets at a time */
#define SENDERS 3 /* threads that are their peers */
#define PONG_LIMIT_MS 1000
#define ECHO_LIMIT_MS 15000     /* it may wait for several that take long, but not for ever */
#define LONG_SLEEP "sleep 1500" /* longer than the pong may take, and than a stop waits */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

typedef struct attached {
    owner own;
    struct attached *next;
} attached;

typedef struct {
    fws_websocket *websocket; /* NULL: to be opened */
    int fd;
} slot;

static _Atomic(attached *) all;
static slot slots[SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* around slots[].websocket */
static atomic_bool going;
static atomic_uint rounds;
static bool calm; /* constant in a round */
static uint64_t seed;

static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33) % below;
}

/* ---- peers ---- */

static void set_websocket(slot *s, fws_websocket *websocket)
{
    pthread_mutex_lock(&slots_lock);
    s->websocket = websocket;
    pthread_mutex_unlock(&slots_lock);
}

static fws_websocket *find_in_slots(int number)
{
    pthread_mutex_lock(&slots_lock);
    fws_websocket *websocket = slots[number].websocket;
    if (websocket != NULL)
        fws_websocket_keep(websocket);
    pthread_mutex_unlock(&slots_lock);
    return websocket;
}

/* False when the engine stops, or has no thread yet and can get none. */
static bool open_slot(slot *s)
{
    int ends[2];
    attached *new = calloc(1, sizeof *new);
    CHECK(new != NULL && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    fws_websocket *websocket = fws_engine_attach(
        engine, ends[0], &(fws_attachment){.role = FWS_ROLE_SERVER, .owner = &new->own});
    if (websocket == NULL) {
        CHECK(errno == ESHUTDOWN || errno == EAGAIN);
        close(ends[0]);
        close(ends[1]);
        free(new);
        return false;
    }
    new->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &new->next, new))
        ;
    s->fd = ends[1];
    set_websocket(s, websocket);
    fws_websocket_release_callbacks(websocket);
    return true;
}

static void subscribe(const slot *s)
{
    const fws_channel_name all_of_them = {.data = "all", .size = 3};
    fws_table_status status = fws_engine_subscribe(engine, s->websocket, &all_of_them, 1);
    CHECK(status == FWS_TABLE_OK || status == FWS_TABLE_ENDED);
}

static void close_slot(slot *s)
{
    if (s->websocket == NULL)
        return;
    fws_websocket *websocket = s->websocket;
    set_websocket(s, NULL);
    close(s->fd);
    fws_websocket_drop(websocket);
}

static bool send_command(const slot *s, fws_opcode opcode, const char *text)
{
    uint8_t frame[64];
    const uint8_t key[4] = {0};
    size_t size = strlen(text), header = fws_frame_encode(frame, true, opcode, size, key);
    memcpy(frame + header, text, size);
    return send(s->fd, frame, header + size, MSG_NOSIGNAL | MSG_DONTWAIT) ==
           (ssize_t)(header + size);
}

/* Reads away what has come; false at the end. */
static bool read_all(const slot *s)
{
    char buffer[4096];
    ssize_t got;
    do
        got = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    while (got > 0);
    return got < 0 && errno == EAGAIN;
}

/* In a calm round, callbacks are quick but for a few, so that they run in
 * the leader's batch, and are overtaken there. */
static const char *draw_command(uint64_t *state, char tell[static 8])
{
    static const char *const often[] = {"echo", "echo", "echo", "echo", "sleep 1", "sleep 5"};
    uint32_t number = draw(state, 2000);
    if (number < 100) {
        snprintf(tell, 8, "tell %u", draw(state, SLOTS));
        return tell;
    }
    if (number < 200)
        return "publish";
    if (calm)
        return number < 204 ? "sleep 5" : "echo";
    if (number == 200)
        return LONG_SLEEP;
    if (number < 204)
        return "look";
    if (number < 220)
        return "close";
    if (number < 236)
        return "fail";
    if (number < 250)
        return "sleep 40";
    return often[draw(state, 6)];
}

/* Of a peer that is about to vanish: what is written to it fails from now on, while what it sends,
 * more than an inbox holds, is still to be given out. */
static void break_output(const slot *s, uint64_t *state)
{
    char tell[8];
    if (shutdown(s->fd, SHUT_RD) < 0)
        return; /* it has been closed by the other side */
    for (uint32_t left = draw(state, 40); left > 0; left--)
        send_command(s, FWS_OPCODE_TEXT, draw_command(state, tell));
    usleep(draw(state, 3000));
}

static void *play_peers(void *argument)
{
    size_t first = (size_t)(uintptr_t)argument;
    uint64_t state = seed + first;
    char tell[8];
    while (atomic_load(&going)) {
        for (size_t i = first; i < SLOTS; i += SENDERS) {
            if (slots[i].websocket == NULL) {
                if (open_slot(&slots[i]))
                    subscribe(&slots[i]);
                continue;
            }
            uint32_t count = draw(&state, 4);
            for (uint32_t k = 0; k < count; k++)
                send_command(&slots[i], FWS_OPCODE_TEXT, draw_command(&state, tell));
            if (draw(&state, 50) == 0)
                fws_websocket_send(slots[i].websocket, FWS_OPCODE_TEXT, "outside", 7, false);
            if (draw(&state, 500) == 0)
                fws_websocket_close(slots[i].websocket, 4000, NULL, 0);
            bool breaks = draw(&state, 200) == 0;
            if (breaks)
                break_output(&slots[i], &state);
            if (breaks || draw(&state, 500) == 0 || !read_all(&slots[i]))
                close_slot(&slots[i]);
        }
        usleep(draw(&state, 4) == 0 ? draw(&state, 3000) : 200);
        if (draw(&state, 100) == 0)
            atomic_store(&refusals, draw(&state, 3));
        if (draw(&state, 100) == 0)
            atomic_store(&refused_threads, draw(&state, 3));
    }
    return NULL;
}

/* One after the other, of a peer that does nothing else; each is answered in time. */
static void ask_again_and_again(fws_opcode opcode, const char *question, const char *answer,
                                int limit_ms)
{
    slot s = {0};
    ssize_t size = (ssize_t)strlen(answer);
    while (atomic_load(&going)) {
        usleep(1000);
        if (s.websocket == NULL && !open_slot(&s))
            continue;
        struct pollfd polled = {.fd = s.fd, .events = POLLIN};
        char got[16];
        if (!send_command(&s, opcode, question)) {
            close_slot(&s);
            continue;
        }
        CHECK(poll(&polled, 1, limit_ms) == 1 || !atomic_load(&going));
        if (recv(s.fd, got, (size_t)size, MSG_DONTWAIT) != size ||
            memcmp(got, answer, (size_t)size) != 0)
            close_slot(&s); /* it was cut off */
    }
    close_slot(&s);
}

static void *ping(void *argument)
{
    ask_again_and_again(FWS_OPCODE_PING, "?", "\x8a\x01?", PONG_LIMIT_MS);
    return argument;
}

static void *echo(void *argument)
{
    ask_again_and_again(FWS_OPCODE_TEXT, "echo",
                        "\x81\x04"
                        "echo",
                        ECHO_LIMIT_MS);
    return argument;
}

/* ---- one round ---- */

static void check_rest(bool ended)
{
    const fws_crew *crew = &engine->crew;
    pthread_mutex_lock(&engine->work.lock);
    /* One that has outlasted the stop inside a callback may be on its way from there to its end. */
    CHECK(crew->threads >= crew->inside && (!ended || crew->threads == 0));
    CHECK(!crew->led && !crew->in_batch && !crew->watch.appointed);
    CHECK(engine->work.run_queue.count + fws_apart_count(&crew->apart) + crew->done.count == 0);
    CHECK(engine->work.all == NULL && engine->work.flush == NULL && engine->work.retired == NULL);
    pthread_mutex_unlock(&engine->work.lock);
}

static void check_owners(void)
{
    attached *next;
    for (attached *a = atomic_exchange(&all, NULL); a != NULL; a = next) {
        next = a->next;
        CHECK(atomic_load(&a->own.closes) <= 1);
        CHECK(atomic_load(&a->own.inside) == 0);
        free(a);
    }
}

static void play_round(void)
{
    static const uint32_t limits[] = {1, 1, 2, 2, 3, 4, 8, 16, 63};
    uint64_t state = seed;
    pthread_t threads[SENDERS + 2];
    fws_engine_config config = default_config;
    config.callbacks = callbacks;
    config.callback_threads = limits[draw(&state, 9)];
    calm = draw(&state, 3) == 0;
    atomic_store(&most_asleep, 0);
    engine = fws_engine_new(&config);
    atomic_store(&going, true);
    for (size_t i = 0; i < SENDERS; i++)
        CHECK(__real_pthread_create(&threads[i], NULL, play_peers, (void *)(uintptr_t)i) == 0);
    CHECK(__real_pthread_create(&threads[SENDERS], NULL, ping, NULL) == 0);
    CHECK(__real_pthread_create(&threads[SENDERS + 1], NULL, echo, NULL) == 0);
    for (uint32_t left = 1 + draw(&state, calm ? 80 : 20); left > 0; left--) {
        usleep(draw(&state, 60000));
        if (draw(&state, 20) == 0)
            fws_engine_close_all(engine, 1001, "all", 3);
    }
    bool outlasts = draw(&state, 3) > 0; /* some stop while peers go on */
    if (!outlasts)
        atomic_store(&going, false);
    fws_engine_stop(engine);
    check_rest(false);
    atomic_store(&going, false);
    for (size_t i = 0; i < SENDERS + 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&most_asleep) <= config.callback_threads);
    fws_work_keep(&engine->work); /* to see the end of its threads */
    fws_engine_free(engine);
    for (size_t i = 0; i < SLOTS; i++)
        close_slot(&slots[i]);
    while (atomic_load(&engine->work.references) > 1)
        usleep(1000);
    check_rest(true);
    fws_work_drop(&engine->work);
    check_owners();
    atomic_fetch_add(&rounds, 1);
}

static void test_the_crew_under_stress(void **unused)
{
    (void)unused;
    find_told = find_in_slots;
    const char *seconds = getenv("FWS_STRESS_SECONDS"), *given = getenv("FWS_STRESS_SEED");
    fws_ns end = fws_clock_now() + (seconds ? atoi(seconds) : 5) * FWS_NS_PER_S;
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)fws_clock_now();
    do {
        fprintf(stderr, "\rround %u, seed %llu ", atomic_load(&rounds), (unsigned long long)seed);
        play_round();
        seed++;
    } while (fws_clock_now() < end);
    fprintf(stderr, "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_crew_under_stress)};
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
