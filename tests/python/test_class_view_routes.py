"""Class views: what is refused when one is decorated, and that one may have several routes."""

from __future__ import annotations

import functools

import pytest
from views import echo_view

from flask_websockets import WebSocketView


def test_views_that_could_not_work(application):
    class Nothing:
        pass

    class Silent(WebSocketView):
        pass

    class Asynchronous(WebSocketView):
        async def on_message(self, ws, data):
            pass

    class Elsewhere(WebSocketView):
        context = "elsewhere"

        def on_message(self, ws, data):
            pass

    class Needy(WebSocketView):
        def __init__(self, database):
            pass

        def on_message(self, ws, data):
            pass

    for view, error, text in (
        (Nothing, TypeError, "a function or a WebSocketView, and Nothing is neither"),
        (Silent, TypeError, r"Silent has no on_message\(\)"),
        (Asynchronous, TypeError, r"Asynchronous.on_message\(\) is async"),
        (Elsewhere, ValueError, "Elsewhere.context must be"),
        (Needy, TypeError, r"Needy\(\) is made without arguments, and .*database"),
    ):
        with pytest.raises(error, match=text):
            application.route("/ws")(view)


@pytest.mark.parametrize(
    ("other", "method"),
    [("on_connect", "on_open"), ("on_receive", "on_message"), ("on_disconnect", "on_close")],
)
def test_a_method_as_another_framework_calls_it(application, other, method):
    def work(self, ws, *values):
        pass

    methods = {"on_message": work, other: work}
    if method == "on_message":
        del methods["on_message"]
    with pytest.raises(TypeError, match=rf"Room.{other}\(\) is never called: the method is {method}"):
        application.route("/ws")(type("Room", (WebSocketView,), methods))
    # Where the method is there as well, this one is a helper of the author's.
    application.route("/ws")(type("Room", (WebSocketView,), {**methods, method: work}))


def test_methods_that_take_other_arguments_than_they_are_given(application):
    def method(name, function):
        methods = {"on_message": lambda self, ws, data: None, name: function}
        return type("Room", (WebSocketView,), methods)

    for name, function, text in (
        (
            "on_message",
            lambda self, data: None,
            r"ws, data: .*; write def on_message\(self, ws, data\)",
        ),
        ("on_message", lambda ws, data: None, "ws, data: too many"),
        ("on_message", lambda self, ws, data, room: None, "'room'"),
        ("on_message", staticmethod(lambda ws: None), "ws, data: too many"),
        (
            "on_close",
            lambda self: None,
            r"ws, code, reason: .*; write def on_close\(self, ws, code, reason\)",
        ),
        ("on_close", lambda self, ws: None, "too many positional arguments"),
        ("on_open", lambda self: None, r"on_open\(self, ws\)"),
    ):
        with pytest.raises(TypeError, match=text):
            application.route("/ws")(method(name, function))


def test_methods_may_take_their_arguments_in_any_way(application):
    def decorated(function):
        @functools.wraps(function)
        def with_user(self, ws, data):
            return function(self, ws, data, "user")

        return with_user

    class Room(WebSocketView):
        @decorated
        def on_message(self, ws, data, user):
            ws.send(f"{user}: {data}")

        @classmethod
        def on_open(cls, ws, name, *, more=None):
            pass

        @staticmethod
        def on_close(*args):
            pass

    class Other(Room):
        on_message = functools.partialmethod(
            lambda self, prefix, ws, data: ws.send(prefix + data), "> "
        )

    application.route("/room/<name>")(Room)
    application.route("/other/<name>")(Other)
    server = application.serve()
    for path, answer in (("/room/red", "user: x"), ("/other/red", "> x")):
        client = server.connect(path)
        client.send("x")
        assert client.recv() == answer


def test_one_class_may_have_several_routes(application):
    view = echo_view(application, "/one")
    application.route("/two")(view)
    server = application.serve()
    for path in ("/one", "/two"):
        client = server.connect(path)
        client.send(path)
        assert client.recv() == path
