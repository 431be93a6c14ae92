"""The C core; what each name does is in its docstring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar, final

from _typeshed import FileDescriptorLike
from typing_extensions import Buffer, disjoint_base

LOOP: str

_A = TypeVar("_A")
_R = TypeVar("_R")

def name_thread(name: str, /) -> None:
    """Name the calling thread for ps and debuggers: the first 15 bytes of a str, where the
    system has names."""

def call_after(first: Callable[[], object], then: Callable[[_A], _R], argument: _A, /) -> _R:
    """Call first(), drop what it returns or which Exception it raises, and return then(argument).
    When both are functions of C, no Python code runs in this thread in between: no finalizer, no
    signal handler, no exception of another thread."""

def guard_signal(number: int, /) -> None:
    """Have a signal its default effect until set_serving(True), though Python has a handler for
    it. To be called after each signal.signal().

    number: of a signal that a Python function handles. ValueError for another."""

def set_serving(on: bool, /) -> None:
    """Say whether this process serves WebSockets, so that the Python handlers of guarded
    signals run. on: bool."""

@final
class Descriptor:
    """Owns a file descriptor, which is closed with this object.

    of: an int, or an object with fileno(): of its descriptor this makes a duplicate.
    Raises OSError when there is none, or descriptors are used up."""

    def __new__(cls, of: FileDescriptorLike, /) -> Descriptor: ...
    def close(self) -> None:
        """Close it. Does nothing when it is closed, or taken."""
    def fileno(self) -> int:
        """Its number; -1 once it is closed, or taken by Engine.attach()."""

def take_over(fd: int, /) -> tuple[Descriptor, Descriptor]:
    """Take a connection over from the owner of the descriptor.

    Returns (ours, far_end), Descriptors: a new one of the connection, and one to be kept
    for as long as the owner may write to its own, which now is one end of a socket
    pair: what is written there is discarded, and reading is at end-of-file.
    Raises OSError, and the owner still has its connection."""

def exchange(fd: int, by: int, /) -> Descriptor:
    """As take_over(), from an owner that will not write: its descriptor becomes another one of
    `by`. Returns a new Descriptor of the connection.
    Raises OSError, and the owner still has its connection."""

_Deflate: TypeAlias = tuple[bool, bool, int, int]

def key_valid(key: str, /) -> bool:
    """Is this a Sec-WebSocket-Key, the base64 form of 16 bytes?
    RFC 6455 section 4.2.1."""

def is_token(text: str, /) -> bool:
    """Is this a token of RFC 7230 section 3.2.6, as a subprotocol must be?"""

def list_contains(header: str, token: str, /) -> bool:
    """Does the comma-separated header value hold the token, whatever its
    case? RFC 6455 section 4.2.1."""

def split_list(header: str, /) -> list[str]:
    """The elements of a comma-separated header value, a list of str."""

def negotiate(offers: str, wanted: _Deflate, /) -> tuple[str, _Deflate] | None:
    """Answer the Sec-WebSocket-Extensions of a client.

    wanted: what we want of permessage-deflate, a tuple (server_no_context_takeover,
    client_no_context_takeover, server_max_window_bits, client_max_window_bits).
    Returns the header's value and what is agreed on, a tuple like wanted; or None
    when there is no offer that can be taken. ValueError when it is no list of
    extensions. RFC 7692 section 7.1."""

def offer(wanted: _Deflate, /) -> str:
    """The value of Sec-WebSocket-Extensions with which a client offers this
    permessage-deflate. RFC 7692 section 7.1."""

def confirm(answer: str, wanted: _Deflate, /) -> _Deflate | None:
    """Read the Sec-WebSocket-Extensions that a server answered to offer(wanted).

    Returns what is agreed on, a tuple like wanted, or None without an extension.
    ValueError for an answer that a client must not accept. RFC 7692 section 7.1."""

@disjoint_base
class BaseWebSocket:
    """The connection part of a WebSocket; see flask_websockets.websocket."""

    # The first seven methods are called by this module, and are there to be overridden: they are all
    # that it expects of the code around it.
    def _answer_handshake(self) -> None: ...
    def _closed_error(self, code: int, reason: str, /) -> BaseException: ...
    def _load_json(self, data: str | bytes, /) -> Any: ...
    def _callback_failed(self, callbacks: Any, error: BaseException, /) -> None: ...
    def _callbacks_ended(self, callbacks: Any, code: int, reason: bytes, /) -> None: ...
    def _unit_ended(self, callbacks: Any, /) -> None: ...
    def _value_returned(self, callbacks: Any, value: Any, /) -> None: ...
    def _start_callbacks(self, context: Context | None = None, /) -> None: ...
    def _begin_unit(self) -> None: ...
    def _offer(self, data: str | Buffer, /) -> bool | Loan: ...
    def _next(self) -> str | bytes | None: ...
    def _ping(self, data: str | Buffer = b"") -> float: ...
    @property
    def _token(self) -> int: ...
    @property
    def _untaken(self) -> int: ...
    @property
    def _state(self) -> int: ...
    def _conclude(self) -> tuple[int, str, str, bool, float, int, int] | None: ...
    def _note_callback(self, begun: int, /) -> None: ...
    _route: Route | None
    user: Any
    @property
    def endpoint(self) -> str | None:
        """The name of the view in Flask (str), as request.endpoint was in its handshake."""
    @property
    def connected_at(self) -> datetime | None:
        """When the handshake was answered: a datetime in UTC, with its time zone; None before that."""
    @property
    def messages_in(self) -> int:
        """How many messages have come (int), whether they were received yet or not."""
    @property
    def messages_out(self) -> int:
        """How many messages were sent or published to it (int), whether the peer has taken them or
        not."""
    @property
    def id(self) -> str:
        """A name for this connection, unique in the world: 32 hexadecimal digits."""
    @property
    def data(self) -> dict[str, Any]:
        """A dict for the application's own use; or whatever the application puts in its place."""
    @data.setter
    def data(self, value: Any) -> None:
        """A dict for the application's own use; or whatever the application puts in its place."""
    @property
    def closed(self) -> bool:
        """True once the connection is closing or closed: nothing more can be sent."""
    @property
    def close_code(self) -> int | None:
        """The close code (int; 1005: the peer gave none, 1006: lost without a close), or None while it
        is open. RFC 6455 section 7.1.5."""
    @property
    def close_reason(self) -> str | None:
        """The close reason (str, may be empty), or None while it is open. RFC 6455 section 7.1.6."""
    @property
    def buffered_amount(self) -> int:
        """Bytes that are queued and not yet taken by the kernel."""
    def close(self, code: int = 1000, reason: str | None = "") -> None:
        """Start the closing handshake; the engine completes it, so this does not wait.

        code: 1000 to 1003, 1007 to 1014 or 3000 to 4999. reason: str of at most 123 bytes in
        UTF-8. ValueError for others, and then nothing is sent. Does nothing when the
        connection is closing or closed. RFC 6455 sections 5.5.1, 7.1.2 and 7.4."""

