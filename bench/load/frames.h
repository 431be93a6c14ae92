/* The messages that every connection sends in turn, and their frames one after the other. The
 * masking key is constant, so that each frame is made once: what is measured is the server. */
#ifndef FWS_BENCH_FRAMES_H
#define FWS_BENCH_FRAMES_H

#include "fws.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    unsigned variants;
    uint8_t **payloads; /* of each variant */
    size_t *payload_sizes, *frame_sizes;
    uint8_t *stream; /* the frames */
    size_t stream_size;
} load_frames;

extern load_frames frames; /* constant once made */

/* As the options ask for; compressed from the pool. */
void frames_make(fws_deflate_pool *pool);

#endif
