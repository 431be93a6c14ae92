#include "evented.h"

#include "io/os.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;
fws_engine *engine;
owner owners[MANY];
pair pairs[MANY];
atomic_uint threads_ended, asleep, most_asleep, computing, most_computing, refusals;
atomic_bool stay;
atomic_int order[MOST_ORDERED];
atomic_uint ran;
atomic_uint most_messages;
uint32_t receive_queue = 16;

static fws_websocket *find_in_pairs(int number)
{
    return fws_websocket_keep(pairs[number].server);
}

fws_websocket *(*find_told)(int number) = find_in_pairs;
int (*in_child)(void);

static void tell(int number)
{
    static const char zeros[TOLD];
    fws_websocket *told = find_told(number);
    if (told == NULL)
        return;
    fws_websocket_send(told, FWS_OPCODE_BINARY, zeros, TOLD, false); /* its peer sees what came */
    fws_websocket_drop(told);
}

static void publish_to_all(void)
{
    const fws_channel_name all = {.data = "all", .size = 3};
    pthread_mutex_unlock(&big_lock);
    fws_engine_publish(engine, FWS_OPCODE_TEXT, "published", 9, &all, 1, NULL, 0);
    if (fws_engine_is_behind(engine))
        fws_engine_catch_up(engine);
    pthread_mutex_lock(&big_lock);
}

static bool enter(void *context, void **thread, bool leads)
{
    (void)context, (void)leads;
    unsigned left = atomic_load(&refusals);
    while (left > 0)
        if (atomic_compare_exchange_strong(&refusals, &left, left - 1))
            return false;
    *thread = &big_lock;
    pthread_mutex_lock(&big_lock);
    return true;
}

static void leave(void *context, void **thread)
{
    (void)context, (void)thread;
    pthread_mutex_unlock(&big_lock);
}

static void end_thread(void *context, void **thread)
{
    (void)context, (void)thread;
    atomic_fetch_add(&threads_ended, 1);
}

/* One more is at it: `most` is how many were at once, at most. */
static void note_begin(atomic_uint *at_it, atomic_uint *most)
{
    unsigned now = atomic_fetch_add(at_it, 1) + 1;
    if (now > atomic_load(most))
        atomic_store(most, now);
}

static void compute(unsigned ms)
{
    note_begin(&computing, &most_computing);
    fws_ns end = fws_os_processor_time(pthread_self()) + ms * FWS_NS_PER_MS;
    fws_ns now, slice_end = 0;
    while ((now = fws_os_processor_time(pthread_self())) < end) {
        if (now < slice_end)
            continue;
        pthread_mutex_unlock(&big_lock);
        usleep(100); /* so that another one takes it, as it is with the GIL */
        pthread_mutex_lock(&big_lock);
        slice_end = now + 2 * FWS_NS_PER_MS;
    }
    atomic_fetch_sub(&computing, 1);
}

static void sleep_without_the_lock(unsigned ms)
{
    note_begin(&asleep, &most_asleep);
    pthread_mutex_unlock(&big_lock);
    usleep(ms * 1000);
    pthread_mutex_lock(&big_lock);
    atomic_fetch_sub(&asleep, 1);
}

static void leave_at_once(void)
{
    _exit(0);
}

void hold_callbacks(void)
{
    pthread_mutex_lock(&big_lock);
    atomic_store(&ran, 0);
}

void let_callbacks(void)
{
    pthread_mutex_unlock(&big_lock);
}

void begin_in_child(void)
{
    pthread_mutex_init(&big_lock, NULL); /* a thread of the parent's may have had it */
    fws_engine_after_fork(engine);
}

static void obey(fws_websocket *websocket, fws_message *message)
{
    char text[64] = {0};
    if (message->length > 0)
        memcpy(text, message->data, message->length < 63 ? message->length : 63);
    if (strncmp(text, "sleep ", 6) == 0) {
        send_text(websocket, "asleep");
        sleep_without_the_lock((unsigned)atoi(text + 6));
    } else if (strcmp(text, "stay") == 0 || strcmp(text, "stay unseen") == 0) {
        if (strcmp(text, "stay") != 0)
            atomic_store(&engine->work.running, NULL); /* the watch sees no callback */
        pthread_mutex_unlock(&big_lock);
        while (atomic_load(&stay))
            usleep(1000);
        pthread_mutex_lock(&big_lock);
    } else if (strncmp(text, "compute ", 8) == 0) {
        compute((unsigned)atoi(text + 8));
    } else if (strncmp(text, "tell ", 5) == 0) {
        tell(atoi(text + 5));
    } else if (strcmp(text, "publish") == 0) {
        publish_to_all();
    } else if (strcmp(text, "close") == 0) {
        fws_websocket_close(websocket, 4000, NULL, 0);
    } else if (strcmp(text, "fail") == 0) {
        fws_websocket_close(websocket, FWS_CLOSE_INTERNAL_ERROR, NULL, 0);
        return;
    } else if (strcmp(text, "look") == 0) {
        pid_t child = fork();
        if (child == 0) {
            begin_in_child();
            _exit(fws_engine_count(engine) != 0 || state_of(websocket) != FWS_STATE_CLOSED);
        }
        int status = -1;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
    } else if (strcmp(text, "end thread") == 0) {
        compute(20); /* so that it is overtaken, if the leader runs it */
        pthread_mutex_unlock(&big_lock);
        fws_message_free(message);
        pthread_exit(NULL);
    } else if (strcmp(text, "begin anew") == 0) {
        pid_t child = fork();
        if (child == 0) {
            begin_in_child();
            _exit(in_child());
        }
        int status = -1;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
    } else if (strcmp(text, "stop") == 0) {
        pthread_mutex_unlock(&big_lock);
        fws_engine_stop(engine);
        pthread_mutex_lock(&big_lock);
    } else if (strcmp(text, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            begin_in_child();
            pthread_mutex_lock(&big_lock);
            atexit(leave_at_once); /* before the sanitizer looks at what the parent's threads had */
            return;
        }
        int status = -1;
        waitpid(child, &status, 0);
        assert_true(WIFEXITED(status));
    }
    fws_websocket_send(websocket, FWS_OPCODE_TEXT, message->data, message->length, true);
}

