/* The hash table that grows and shrinks by a bucket at a time. */
#include "testing.h"

#include "memory/hash.h"

#define ENTRIES 20000

typedef struct {
    fws_hash_entry entry; /* first */
    bool inside;
} item;

static item items[ENTRIES];

/* Pairs of them have the same hash. */
static uint64_t hash_of(size_t number)
{
    return (number / 2) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool is_found(const fws_hash *hash, size_t number)
{
    fws_hash_entry *entry = fws_hash_find(hash, hash_of(number));
    while (entry && entry != &items[number].entry)
        entry = fws_hash_find_next(entry);
    return entry != NULL;
}

static void check_bounds(const fws_hash *hash)
{
    assert_true(hash->count <= hash->buckets + 1);
}

static void test_what_is_in_it_is_found_and_nothing_else(void **state)
{
    (void)state;
    fws_hash hash;
    uint32_t seed = 1;
    size_t count = 0;
    fws_hash_init(&hash);
    memset(items, 0, sizeof items);
    for (int step = 0; step < 300000; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t number = (seed >> 8) % ENTRIES;
        /* In waves: it grows, and shrinks, and grows again. */
        bool in = (seed >> 28) < (step / 50000 % 2 ? 1 : 15);
        if (in && !items[number].inside) {
            fws_hash_insert(&hash, &items[number].entry, hash_of(number));
            items[number].inside = true;
            count++;
        } else if (!in && items[number].inside) {
            fws_hash_remove(&hash, &items[number].entry);
            items[number].inside = false;
            count--;
        }
        assert_int_equal(hash.count, count);
        assert_true(is_found(&hash, number) == items[number].inside);
        check_bounds(&hash);
        if (step % 25000 == 0)
            for (size_t i = 0; i < ENTRIES; i++)
                assert_true(is_found(&hash, i) == items[i].inside);
    }
    fws_hash_clear(&hash);
}

static void test_an_empty_table_holds_no_memory(void **state)
{
    (void)state;
    fws_hash hash;
    fws_hash_init(&hash);
    for (size_t i = 0; i < ENTRIES; i++)
        fws_hash_insert(&hash, &items[i].entry, hash_of(i));
    assert_in_range(hash.buckets, ENTRIES - 1, ENTRIES + 1);
    for (size_t i = 0; i < ENTRIES; i++) {
        fws_hash_remove(&hash, &items[i].entry);
        assert_true(hash.buckets <= FWS_FEW || hash.buckets <= 8 * hash.count + 8);
    }
    assert_int_equal(hash.buckets, FWS_FEW);
    assert_null(hash.segments);
    assert_null(fws_hash_any(&hash));
    fws_hash_clear(&hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_in_it_is_found_and_nothing_else),
        cmocka_unit_test(test_an_empty_table_holds_no_memory),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
