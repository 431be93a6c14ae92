"""What the extension module expects of its users: methods of its type WebSocket that they override. It
knows nothing else of the package around it."""

from __future__ import annotations

import contextvars
import os
import socket
import sys

import pytest
from conftest import run_to_the_end, wait_for

from flask_websockets import _core

ENGINE = {
    "ping_interval": 0,
    "ping_timeout": 0,
    "close_timeout": 1,
    "send_timeout": 1,
    "max_message_size": 1000,
    "max_fragments": 0,
    "max_message_rate": 0,
    "receive_queue": 16,
    "send_buffer": 1000,
    "slow_consumer": "close",
    "compression_level": 3,
    "compression_threshold": 0,
    "callback_threads": 1,
}
MESSAGE = b"\x81\x81\0\0\0\0x"


@pytest.fixture
def attach():
    """Attaches websockets; returns the sockets of their peers."""
    engine = _core.Engine(**ENGINE)
    peers = []

    def attach(websocket, received=b"", **options):
        ours, peer = socket.socketpair()
        peers.append(peer)
        with ours:
            engine.attach(websocket, _core.Descriptor(ours), b"", received, **options)
        return peer

    yield attach
    engine.stop()
    for peer in peers:
        peer.close()


def test_a_websocket_without_a_class_of_its_own_has_plain_errors(attach):
    websocket = _core.WebSocket()
    with pytest.raises(RuntimeError, match="not connected"):
        websocket.send("too early")
    attach(websocket, MESSAGE)
    with pytest.raises(NotImplementedError):
        next(websocket.iter_json())
    websocket.close()
    with pytest.raises(RuntimeError, match="closed with 1000"):
        websocket.send("too late")


def test_the_error_of_a_closed_connection_is_the_class_s_own(attach):
    class Gone(Exception):
        pass

    class Own(_core.WebSocket):
        def _closed_error(self, code, reason):
            return Gone(code, reason)

    websocket = Own()
    attach(websocket)
    websocket.close(4000, "enough")
    with pytest.raises(Gone) as error:
        websocket.send("too late")
    assert error.value.args == (4000, "enough")


def test_an_error_that_is_none_is_a_type_error(attach):
    class Wrong(_core.WebSocket):
        def _closed_error(self, code, reason):
            return "closed"

    websocket = Wrong()
    attach(websocket)
    websocket.close()
    with pytest.raises(TypeError, match="must return an exception, not str"):
        websocket.send("too late")


def test_the_hooks_of_callbacks_are_given_what_attach_was_given(attach):
    heard = []

    class Own(_core.WebSocket):
        def _callback_failed(self, callbacks, error):
            heard.append((callbacks, error))

        def _callbacks_ended(self, callbacks, code, reason):
            heard.append((callbacks, code, reason))

    def fail(websocket, data):
        raise ValueError(data)

    websocket, mine = Own(), object()
    attach(websocket, MESSAGE, on_message=fail, callbacks=mine)
    websocket._start_callbacks()
    wait_for(lambda: len(heard) == 1)
    assert heard[0][0] is mine and repr(heard[0][1]) == "ValueError('x')"
    websocket.close(4000, "enough")
    wait_for(lambda: len(heard) == 2)
    assert heard[1] == (mine, 4000, b"enough")


def test_a_unit_of_work_ends_when_on_message_returns(attach):
    heard = []

    class Own(_core.WebSocket):
        def _callback_failed(self, callbacks, error):
            heard.append(repr(error))

        def _unit_ended(self, callbacks):
            heard.append(callbacks)

    def on_message(websocket, data):
        heard.append(variable.get())
        websocket._begin_unit()
        websocket._begin_unit()
        raise ValueError(data)

    websocket = Own()
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    attach(websocket, MESSAGE, on_message=on_message, callbacks="mine")
    with pytest.raises(TypeError, match=r"must be a contextvars\.Context or None"):
        websocket._start_callbacks(1)
    websocket._start_callbacks(context)
    wait_for(lambda: heard == ["inside", "ValueError('x')", "mine"])
    websocket.close(4000)


def test_what_a_hook_raises_goes_to_the_unraisable_hook(attach, monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: heard.append(what.exc_value))

    class Own(_core.WebSocket):
        def _callbacks_ended(self, callbacks, code, reason):
            raise LookupError(code)

    def fail(websocket, data):
        raise ValueError(data)

    websocket = Own()
    attach(websocket, MESSAGE, on_message=fail)
    websocket._start_callbacks()
    wait_for(lambda: len(heard) == 1)  # _callback_failed() is not overridden
    websocket.close(4000)
    wait_for(lambda: len(heard) == 2)
    assert [repr(error) for error in heard] == ["ValueError('x')", "LookupError(4000)"]


def test_callbacks_of_a_wrong_type_leave_the_websocket_and_the_descriptor_as_they_were():
    engine = _core.Engine(**ENGINE)
    websocket = _core.WebSocket()
    ours, peer = socket.socketpair()
    with ours, peer:
        descriptor = _core.Descriptor(ours)
        with pytest.raises(TypeError, match="on_message must be callable"):
            engine.attach(websocket, descriptor, b"", b"", on_message=1)
        assert descriptor.fileno() >= 0
        ours.sendall(b"still ours")
        assert peer.recv(100) == b"still ours"
    with pytest.raises(RuntimeError, match="not connected"):
        websocket.send("x")


