"""The server's side of the opening handshake, :rfc:`6455#section-4.2`: what the request must be, and
what the answer is."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable, Mapping

from flask import Request, Response

from .._core import is_token, key_valid, list_contains, negotiate, split_list
from ..config import Config, DeflateParameters
from ..origin import is_allowed, is_same_host
from ..records import LOGGER, Seldom
from ..servers import protocol

__all__ = (
    "accept_key",
    "accept_response",
    "choose_compression",
    "choose_subprotocol",
    "handshake_fields",
    "refusal",
    "requested_subprotocols",
)

#: :rfc:`6455#section-1.3`.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: What only the server may put into the answer.
RESERVED_HEADERS = frozenset(("upgrade", "connection", "content-length", "transfer-encoding"))

#: Characters of a refused origin that are shown; clients choose it.
ORIGIN_SHOWN = 200

#: Of which origins it was said lately that they are refused. These are apart from what else is said
#: seldom, as clients may send as many as they like.
seldom = Seldom()

HINT = (
    'Connect with a WebSocket client: in JavaScript, new WebSocket("ws://" + location.host + "/...").\n'
)


def plain_text(status: int, text: str, **headers: str) -> Response:
    response = Response(text, status=status, mimetype="text/plain")
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def needs_upgrade(text: str) -> Response:
    """426, which must say what to upgrade to (:rfc:`9110#section-15.5.22`)."""
    return plain_text(426, text, Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13")


def plain_request() -> Response:
    """The answer to an ordinary HTTP request of a WebSocket URL."""
    return needs_upgrade("This URL is a WebSocket, and this was a plain HTTP request.\n" + HINT)


def refusal(request: Request, config: Config) -> Response | None:
    """The HTTP answer to a handshake that is not in order, or None.

    :param request: the Flask request of the handshake.
    :param config: the checked configuration.
    """
    # The environment, and not request.headers: that costs as much again as the rest of this.
    environ = request.environ
    if environ.get("REQUEST_METHOD") != "GET":
        return plain_text(405, "A WebSocket handshake is a GET request.\n", Allow="GET")
    if not list_contains(environ.get("HTTP_UPGRADE", ""), "websocket"):
        return plain_request()
    if protocol(environ) in ("HTTP/1.0", "HTTP/0.9"):
        return plain_text(
            400,
            "A WebSocket handshake needs HTTP/1.1; this came as HTTP/1.0. A proxy in between has "
            'to speak 1.1 to the server (nginx: "proxy_http_version 1.1").\n',
        )
    if not list_contains(environ.get("HTTP_CONNECTION", ""), "upgrade"):
        return plain_text(
            400,
            'The Connection header of a WebSocket handshake must hold "Upgrade". A proxy in '
            "between has to pass it on.\n",
        )
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != "13":
        return needs_upgrade("Only version 13 of the WebSocket protocol is spoken here.\n")
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()
    if not key:
        return plain_text(400, "The Sec-WebSocket-Key header is missing.\n")
    if not key_valid(key):
        return plain_text(400, "The Sec-WebSocket-Key header is not the base64 form of 16 bytes.\n")
    if not all(is_token(name) for name in requested_subprotocols(request)):
        return plain_text(400, "The Sec-WebSocket-Protocol header is not a list of tokens.\n")
    try:
        choose_compression(request, config)
    except ValueError:
        return plain_text(400, "The Sec-WebSocket-Extensions header is not a list of extensions.\n")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not is_allowed(origin, request.host, config.allowed_origins):
        return foreign_origin(request, origin[:ORIGIN_SHOWN], config)
    return None


def foreign_origin(request: Request, origin: str, config: Config) -> Response:
    """403, and a line in the log, as a browser tells a page nothing; once a minute for each origin."""
    if seldom(origin):
        others = ""
        if config.allowed_origins is None:
            others = f", and while it is not set only this host may, {request.host[:ORIGIN_SHOWN]!r}"
        elif is_same_host(origin, request.host):
            others = ", and as it is set, this host has to be in it too"
        LOGGER.warning(
            "a WebSocket handshake of %r from %r was refused with 403: pages of the origin %r may not "
            'connect here; app.config["WEBSOCKETS_ALLOWED_ORIGINS"] can allow them%s (said once a '
            "minute)",
            request.path,
            request.remote_addr,
            origin,
            others,
            extra={
                "origin": origin,
                "address": request.remote_addr,
                "route": request.url_rule.rule if request.url_rule is not None else None,
            },
        )
    return plain_text(
        403,
        f"Pages of the origin {origin} may not connect here. The operator "
        "allows them with WEBSOCKETS_ALLOWED_ORIGINS.\n",
    )


def requested_subprotocols(request: Request) -> list[str]:
    """What the client offers, in its order of preference."""
    return split_list(request.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))


def choose_subprotocol(request: Request, supported: Iterable[str]) -> str | None:
    """The first subprotocol of the client's that is supported, or None (section 4.2.2, item 5)."""
    supported = set(supported)
    return next((name for name in requested_subprotocols(request) if name in supported), None)


def choose_compression(request: Request, config: Config) -> tuple[str, DeflateParameters] | None:
    """The ``Sec-WebSocket-Extensions`` to answer with, and what that means; or None for none.

    :raises ValueError: when the client's header is malformed.
    """
    offers = request.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
    if offers is None:
        return None
    if config.compression is None:
        negotiate(offers, (True, True, 15, 15))  # for the error
        return None
    return negotiate(offers, config.compression.wanted)


def accept_key(key: str) -> str:
    """The value of ``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (section 4.2.2, item 5)."""
    digest = hashlib.sha1((key.strip() + GUID).encode("ascii"), usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def handshake_fields(
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
) -> list[tuple[str, str]]:
    """The header fields that a handler wants in the answer.

    :raises TypeError: for names or values that are not ``str``.
    :raises ValueError: for a header that only the server may set, or with characters that would
        break the answer.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    fields = []
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header names and values are str, not {name!r}: {value!r}")
        check_field(name, value)
        if name.lower() in RESERVED_HEADERS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"the header {name} is set by flask-websockets itself")
        fields.append((name, value))
    return fields


def check_field(name: str, value: str) -> None:
    if not is_token(name) or any(c in value for c in "\r\n\0"):
        raise ValueError(f"{name!r}: {value!r} is not a valid header field")


def accept_response(
    request: Request,
    subprotocol: str | None,
    extensions: str | None,
    fields: Iterable[tuple[str, str]],
) -> bytes:
    """The bytes of the 101 answer.

    :param request: the Flask request of the handshake.
    :param subprotocol: what was agreed on, or None.
    :param extensions: the value of ``Sec-WebSocket-Extensions``, or None.
    :param fields: further header fields.
    :raises ValueError: for one with characters that would break the answer.
    """
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(request.environ['HTTP_SEC_WEBSOCKET_KEY'])}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if extensions is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    for name, value in fields:
        check_field(name, value)
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
