"""The origin check of :rfc:`6455#section-10.2`: a page of a foreign site must not open a websocket
with the cookies of the user who looks at it."""

from __future__ import annotations

from urllib.parse import urlsplit

from .config import Config

__all__ = ("is_allowed",)

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_allowed(origin: str | None, host: str, config: Config) -> bool:
    """May a page of this origin connect?

    :param origin: the ``Origin`` header; None for a client that is no browser, which may connect.
    :param host: the ``Host`` that the client asked for, as Flask's ``request.host`` gives it.
    :param config: the checked configuration; see ``WEBSOCKETS_ALLOWED_ORIGINS``.
    """
    if origin is None:
        return True
    allowed = config.allowed_origins
    if callable(allowed):
        return bool(allowed(origin))
    if allowed is not None:
        return "*" in allowed or origin.lower() in allowed
    return is_same_host(origin, host)


def is_same_host(origin: str, host: str) -> bool:
    """Host and port are compared, not the scheme: behind a proxy that ends TLS, the page is https
    and the request arrives as http."""
    try:
        page = urlsplit(origin.lower())
        asked = urlsplit(f"//{host.lower()}")
        default_port = DEFAULT_PORTS.get(page.scheme)
        return (
            page.hostname is not None
            and page.hostname == asked.hostname
            and (page.port or default_port) == (asked.port or default_port)
        )
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False
