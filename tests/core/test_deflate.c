#include "deflating.h"

#include "../../bench/sample.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <zlib.h>

static void test_the_examples_of_the_rfc(void **state)
{
    (void)state;
    uint8_t out[64];
    size_t size;
    assert_true(
        fws_deflate_pool_compress(&pool, 15, (const uint8_t *)"Hello", 5, out, sizeof out, &size));
    assert_int_equal(size, 7); /* section 7.2.3.1 */
    assert_memory_equal(out, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    assert_true(fws_deflate_pool_compress(&pool, 15, NULL, 0, out, sizeof out, &size));
    assert_int_equal(size, 1); /* section 7.2.3.6 */
    assert_int_equal(out[0], 0);
}

/* With zlib's own inflate, whose window is exactly the one that was agreed on, byte by byte, so
 * that nothing is found in a buffer that would have left the window. */
static void expect_readable_with_window(int bits, const uint8_t *wire, size_t wire_size,
                                        const uint8_t *text, size_t size)
{
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, -bits), Z_OK);
    uint8_t *out = malloc(size + 1);
    size_t written = 0;
    for (size_t i = 0; i < wire_size; i++) {
        stream.next_in = (Bytef *)(uintptr_t)(wire + i);
        stream.avail_in = 1;
        do {
            stream.next_out = out + written;
            stream.avail_out = 1;
            int status = inflate(&stream, Z_SYNC_FLUSH);
            assert_true(status == Z_OK || status == Z_BUF_ERROR);
            written += 1 - stream.avail_out;
            assert_true(written <= size);
        } while (stream.avail_out == 0);
    }
    assert_int_equal(written, size);
    assert_memory_equal(out, text, size);
    inflateEnd(&stream);
    free(out);
}

static void test_a_peer_with_any_window_can_read_it(void **state)
{
    (void)state;
    enum { SIZE = 70000 };
    uint8_t *text = malloc(SIZE), *wire = malloc(SIZE);
    fill(text, SIZE, 1);
    for (uint8_t bits = 8; bits <= 15; bits++) {
        for (size_t length = 300; length <= SIZE; length = length * 4 < SIZE ? length * 4 : SIZE) {
            size_t size;
            assert_true(fws_deflate_pool_compress(&pool, bits, text, length, wire, length, &size));
            assert_true(size < length / 2);
            expect_readable_with_window(bits, wire, size, text, length);
            if (length == SIZE)
                break;
        }
    }
    free(text);
    free(wire);
}

static void test_short_messages_of_every_kind(void **state)
{
    (void)state;
    static uint8_t text[FWS_DEFLATE_SHORT_MAX], wire[2 * FWS_DEFLATE_SHORT_MAX];
    uint32_t seed = 1;
    for (size_t length = 1; length <= FWS_DEFLATE_SHORT_MAX;
         length += 1 + length / (length < 64 ? 64 : 16)) {
        for (unsigned kind = 0; kind < 6; kind++) {
            uint8_t bits = (uint8_t)(8 + (length + kind) % 8);
            size_t size;
            fill(text, length, (uint32_t)length);
            for (size_t i = 0; i < length && kind > 0; i++) {
                seed = seed * 1664525 + 1013904223;
                uint8_t random = (uint8_t)(seed >> 24);
                if (kind == 1)
                    text[i] = 'x'; /* one byte again and again */
                else if (kind == 2)
                    text[i] = random; /* noise */
                else if (kind == 3)
                    text[i] = (uint8_t)__builtin_ctz(seed >> 8 | 0x800000); /* rarer and rarer */
                else if (kind == 4)
                    text[i] = (uint8_t)(i >> 3); /* all bytes, evenly */
                else if (i >= 270)
                    text[i] = text[i - 257 - random % 13]; /* far back */
            }
            assert_true(
                fws_deflate_pool_compress(&pool, bits, text, length, wire, sizeof wire, &size));
            expect_readable_with_window(bits, wire, size, text, length);
        }
    }
}

static void test_what_is_short_is_compressed_nearly_as_well_as_by_zlib(void **state)
{
    (void)state;
    uint8_t text[4000], wire[4000];
    fws_deflate_pool thorough;
    fws_deflate_pool_init(&thorough, 6);
    for (size_t length = 200; length <= sizeof text; length += 200) {
        size_t fast, small;
        fws_sample_json(text, length, (unsigned)length);
        assert_true(fws_deflate_pool_compress(&pool, 15, text, length, wire, sizeof wire, &fast));
        assert_true(
            fws_deflate_pool_compress(&thorough, 15, text, length, wire, sizeof wire, &small));
        assert_true(fast <= small + small / 4 + 8);
    }
    fws_deflate_pool_clear(&thorough);
}

