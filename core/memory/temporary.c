#include "temporary.h"

#include "../tuning.h"

#include <stdlib.h>
#include <sys/mman.h>

void *fws_temporary_allocate(size_t size)
{
    if (size < FWS_SLAB_BLOCK)
        return malloc(size);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void fws_temporary_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    if (size < FWS_SLAB_BLOCK)
        free(memory);
    else
        munmap(memory, size);
}
