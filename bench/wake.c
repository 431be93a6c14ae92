/* The floor of publish(): what it takes a thread to wake another one that sleeps in the kernel,
 * which then goes through as much memory as handing a message to thousands does.
 *
 * wake CALLS INTERVAL_US: prints {"us": [...]}, the time of each call.
 * wake DESCRIPTOR: is only the one that is woken, by whoever writes to that eventfd (wake.py).
 *
 * Threads: the main thread writes to the eventfd, the other one reads it and walks through
 * `memory`, which is its own.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* In bytes: some 3 KB of a websocket and its socket, 10,000 times. */
#define WALKED ((size_t)32 << 20)

static int wakeup;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void *walk(void *memory)
{
    volatile uint8_t *bytes = memory;
    uint64_t count;
    while (read(wakeup, &count, sizeof count) == sizeof count)
        for (size_t at = 0; at < WALKED; at += 64)
            bytes[at]++;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        wakeup = (int)strtol(argv[1], NULL, 10);
        void *walked = calloc(1, WALKED);
        if (walked != NULL)
            walk(walked);
        return 1; /* its parent kills it */
    }
    if (argc != 3)
        return 2;
    long calls = strtol(argv[1], NULL, 10);
    useconds_t interval = (useconds_t)strtol(argv[2], NULL, 10);
    pthread_t thread;
    uint8_t *memory = calloc(1, WALKED);
    wakeup = eventfd(0, EFD_CLOEXEC);
    if (memory == NULL || wakeup < 0 || pthread_create(&thread, NULL, walk, memory) != 0)
        return 1;
    printf("{\"us\": [");
    for (long i = 0; i < calls; i++) {
        const uint64_t one = 1;
        usleep(interval);
        double begun = now_us();
        if (write(wakeup, &one, sizeof one) != sizeof one)
            return 1;
        printf("%s%.1f", i > 0 ? ", " : "", now_us() - begun);
    }
    printf("]}\n");
    return 0; /* the other thread ends with the process */
}
