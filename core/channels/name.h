/* Names of channels, and how they are looked up: by a hash that clients cannot predict.
 *
 * Threads: no state; any.
 */
#ifndef FWS_CHANNELS_NAME_H
#define FWS_CHANNELS_NAME_H

#include "../tuning.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_CHANNEL_NAME_MAX 255 /* bytes */

typedef struct {
    const char *data; /* any bytes, zero included */
    size_t size;      /* 1 to FWS_CHANNEL_NAME_MAX */
} fws_channel_name;

/* One name of a call, ready to be looked up. */
typedef struct {
    fws_channel_name name;
    uint64_t hash;
    bool repeated; /* an earlier one of the same call is the same name */
} fws_name_key;

/* The names of one call; few need no memory. Not to be copied. */
typedef struct {
    fws_name_key *keys; /* `few`, or memory for one call */
    size_t count;
    fws_name_key few[FWS_FEW];
} fws_name_keys;

/* Hashes the names under this key and marks those that are repeated. The time grows with their
 * number only, so it is done before a lock is taken. False when there is no memory. */
bool fws_names_prepare(fws_name_keys *keys, const uint64_t hash_key[2],
                       const fws_channel_name *names, size_t count);
void fws_names_clear(fws_name_keys *keys);

#endif
