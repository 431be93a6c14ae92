/* What the tests of publishing have in common: an engine for each test, and short forms of
 * subscribing and publishing. For one file of a program. */
#ifndef FWS_TESTS_PUBLISHING_H
#define FWS_TESTS_PUBLISHING_H

#include "pair.h"

static fws_engine *engine;

static inline int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

static inline fws_channel_name name(const char *text)
{
    return (fws_channel_name){.data = text, .size = strlen(text)};
}

static inline void subscribe(const pair *p, const char *channel)
{
    fws_channel_name one = name(channel);
    assert_int_equal(fws_engine_subscribe(p->engine, p->server, &one, 1), FWS_TABLE_OK);
}

static inline long publish(const char *text, const char *first, const char *second,
                           fws_websocket *excluded)
{
    fws_channel_name names[2] = {name(first), name(second ? second : first)};
    long count = fws_engine_publish(engine, FWS_OPCODE_TEXT, text, strlen(text), names,
                                    second ? 2 : 1, &excluded, excluded ? 1 : 0);
    if (fws_engine_is_behind(engine))
        fws_engine_catch_up(engine);
    return count;
}

#endif
