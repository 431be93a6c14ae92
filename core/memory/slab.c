#include "slab.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* Freed objects are poisoned, so that AddressSanitizer reports their use. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define ALIGNMENT ((size_t)16)

typedef struct free_object {
    struct free_object *next;
} free_object;

struct fws_slab_block {
    fws_slab_block *previous, *next; /* in fws_slab.open, while it has room */
    free_object *free;
    size_t used;  /* objects */
    size_t fresh; /* bytes from its begin that have been used; what follows was never touched */
};

static fws_slab_block *map_block(void)
{
    char *whole =
        mmap(NULL, 2 * FWS_SLAB_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED)
        return NULL;
    size_t before = (FWS_SLAB_BLOCK - ((uintptr_t)whole & (FWS_SLAB_BLOCK - 1))) % FWS_SLAB_BLOCK;
    if (before > 0)
        munmap(whole, before);
    munmap(whole + before + FWS_SLAB_BLOCK, FWS_SLAB_BLOCK - before);
    fws_slab_block *block = (fws_slab_block *)(void *)(whole + before);
    block->fresh = (sizeof *block + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    return block; /* otherwise all zero */
}

static fws_slab_block *block_of(void *object)
{
    return (fws_slab_block *)(void *)((char *)object - ((uintptr_t)object & (FWS_SLAB_BLOCK - 1)));
}

static bool has_room(const fws_slab *slab, const fws_slab_block *block)
{
    return block->free != NULL || block->fresh + slab->size <= FWS_SLAB_BLOCK;
}

static void link_open(fws_slab *slab, fws_slab_block *block)
{
    block->previous = NULL;
    block->next = slab->open;
    if (slab->open)
        slab->open->previous = block;
    slab->open = block;
}

static void unlink_open(fws_slab *slab, fws_slab_block *block)
{
    if (block->previous)
        block->previous->next = block->next;
    else
        slab->open = block->next;
    if (block->next)
        block->next->previous = block->previous;
}

static void unmap_block(fws_slab *slab, fws_slab_block *block)
{
    ASAN_UNPOISON_MEMORY_REGION(block, FWS_SLAB_BLOCK);
    munmap(block, FWS_SLAB_BLOCK);
    slab->blocks--;
}

void fws_slab_init(fws_slab *slab, size_t size)
{
    if (size < sizeof(free_object))
        size = sizeof(free_object);
    *slab = (fws_slab){.size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1)};
}

void fws_slab_clear(fws_slab *slab)
{
    if (slab->spare)
        unmap_block(slab, slab->spare);
    fws_slab_init(slab, slab->size);
}

void *fws_slab_allocate(fws_slab *slab)
{
    fws_slab_block *block = slab->open;
    if (block == NULL) {
        block = map_block();
        if (block == NULL)
            return NULL;
        slab->blocks++;
        link_open(slab, block);
    }
    if (block == slab->spare)
        slab->spare = NULL;
    char *object = (char *)block + block->fresh;
    if (block->free) {
        object = (char *)block->free;
        ASAN_UNPOISON_MEMORY_REGION(object, slab->size);
        block->free = block->free->next;
    } else {
        block->fresh += slab->size;
    }
    block->used++;
    if (!has_room(slab, block))
        unlink_open(slab, block);
    return object;
}

void fws_slab_free(fws_slab *slab, void *object)
{
    fws_slab_block *block = block_of(object);
    free_object *freed = object;
    if (!has_room(slab, block))
        link_open(slab, block);
    freed->next = block->free;
    block->free = freed;
    ASAN_POISON_MEMORY_REGION(object, slab->size);
    if (--block->used > 0)
        return;
    if (slab->spare == NULL) {
        slab->spare = block;
        return;
    }
    unlink_open(slab, block);
    unmap_block(slab, block);
}