class WebSocket(BaseWebSocket):
    """A WebSocket whose methods wait; see flask_websockets.WebSocket."""

    def send(self, data: str | Buffer) -> None:
        """Send one message: a str as a text message, a bytes-like object as a binary one.

        Waits while more than WEBSOCKETS_SEND_BUFFER bytes are queued for this peer; in a
        class view eight times that, because there the peer's next messages wait instead. Safe
        from any thread; messages never interleave.

        Raises TypeError for any other type, ConnectionClosed when the connection is closing
        or closed. RFC 6455 section 5.6."""
    def send_text(self, data: str) -> None:
        """Send a str as one text message. TypeError for any other type; else as
        send()."""
    def send_bytes(self, data: str | Buffer) -> None:
        """Send one binary message: a bytes-like object, or the UTF-8 of a str. Else as send()."""
    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message: str for a text message, bytes for a binary one.

        timeout: seconds to wait; None waits until the connection closes, 0 does not wait.
        Returns None when the time is over; nothing is lost by that.

        Raises ConnectionClosed once the connection is closed and all that had arrived is
        taken; TypeError or ValueError for a bad timeout. Safe from any thread: each message
        goes to one of them. RFC 6455 section 6.2."""
    def iter_data(self) -> Iterator[str | bytes]:
        """Iterate over the messages (str or bytes). Waits for each, ends when the connection
        closes. A loop that is left early loses nothing: the next one, or receive(), goes on
        with the next message, and the handler's return closes with 1000."""
    def iter_text(self) -> Iterator[str]:
        """As iter_data(), text messages only; binary ones are passed over."""
    def iter_bytes(self) -> Iterator[bytes]:
        """As iter_data(), binary messages only; text ones are passed over."""
    def iter_json(self) -> Iterator[Any]:
        """As iter_data(), each message decoded by the app's JSON provider. Raises
        InvalidMessage, a ValueError, for one that is not JSON; the iterator goes on
        with the next one after that."""
    def ping(self, data: str | Buffer = b"") -> float:
        """Send a ping, wait for its pong, return the round trip in seconds.

        data: bytes-like or str, at most 125 bytes; empty lets the engine choose a payload.
        Messages that arrive meanwhile are kept for receive().

        Raises TimeoutError after WEBSOCKETS_PING_TIMEOUT, ConnectionClosed, ValueError for
        more than 125 bytes. RFC 6455 sections 5.5.2 and 5.5.3."""

