/* What the tests of compression share: a pool for each test, and data that compresses or does not.
 */
#ifndef FWS_TEST_DEFLATING_H
#define FWS_TEST_DEFLATING_H

#include "testing.h"

#include "protocol/deflate.h"

static fws_deflate_pool pool;

static inline int start(void **state)
{
    (void)state;
    fws_deflate_pool_init(&pool, 6);
    return 0;
}

/* The level below which short messages are compressed by deflate_short. */
static inline int start_fast(void **state)
{
    (void)state;
    fws_deflate_pool_init(&pool, 3);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    fws_deflate_pool_clear(&pool);
    return 0;
}

/* Text that compresses, but not to nothing; the same for each seed. */
static inline void fill(uint8_t *data, size_t size, uint32_t seed)
{
    static const char *const words[] = {"time ", "flies ", "like ", "an ", "arrow ", "fruit "};
    size_t used = 0;
    while (used < size) {
        seed = seed * 1664525 + 1013904223;
        const char *word = words[(seed >> 16) % 6];
        for (size_t i = 0; word[i] && used < size; i++)
            data[used++] = (uint8_t)word[i];
    }
}

static inline void fill_random(uint8_t *data, size_t size)
{
    uint32_t seed = 7;
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define FAST(name) {"fast_" #name, name, start_fast, stop, NULL}

#endif
