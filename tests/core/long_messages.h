/* What the tests of long messages share: an engine for each test, that compresses all but the
 * shortest and takes messages of up to 16 MiB. */
#ifndef FWS_TEST_LONG_MESSAGES_H
#define FWS_TEST_LONG_MESSAGES_H

#include "pair.h"

/* Without context takeover. */
static const fws_deflate_parameters alone = {.server_no_context_takeover = true,
                                             .client_no_context_takeover = true,
                                             .server_max_window_bits = 15,
                                             .client_max_window_bits = 15};
static const fws_deflate_parameters takeover = {.server_max_window_bits = 15,
                                                .client_max_window_bits = 15};

#define LONG ((size_t)6 << 20) /* of a message, decompressed */

static fws_engine *engine;

static inline int start_at_level(int level)
{
    fws_engine_config config = default_config;
    config.limits.max_message_size = 16 << 20;
    config.send_buffer = 32 << 20;
    config.compression_level = level;
    config.compression_threshold = 16;
    engine = fws_engine_new(&config);
    return 0;
}

static inline int start(void **state)
{
    (void)state;
    return start_at_level(3);
}

static inline int stop(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

/* Of the loop, so far. */
static inline uint64_t turns(void)
{
    return atomic_load(&engine->work.counters.loop_wakeups);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

#endif