@final
class MessageIterator:
    """Iterator over the messages of a websocket."""

    def __iter__(self) -> MessageIterator: ...
    def __next__(self) -> Any: ...

@final
class Protocol:
    """The protocol of one connection without a socket: bytes in, events out."""

    def __new__(
        cls,
        *,
        client: bool = False,
        max_message_size: int = 0,
        max_fragments: int = 0,
        compression: _Deflate | None = None,
        compression_level: int = 6,
    ) -> Protocol: ...
    def receive(self, data: Buffer, /) -> list[tuple[Any, ...]]:
        """Take bytes as they arrived; a list of the events they complete, each a tuple:
        ('text', str), ('binary', bytes), ('ping', payload, reply), ('pong', payload),
        ('close', code, reason, reply), ('failed', code, reason, reply), where reply is
        the bytes to send. RFC 6455 section 6.2."""
    def send(self, data: str | Buffer, /) -> bytes:
        """The bytes of one message: a str as text, a bytes-like object as binary;
        compressed if that was agreed on and makes it smaller."""
    def frame(self, opcode: int, data: Buffer, /, final: bool = True) -> bytes:
        """The bytes of one frame, as it is asked for: also fragments and control
        frames (of at most 125 bytes). RFC 6455 section 5.2."""
    def close(self, code: int, reason: str = "", /) -> bytes:
        """The bytes of our close frame; empty when it was sent before."""

@final
class Loan:
    """The bytes of a message that are sent from where they are."""

    def is_over(self) -> bool:
        """True: all bytes are sent. False: the notifier will give the token of
        the websocket once it is to be called again. ConnectionClosed when
        they were given up."""
    def end(self) -> None:
        """Give the bytes back; what is not sent yet is copied and will be."""

@final
class Notifier:
    """Tells an event loop, by one descriptor, which of many websockets have changed."""

    def __new__(cls) -> Notifier: ...
    def fileno(self) -> int:
        """The descriptor to watch: readable while take() has something to give."""
    def take(self) -> list[int]:
        """The tokens (int) of websockets that have changed since they waited: a list, empty
        when there are none. Does not wait."""

@final
class Admission:
    """What a Quota has counted; it is counted out by discard(), or with this object."""

    def discard(self) -> None:
        """Count it out. Does nothing the second time."""

@final
class Quota:
    """Counts by name, and refuses beyond a limit, in one step that nothing interrupts."""

    def __new__(cls) -> Quota: ...
    def admit(
        self, name: str, limit: int, limit_of_all: int, member: object = None, /
    ) -> Admission | Literal["limit", "limit_of_all"]:
        """Count one more of a name (a str).

        limit: how many the name may have, limit_of_all: how many all names may have
        together; 0: any number. member: what is in members() until it is counted out, which
        no other may be at the same time; None: nothing.
        Returns an Admission, or the limit that it would exceed, "limit" or "limit_of_all",
        and then nothing is counted."""
    def members(self) -> dict[Any, str]:
        """The members that are counted now, each with its name: a new dict."""
    @property
    def total(self) -> int:
        """How many all names have together."""

