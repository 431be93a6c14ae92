/* Echo by uWebSockets, the C++ server: its core from a shared library, as the package socketify
 * carries it, with this program as its application, so that no Python is involved.
 *
 *     uws_echo LIBRARY PORT [fanout]
 *
 * With "fanout" every message goes to all connections. Compression is its SHARED_COMPRESSOR, as its
 * own benchmarks have it. What is declared here is the part of its C interface that is used.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARED_COMPRESSOR 1
#define SHARED_DECOMPRESSOR (1 << 8)

typedef struct {
    const char *files[6];
    int prefer_low_memory;
} ssl_options;

typedef void (*handler)(void *websocket, void *data);
typedef void (*message_handler)(void *websocket, const char *message, size_t length, int opcode,
                                void *data);

typedef struct {
    int compression;
    unsigned max_payload_length;
    unsigned short idle_timeout;
    unsigned max_backpressure;
    bool close_on_backpressure_limit;
    bool reset_idle_timeout_on_send;
    bool send_pings;
    unsigned short max_lifetime;
    void (*upgrade)(void);
    handler open;
    message_handler message;
    handler drain;
    void (*others[4])(void); /* ping, pong, close, subscription */
} behavior;

static void *library;
static int (*send_message)(int ssl, void *websocket, const char *message, size_t length, int opcode,
                           bool compress, bool fin);

static void *app;
static bool (*publish)(int ssl, void *app, const char *topic, size_t topic_length,
                       const char *message, size_t length, int opcode, bool compress);
static bool (*subscribe)(int ssl, void *websocket, const char *topic, size_t length);

static void *find(const char *name)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        fprintf(stderr, "uws_echo: %s\n", dlerror());
        exit(1);
    }
    return symbol;
}

static void on_message(void *websocket, const char *message, size_t length, int opcode, void *data)
{
    (void)data;
    send_message(0, websocket, message, length, opcode, true, true);
}

static void on_open(void *websocket, void *data)
{
    (void)data;
    subscribe(0, websocket, "all", 3);
}

static void on_message_to_all(void *websocket, const char *message, size_t length, int opcode,
                              void *data)
{
    (void)websocket;
    (void)data;
    publish(0, app, "all", 3, message, length, opcode, false);
}

typedef struct {
    int port;
    const char *host;
    int options;
} listen_config;

static void on_listen(void *socket, listen_config config, void *data)
{
    (void)data;
    if (socket == NULL) {
        fprintf(stderr, "uws_echo: cannot listen on port %d\n", config.port);
        exit(1);
    }
}

int main(int count, char **values)
{
    library = count >= 3 ? dlopen(values[1], RTLD_NOW) : NULL;
    if (library == NULL) {
        fprintf(stderr, "uws_echo: %s\n",
                count >= 3 ? dlerror() : "usage: uws_echo LIBRARY PORT [fanout]");
        return 1;
    }
    void *(*create_app)(int, ssl_options);
    void (*add_route)(int, void *, const char *, behavior, void *);
    void (*listen_on)(int, void *, int, void (*)(void *, listen_config, void *), void *);
    void (*run)(int, void *);
    /* dlsym gives a void pointer; POSIX lets it be a function. */
    *(void **)&create_app = find("uws_create_app");
    *(void **)&add_route = find("uws_ws");
    *(void **)&listen_on = find("uws_app_listen");
    *(void **)&run = find("uws_app_run");
    *(void **)&send_message = find("uws_ws_send_with_options");

    *(void **)&publish = find("uws_publish");
    *(void **)&subscribe = find("uws_ws_subscribe");

    app = create_app(0, (ssl_options){0});
    behavior echo = {.compression = SHARED_COMPRESSOR | SHARED_DECOMPRESSOR,
                     .max_payload_length = 1 << 20,
                     .idle_timeout = 120,
                     .max_backpressure = 1 << 20,
                     .message = on_message};
    if (count > 3) {
        echo.open = on_open;
        echo.message = on_message_to_all;
    }
    add_route(0, app, "/*", echo, NULL);
    listen_on(0, app, atoi(values[2]), on_listen, NULL);
    run(0, app);
    return 0;
}