# ---- Descriptor ----


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_a_descriptor_is_a_duplicate_and_is_closed_once():
    ours, peer = socket.socketpair()
    with ours, peer:
        descriptor = _core.Descriptor(ours)
        number = descriptor.fileno()
        assert number != ours.fileno() and not os.get_inheritable(number)
        descriptor.close()
        assert descriptor.fileno() == -1 and not is_open(number)
        with open(os.devnull) as other:  # which may have the same number
            descriptor.close()
            assert is_open(other.fileno())
        assert is_open(ours.fileno())


def test_a_descriptor_is_closed_with_its_object():
    with open(os.devnull) as file:
        descriptor = _core.Descriptor(file.fileno())
    number = descriptor.fileno()
    assert is_open(number)
    del descriptor
    assert not is_open(number)


@pytest.mark.parametrize(
    ("of", "error"), [(10**6, OSError), (-1, ValueError), ("1", TypeError), (None, TypeError)]
)
def test_what_is_no_descriptor_is_refused(of, error):
    with pytest.raises(error):
        _core.Descriptor(of)


def test_a_descriptor_is_taken_once():
    engine, websocket = _core.Engine(**ENGINE), _core.WebSocket()
    ours, peer = socket.socketpair()
    with ours, peer:
        descriptor = _core.Descriptor(ours)
        ours.close()
        engine.attach(websocket, descriptor, b"reply", b"")
        assert descriptor.fileno() == -1
        assert peer.recv(100) == b"reply"
        with pytest.raises(ValueError, match="closed, or taken already"):
            engine.attach(_core.WebSocket(), descriptor, b"", b"", on_message=print)
        descriptor.close()  # it is not its own any more
        engine.stop()
        assert peer.recv(100) == b""
    with pytest.raises(TypeError, match="Descriptor"):
        engine.attach(_core.WebSocket(), 1, b"", b"")


def test_a_connection_that_is_taken_over_is_owned_by_objects():
    server, client = socket.socketpair()
    with server, client:
        ours, far_end = _core.take_over(server.fileno())
        numbers = ours.fileno(), far_end.fileno()
        server.sendall(b"discarded")
        assert server.recv(100) == b""
        os.write(ours.fileno(), b"the connection")
        assert client.recv(100) == b"the connection"
        del ours, far_end
        assert not any(map(is_open, numbers))
        assert client.recv(100) == b""
    with pytest.raises(OSError):
        _core.take_over(10**6)
    with pytest.raises(OSError):
        _core.exchange(10**6, 1)


def run(program: str) -> str:
    """Run a program in a process of its own; what it has printed."""
    return run_to_the_end(f"CORE = {_core.__file__!r}\n" + program).stdout


ALONE = """
import importlib.machinery, importlib.util
loader = importlib.machinery.ExtensionFileLoader("flask_websockets._core", CORE)
spec = importlib.util.spec_from_loader("flask_websockets._core", loader)
loader.exec_module(importlib.util.module_from_spec(spec))
print([name for name in sys.modules if name.startswith("flask")])
"""

IN_EACH = """
import socket
from flask_websockets import ConnectionClosed, _core
from test_core_hooks import ENGINE

class Own(_core.WebSocket):
    def _closed_error(self, code, reason):
        return ConnectionClosed(code, reason)

engine, websocket = _core.Engine(**ENGINE), Own()
ours, peer = socket.socketpair()
engine.attach(websocket, _core.Descriptor(ours), b"", b"")
ours.close()
peer.close()
try:
    websocket.receive()
except ConnectionClosed as error:
    print(error.code, flush=True)
engine.stop()
"""

#: Interpreters that share one GIL: all until 3.11, "legacy" ones later.
SHARING = """
try:
    import _interpreters as interpreters
    create = lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(isolated=sys.version_info < (3, 12))

def run(interpreter, program):
    failed = interpreters.run_string(interpreter, program)  # raises until 3.12
    assert failed is None, failed.errdisplay
"""

SEVERAL = f"""
{SHARING}
program = f"import sys; sys.path[:0] = {{sys.path}}" + {IN_EACH!r}
for _ in range(3):
    interpreter = create()
    run(interpreter, program)
    interpreters.destroy(interpreter)
"""

#: Only this module: interpreters with a GIL of their own crash at the end of 3.12 when they import ssl.
OF_ITS_OWN = f"""
{SHARING}
interpreter = interpreters.create()
try:
    run(interpreter, f"import sys; sys.path[:0] = {{sys.path}}; CORE = {{CORE!r}}" + {ALONE!r})
except Exception as error:
    print(error)
interpreters.destroy(interpreter)
"""

FREE_THREADED = f"""
sys._is_gil_enabled = lambda: False
try:
    exec({ALONE!r})
except ImportError as error:
    print(error)
"""


def test_the_module_imports_nothing_of_the_package():
    assert run(ALONE) == "[]\n"


def test_each_interpreter_of_a_process_has_its_own():
    assert run(SEVERAL) == "1006\n" * 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all interpreters share one GIL")
def test_an_interpreter_with_a_gil_of_its_own_is_refused():
    assert "_core does not support loading in subinterpreters" in run(OF_ITS_OWN)


def test_an_interpreter_without_a_gil_is_refused():
    """A free-threaded build enables its GIL for the module, unless its user forbids that."""
    assert "needs Python's GIL, which is disabled: unset PYTHON_GIL" in run(FREE_THREADED)
