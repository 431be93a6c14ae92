"""What the tests of class views share."""

from __future__ import annotations

from conftest import wait_for

from flask_websockets import WebSocketView


class Recorder:
    """Notes what is called."""

    def __init__(self):
        self.calls = []

    def __call__(self, *call):
        self.calls.append(call)

    def wait(self, *call):
        wait_for(lambda: call in self.calls, what=f"{call} among {self.calls}")


def echo_view(application, path="/ws", **attributes):
    class Echo(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)

    for name, value in attributes.items():
        setattr(Echo, name, value)
    return application.route(path)(Echo)
