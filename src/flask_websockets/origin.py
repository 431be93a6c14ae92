"""The origin check of :rfc:`6455#section-10.2`: a page of a foreign site must not open a websocket
with the cookies of the user who looks at it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = ("OriginCheck", "Origins", "is_allowed", "is_same_host", "parse_origins")

OriginCheck = Callable[[str], bool]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

#: An origin that has a host, as browsers write it, :rfc:`6454#section-6.2`: scheme, host, port.
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@:\[\]\s]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.A)
#: A host name in the form that browsers send.
HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.A)
#: The origin of local files: that of some browsers and frameworks; others send "null".
FILES = "file://"

#: Scheme, host, port.
Parts = tuple[str, str, int | None]


@dataclass(frozen=True)
class Origins:
    """The origins of ``WEBSOCKETS_ALLOWED_ORIGINS``, normalized.

    :ivar everybody: all may connect.
    :ivar names: those that are no URL with a host: "null" and "file://".
    :ivar hosts: those that are.
    :ivar domains: those whose subdomains may connect; they themselves may not.
    """

    everybody: bool = False
    names: frozenset[str] = frozenset()
    hosts: frozenset[Parts] = frozenset()
    domains: frozenset[Parts] = frozenset()

    def allow(self, origin: str) -> bool:
        """Is this origin, as a browser has sent it, one of them?"""
        if self.everybody or origin.lower() in self.names:
            return True
        parts = split(origin)
        if parts is None:
            return False
        if parts in self.hosts:
            return True
        scheme, host, port = parts
        return any(
            (scheme, port) == (domain_scheme, domain_port) and is_subdomain(host, domain)
            for domain_scheme, domain, domain_port in self.domains
        )


def split(origin: str) -> Parts | None:
    """The parts of an origin, in lower case, without a port that the scheme has anyway; None for what
    has no host."""
    found = ORIGIN.fullmatch(origin.lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    number = int(port) if port else None
    return scheme, host, None if number == DEFAULT_PORTS.get(scheme) else number


def is_subdomain(host: str, domain: str) -> bool:
    return host.endswith("." + domain) and len(host) > len(domain) + 1


# ---- the configuration ----


def parse_origins(key: str, listed: Iterable[object]) -> Origins:
    """The origins of a list of the configuration.

    :raises ConfigurationError: for what no browser would ever send, as it would allow nobody.
    """
    names, hosts, domains = set(), set(), set()
    for given in listed:
        text = normal(key, given)
        if text in ("*", "null", FILES):
            names.add(text)
        elif "//*." in text:
            domain = parse(key, given, text.replace("*.", "", 1))
            if is_address(domain[1]):
                raise bad(key, given, "an address has no subdomains")
            domains.add(domain)
        else:
            hosts.add(parse(key, given, text))
    return Origins("*" in names, frozenset(names - {"*"}), frozenset(hosts), frozenset(domains))


def bad(key: str, given: object, why: str) -> ConfigurationError:
    return ConfigurationError(
        f'{key} takes origins such as "https://example.com", "https://*.example.com" (its subdomains), '
        f'"http://localhost:5173", "null", "file://" or "*", not {given!r}: {why}'
    )


def normal(key: str, given: object) -> str:
    """In lower case, without blanks around it and the slash at the end."""
    if not isinstance(given, str):
        raise bad(key, given, "an origin is a str; for a pattern of another kind, give a callable")
    text = given.strip().lower()
    if "," in text or len(text.split()) > 1:
        raise bad(key, given, "each origin is a str of its own in the list")
    return text.removesuffix("/") if text != FILES else FILES


def parse(key: str, given: object, text: str) -> Parts:
    """The parts of an origin that names a host."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise bad(key, given, f'it begins with a scheme, as in "https://{text}"')
    if scheme in ("ws", "wss"):
        raise bad(key, given, f"the origin of a page begins with http{scheme[2:]}://, not {scheme}://")
    if scheme == "file":
        raise bad(key, given, 'all files have the one origin "file://", or "null"')
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if authority != rest:
        raise bad(key, given, f'an origin has no path; this page\'s is "{scheme}://{authority}"')
    if "*" in text:
        raise bad(key, given, 'a wildcard stands for subdomains, as "*." before the rest of the host')
    if not text.isascii():
        raise bad(key, given, 'browsers send the ASCII form of a name, "https://xn--…"')
    parts = split(text.removesuffix(":"))
    if parts is None or not is_host(parts[1]) or not is_port(parts[2]):
        raise bad(key, given, "it is no scheme://host or scheme://host:port")
    if parts[1].startswith("["):
        return parts[0], f"[{ipaddress.IPv6Address(parts[1][1:-1]).compressed}]", parts[2]
    return parts


def is_port(port: int | None) -> bool:
    return port is None or 0 < port < 65536


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_host(host: str) -> bool:
    """Would a browser send it so? It takes a name that ends in a number for an IPv4 address."""
    if host.startswith("["):
        return is_address(host)
    if host.rstrip(".").rpartition(".")[2].isdecimal():
        return is_address(host)
    return HOST_NAME.fullmatch(host) is not None


# ---- the handshake ----


def is_allowed(origin: str | None, host: str, allowed: Origins | OriginCheck | None) -> bool:
    """May a page of this origin connect?

    :param origin: the ``Origin`` header; None for a client that is no browser, which may connect.
    :param host: the ``Host`` that the client asked for, as Flask's ``request.host`` gives it.
    :param allowed: ``WEBSOCKETS_ALLOWED_ORIGINS``, checked.
    """
    if origin is None:
        return True
    if allowed is None:
        return is_same_host(origin, host)
    return allowed.allow(origin) if isinstance(allowed, Origins) else bool(allowed(origin))


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
