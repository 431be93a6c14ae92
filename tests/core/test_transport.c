/* Taking a connection out of somebody's hands. */
#include "testing.h"

#include "io/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int owner, peer; /* the connection, as the owner has it, and its other end */

static int start(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    owner = ends[0];
    peer = ends[1];
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close(owner);
    close(peer);
    return 0;
}

static void test_what_the_peer_has_not_taken_is_known(void **state)
{
    (void)state;
    struct iovec vector = {.iov_base = "hello", .iov_len = 5};
    char buffer[8];
    size_t moved;
    assert_int_equal(fws_transport_unsent(owner), 0);
    assert_int_equal(fws_transport_send(owner, &vector, 1, false, &moved), FWS_TRANSPORT_OK);
    assert_true(fws_transport_unsent(owner) >= 5);
    assert_int_equal(read(peer, buffer, sizeof buffer), 5);
    assert_int_equal(fws_transport_unsent(owner), 0);
    assert_int_equal(fws_transport_unsent(-1), 0);
}

static void test_the_owner_keeps_a_dead_one(void **state)
{
    (void)state;
    int ours, far_end;
    char byte;
    assert_true(fws_transport_take_over(owner, &ours, &far_end));
    assert_int_equal(write(owner, "nobody reads this", 17), 17);
    assert_int_equal(read(owner, &byte, 1), 0);
    shutdown(owner, SHUT_RDWR);
    assert_int_equal(write(ours, "!", 1), 1);
    assert_int_equal(read(peer, &byte, 1), 1);
    assert_int_equal(byte, '!');
    assert_int_equal(fcntl(owner, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(ours, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(far_end, F_GETFD), FD_CLOEXEC);
    close(ours);
    close(far_end);
}

static void test_an_owner_that_will_not_write_shares_a_dead_one(void **state)
{
    (void)state;
    int dead[2], ours;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, dead), 0);
    shutdown(dead[0], SHUT_RDWR);
    assert_true(fws_transport_exchange(owner, dead[0], &ours));
    assert_int_equal(read(owner, &byte, 1), 0);
    assert_int_equal(send(owner, "!", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(shutdown(owner, SHUT_WR), 0);
    assert_int_equal(write(ours, "!", 1), 1);
    assert_int_equal(read(peer, &byte, 1), 1);
    assert_int_equal(byte, '!');
    assert_int_equal(fcntl(owner, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(ours, F_GETFD), FD_CLOEXEC);
    close(ours);
    close(dead[0]);
    close(dead[1]);
}

static void test_the_owner_keeps_its_connection_when_there_is_no_dead_one(void **state)
{
    (void)state;
    char byte;
    int ours, next = dup(owner);
    close(next);
    assert_false(fws_transport_exchange(owner, -1, &ours));
    assert_int_equal(errno, EBADF);
    assert_false(fws_transport_exchange(-1, owner, &ours));
    assert_int_equal(errno, EBADF);
    assert_int_equal(write(owner, "!", 1), 1);
    assert_int_equal(read(peer, &byte, 1), 1);
    int again = dup(owner); /* nothing has been left open */
    assert_int_equal(again, next);
    close(again);
}

static void test_it_waits_or_not_as_before(void **state)
{
    (void)state;
    int ours, far_end;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fcntl(owner, F_SETFL, i == 0 ? 0 : O_NONBLOCK), 0);
        assert_true(fws_transport_take_over(owner, &ours, &far_end));
        assert_int_equal(fcntl(owner, F_GETFL) & O_NONBLOCK, i == 0 ? 0 : O_NONBLOCK);
        close(ours);
        close(far_end);
    }
}

/* With none left, and with one, two, three: it works, or the owner still has its connection. */
static void test_descriptors_used_up(void **state)
{
    (void)state;
    struct rlimit before, limit;
    int ours, far_end, next = dup(owner);
    close(next);
    getrlimit(RLIMIT_NOFILE, &before);
    bool done = false;
    for (int left = 0; left < 4; left++) {
        limit = before;
        limit.rlim_cur = (rlim_t)(next + left);
        setrlimit(RLIMIT_NOFILE, &limit);
        errno = 0;
        done = fws_transport_take_over(owner, &ours, &far_end);
        int error = errno;
        setrlimit(RLIMIT_NOFILE, &before);
        assert_true(done == (left == 3));
        if (done)
            break;
        assert_int_equal(error, EMFILE);
        char byte = 0;
        assert_int_equal(write(owner, "!", 1), 1);
        assert_int_equal(read(peer, &byte, 1), 1);
        int again = dup(owner); /* nothing has been left open */
        assert_int_equal(again, next);
        close(again);
    }
    close(ours);
    close(far_end);
}

static void test_no_descriptor(void **state)
{
    (void)state;
    int ours, far_end;
    assert_false(fws_transport_take_over(-1, &ours, &far_end));
    assert_int_equal(errno, EBADF);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_peer_has_not_taken_is_known),
        TEST(test_the_owner_keeps_a_dead_one),
        TEST(test_an_owner_that_will_not_write_shares_a_dead_one),
        TEST(test_the_owner_keeps_its_connection_when_there_is_no_dead_one),
        TEST(test_it_waits_or_not_as_before),
        TEST(test_descriptors_used_up),
        TEST(test_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
