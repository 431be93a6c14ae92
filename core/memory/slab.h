/* Many objects of one size, whose memory is given back to the system when they are freed.
 *
 * malloc has an arena for each of several threads, and each arena keeps up to tens of megabytes of
 * what was freed at its end. It also joins small freed pieces from time to time, all of them at
 * once, which takes 65 ms for a million. Here the objects lie in blocks that are mapped one by one,
 * and a block whose objects are all free is given back, except one that is kept for the next
 * object.
 *
 * Invariant: `open` lists the blocks with room, so that to allocate and to free takes the same time
 * however many blocks there are.
 *
 * Threads: no lock of its own; the lock of its owner protects it. Memory: the slab owns its blocks
 * until fws_slab_clear.
 */
#ifndef FWS_MEMORY_SLAB_H
#define FWS_MEMORY_SLAB_H

#include "../tuning.h"

#include <stddef.h>

#define FWS_SLAB_SIZE_MAX ((size_t)1024) /* bytes of an object */

typedef struct fws_slab_block fws_slab_block;

typedef struct {
    size_t size;           /* bytes of an object */
    fws_slab_block *open;  /* doubly linked */
    fws_slab_block *spare; /* in `open`, and empty; or NULL */
    size_t blocks;         /* mapped */
} fws_slab;

void fws_slab_init(fws_slab *slab, size_t size);
/* Every object has been freed. */
void fws_slab_clear(fws_slab *slab);

/* Not initialised; aligned to 16 bytes. NULL when there is no memory. */
void *fws_slab_allocate(fws_slab *slab);
void fws_slab_free(fws_slab *slab, void *object);

#endif
