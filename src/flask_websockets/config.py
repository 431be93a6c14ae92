"""The ``WEBSOCKETS_`` keys of ``app.config``: their meaning, units, defaults and errors."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ._core import is_token
from .errors import ConfigurationError
from .origin import OriginCheck, Origins, parse_origins

__all__ = ("KEYS", "OLDER_KEY", "PREFIX", "Compression", "Config", "unknown_key")

PREFIX = "WEBSOCKETS_"
#: How it is written by mistake.
MISTAKEN_PREFIX = "WEBSOCKET_"

#: The key of flask-sock and flask-websockets 0.1.2.
OLDER_KEY = "SOCK_SERVER_OPTIONS"

#: Options of flask-sock and flask-websockets 0.1.2 in ``SOCK_SERVER_OPTIONS``, and the keys that
#: replace them.
OLDER_OPTIONS = {
    "ping_interval": "PING_INTERVAL",
    "max_message_size": "MAX_MESSAGE_SIZE",
    "subprotocols": "SUBPROTOCOLS",
}
#: Options that chose between implementations. There is only one here, so they have no effect.
OLDER_OPTIONS_WITHOUT_MEANING = ("receive_bytes", "thread_class", "event_class", "selector_class")

SLOW_CONSUMER_POLICIES = ("close", "drop_oldest", "drop_newest")

#: server_no_context_takeover, client_no_context_takeover, server_max_window_bits,
#: client_max_window_bits (:rfc:`7692#section-7.1`).
DeflateParameters = tuple[bool, bool, int, int]


@dataclass(frozen=True)
class Compression:
    """permessage-deflate (:rfc:`7692`), as ``WEBSOCKETS_COMPRESSION`` asks for it.

    With context takeover a message is compressed better after similar ones, and each connection keeps
    up to 300 KB for it; without, it keeps nothing.
    """

    context_takeover: bool = False
    #: Binary logarithm of our compression window, 8 to 15.
    server_max_window_bits: int = 15
    #: The same of the client's, where it lets us choose.
    client_max_window_bits: int = 15
    #: zlib's, 1 (fast) to 9 (small).
    level: int = 3
    #: Messages of fewer bytes are sent as they are.
    threshold: int = 128

    @property
    def wanted(self) -> DeflateParameters:
        """What the handshake asks for, as the core takes it."""
        alone = not self.context_takeover
        return (alone, alone, self.server_max_window_bits, self.client_max_window_bits)


@dataclass(frozen=True)
class Config:
    """What an application has configured, checked.

    Each field is the key ``WEBSOCKETS_`` + its name in capitals. Times are in seconds, sizes in bytes.
    """

    #: Time between pings, seconds; 0 or None: no pings.
    ping_interval: float = 25.0
    #: Time for the pong to arrive, seconds; beyond it 1011. A peer that takes bytes meanwhile gets as
    #: long again. 0 or None: a missing pong has no effect.
    ping_timeout: float = 20.0
    #: Size limit of one message, bytes; beyond it 1009. 0 or None: no limit.
    max_message_size: int = 1024 * 1024
    #: How many frames one message may have; beyond it 1008. 0 or None: no limit.
    max_fragments: int = 131_072
    #: Messages per second from one peer, which may send those of one second at once; beyond it 1008. 0
    #: or None: no limit.
    max_message_rate: int = 0
    #: Messages kept while the handler does not receive; beyond it TCP holds the peer back. At least 1.
    #: Fewer are kept when together they have max_message_size bytes.
    receive_queue: int = 16
    #: Bytes queued for one peer above which send() waits, or a class view gets no further message of
    #: that peer; and published bytes queued for one peer above which publish() applies the next key.
    send_buffer: int = 1024 * 1024
    #: What publish() does when send_buffer published bytes wait for a subscriber: "close" it (1013), or
    #: drop its "drop_oldest" or "drop_newest" message.
    slow_consumer: str = "close"
    #: How long a peer may take none of the bytes that are queued for it, seconds; beyond it the
    #: connection is cut off (1006). 0 or None: no limit.
    send_timeout: float = 30.0
    #: True, False, or a dict of options of :class:`Compression`.
    compression: Compression | None = Compression()
    #: Origins that may connect: None (those of the page's own host), "*", a list of origins such as
    #: "https://example.com" and "https://*.example.com" (its subdomains), "null" and "file://" among
    #: them; or a callable that is given the origin (str) and returns a bool.
    allowed_origins: Origins | OriginCheck | None = None
    #: Subprotocols that the application speaks; the first of the client's that is here is taken.
    subprotocols: tuple[str, ...] = ()
    #: Open websockets in one process; beyond it the handshake is answered with 503.
    max_connections: int = 100_000
    #: Open websockets from one address (an IPv6 network of 64 bits counts as one); 0: no limit. None:
    #: 1,000, but no limit for loopback and private addresses, which proxies usually have.
    max_connections_per_address: int | None = None
    #: Time for the peer to answer our close frame, from when it has taken the bytes before that; and
    #: time for websockets and handlers to end when the server stops; seconds.
    close_timeout: float = 5.0
    #: Handlers running at once in one process; beyond it the handshake is answered with 503.
    handler_threads: int = 10_000
    #: Callbacks of class views running at once in one process, each in a thread; further ones wait
    #: until one of them has ended.
    callback_threads: int = 64
    #: Time from the request to the decision about it (before_request functions, and the handler until
    #: it accepts), seconds; beyond it the handshake is answered with 503. 0 or None: no limit.
    handshake_timeout: float = 10.0
    #: After this long in a handler that has decided nothing, the handshake is accepted, seconds.
    accept_delay: float = 1.0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Config:
        """Read the keys from ``app.config``.

        :param mapping: the configuration, keys in capitals.
        :raises ConfigurationError: for an unknown ``WEBSOCKETS_`` key (named with the nearest known
            one) and for a value of the wrong type or out of range.
        """
        known = {key: field.name for key, field in zip(KEYS, fields(cls), strict=True)}
        values: dict[str, Any] = {}
        for option, value in older_options(mapping).items():
            values[option] = (f"SOCK_SERVER_OPTIONS[{option!r}]", value)
        for key, value in mapping.items():
            if key.startswith(MISTAKEN_PREFIX) and meant_by(key) in known:
                raise ConfigurationError(unknown_key(key, [meant_by(key)]))
            if not key.startswith(PREFIX):
                continue
            if key not in known:
                raise ConfigurationError(unknown_key(key, known))
            values[known[key]] = (key, value)
        checked = {name: CHECKS[name](key, value) for name, (key, value) in values.items()}
        return cls(**checked)


#: What there is to be set.
KEYS = tuple(PREFIX + field.name.upper() for field in fields(Config))


def older_options(mapping: Mapping[str, Any]) -> dict[str, Any]:
    options = mapping.get("SOCK_SERVER_OPTIONS") or {}
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"SOCK_SERVER_OPTIONS must be a dict, not {type(options).__name__}")
    found = {}
    for option, value in options.items():
        if option in OLDER_OPTIONS:
            found[OLDER_OPTIONS[option].lower()] = value
        elif option in OLDER_OPTIONS_WITHOUT_MEANING:
            warnings.warn(
                f"SOCK_SERVER_OPTIONS[{option!r}] has no meaning in flask-websockets any more",
                stacklevel=2,
            )
        else:
            raise ConfigurationError(
                f"SOCK_SERVER_OPTIONS[{option!r}] is unknown; known are "
                + ", ".join(sorted([*OLDER_OPTIONS, *OLDER_OPTIONS_WITHOUT_MEANING]))
            )
    return found


def meant_by(key: str) -> str:
    return PREFIX + key.removeprefix(MISTAKEN_PREFIX)


def unknown_key(key: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"unknown configuration key {key}{hint}"


# ---- one check per kind of value: (key, value as given) -> value as kept ----


def seconds(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{key} must be a number of seconds, not {value!r}")
    if not 0 <= value <= 1e9:
        raise ConfigurationError(f"{key} must be between 0 and 1e9 seconds, not {value!r}")
    return float(value)


def seconds_or_off(key: str, value: Any) -> float:
    return 0.0 if value is None else seconds(key, value)


def whole(minimum: int, maximum: int, unit: str) -> Callable[[str, Any], int]:
    def check(key: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 1e6 is how a million is written
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(f"{key} must be an int ({unit}), not {value!r}")
        if not minimum <= value <= maximum:
            raise ConfigurationError(
                f"{key} must be between {minimum} and {maximum} {unit}, not {value}"
            )
        return value

    return check


def size_or_unlimited(key: str, value: Any) -> int:
    return 0 if value is None else whole(0, 2**62, "bytes")(key, value)


def count_or_unlimited(unit: str) -> Callable[[str, Any], int]:
    check = whole(0, 2**31 - 1, unit)
    return lambda key, value: 0 if value is None else check(key, value)


def count_or_default(unit: str) -> Callable[[str, Any], int | None]:
    check = whole(0, 2**31 - 1, unit)
    return lambda key, value: None if value is None else check(key, value)


COMPRESSION_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "server_max_window_bits": whole(8, 15, "bits"),
    "client_max_window_bits": whole(8, 15, "bits"),
    "level": whole(1, 9, "(1 is fast, 9 small)"),
    "threshold": whole(0, 2**62, "bytes"),
}


def compression_options(key: str, value: Any) -> Compression | None:
    if value is None or value is False:
        return None
    if value is True:
        return Compression()
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} must be True, False or a dict of options, not {value!r}")
    checked = {}
    for option, given in value.items():
        name = f"{key}[{option!r}]"
        if option == "context_takeover":
            if not isinstance(given, bool):
                raise ConfigurationError(f"{name} must be a bool, not {given!r}")
            checked[option] = given
        elif option in COMPRESSION_CHECKS:
            checked[option] = COMPRESSION_CHECKS[option](name, given)
        else:
            known = ", ".join(["context_takeover", *COMPRESSION_CHECKS])
            raise ConfigurationError(f"{name} is unknown; known are {known}")
    return Compression(**checked)


def policy(key: str, value: Any) -> str:
    if value not in SLOW_CONSUMER_POLICIES:
        raise ConfigurationError(
            f"{key} must be one of {', '.join(SLOW_CONSUMER_POLICIES)}, not {value!r}"
        )
    return str(value)


def origins(key: str, value: Any) -> Origins | OriginCheck | None:
    if value is None:
        return None
    if callable(value):
        if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
            raise ConfigurationError(f"{key} must be an ordinary function, not the async {value!r}")
        check: OriginCheck = value
        return check
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple, set, frozenset)):
        raise ConfigurationError(
            f'{key} must be None, "*", a list of origins or a callable, not {value!r}'
        )
    return parse_origins(key, listed)


def subprotocol_names(key: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = (value,) if isinstance(value, str) else value
    # A set as well: it is the client's order that counts.
    if not isinstance(listed, (list, tuple, set, frozenset)):
        raise ConfigurationError(f"{key} must be a list of str, not {value!r}")
    for name in listed:
        if not isinstance(name, str) or not is_token(name):
            raise ConfigurationError(f"{key}: {name!r} is not a subprotocol name (a token)")
    return tuple(listed)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "ping_interval": seconds_or_off,
    "ping_timeout": seconds_or_off,
    "max_message_size": size_or_unlimited,
    "max_fragments": count_or_unlimited("frames"),
    "max_message_rate": count_or_unlimited("messages a second"),
    "receive_queue": whole(1, 2**31 - 1, "messages"),
    "send_buffer": whole(0, 2**62, "bytes"),
    "slow_consumer": policy,
    "send_timeout": seconds_or_off,
    "compression": compression_options,
    "allowed_origins": origins,
    "subprotocols": subprotocol_names,
    "max_connections": whole(1, 2**31 - 1, "websockets"),
    "max_connections_per_address": count_or_default("websockets"),
    "close_timeout": seconds,
    "handler_threads": whole(1, 2**31 - 1, "threads"),
    "callback_threads": whole(1, 10_000, "threads"),
    "handshake_timeout": seconds_or_off,
    "accept_delay": seconds,
}
