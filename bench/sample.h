/* JSON such as applications send: some of it alike, some not. For the benchmarks and the tests of
 * compression. */
#ifndef FWS_BENCH_SAMPLE_H
#define FWS_BENCH_SAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `size` bytes, the same for each seed; cut off at the end, no NUL. */
static inline void fws_sample_json(uint8_t *data, size_t size, unsigned seed)
{
    char *room = malloc(size + 200);
    if (room == NULL)
        abort();
    for (size_t used = 0; used < size;) {
        seed = seed * 1103515245 + 12345;
        unsigned number = seed >> 8;
        used +=
            (size_t)sprintf(room + used,
                            "{\"id\": %u, \"name\": \"user %u\", \"price\": %u.%02u, "
                            "\"tags\": [\"t%u\", \"bright\"]}, ",
                            number % 100000, number % 977, number % 313, number % 100, number % 11);
    }
    memcpy(data, room, size);
    free(room);
}

#endif