@final
class Route:
    """Route(engine, rule, endpoint, /): counts the websockets of one rule of URLs."""

    def __new__(cls, engine: Engine, rule: str, endpoint: str, /) -> Route: ...
    rule: str
    endpoint: str
    def note_refusal(self) -> None:
        """A handshake of this route was refused."""
    def counters(self) -> dict[str, Any]:
        """What has been counted of its websockets: a dict; see WebSockets.stats()."""

@final
class Engine:
    """The I/O engine of one process: its loop thread starts with the first attach()."""

    def __new__(
        cls,
        *,
        ping_interval: float,
        ping_timeout: float,
        close_timeout: float,
        send_timeout: float,
        max_message_size: int,
        max_fragments: int,
        max_message_rate: int,
        receive_queue: int,
        send_buffer: int,
        slow_consumer: str,
        compression_level: int,
        compression_threshold: int,
        callback_threads: int,
    ) -> Engine: ...
    def attach(
        self,
        websocket: BaseWebSocket,
        descriptor: Descriptor,
        reply: Buffer,
        received: Buffer,
        /,
        compression: _Deflate | None = None,
        client: bool = False,
        notifier: Notifier | None = None,
        wait: Callable[[int, float | None], None] | None = None,
        on_message: Callable[[Any, Any], object] | None = None,
        callbacks: object = None,
    ) -> None:
        """Give the descriptor of an accepted handshake to the engine, for this websocket.

        descriptor: a Descriptor of a connected stream socket, which the engine takes: from here
        on its fileno() is -1. reply: bytes to send first (the 101 answer). received: bytes that
        were read past the request already.
        compression: what negotiate() or confirm() agreed on. client: play the client's role.
        notifier, wait: for handlers that are greenlets of this thread. wait(token, seconds)
        switches away until the notifier gives the token, or the time (float or None) is over;
        it may also return early. Without wait() a caller that has to wait sleeps in its thread;
        an event loop calls websocket._next() and _offer(), which do not wait.
        on_message: makes the websocket event-driven. on_message(websocket, data) is called for
        each message, websocket._callback_failed(callbacks, error) when that raises,
        websocket._value_returned(callbacks, value) when it returns something else than None, and
        websocket._callbacks_ended(callbacks, code, reason) once at the end: one after the other, in
        threads of the engine's; the first after websocket._start_callbacks(). With a notifier the
        engine calls none of them: its event loop does, with what websocket._next() gives.
        Any exception: the descriptor stays the caller's, and nothing was sent; errno.ESHUTDOWN: the
        engine has begun to stop()."""
    def subscribe(self, websocket: BaseWebSocket, channels: str | Iterable[str], /) -> bool:
        """Subscribe the websocket to all of the channels, or to none on an error; each is
        counted, once for a call. False when it is closing or closed."""
    def unsubscribe(
        self, websocket: BaseWebSocket, channels: str | Iterable[str] | None = None, /
    ) -> None:
        """Take back one subscription to each of the channels, or all that there are (None)."""
    def channels(self, websocket: BaseWebSocket, /) -> list[str]:
        """The names of the channels of the websocket, a list of str; when it is
        closed, of those that it had then."""
    def publish(
        self,
        data: str | Buffer,
        channels: str | Iterable[str],
        exclude: BaseWebSocket | Iterable[BaseWebSocket] | None = None,
        /,
    ) -> int:
        """Queue one message for each subscriber of the channels, once; returns how
        many there are."""
    def close_all(self, code: int, reason: str | None = "", /) -> int:
        """Start the closing handshake of every websocket; returns of how many.
        The arguments are those of WebSocket.close()."""
    def wait_empty(self, timeout: float, /) -> bool:
        """Wait until every websocket is finished; False after timeout seconds."""
    def stop(self) -> None:
        """End the engine for good: cut off all websockets, wait up to a second for callbacks, and
        end the threads. From then on attach() raises OSError with errno.ESHUTDOWN. Another
        call, at the same time or later, returns when the engine has stopped."""
    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections to the parent."""
    def counters(self) -> dict[str, Any]:
        """What has been counted since the start: a dict; see WebSockets.stats()."""
