"""What every server has to do alike. One server of each kind, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import ssl
import threading
import time

import kinds
import pytest
import websocket
import wire
from conftest import wait_for

GOING_AWAY = (1001).to_bytes(2, "big")
INTERNAL_ERROR = (1011).to_bytes(2, "big")


def echoes(client, data="hello") -> bool:
    client.send(data)
    return client.recv() == data


# ---- messages ----


def test_echo_and_pages_side_by_side(served):
    clients = [served.connect("/echo") for _ in range(5)]
    for _ in range(3):
        assert all(echoes(client) for client in clients)
        assert served.page("GET", "/").text == "a page"
    for client in clients:
        client.close()


def test_channels(served):
    clients = [served.connect("/channel/one") for _ in range(3)]
    other = served.connect("/channel/other")
    assert [client.recv() for client in [*clients, other]] == ["subscribed"] * 4
    clients[0].send("from a websocket")
    assert [client.recv() for client in clients] == ["from a websocket"] * 3
    assert served.page("POST", "/publish/one", "from a page").text == "3"
    assert [client.recv() for client in clients] == ["from a page"] * 3
    for client in [*clients, other]:
        client.close()


def test_a_mebibyte_both_ways(served):
    client = served.connect("/echo")
    assert echoes(client, "ä" * (1 << 19))
    client.send_binary(bytes(range(256)) * (1 << 12))
    assert client.recv() == bytes(range(256)) * (1 << 12)
    client.close()


def test_200_concurrent(served):
    clients = [served.connect("/echo") for _ in range(200)]
    for client in clients:
        client.send("x" * 1000)
    assert all(client.recv() == "x" * 1000 for client in clients)
    for client in clients:
        client.shutdown()


def test_receive_with_a_timeout(served):
    client = served.connect("/timeout")
    assert client.recv() == "None True"
    client.send("now")
    assert client.recv() == "now"


def test_ping_waits_for_the_pong(served):
    assert served.connect("/ping").recv() == "True"


def test_a_sender_waits_for_a_slow_reader(served):
    client = served.connect("/flood")
    time.sleep(0.3)  # 16 MiB do not fit into any buffer on the way
    assert served.page("GET", "/").text == "a page"
    for number in range(16):
        assert client.recv() == bytes([number]) * (1 << 20)


def test_a_deeply_nested_message_does_not_end_the_process(served):
    pid = served.page("GET", "/pid").text
    client = served.connect("/json")
    client.send("[" * 200_000)
    assert client.recv() == "InvalidMessage"
    assert served.page("GET", "/pid").text == pid


# ---- class views ----


def test_a_class_view(served):
    with contextlib.closing(served.connect("/channel/ends-ann")) as listener:
        assert listener.recv() == "subscribed"
        client = served.connect("/class/ann")
        for _ in range(2):
            client.send("where")
            assert client.recv() == "ann /class/ann None"  # g is fresh
        for size in (1, 70_000, 1 << 20):
            client.send_binary(b"x" * size)
            assert client.recv() == b"x" * size
        assert served.page("POST", "/publish/class-ann", "news").text == "1"
        assert client.recv() == "news"
        client.close(4001, b"enough")
        assert listener.recv() == "4001 enough"


def test_a_class_view_refuses(served):
    assert served.refused("/class/refused").status_code == 401


def test_messages_to_a_class_view_that_come_with_the_request(served):
    with served.socket() as connection:
        connection.sendall(served.upgrade("/class/eve") + wire.frame(1, b"one") + wire.frame(1, b"two"))
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        assert wire.read_frame(connection) == (0x81, b"one")
        assert wire.read_frame(connection) == (0x81, b"two")


def test_a_callback_that_sleeps_holds_up_nobody(served):
    sleeper, client = served.connect("/class/bob"), served.connect("/class/cid")
    sleeper.send("sleep")
    begun = time.monotonic()
    for _ in range(10):
        assert echoes(client)
    if served.kind.sleeps:  # else time.sleep() is not patched, and sleeps for all greenlets
        assert time.monotonic() - begun < 0.4
    assert sleeper.recv() == "slept"


def test_an_exception_in_a_class_view_is_1011(served):
    with contextlib.closing(served.connect("/channel/ends-dan")) as listener:
        listener.recv()
        client = served.connect("/class/dan")
        client.send("bug")
        assert client.recv_data()[1][:2] == (1011).to_bytes(2, "big")
        assert listener.recv() == "1011 internal error"


def test_a_class_view_waits_for_a_slow_reader(served):
    client = served.connect("/class/fay")
    client.send("flood")
    time.sleep(0.3)
    assert served.page("GET", "/").text == "a page"
    for number in range(16):
        assert client.recv() == bytes([number]) * (1 << 20)


def test_an_async_view(served):
    if "gevent" in served.kind.name or "eventlet" in served.kind.name:
        error = served.refused("/async/ann")
        assert error.status_code == 501
        assert b"Async views need threads" in error.resp_body
        assert served.refused("/async/bob").status_code == 501
        assert served.log.count("Async views need threads") == 1
        return
    assert served.refused("/async/refused").status_code == 401
    client = served.connect("/async/ann")
    client.send("hello")
    assert client.recv() == "ann /async/ann hello"
    client.send_binary(b"x" * (1 << 20))
    assert client.recv() == b"x" * (1 << 20)
    client.close()


# ---- the handshake ----


def test_session_and_after_request_go_with_the_101(served):
    kinds = ["function", "class", "async"]
    if "gevent" in served.kind.name or "eventlet" in served.kind.name:
        kinds.remove("async")
    for kind in kinds:
        path = "/echo" if kind == "function" else f"/{kind}/ann"
        client = served.connect(f"{path}?visit={kind}")
        headers = client.getheaders()
        assert headers["x-after"] == f"{path} 101"
        cookie = headers["set-cookie"].split(";")[0]
        assert served.page("GET", "/visit", headers={"Cookie": cookie}).text == kind
        client.close()


@pytest.mark.parametrize("size", [1, 300, 3000])
def test_bytes_that_come_with_the_request_are_not_lost(served, size):
    data = b"x" * size
    with served.socket() as connection:
        request = served.upgrade("/echo")
        # One packet, and one TLS record, so that the server reads past its request.
        connection.sendall(request + wire.frame(1, data) + wire.frame(1, b"second"))
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        assert wire.read_frame(connection) == (0x81, data)
        assert wire.read_frame(connection) == (0x81, b"second")
        connection.sendall(wire.frame(1, b"third"))
        assert wire.read_frame(connection) == (0x81, b"third")


def test_the_handler_refuses(served):
    assert served.refused("/401").status_code == 401
    assert served.refused("/early-bug").status_code == 500


def test_the_handler_redirects(served):
    # By hand: the client would follow it.
    answer = served.raw(served.upgrade("/redirect"))
    assert answer.status == 302
    assert answer.headers["Location"] == "/login"


def test_before_request_refuses(served):
    error = served.refused("/echo", header={"X-Refuse": "yes"})
    assert error.status_code == 403
    assert b"refused before the request" in error.resp_body


def test_a_refusal_sets_the_session_cookie(served):
    error = served.refused("/session")
    assert error.status_code == 403
    assert "session=" in error.resp_headers["set-cookie"]


def test_the_body_of_the_request_is_empty(served):
    assert served.connect("/data").recv() == "b'' ImmutableMultiDict([])"


def test_a_handshake_with_a_body_is_refused(served):
    answer = served.raw(served.upgrade("/echo", "Content-Length: 5\r\n") + b"hello")
    assert answer.status == 400
    assert answer.text == "A WebSocket handshake has no body.\n"


def test_an_upgrade_of_an_ordinary_page(served):
    answer = served.raw(served.upgrade("/"))
    assert answer.status == 400
    assert "This URL is an ordinary page" in answer.text


def test_an_upgrade_to_something_else_is_not_taken_up(served):
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nUpgrade: h2c\r\n"
    request += "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    answer = served.raw(request.encode())
    assert answer.status == 200
    assert answer.text == "a page"


def test_a_plain_request_of_a_websocket_url(served):
    answer = served.page("GET", "/echo")
    assert answer.status == 426
    assert answer.headers["Sec-WebSocket-Version"] == "13"


def test_a_middleware_that_replaces_the_input(served):
    """Where that hides the connection, an error that says so; else no harm."""
    try:
        client = served.connect("/echo", header={"X-Replace-Input": "yes"})
    except websocket.WebSocketBadStatusException as error:
        assert error.status_code == 501
        assert b"A middleware has replaced wsgi.input by a _io.BytesIO" in error.resp_body
    else:
        assert echoes(client)
        client.close()


def test_proxies_of_a_monitoring_agent(served):
    """Around the server's socket, its input and its start_response, which sees each answer once."""
    agent = {"X-Agent": "yes"}
    clients = [served.connect(path, header=agent) for path in ("/echo", "/class/agent")]
    assert all(echoes(client) for client in clients)
    assert served.refused("/401", header=agent).status_code == 401
    wait_for(lambda: served.page("GET", "/statuses").text == "101 101 401", what="all answers")
    for client in clients:
        client.close()


