"""Class views: what is refused when one is decorated, and that one may have several routes."""

from __future__ import annotations

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


def test_one_class_may_have_several_routes(application):
    view = echo_view(application, "/one")
    application.route("/two")(view)
    server = application.serve()
    for path in ("/one", "/two"):
        client = server.connect(path)
        client.send(path)
        assert client.recv() == path
