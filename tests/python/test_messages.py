"""Sending and receiving from a handler: types, iteration, time-outs, threads."""

from __future__ import annotations

import array
import threading
import time

import pytest
from conftest import wait_for
from websockets.sync.client import connect

from flask_websockets import ConnectionClosed, WebSocketState

TEXT, BINARY, CLOSE = 1, 2, 8


def run(application, handler, client=None):
    """Run a handler against a client; returns what the handler returned or raised."""
    outcome = []
    done = threading.Event()

    @application.route("/ws")
    def ws_(ws):
        try:
            outcome.append(handler(ws))
        except BaseException as error:
            outcome.append(error)
        finally:
            done.set()

    with connect(application.serve().url("/ws"), compression=None) as connection:
        if client is not None:
            client(connection)
        assert done.wait(20)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def test_each_type_arrives_as_what_it_was_sent(application):
    got = []

    def handler(ws):
        ws.send("text ä€😀")
        ws.send(b"bytes")
        ws.send(bytearray(b"bytearray"))
        ws.send(memoryview(b"a memoryview")[2:])
        ws.send(array.array("H", [1, 2]))
        ws.send_text("text")
        ws.send_bytes("ä")
        ws.send_bytes(b"")
        ws.send_json({"a": [1, None, "ä"]})
        ws.send_msgpack([1, "x"])
        return [ws.receive(5), ws.receive(timeout=5), ws.receive_json(), ws.receive_msgpack(5)]

    def client(connection):
        got.extend(connection.recv(timeout=10) for _ in range(10))
        connection.send("ä")
        connection.send(b"\0\xff")
        connection.send('{"b": 2}')
        connection.send(b"\x93\x01\x02\x03")

    assert run(application, handler, client) == ["ä", b"\0\xff", {"b": 2}, [1, 2, 3]]
    assert got == [
        "text ä€😀",
        b"bytes",
        b"bytearray",
        b"memoryview",
        b"\1\0\2\0",
        "text",
        "ä".encode(),
        b"",
        '{"a": [1, null, "\\u00e4"]}',
        b"\x92\x01\xa1x",
    ]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda ws: ws.send(5),
            TypeError,
            "send() takes str or a bytes-like object, not int; send_json() takes",
        ),
        (lambda ws: ws.send(None), TypeError, "not NoneType"),
        (lambda ws: ws.send_text(b"x"), TypeError, "send_text() takes str, not bytes"),
        (lambda ws: ws.send_bytes(1.5), TypeError, "send_bytes() takes"),
        (lambda ws: ws.send("\ud800"), ValueError, "surrogates not allowed"),
        (lambda ws: ws.send(memoryview(b"abcdef")[::2]), BufferError, "contiguous"),
        (lambda ws: ws.send_json({1, 2}), TypeError, "not JSON serializable"),
        (lambda ws: ws.receive("soon"), TypeError, "timeout must be a number of seconds"),
        (lambda ws: ws.receive(-1), ValueError, "timeout must be at least 0"),
        (lambda ws: ws.receive(float("nan")), ValueError, "timeout must be at least 0"),
        (lambda ws: ws.receive(1, 2), TypeError, "one argument"),
        (lambda ws: ws.receive(wait=1), TypeError, "'wait'"),
        (lambda ws: ws.close(1006), ValueError, "1006 may not be sent"),
        (lambda ws: ws.close(70000), ValueError, "70000 may not be sent"),
        (lambda ws: ws.close(1000, "ä" * 62), ValueError, "at most 123 bytes"),
        (lambda ws: ws.close(1000, b"x"), TypeError, "reason must be str"),
        (lambda ws: ws.ping(b"x" * 126), ValueError, "at most 125 bytes"),
        (lambda ws: ws.ping(7), TypeError, "ping() takes"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_sent(application, call, error, says):
    def handler(ws):
        with pytest.raises(error) as raised:
            call(ws)
        assert says in str(raised.value)
        ws.send("only this")

    run(application, handler, lambda connection: _only_this(connection))


def _only_this(connection):
    assert connection.recv(timeout=10) == "only this"


def test_iterators_pass_over_the_other_kind(application):
    def handler(ws):
        texts = []
        for text in ws.iter_text():
            texts.append(text)
            if text == "b":
                break
        return texts

    def client(connection):
        for data in ("a", b"no", "b"):
            connection.send(data)

    assert run(application, handler, client) == ["a", "b"]


def test_iter_json_and_iter_bytes_end_at_disconnect(application):
    def handler(ws):
        values = [next(iter_json := ws.iter_json()), next(iter_json)]
        return values, list(ws.iter_bytes()), ws.close_code, ws.close_reason

    def client(connection):
        for data in ('{"a": 1}', b"[2]", "not this", b"this"):
            connection.send(data)
        connection.close(4000, "done")

    assert run(application, handler, client) == ([{"a": 1}, [2]], [b"this"], 4000, "done")


def test_an_exception_in_the_loop_leaves_the_websocket_to_its_handler(application):
    def handler(ws):
        try:
            for data in ws.iter_data():
                raise KeyError(data)
        except KeyError:
            state = ws.state
        ws.send("still open")
        return state

    def client(connection):
        connection.send("x")
        assert connection.recv(timeout=10) == "still open"

    assert run(application, handler, client) is WebSocketState.OPEN


def test_time_outs_are_accurate_to_20_ms_and_lose_nothing(application):
    def handler(ws):
        times = []
        for wanted in (0.0, 0.05, 0.1, 0.2):
            begun = time.monotonic()
            assert ws.receive(timeout=wanted) is None
            times.append(time.monotonic() - begun - wanted)
        ws.send("go")
        return times, [ws.receive(timeout=5) for _ in range(100)]

    def client(connection):
        connection.recv(timeout=10)
        for i in range(100):
            connection.send(str(i))

    times, messages = run(application, handler, client)
    assert all(0 <= late < 0.02 for late in times), times
    assert messages == [str(i) for i in range(100)]


def test_64_threads_on_one_websocket_never_interleave(application):
    def handler(ws):
        def send_all(number):
            for i in range(40):
                ws.send(f"{number} {i} " + chr(97 + number % 26) * (number * 37 % 2000))

        threads = [threading.Thread(target=send_all, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def client(connection):
        following = dict.fromkeys(range(64), 0)
        for _ in range(64 * 40):
            number, i, body = connection.recv(timeout=10).split(" ")
            assert int(i) == following[int(number)]
            following[int(number)] += 1
            assert body == chr(97 + int(number) % 26) * (int(number) * 37 % 2000)

    run(application, handler, client)


def echo_often(ws):
    """From then on the handler is known as one that comes back at once: see cork.h."""
    for _ in range(64):
        ws.send(ws.receive())


def expect_echoes(connection):
    for _ in range(64):
        connection.send("x")
        assert connection.recv(timeout=10) == "x"


def test_what_was_sent_does_not_wait_for_a_handler_that_stays_away(application):
    def handler(ws):
        echo_often(ws)
        ws.send("first")
        time.sleep(2)

    def client(connection):
        expect_echoes(connection)
        assert connection.recv(timeout=1) == "first"

    run(application, handler, client)


def test_sends_and_publishes_of_a_handler_arrive_in_their_order(application):
    def handler(ws):
        with application.websockets.subscribe(ws, "all"):
            echo_often(ws)
            for number in range(200):
                if number % 3 == 2:
                    application.websockets.publish(str(number), "all")
                else:
                    ws.send(str(number))
            ws.receive()

    def client(connection):
        expect_echoes(connection)
        got = [connection.recv(timeout=10) for _ in range(200)]
        assert got == [str(number) for number in range(200)]
        connection.send("done")

    run(application, handler, client)


def test_the_last_message_of_a_handler_arrives(application):
    def handler(ws):
        echo_often(ws)
        ws.send("last")

    def client(connection):
        expect_echoes(connection)
        assert connection.recv(timeout=10) == "last"

    run(application, handler, client)


def test_a_close_from_another_thread_wakes_a_blocked_receive(application):
    def handler(ws):
        closed_at = []

        def close():
            closed_at.append(time.monotonic())
            ws.close(4321, "woken")

        threading.Timer(0.2, close).start()
        with pytest.raises(ConnectionClosed) as raised:
            ws.receive()
        return time.monotonic() - closed_at[0], raised.value

    waited, error = run(application, handler)
    assert waited < 0.05
    assert (error.code, error.reason) == (4321, "woken")
    assert str(error) == "connection closed with 4321 (woken)"


def test_a_disconnect_wakes_every_blocked_receive(application):
    ended = []

    def handler(ws):
        def wait():
            with pytest.raises(ConnectionClosed):
                ws.receive()
            ended.append(1)

        threads = [threading.Thread(target=wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    run(application, handler, lambda connection: connection.close())
    assert len(ended) == 5


def test_what_arrived_before_the_close_is_received_first(application):
    def handler(ws):
        ws.send("go")
        wait_for(lambda: ws.closed)
        got = [ws.receive(), ws.receive()]
        for call in (ws.receive, lambda: ws.send("x"), lambda: ws.send_json(1), ws.ping):
            with pytest.raises(ConnectionClosed):
                call()
        ws.close()  # does nothing, and does not complain
        return got, ws.state is WebSocketState.CLOSED

    def client(connection):
        connection.recv(timeout=10)
        connection.send("one")
        connection.send("two")
        connection.close()

    assert run(application, handler, client) == (["one", "two"], True)


def test_ping_gives_the_round_trip(application):
    def handler(ws):
        return [ws.ping(), ws.ping(b"payload"), ws.ping("ä")], ws.receive()

    def client(connection):  # answers pings in a thread of its own
        connection.send("sent before the pongs, and kept")

    times, message = run(application, handler, client)
    assert all(0 < t < 5 for t in times)
    assert message == "sent before the pongs, and kept"


def test_a_sleeping_handler_still_has_its_pings_answered_and_sees_the_close(application):
    def handler(ws):
        ws.send("asleep")
        wait_for(lambda: ws.closed, 10)
        return ws.close_code

    def client(connection):
        connection.recv(timeout=10)
        assert connection.ping().wait(5)
        connection.close(1001)

    assert run(application, handler, client) == 1001


def test_the_properties_of_a_websocket(application):
    def handler(ws):
        seen = [ws.state.name, ws.closed, ws.close_code, ws.close_reason, ws.buffered_amount]
        ws.data["own"] = 1
        ws.accept()
        assert ws.id in repr(ws) and "OPEN" in repr(ws)
        return [*seen, ws.state.name, ws.remote_addr, ws.channels, len(ws.id)]

    assert run(application, handler) == [
        "OPEN", False, None, None, 0, "OPEN", "127.0.0.1", [], 32,
    ]  # fmt: skip


def test_a_message_over_the_limit_is_1009(application):
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 1000

    def handler(ws):
        got = ws.receive()
        with pytest.raises(ConnectionClosed):
            ws.receive()
        return got, ws.close_code

    def client(connection):
        connection.send(b"x" * 1000)
        connection.send(b"x" * 1001)
        from websockets.exceptions import ConnectionClosedError

        with pytest.raises(ConnectionClosedError) as closed:
            connection.recv(timeout=10)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1009, "message too big")

    assert run(application, handler, client) == (b"x" * 1000, 1009)


def test_64_mebibytes_when_the_limit_is_raised(application):
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 1 << 26
    data = bytes(range(256)) * (1 << 18)

    def handler(ws):
        ws.send(ws.receive())

    def client(connection):
        connection.protocol.max_message_size = None
        connection.send(data)
        assert connection.recv(timeout=30) == data

    run(application, handler, client)


def test_keep_alive_pings_go_out_and_a_missing_pong_is_1011(application):
    application.app.config["WEBSOCKETS_PING_INTERVAL"] = 0.1
    application.app.config["WEBSOCKETS_PING_TIMEOUT"] = 0.3

    @application.route("/ws")
    def ws_(ws):
        ws.receive()

    client = application.serve().connect("/ws")
    frames = []
    while not frames or frames[-1].opcode != CLOSE:
        frames.append(client.recv_frame())  # websocket-client answers pings in recv() only
    assert frames[0].opcode == 9
    assert frames[-1].data == (1011).to_bytes(2, "big") + b"ping timeout"


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("messages_before", [0, 20])
def test_a_thread_that_waits_ends_when_another_closes(application, timeout, messages_before):
    """After many messages in short time it waits in recv, from which nobody can wake it."""

    def handler(ws):
        ends = []

        def receive():
            try:
                ends.append(ws.receive(timeout))
            except ConnectionClosed as error:
                ends.append(error.code)

        for _ in range(messages_before):
            ws.send(ws.receive())
        waiting = threading.Thread(target=receive)
        waiting.start()
        time.sleep(0.05)
        ws.close(4000)
        waiting.join(3)
        return ends

    def client(connection):
        for number in range(messages_before):
            connection.send(str(number))
            assert connection.recv() == str(number)

    assert run(application, handler, client) == [4000]