@pytest.mark.parametrize("value", ["h2c, websocket", "websocket,h2c"])
def test_a_list_of_protocols_to_upgrade_to(served, value):
    request = served.upgrade("/echo").replace(b"Upgrade: websocket", b"Upgrade: " + value.encode())
    with served.socket() as connection:
        connection.sendall(request)
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        connection.sendall(wire.frame(1, b"chosen"))
        assert wire.read_frame(connection) == (0x81, b"chosen")


# ---- ends ----


def test_a_middleware_that_watches_the_answer(served):
    """Then a server cannot be spared its answer, which nobody may read."""
    client = served.connect("/echo", header={"X-Watch-Answer": "yes"})
    assert echoes(client)
    client.close()
    assert served.refused("/401", header={"X-Watch-Answer": "yes"}).status_code == 401


def test_an_exception_is_1011(served):
    client = served.connect("/bug")
    assert client.recv() == "before"
    assert client.recv_data() == (8, INTERNAL_ERROR + b"internal error")
    wait_for(lambda: "KeyError: 'a bug in the handler'" in served.log, what="the traceback")


def test_what_the_log_says(served):
    before = len(served.log)
    clients = [served.connect("/echo") for _ in range(3)]
    for client in clients:
        assert echoes(client)
        client.close()
    for client in clients:
        client.shutdown()

    def new():
        return re.sub(r"\x1b\[[\d;]*m", "", served.log[before:])

    if served.kind.access is not None:
        wait_for(lambda: len(re.findall(served.kind.access, new())) == 3, what="three lines with 101")
    assert not re.search("traceback|error|exception|warning|broken|sigpipe", new(), re.IGNORECASE), (
        new()
    )