static void note_order(const owner *own)
{
    unsigned k = atomic_fetch_add(&ran, 1);
    if (k < MOST_ORDERED)
        atomic_store(&order[k], (int)(((uintptr_t)own - (uintptr_t)owners) / sizeof *own));
}

static uint32_t run(void *context, fws_websocket *websocket, void *next)
{
    (void)context;
    (void)next;
    owner *own = websocket->owner;
    fws_inbox taken;
    fws_message message;
    uint32_t count = 0;
    assert_int_equal(atomic_fetch_add(&own->inside, 1), 0);
    switch (fws_websocket_collect(websocket, &taken)) {
    case FWS_OK:
        note_order(own);
        while (fws_inbox_pop(&taken, &message)) {
            if (!fws_websocket_is_closed_here(websocket)) {
                atomic_fetch_add(&own->messages, 1);
                obey(websocket, &message);
                count++;
            }
            fws_message_free(&message);
        }
        break;
    case FWS_CLOSED:
        atomic_store(&own->close_code, (int)close_code_of(websocket));
        atomic_fetch_add(&own->closes, 1);
        break;
    default:
        break;
    }
    if (count > atomic_load(&most_messages))
        atomic_store(&most_messages, count);
    atomic_fetch_sub(&own->inside, 1);
    return count;
}

const fws_callbacks callbacks = {
    .enter = enter, .leave = leave, .run = run, .end_thread = end_thread};

void start_with(uint32_t callback_threads, int count)
{
    fws_engine_config config = default_config;
    config.callbacks = callbacks;
    config.callback_threads = callback_threads;
    config.receive_queue = receive_queue;
    memset(owners, 0, sizeof owners);
    atomic_store(&most_asleep, 0);
    atomic_store(&most_computing, 0);
    atomic_store(&most_messages, 0);
    engine = fws_engine_new(&config);
    for (int i = 0; i < count; i++)
        open_evented_pair(&pairs[i], engine, &owners[i]);
}

void stop_with(int count)
{
    for (int i = 0; i < count; i++)
        close_pair(&pairs[i]);
    for (int i = 0; i < count; i++)
        WAIT_FOR(atomic_load(&owners[i].closes) == 1);
    fws_engine_free(engine);
}

void send_message(int i, const char *text)
{
    send_frame(&pairs[i], true, FWS_OPCODE_TEXT, text, strlen(text));
}

void expect_text(int i, const char *text)
{
    char frame[128] = {(char)0x81, (char)strlen(text)};
    memcpy(frame + 2, text, strlen(text));
    expect_bytes(&pairs[i], frame, strlen(text) + 2);
}

void expect_quick_pong(int i)
{
    fws_ns begun = fws_clock_now();
    send_frame(&pairs[i], true, FWS_OPCODE_PING, "?", 1);
    expect_bytes(&pairs[i], "\x8a\x01?", 3);
    assert_true(fws_clock_now() - begun < 700 * FWS_NS_PER_MS); /* callbacks sleep for longer */
}

void make_fast(int i)
{
    for (int k = 0; k < 50; k++) {
        send_message(i, "hello");
        expect_text(i, "hello");
    }
}

void make_slow(int i)
{
    send_message(i, "sleep 20");
    expect_text(i, "asleep");
    expect_text(i, "sleep 20");
}

void let_suspicion_pass(void)
{
    usleep(1100 * 1000);
}

static atomic_bool flooding;
static pthread_t flooder;

static void *flood(void *argument)
{
    char frame[6] = {(char)0x81, (char)0x80}, frames[6 * 1000], answers[65536];
    for (size_t i = 0; i < 1000; i++)
        memcpy(frames + 6 * i, frame, 6);
    while (atomic_load(&flooding)) {
        send(pairs[0].fd, frames, sizeof frames,
             0); /* what is cut in two is of no matter at the end */
        while (recv(pairs[0].fd, answers, sizeof answers, MSG_DONTWAIT) > 0)
            ;
    }
    return argument;
}

void begin_flood(void)
{
    unsigned before = atomic_load(&owners[0].messages);
    atomic_store(&flooding, true);
    pthread_create(&flooder, NULL, flood, NULL);
    WAIT_FOR(atomic_load(&owners[0].messages) > before + 1000);
}

void end_flood(void)
{
    atomic_store(&flooding, false);
    shutdown(pairs[0].fd, SHUT_RDWR); /* it may be waiting to send */
    pthread_join(flooder, NULL);
}
