"""How many websockets each address has: one client is not to take all of them."""

from __future__ import annotations

import functools
import ipaddress

__all__ = ("Addresses",)

#: Of one public address, when the configuration says nothing.
DEFAULT_LIMIT = 1000


class Addresses:
    """Counts by address. An IPv6 client has a network of 64 bits to itself, which counts as one.

    Not thread-safe: the owner's lock protects it.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, address: str | None, limit: int | None) -> str | None:
        """Count one more.

        :param address: as ``request.remote_addr`` gives it; None has no limit.
        :param limit: how many it may have; 0: any number. None: 1,000 for a public address, and any
            number for a loopback or private one.
        :returns: what it was counted as, for discard(); None, and nothing is counted, beyond the
            limit.
        """
        name, is_public = network(address)
        most = (DEFAULT_LIMIT if is_public else 0) if limit is None else limit
        count = self._counts.get(name, 0)
        if name and most and count >= most:
            return None
        self._counts[name] = count + 1
        return name

    def discard(self, name: str) -> None:
        """Count one out; ``name`` is what add() returned."""
        count = self._counts[name] - 1
        if count:
            self._counts[name] = count
        else:
            del self._counts[name]


@functools.lru_cache(maxsize=1024)
def network(address: str | None) -> tuple[str, bool]:
    """What an address counts as, and whether it is a public one."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:  # a Unix socket, or whatever a proxy has put there
        return address or "", False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped), parsed.ipv4_mapped.is_global
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64))), parsed.is_global
    return str(parsed), parsed.is_global