def recorded(served, user):
    """The only record of the end of this user's connections, once it is there."""

    def ends():
        return json.loads(served.page("GET", f"/ends/{user}").text)

    wait_for(ends, what=f"the record of {user}")
    time.sleep(0.05)
    (end,) = ends()
    return end


def test_each_connection_gives_one_record(served):
    """Of its end, whatever kind of view it has, and whatever ends it."""
    kinds_of_views = ["channel", "class", *(["async"] if served.kind.threads else [])]
    for view in kinds_of_views:
        route = f"/{view}/<name>"
        for name, (end, expected) in {
            "closes": (lambda c: c.close(4001, b"bye"), [4001, "peer", "bye"]),
            "leaves": (lambda c: c.shutdown(), [1006, "nobody", ""]),
            "breaks": (lambda c: c.sock.sendall(bytes(2)), [1002, "server", None]),
            "tires": (
                lambda c: c.sock.sendall(wire.head(2, 3 << 20)),
                [1009, "server", "message too big"],
            ),
        }.items():
            client = served.connect(f"/{view}/one-who-{name}-{view}")
            client.send("hello")
            while "hello" not in client.recv():
                pass
            end(client)
            code, side, reason, rule, messages_in, messages_out = recorded(
                served, f"one-who-{name}-{view}"
            )
            assert [code, side] == expected[:2]
            assert reason == expected[2] or expected[2] is None
            assert (rule, messages_in) == (route, 1)
            assert messages_out == (2 if view == "channel" else 1)
            client.shutdown()
    client = served.connect("/class/one-who-errs")
    client.send("bug")
    client.recv_data()
    assert recorded(served, "one-who-errs")[:3] == [1011, "server", "internal error"]


