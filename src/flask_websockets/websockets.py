"""The extension class under the name of the module that had it in flask-websockets 0.1.2."""

from __future__ import annotations

from .extension import WebSockets

__all__ = ("WebSockets",)
