/* Memory that is needed for one call only, and may be large: a list of thousands of names, say.
 *
 * From FWS_SLAB_BLOCK on it is mapped by itself. malloc would do so too, at first; but each time
 * such a piece is freed it raises the size from which on it does, up to 32 MiB. From then on each
 * thread that has once made such a call keeps some megabytes of its arena for good.
 *
 * Threads: no state; any.
 */
#ifndef FWS_MEMORY_TEMPORARY_H
#define FWS_MEMORY_TEMPORARY_H

#include <stddef.h>

/* Not initialised; NULL when there is no memory. `size` is not 0. */
void *fws_temporary_allocate(size_t size);
/* With the same size; `memory` may be NULL. */
void fws_temporary_free(void *memory, size_t size);

#endif