def test_what_is_counted_of_a_route(served):
    def counted():
        return json.loads(served.page("GET", "/stats").text)["routes"].get("/class/<name>")

    with contextlib.closing(served.connect("/class/one")) as client:
        before = counted()
        client.send("sleep")
        assert client.recv() == "slept"
        client.send("where")
        client.recv()
    wait_for(lambda: sum(counted()["closes"].values()) > sum(before["closes"].values()))
    now = counted()
    assert now["endpoint"] == "View"
    assert now["opens"] == before["opens"] and now["refusals"] == before["refusals"]
    assert now["messages_in"] == before["messages_in"] + 2
    assert now["messages_out"] == before["messages_out"] + 2
    assert now["callback_time"]["max"] > 0.4  # it has slept for 0.5 s
    assert served.refused("/class/refused").status_code == 401
    assert counted()["refusals"] == now["refusals"] + 1


def test_nothing_is_left_of_a_closed_connection(served):
    """Descriptors, seen from the worker that a page is served by."""
    from processes import descriptors

    pid = int(served.page("GET", "/pid").text)
    served.connect("/echo").close()
    wait_for(lambda: served.page("GET", "/").status == 200)
    time.sleep(0.2)
    before = descriptors(pid)
    clients = [served.connect("/echo") for _ in range(20)]
    assert all(echoes(client) for client in clients)
    assert served.refused("/401").status_code == 401
    for client in clients:
        client.close()
        client.shutdown()
    wait_for(lambda: descriptors(pid) <= before, what="the descriptors to be closed")


@pytest.fixture(params=kinds.KINDS, ids=str)
def fresh(request, serve):
    """A server of its own, for tests that stop it."""
    server = serve(request.param)
    yield server
    server.kill()


def answer_close(client, codes):
    """What a browser does."""
    try:
        while True:
            opcode, data = client.recv_data()
            if opcode == 8:
                codes.append(data[:2])
                client.send(data[:2], 8)
                return
    except (OSError, websocket.WebSocketException, ssl.SSLError):
        codes.append(None)


def test_the_server_stops(fresh):
    """While handlers wait, sleep and publish: 1001 to all, and out."""
    paths = ["/echo", "/echo", "/channel/a", "/class/a"]
    if fresh.kind.sleeps:
        paths += ["/sleep", "/busy/a"]
    clients = [fresh.connect(path) for path in paths]
    assert echoes(clients[0])
    for client, path in zip(clients, paths, strict=True):
        if path not in ("/echo", "/class/a"):
            client.recv()
    before = len(fresh.log)
    codes = []
    threads = [threading.Thread(target=answer_close, args=(client, codes)) for client in clients]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    fresh.process.send_signal(signal.SIGTERM)
    assert fresh.wait(15) == 0
    # The sleeping handler gets WEBSOCKETS_CLOSE_TIMEOUT, 2 s; uWSGI looks every second.
    assert time.monotonic() - begun < 7
    for thread in threads:
        thread.join()
    assert codes == [GOING_AWAY] * len(clients)
    ended = re.findall(r"^WebSocket (\S+) of .* closed by server with 1001 ", fresh.log, re.MULTILINE)
    assert sorted(ended) == sorted(re.sub("(?<=.)/a$", "/<name>", path) for path in paths)
    assert "Traceback" not in fresh.log[before:], fresh.log


def test_uwsgi_without_threads_says_so(serve):
    """They would never run: a stuck connection."""
    server = serve(kinds.Kind("uwsgi-without-threads", ("uwsgi",)))
    wait_for(lambda: "start it with --enable-threads" in server.log, what="it to be said at the start")
    error = server.refused("/echo")
    assert error.status_code == 501
    assert b"start it with --enable-threads" in error.resp_body
    assert server.log.count("start it with --enable-threads") == 1


def test_a_server_that_hides_its_socket(serve):
    server = serve(kinds.own("waitress"))
    for path in ("/class/a", "/async/a", "/echo"):
        error = server.refused(path)
    assert error.status_code == 501
    assert b"waitress does not give it out" in error.resp_body
    assert b"gunicorn" in error.resp_body and b"uWSGI" in error.resp_body
    assert server.log.count("does not give it out") == 1
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        pass
