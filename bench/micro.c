/* The two loops that see every byte, against the memory: unmasking beside memcpy, and the
 * validation of UTF-8.
 *
 *     micro [SECONDS]
 *
 * Prints JSON: GB/s of each (the median of nine turns, taken in turn), and the ratio. memcpy reads
 * and writes as many bytes as unmasking does. Then microseconds and bytes of compressing 1 KiB of
 * JSON, by deflate_short and by zlib at the same level.
 */
#include "sample.h"

#include "fws.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE ((size_t)64 * 1024)
#define TURNS 9

static uint8_t *buffer, *other;
static uint8_t *ascii, *mixed;
static volatile unsigned sink;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void copy(void)
{
    memcpy(other, buffer, SIZE);
    sink += other[SIZE / 2]; /* so that the compiler does not remove the copy */
}

static void mask(void)
{
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    fws_mask_apply(buffer, SIZE, key, 0);
}

static void validate_ascii(void)
{
    sink += fws_utf8_valid(ascii, SIZE);
}

static void validate_mixed(void)
{
    sink += fws_utf8_valid(mixed, SIZE);
}

typedef struct {
    const char *name;
    void (*run)(void);
    double rates[TURNS];
} loop;

static double measure(const loop *measured, double seconds)
{
    size_t rounds = 0;
    double begun = now(), elapsed;
    do {
        for (int i = 0; i < 64; i++)
            measured->run();
        rounds += 64;
        elapsed = now() - begun;
    } while (elapsed < seconds);
    return (double)(rounds * SIZE) / elapsed / 1e9;
}

static int compare(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return first < second ? -1 : first > second;
}

enum { MESSAGES = 64, MESSAGE_SIZE = 1024 };
static uint8_t messages[MESSAGES][MESSAGE_SIZE];

static void make_messages(void)
{
    for (unsigned i = 0; i < MESSAGES; i++)
        fws_sample_json(messages[i], MESSAGE_SIZE, i);
}

/* All messages, again and again; microseconds and bytes for one. */
static void time_deflate(bool by_zlib, double seconds, double *micros, double *bytes)
{
    fws_deflate_short *state = malloc(sizeof *state);
    fws_deflater *deflater = fws_deflater_new(12, 3);
    size_t rounds = 0, total = 0;
    double begun = now(), elapsed;
    do {
        for (unsigned i = 0; i < MESSAGES; i++) {
            uint8_t out[2 * MESSAGE_SIZE];
            size_t size = 0;
            if (by_zlib) {
                fws_deflater_reset(deflater);
                fws_deflater_message(deflater, messages[i], MESSAGE_SIZE, out, sizeof out, &size);
            } else {
                fws_deflate_short_message(state, 12, messages[i], MESSAGE_SIZE, out, sizeof out,
                                          &size);
            }
            total += size;
        }
        rounds += MESSAGES;
        elapsed = now() - begun;
    } while (elapsed < seconds);
    fws_deflater_free(deflater);
    free(state);
    *micros = elapsed * 1e6 / (double)rounds;
    *bytes = (double)total / (double)rounds;
}

static void compare_deflate(double seconds)
{
    double micros[2][TURNS], bytes[2];
    make_messages();
    for (int turn = 0; turn < TURNS; turn++)
        for (int by_zlib = 0; by_zlib < 2; by_zlib++)
            time_deflate(by_zlib, seconds / 2 / TURNS, &micros[by_zlib][turn], &bytes[by_zlib]);
    qsort(micros[0], TURNS, sizeof(double), compare);
    qsort(micros[1], TURNS, sizeof(double), compare);
    printf("\"deflate_short_us\": %.2f, \"deflate_short_bytes\": %.0f, \"zlib_us\": %.2f, "
           "\"zlib_bytes\": %.0f",
           micros[0][TURNS / 2], bytes[0], micros[1][TURNS / 2], bytes[1]);
}

int main(int count, char **values)
{
    double seconds = count > 1 ? atof(values[1]) : 2;
    loop loops[] = {{.name = "memcpy", .run = copy},
                    {.name = "mask", .run = mask},
                    {.name = "utf8_ascii", .run = validate_ascii},
                    {.name = "utf8_mixed", .run = validate_mixed}};
    size_t loop_count = sizeof loops / sizeof *loops;
    uint8_t **blocks[] = {&buffer, &other, &ascii, &mixed};
    for (size_t i = 0; i < 4; i++) {
        *blocks[i] = aligned_alloc(64, SIZE);
        memset(*blocks[i], 'a', SIZE);
    }
    const char sample[] = "Gr\xC3\xBC\xC3\x9F"
                          "e, \xD0\x96\xD0\xB6 \xE2\x82\xAC ";
    for (size_t i = 0; i + sizeof sample <= SIZE; i += sizeof sample - 1)
        memcpy(mixed + i, sample, sizeof sample - 1);
    for (int turn = 0; turn < TURNS; turn++)
        for (size_t i = 0; i < loop_count; i++)
            loops[i].rates[turn] = measure(&loops[i], seconds / TURNS / (double)loop_count);
    double median[4];
    printf("{");
    for (size_t i = 0; i < loop_count; i++) {
        qsort(loops[i].rates, TURNS, sizeof(double), compare);
        median[i] = loops[i].rates[TURNS / 2];
        printf("\"%s\": %.2f, ", loops[i].name, median[i]);
    }
    printf("\"mask_of_memcpy\": %.3f, ", median[1] / median[0]);
    compare_deflate(seconds / 4);
    printf("}\n");
    return 0;
}
