/* Objects of one size, whose blocks are given back. */
#include "testing.h"

#include "memory/slab.h"
#include "memory/temporary.h"

#define OBJECTS 5000
#define SIZE 100

static void test_objects_keep_what_is_written_to_them(void **state)
{
    (void)state;
    static uint8_t *objects[OBJECTS];
    fws_slab slab;
    uint32_t seed = 5;
    fws_slab_init(&slab, SIZE);
    memset(objects, 0, sizeof objects);
    for (int step = 0; step < 200000; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % OBJECTS;
        if (objects[i] == NULL) {
            objects[i] = fws_slab_allocate(&slab);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % 16, 0);
            memset(objects[i], (int)(i % 251), SIZE);
        } else {
            for (int k = 0; k < SIZE; k++)
                assert_int_equal(objects[i][k], i % 251);
            fws_slab_free(&slab, objects[i]);
            objects[i] = NULL;
        }
    }
    for (size_t i = 0; i < OBJECTS; i++)
        if (objects[i])
            fws_slab_free(&slab, objects[i]);
    fws_slab_clear(&slab);
    assert_int_equal(slab.blocks, 0);
}

static void test_blocks_of_freed_objects_are_given_back(void **state)
{
    (void)state;
    static void *objects[OBJECTS];
    fws_slab slab;
    fws_slab_init(&slab, SIZE);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < OBJECTS; i++)
            objects[i] = fws_slab_allocate(&slab);
        assert_in_range(slab.blocks, OBJECTS * SIZE / FWS_SLAB_BLOCK,
                        OBJECTS * (SIZE + 16) / FWS_SLAB_BLOCK + 2);
        for (size_t i = 0; i < OBJECTS; i++)
            fws_slab_free(&slab, objects[i * 7 % OBJECTS]);
        assert_int_equal(slab.blocks, 1); /* for the next */
    }
    fws_slab_clear(&slab);
    assert_int_equal(slab.blocks, 0);
}

/* What a process has mapped, in pages. */
static size_t mapped(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu", &pages), 1);
    fclose(file);
    return pages;
}

/* malloc keeps a piece of 16 MiB once it has been given one back. */
static void test_temporary_memory_is_given_back(void **state)
{
    (void)state;
    const size_t size = (size_t)16 << 20, sizes[] = {1, 1000, FWS_SLAB_BLOCK - 1, FWS_SLAB_BLOCK};
    void *piece = malloc(size);
    assert_non_null(piece);
    free(piece);
    size_t before = mapped();
    for (int round = 0; round < 3; round++) {
        uint8_t *memory = fws_temporary_allocate(size);
        assert_non_null(memory);
        memset(memory, round, size);
        fws_temporary_free(memory, size);
        assert_in_range(mapped(), 0, before + size / 2 / 4096);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            memory = fws_temporary_allocate(sizes[i]);
            assert_non_null(memory);
            memset(memory, round, sizes[i]);
            fws_temporary_free(memory, sizes[i]);
        }
    }
    fws_temporary_free(NULL, size);
    assert_null(fws_temporary_allocate(SIZE_MAX / 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_keep_what_is_written_to_them),
        cmocka_unit_test(test_blocks_of_freed_objects_are_given_back),
        cmocka_unit_test(test_temporary_memory_is_given_back),
    };
    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