static void test_room_of_every_size_is_kept_to(void **state)
{
    (void)state;
    uint8_t text[600];
    fill(text, sizeof text, 3);
    size_t needed;
    uint8_t large[700];
    assert_true(
        fws_deflate_pool_compress(&pool, 15, text, sizeof text, large, sizeof large, &needed));
    /* The short one's size may be a byte less than what it reserves. */
    size_t reserved = needed;
    while (!fws_deflate_pool_compress(&pool, 15, text, sizeof text, large, reserved, &needed))
        reserved++;
    for (size_t capacity = 0; capacity < 400; capacity++) {
        uint8_t *out = malloc(capacity ? capacity : 1);
        size_t size;
        bool done = fws_deflate_pool_compress(&pool, 15, text, sizeof text, out, capacity, &size);
        /* Of zlib's the flush's tail must fit too. */
        assert_int_equal(done, pool.level < FWS_THOROUGH_LEVEL ? capacity >= reserved
                                                               : capacity > needed + 4);
        if (done)
            assert_memory_equal(out, large, needed);
        free(out);
    }
    uint8_t noise[500];
    fill_random(noise, sizeof noise);
    assert_false(
        fws_deflate_pool_compress(&pool, 15, noise, sizeof noise, large, sizeof noise, &needed));
}

static void test_noise_is_not_tried(void **state)
{
    (void)state;
    enum { SIZE = 500000 };
    uint8_t *text = malloc(SIZE), *wire = malloc(SIZE + 1000);
    size_t size;
    fill_random(text, SIZE);
    assert_false(fws_deflate_pool_promising(&pool, text, SIZE));
    assert_true(fws_deflate_pool_promising(&pool, text, 30000)); /* short: it costs little */
    assert_false(fws_deflate_pool_compress(&pool, 15, text, SIZE, wire, SIZE + 1000, &size));
    fill(text + SIZE - 5000, 5000, 1); /* some of it does compress */
    assert_true(fws_deflate_pool_compress(&pool, 15, text, SIZE, wire, SIZE + 1000, &size));
    expect_readable_with_window(15, wire, size, text, SIZE);
    fill(text, SIZE, 1);
    assert_true(fws_deflate_pool_promising(&pool, text, SIZE));
    free(text);
    free(wire);
}

static uint8_t changing[FWS_DEFLATE_SHORT_MAX];
static atomic_bool enough;

/* By system calls, as readinto() in Python does, which no sanitizer sees. */
static void *change(void *argument)
{
    static uint8_t contents[2][sizeof changing];
    int *fds = argument;
    for (size_t i = 0; i < sizeof changing; i++) {
        contents[0][i] = (uint8_t)("abcdefgh"[i * i / 7 % 8]);
        contents[1][i] = (uint8_t)(i * i / 5 % 64);
    }
    for (int i = 0; !atomic_load(&enough); i++) {
        if (write(fds[1], contents[i % 2], sizeof changing) == (ssize_t)sizeof changing)
            syscall(SYS_read, fds[0], changing, sizeof changing);
    }
    return NULL;
}

static void test_a_message_that_another_thread_changes_is_a_stream_all_the_same(void **state)
{
    (void)state;
    int fds[2];
    pthread_t thread;
    uint8_t wire[sizeof changing + 8], out[sizeof changing + 1];
    fws_inflater *inflater = fws_inflater_new(15);
    assert_int_equal(pipe(fds), 0);
    atomic_store(&enough, false);
    pthread_create(&thread, NULL, change, fds);
    for (int i = 0; i < 20000; i++) {
        size_t size, room = sizeof out;
        const uint8_t *data = wire;
        uint8_t *to = out;
        if (!fws_deflate_pool_compress(&pool, 15, changing, sizeof changing, wire, sizeof changing,
                                       &size))
            continue;
        memcpy(wire + size, "\0\0\xff\xff", 4);
        size += 4;
        fws_inflater_reset(inflater);
        assert_int_equal(fws_inflater_feed(inflater, &data, &size, &to, &room), FWS_INFLATE_DONE);
        assert_true(fws_inflater_at_boundary(inflater));
        assert_int_equal(to - out, sizeof changing);
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    fws_inflater_free(inflater);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAST(test_a_message_that_another_thread_changes_is_a_stream_all_the_same),
        TEST(test_the_examples_of_the_rfc),
        TEST(test_noise_is_not_tried),
        TEST(test_a_peer_with_any_window_can_read_it),
        TEST(test_room_of_every_size_is_kept_to),
        FAST(test_a_peer_with_any_window_can_read_it),
        FAST(test_short_messages_of_every_kind),
        FAST(test_what_is_short_is_compressed_nearly_as_well_as_by_zlib),
        FAST(test_room_of_every_size_is_kept_to),
    };
    return cmocka_run_group_tests_name("deflate", tests, NULL, NULL);
}
