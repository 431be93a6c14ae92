"""Changes of the configuration that come too late to have an effect, which are said."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import repeat
from typing import Any

from .config import KEYS, OLDER_KEY, PREFIX, unknown_key
from .records import LOGGER

__all__ = ("Settings",)

ALL_KEYS = (*KEYS, OLDER_KEY)


class Unset:
    """What a key that is not there has instead of a value."""

    def __repr__(self) -> str:
        return "unset"


UNSET = Unset()


class Settings:
    """What the settings are at one moment, to see later whether they have changed.

    :param mapping: ``app.config``.
    """

    __slots__ = ("_mapping", "_size", "_unknown", "_values")

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self._mapping = mapping
        self._size = len(mapping)
        self._unknown = {key for key in list(mapping) if key.startswith(PREFIX)}.difference(KEYS)
        self._values = tuple(map(kept, map(mapping.get, ALL_KEYS, repeat(UNSET))))

    def have_changed(self) -> bool:
        """Is one of them another now? Quick enough for every handshake."""
        mapping = self._mapping
        values = map(mapping.get, ALL_KEYS, repeat(UNSET))
        return len(mapping) != self._size or tuple(values) != self._values

    def warn(self) -> Settings:
        """Log which, with what stays in effect.

        :returns: what they are now, so that each change is said once.
        """
        now = Settings(self._mapping)
        for key, before, after in zip(ALL_KEYS, self._values, now._values, strict=True):
            if before != after:
                LOGGER.warning(
                    'app.config["%s"] was changed from %r to %r after the settings had been read, at '
                    "the first handshake or publish: this has no effect; set it before",
                    key,
                    before,
                    after,
                    extra={"setting": key},
                )
        for key in now._unknown - self._unknown:
            LOGGER.warning("%s (set after the first handshake or publish)", unknown_key(key, KEYS))
        return now


def kept(value: Any) -> Any:
    """A value as it is now: a list may change where it is."""
    return copy.copy(value) if isinstance(value, (list, dict, set)) else value
