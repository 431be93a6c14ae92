"""How many websockets one address may have, so that one client cannot use up all connections."""

from __future__ import annotations

import functools
import ipaddress

__all__ = ("limit_of",)

#: The limit of one public address when the configuration sets none.
DEFAULT_LIMIT = 1000


def limit_of(address: str | None, configured: int | None) -> tuple[str, int]:
    """The name under which an address is counted, and how many websockets that name may have.

    :param address: as ``request.remote_addr`` gives it; None has no limit.
    :param configured: ``WEBSOCKETS_MAX_CONNECTIONS_PER_ADDRESS``; 0: any number. None: 1,000 for a
        public address, and any number for a loopback or private one.
    :returns: the name to count under, and the limit; 0: any number.
    """
    name, is_public = network(address)
    if not name:
        return name, 0
    return name, (DEFAULT_LIMIT if is_public else 0) if configured is None else configured


@functools.lru_cache(maxsize=1024)
def network(address: str | None) -> tuple[str, bool]:
    """The name under which an address is counted, and whether the address is public. An IPv6 client has
    a network of 64 bits to itself, so the network is counted."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:  # a Unix socket, or a text that a proxy has put there
        return str(address or ""), False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped), parsed.ipv4_mapped.is_global
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64))), parsed.is_global
    return str(parsed), parsed.is_global
